//! What the kernel tells of changes: enough to wake up and look.

use std::collections::BTreeSet;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};

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

/// A subscription in the network namespace in which it was opened. Its socket never blocks: wait for
/// it with poll(2), or with tokio's `AsyncFd` and its `try_io`.
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

    /// What was told since the last call, each once.
    ///
    /// # Errors
    /// [`io::ErrorKind::WouldBlock`] if nothing was.
    pub fn next(&mut self) -> io::Result<BTreeSet<Event>> {
        unimplemented!()
    }
}

impl AsFd for Events {
    fn as_fd(&self) -> BorrowedFd<'_> {
        unimplemented!()
    }
}

impl AsRawFd for Events {
    fn as_raw_fd(&self) -> RawFd {
        self.as_fd().as_raw_fd()
    }
}
