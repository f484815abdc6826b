//! The plugin's sockets into the kernel, in the machine's network namespace.

use net::nftables::Nftables;
use net::{NetError, Netlink};

/// One of a kind for a whole call: to close one of nftables after a deletion takes the kernel 8 ms
/// and more.
#[derive(Debug)]
pub(crate) struct Kernel {
    pub(crate) links: Netlink,
    nftables: Option<Nftables>,
}

impl Kernel {
    pub(crate) fn open() -> Result<Self, NetError> {
        Ok(Self { links: Netlink::open()?, nftables: None })
    }

    /// Opened when it is first needed: most pods have no host port.
    pub(crate) fn nftables(&mut self) -> Result<&mut Nftables, NetError> {
        Ok(match &mut self.nftables {
            Some(nftables) => nftables,
            none => none.insert(Nftables::open()?),
        })
    }
}
