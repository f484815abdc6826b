//! Routes of the main table.

use std::net::IpAddr;

use common::Prefix;

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
    /// The unicast routes of the main table, of both families.
    pub fn routes(&mut self) -> Result<Vec<Route>, NetError> {
        unimplemented!()
    }

    /// Makes all `changes` in order, and says of each whether it succeeded.
    ///
    /// # Errors
    /// The outer one if the socket failed: then any of them may have been made.
    pub fn change_routes(
        &mut self,
        _changes: &[RouteChange],
    ) -> Result<Vec<Result<(), NetError>>, NetError> {
        unimplemented!()
    }
}
