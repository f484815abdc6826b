//! What both long-lived programs need: logs, settings, signals, the API client, the watches of Nodes,
//! ClusterCIDRs and ServiceCIDRs, and what they answer about themselves.
//!
//! It decides nothing about the network. Wire types of the API end here: [`nodes`] turns them into
//! `common`'s values.

pub mod cidr_claims;
pub mod client;
pub mod cluster_cidrs;
pub mod contact;
pub mod nodes;
pub mod ready;
mod rotation;
pub mod serve;
pub mod service_cidrs;
pub mod settings;
pub mod shutdown;
pub mod snapshot;
pub mod telemetry;
mod token;
pub mod watch;
