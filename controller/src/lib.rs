//! The cluster's part of kubenet: which Node gets which podCIDRs.
//!
//! `reconcile` turns the watch of Nodes into rounds of the `allocator`, and its verdicts into one
//! PATCH for each Node; `leader` says when this process may. What decides is pure: `block_set`, `pool`,
//! `allocator`, `ledger`, `registrar`, `foreign`, `queue`, `lease`.

pub mod allocator;
pub mod block_set;
pub mod claim;
pub mod claims;
pub mod cluster_cidrs;
pub mod collapse;
pub mod dry_run;
pub mod events;
pub mod fence_flags;
pub mod foreign;
pub mod leader;
pub mod leader_flags;
pub mod lease;
pub mod ledger;
pub mod metrics;
pub mod node_cidr;
pub mod oddity;
pub mod patch;
pub mod pool;
pub mod pool_plan;
pub mod pool_report;
pub mod pool_status;
pub mod pools;
pub mod queue;
pub mod range;
pub mod reconcile;
pub mod registrar;
pub mod requests;
pub mod run;
pub mod selector;
pub mod settings;
pub mod tally;
