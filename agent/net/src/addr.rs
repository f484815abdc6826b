//! IP addresses of links.

use std::net::IpAddr;

use netlink_packet_core::{NLM_F_CREATE, NLM_F_REPLACE};
use netlink_packet_route::address::{
    AddressAttribute, AddressFlags, AddressHeader, AddressMessage, AddressMessageBuffer,
};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};

use crate::attribute::{attributes, ip_of, u32_of};
use crate::connection::Message;
use crate::error::During;
use crate::netlink::Request;
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
        let all = RouteNetlinkMessage::GetAddress(AddressMessage::default());
        self.dump(&all, Address::read).during("list", "addresses")
    }

    /// The addresses of one link.
    pub fn addresses_of(&mut self, link: u32) -> Result<Vec<Address>, NetError> {
        let mut own = AddressMessage::default();
        own.header.index = link;
        let addresses = self.dump(&RouteNetlinkMessage::GetAddress(own), Address::read);
        let addresses = addresses.during("list", format_args!("addresses of link {link}"))?;
        // A kernel before 5.0 names those of all.
        Ok(addresses.into_iter().filter(|address| address.link == link).collect())
    }

    /// Gives `link` an address that is usable at once (`IFA_F_NODAD`); repeating it changes nothing.
    pub fn add_address(&mut self, link: u32, ip: IpAddr, length: u8) -> Result<(), NetError> {
        let request = Request {
            message: RouteNetlinkMessage::NewAddress(message(link, ip, length)),
            flags: NLM_F_CREATE | NLM_F_REPLACE,
        };
        self.change(request, "add address", format_args!("{ip}/{length} to link {link}"))
    }

    /// Takes an address from `link`.
    ///
    /// # Errors
    /// [`NetError::is_missing`] if it hasn't got it, or is gone.
    pub fn delete_address(&mut self, link: u32, ip: IpAddr, length: u8) -> Result<(), NetError> {
        let message = RouteNetlinkMessage::DelAddress(message(link, ip, length));
        let object = format_args!("{ip}/{length} of link {link}");
        self.change(Request { message, flags: 0 }, "delete address", object)
    }
}

fn message(link: u32, ip: IpAddr, length: u8) -> AddressMessage {
    let mut message = AddressMessage::default();
    message.header.family = if ip.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
    message.header.prefix_len = length;
    message.header.index = link;
    message.attributes = vec![
        AddressAttribute::Local(ip),
        AddressAttribute::Address(ip),
        AddressAttribute::Flags(AddressFlags::Nodad),
    ];
    // IPv4 has a broadcast address where a network has room for one (RFC 3021).
    if let (IpAddr::V4(ip), ..=30) = (ip, length) {
        let broadcast = ip | std::net::Ipv4Addr::from_bits(u32::MAX >> length);
        message.attributes.push(AddressAttribute::Broadcast(broadcast));
    }
    message
}

/// linux/rtnetlink.h and `linux/if_addr.h`.
const RTM_NEWADDR: u16 = 20;
const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;
const IFA_FLAGS: u16 = 8;

impl Address {
    fn read(message: &Message<'_>) -> Option<Self> {
        let header = AddressHeader::parse(message.body).ok()?;
        let (mut address, mut local) = (None, None);
        let mut flags = AddressFlags::from_bits_retain(header.flags.bits().into());
        for (number, value) in attributes(message.body.get(size_of::<AddressMessageBuffer>()..)?) {
            match number {
                IFA_ADDRESS => address = ip_of(value),
                IFA_LOCAL => local = ip_of(value),
                IFA_FLAGS => flags = AddressFlags::from_bits_retain(u32_of(value)?),
                _ => {}
            }
        }
        (message.kind == RTM_NEWADDR).then_some(())?;
        Some(Self {
            link: header.index,
            // Of a point-to-point link IFA_ADDRESS is the other side's; IPv6 often has it alone.
            address: local.or(address)?,
            length: header.prefix_len,
            permanent: flags.contains(AddressFlags::Permanent),
            tentative: flags.intersects(AddressFlags::Tentative | AddressFlags::Dadfailed),
        })
    }
}

#[cfg(test)]
mod tests;
