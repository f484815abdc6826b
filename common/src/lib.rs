//! The words that every part of kubenet shares.
//!
//! Plain values and pure functions: no socket, no file, no clock, no Kubernetes client.
//! What two programs must agree on stands here: names, prefixes, the conflist that the agent
//! writes and the plugin reads, the attachment's record that the plugin writes and the agent reads.

pub mod alias;
pub mod attachment;
pub mod bandwidth;
pub mod conflist;
pub mod family;
pub mod names;
pub mod node;
pub mod pods_table;
pub mod prefix;
mod version;

pub use family::{Family, PerFamily};
pub use prefix::Prefix;
pub use version::version;
