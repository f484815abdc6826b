//! What the kernel tells of changes: enough to wake up and look.

use std::os::fd::{AsFd, BorrowedFd};

use crate::NetError;

/// Something changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Event {
    Link,
    Address,
    Route,
    /// An nft table, set, element, chain or rule.
    Ruleset,
    /// More than the socket could hold (`ENOBUFS`): anything may have changed.
    Lost,
}

/// A subscription in the network namespace in which it was opened.
#[derive(Debug)]
pub struct Events(());

impl Events {
    /// Links, addresses and routes of both families.
    pub fn of_routing() -> Result<Self, NetError> {
        unimplemented!()
    }

    /// The nft ruleset.
    pub fn of_nftables() -> Result<Self, NetError> {
        unimplemented!()
    }

    /// Waits for the next datagram, and returns what it tells of, each once.
    pub fn next(&mut self) -> Result<Vec<Event>, NetError> {
        unimplemented!()
    }
}

impl AsFd for Events {
    fn as_fd(&self) -> BorrowedFd<'_> {
        unimplemented!()
    }
}
