//! IP addresses of links.

use std::net::IpAddr;

use crate::{NetError, Netlink};

/// An address that a link has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Address {
    /// Index of the link.
    pub link: u32,
    pub address: IpAddr,
    /// Leading bits that its network shares.
    pub length: u8,
    /// Given by hand, not by a router advertisement or DHCP (`IFA_F_PERMANENT`).
    pub permanent: bool,
    /// Not in use before duplicate address detection is through, or found to be somebody else's.
    pub tentative: bool,
}

impl Netlink {
    /// The addresses of all links.
    pub fn addresses(&mut self) -> Result<Vec<Address>, NetError> {
        unimplemented!()
    }

    /// Gives `link` an address that is usable at once (`IFA_F_NODAD`); repeating it changes nothing.
    pub fn add_address(&mut self, _link: u32, _ip: IpAddr, _length: u8) -> Result<(), NetError> {
        unimplemented!()
    }

    /// Takes an address from `link`.
    pub fn delete_address(&mut self, _link: u32, _ip: IpAddr, _length: u8) -> Result<(), NetError> {
        unimplemented!()
    }
}
