//! The rtnetlink socket of one network namespace.

use crate::NetError;

/// Talks to the network namespace in which it was opened, from whatever thread.
#[derive(Debug)]
pub struct Netlink(());

impl Netlink {
    /// Opens a socket into the calling thread's network namespace.
    pub fn open() -> Result<Self, NetError> {
        unimplemented!()
    }
}
