//! All that kubenet says to Linux: netlink, network namespaces, nft, sysctls, files.
//!
//! Synchronous, so that the plugin pays for no runtime and the agent's one task sees one order of
//! writes. What should be there is decided elsewhere: this crate asks, changes, and reports errors.

pub mod addr;
mod attribute;
mod connection;
pub mod conntrack;
pub mod error;
pub mod events;
pub mod file;
pub mod holders;
pub mod knock;
pub mod link;
pub mod mac;
pub mod module;
pub mod neighbour;
pub mod netlink;
pub mod netns;
mod nfnetlink;
pub mod nft;
pub mod nftables;
pub mod program;
pub mod route;
pub mod shaping;
pub mod sysctl;
pub mod watch;

pub use error::NetError;
pub use mac::Mac;
pub use netlink::Netlink;
pub use netns::Netns;

#[cfg(test)]
mod testing;
