//! Routes of the main table.

use std::fmt;
use std::net::IpAddr;

use common::{Family, Prefix};
use netlink_packet_core::{NLM_F_CREATE, NLM_F_REPLACE};
use netlink_packet_route::route::{
    RouteAttribute, RouteHeader, RouteMessage, RouteMessageBuffer, RouteMetric, RouteProtocol,
    RouteScope, RouteType,
};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use nix::errno::Errno;

use crate::attribute::{attribute, attributes, ip_of, u32_of};
use crate::connection::Message;
use crate::error::During;
use crate::netlink::Request;
use crate::{NetError, Netlink};

/// A unicast route of the main table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Route {
    /// `0.0.0.0/0` or `::/0` for a default route.
    pub destination: Prefix,
    /// The next hop; none for what is reached directly.
    pub via: Option<IpAddr>,
    /// Index of the link; where none is given the kernel looks for the one that reaches `via`.
    pub link: Option<u32>,
    /// Who made it (`rtm_protocol`): 2 is the kernel, 107 is us.
    pub protocol: u8,
    /// Less is better; 0 is the default, which the kernel turns into 1024 for IPv6.
    pub metric: u32,
    /// Limit of what is sent this way, in bytes; the link's where none is given.
    pub mtu: Option<u32>,
}

/// One change of the main table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RouteChange {
    /// Sets the route to its destination with its metric, whether or not there is one.
    Replace(Route),
    /// Removes exactly this one.
    Delete(Route),
}

impl Netlink {
    /// The unicast routes of the main table, of both families; of several paths, the first.
    pub fn routes(&mut self) -> Result<Vec<Route>, NetError> {
        let mut all = RouteMessage::default();
        all.header.table = RouteHeader::RT_TABLE_MAIN;
        all.header.kind = RouteType::Unicast;
        self.dump(&RouteNetlinkMessage::GetRoute(all), Route::read).during("list", "routes")
    }

    /// Whether this namespace receives what is sent to `ip`.
    ///
    /// Of an IPv6 address that was added a moment ago it does so only when a work queue has joined the
    /// group in which neighbours ask for it, with or without duplicate address detection
    /// (`addrconf_dad_work` in net/ipv6): until then they get no answer, and ask again after a second.
    pub fn receives(&mut self, ip: IpAddr) -> Result<bool, NetError> {
        let mut message = RouteMessage::default();
        let family = Family::from(ip);
        message.header.address_family = address_family(family);
        message.header.destination_prefix_length = family.width();
        message.attributes = vec![RouteAttribute::Destination(ip.into())];
        let kind = |message: &Message<'_>| Some(RouteHeader::parse(message.body).ok()?.kind);
        match self.find(RouteNetlinkMessage::GetRoute(message), kind) {
            Err(refusal) if refusal.errno() == Some(Errno::ENETUNREACH) => Ok(false),
            found => found.during("look up", ip).map(|kind| kind == RouteType::Local),
        }
    }

    /// Makes all `changes` in order, and says of each whether it succeeded.
    ///
    /// # Errors
    /// The outer one if the socket failed: then any of them may have been made.
    pub fn change_routes(
        &mut self,
        changes: &[RouteChange],
    ) -> Result<Vec<Result<(), NetError>>, NetError> {
        let outcomes =
            self.batch(changes.iter().map(RouteChange::request)).during("change", "routes")?;
        let named = outcomes.into_iter().zip(changes).map(|(outcome, change)| match change {
            RouteChange::Replace(route) => outcome.during("replace route", route),
            RouteChange::Delete(route) => outcome.during("delete route", route),
        });
        Ok(named.collect())
    }
}

impl fmt::Display for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.destination)?;
        self.via.map_or(Ok(()), |via| write!(f, " via {via}"))?;
        self.link.map_or(Ok(()), |link| write!(f, " on link {link}"))
    }
}

impl RouteChange {
    fn request(&self) -> Request {
        match self {
            Self::Replace(route) => Request {
                message: RouteNetlinkMessage::NewRoute(route.message()),
                flags: NLM_F_CREATE | NLM_F_REPLACE,
            },
            Self::Delete(route) => {
                Request { message: RouteNetlinkMessage::DelRoute(route.message()), flags: 0 }
            }
        }
    }
}

/// linux/rtnetlink.h.
const RTM_NEWROUTE: u16 = 24;
const RTA_DST: u16 = 1;
const RTA_OIF: u16 = 4;
const RTA_GATEWAY: u16 = 5;
const RTA_PRIORITY: u16 = 6;
const RTA_METRICS: u16 = 8;
const RTAX_MTU: u16 = 2;
const RTA_MULTIPATH: u16 = 9;
const RTA_TABLE: u16 = 15;
const RTA_VIA: u16 = 18;

/// A next hop begins with its length, flags, weight and link (`struct rtnexthop`).
const NEXT_HOP: usize = 8;

impl Route {
    fn message(&self) -> RouteMessage {
        let family = self.destination.family();
        let mut message = RouteMessage::default();
        message.header = RouteHeader {
            address_family: address_family(family),
            destination_prefix_length: self.destination.length(),
            table: RouteHeader::RT_TABLE_MAIN,
            protocol: RouteProtocol::from(self.protocol),
            // What is reached without a next hop is on the link; IPv6 knows no scopes.
            scope: match (family, self.via) {
                (Family::V4, None) => RouteScope::Link,
                _ => RouteScope::Universe,
            },
            kind: RouteType::Unicast,
            ..RouteHeader::default()
        };
        message.attributes = [
            Some(RouteAttribute::Destination(self.destination.network().into())),
            self.via.map(|via| RouteAttribute::Gateway(via.into())),
            self.link.map(RouteAttribute::Oif),
            (self.metric != 0).then_some(RouteAttribute::Priority(self.metric)),
            self.mtu.map(|mtu| RouteAttribute::Metrics(vec![RouteMetric::Mtu(mtu)])),
        ]
        .into_iter()
        .flatten()
        .collect();
        message
    }

    fn read(message: &Message<'_>) -> Option<Self> {
        let header = RouteHeader::parse(message.body).ok()?;
        let family = match header.address_family {
            AddressFamily::Inet => Family::V4,
            AddressFamily::Inet6 => Family::V6,
            _ => return None,
        };
        let wanted = message.kind == RTM_NEWROUTE && header.kind == RouteType::Unicast;
        let mut table = wanted.then_some(u32::from(header.table))?;
        let mut destination = family.address(0);
        let mut route = Self {
            destination: Prefix::containing(destination, 0).ok()?,
            via: None,
            link: None,
            protocol: header.protocol.into(),
            metric: 0,
            mtu: None,
        };
        for (number, value) in attributes(message.body.get(size_of::<RouteMessageBuffer>()..)?) {
            match number {
                RTA_TABLE => table = u32_of(value)?,
                RTA_DST => destination = ip_of(value)?,
                RTA_PRIORITY => route.metric = u32_of(value)?,
                RTA_METRICS => route.mtu = attribute(value, RTAX_MTU).and_then(u32_of),
                RTA_MULTIPATH => route.read_next_hop(value)?,
                _ => route.read_way(number, value),
            }
        }
        (table == u32::from(RouteHeader::RT_TABLE_MAIN)).then_some(())?;
        let length = header.destination_prefix_length;
        route.destination = Prefix::containing(destination, length).ok()?;
        Some(route)
    }

    /// The first of several next hops.
    fn read_next_hop(&mut self, hops: &[u8]) -> Option<()> {
        let (&length, _) = hops.split_first_chunk::<2>()?;
        let hop = hops.get(..u16::from_ne_bytes(length).into())?;
        self.link = hop.get(4..NEXT_HOP).and_then(u32_of);
        attributes(hop.get(NEXT_HOP..)?).for_each(|(number, value)| self.read_way(number, value));
        Some(())
    }

    fn read_way(&mut self, number: u16, value: &[u8]) {
        match number {
            RTA_OIF => self.link = u32_of(value),
            RTA_GATEWAY => self.via = ip_of(value),
            // A next hop of the other family: its number goes before the address (RFC 5549).
            RTA_VIA => self.via = value.get(2..).and_then(ip_of),
            _ => {}
        }
    }
}

const fn address_family(family: Family) -> AddressFamily {
    match family {
        Family::V4 => AddressFamily::Inet,
        Family::V6 => AddressFamily::Inet6,
    }
}

#[cfg(test)]
mod tests;
