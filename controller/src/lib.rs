//! The cluster's part of kubenet: which Node gets which podCIDRs.
//!
//! `reconcile` turns the watch of Nodes into rounds of `nodeipam`'s registrar, and its verdicts into
//! one PATCH for each Node; `leader` says when this process may. What decides is pure: `nodeipam`,
//! `foreign`, `queue`, `lease`.

pub mod claims;
pub mod cleanup;
pub mod cluster_cidrs;
pub mod collapse;
pub mod dry_run;
pub mod events;
pub mod foreign;
pub mod leader;
pub mod lease;
pub mod metrics;
pub mod patch;
pub mod pool_plan;
pub mod pool_status;
pub mod queue;
pub mod reconcile;
pub mod requests;
pub mod run;
pub mod settings;
