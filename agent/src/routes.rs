//! Pure: the routes to the other Nodes' PodCIDRs, and which Nodes get none and why.
//!
//! Whatever a Node says of itself is checked: a wrong or hostile one spoils its own route only.

use std::cmp::Reverse;
use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use common::{Family, Prefix, names};
use net::addr::Address;
use net::route::{Route, RouteChange};

use crate::claims::{self, Settled};
use crate::peers::Claim;

/// Who makes the routes to the other Nodes' pods.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Routing {
    /// We do, by next hops that are on a link of this machine.
    #[default]
    Direct,
    /// The cloud's route controller, which also keeps the Nodes' condition NetworkUnavailable.
    Cloud,
    /// Somebody else.
    None,
}

/// A text that names no mode.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no mode: want direct, cloud or none")]
pub struct NoRouting(String);

impl FromStr for Routing {
    type Err = NoRouting;

    fn from_str(text: &str) -> Result<Self, NoRouting> {
        match text {
            "direct" => Ok(Self::Direct),
            "cloud" => Ok(Self::Cloud),
            "none" => Ok(Self::None),
            other => Err(NoRouting(other.to_owned())),
        }
    }
}

/// The routes to all peers, and what is wrong with some of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Routes {
    /// In order.
    pub by_destination: Vec<(Prefix, Hop)>,
    pub refused: Vec<Refused>,
}

/// Where a peer is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hop {
    pub via: IpAddr,
    /// Index of the link.
    pub link: u32,
}

/// A PodCIDR that got no route.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Refused {
    pub node: String,
    /// As the Node spells it.
    pub cidr: String,
    pub why: Why,
}

/// What is wrong with a PodCIDR or its Node's address.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Why {
    NoCidr,
    OutsideCluster,
    OfServices(Prefix),
    Overlaps {
        cidr: Prefix,
        node: String,
    },
    /// Somebody else's route, by its protocol, has this destination and our metric.
    Occupied {
        protocol: u8,
    },
    NoAddress(Family),
    OwnAddress(IpAddr),
    OffLink(IpAddr),
    /// The network's own address, or IPv4's broadcast.
    NoHost(IpAddr),
}

/// What a machine knows about its own place among the others.
#[derive(Clone, Copy, Debug)]
pub struct Place<'a> {
    pub node: &'a str,
    /// Those of its podCIDRs, and of earlier ones as long as pods live there.
    pub ranges: &'a [Prefix],
    pub cluster_cidrs: &'a [Prefix],
    pub services: &'a [Prefix],
    pub addresses: &'a [Address],
    /// All routes of the machine; a next hop must be reached by one of those that are not ours.
    pub routes: &'a [Route],
    /// Index of cbr0: pods are no next hops.
    pub bridge: Option<u32>,
}

/// The routes to the Nodes that make these claims, of which none is the machine's own.
///
/// Where PodCIDRs overlap, the machine's own come first, then the older Node's (creationTimestamp,
/// then UID): nobody can take another's traffic by claiming its range.
pub fn desired(place: Place<'_>, claims: &[Claim]) -> Routes {
    let foreign = place.routes.iter().filter(|route| !is_ours(route)).collect::<Vec<_>>();
    let (mut claimed, mut refused) = (Vec::with_capacity(claims.len()), Vec::new());
    for claim in claims {
        match range(place, claim) {
            Ok(range) => claimed.push((range, claim)),
            Err(why) => refused.push(Refused::of(claim, why)),
        }
    }
    let Settled { won, lost } = claims::settle(claimed);
    refused.extend(lost.into_iter().map(|((_, loser), (cidr, winner))| {
        Refused::of(loser, Why::Overlaps { cidr, node: winner.node.name.clone() })
    }));
    let hops = won.into_iter().filter_map(|(range, claim)| {
        let hop = hop(place, claim, range.family(), &foreign);
        let hop = hop.and_then(|hop| occupied(range, &foreign).map(|()| hop));
        let hop = hop.unwrap_or_else(|why| {
            refused.push(Refused::of(claim, why));
            None
        });
        hop.map(|hop| (range, hop))
    });
    let by_destination = hops.collect();
    refused.sort();
    Routes { by_destination, refused }
}

/// A peer's range, if a peer can have it.
fn range(place: Place<'_>, claim: &Claim) -> Result<Prefix, Why> {
    let cidr = claim.range.ok_or(Why::NoCidr)?;
    if !place.cluster_cidrs.iter().any(|cluster| cluster.covers(cidr)) {
        return Err(Why::OutsideCluster);
    }
    if let Some(&services) = place.services.iter().find(|services| services.overlaps(cidr)) {
        return Err(Why::OfServices(services));
    }
    match place.ranges.iter().find(|own| own.overlaps(cidr)) {
        Some(&own) => Err(Why::Overlaps { cidr: own, node: place.node.to_owned() }),
        None => Ok(cidr),
    }
}

impl Refused {
    fn of(claim: &Claim, why: Why) -> Self {
        Self { node: claim.node.name.clone(), cidr: claim.cidr().to_owned(), why }
    }
}

/// A route that replaces ours would replace such a one too: the kernel looks at destination and
/// metric alone.
fn occupied(destination: Prefix, foreign: &[&Route]) -> Result<(), Why> {
    let metric = metric(destination.family());
    let there = |route: &&&Route| route.destination == destination && route.metric == metric;
    foreign
        .iter()
        .find(there)
        .map_or(Ok(()), |there| Err(Why::Occupied { protocol: there.protocol }))
}

/// How its Node is reached; none in a family that this machine's pods don't have.
fn hop(
    place: Place<'_>,
    claim: &Claim,
    family: Family,
    foreign: &[&Route],
) -> Result<Option<Hop>, Why> {
    if !place.ranges.iter().any(|range| range.family() == family) {
        return Ok(None);
    }
    let via = claim.via.ok_or(Why::NoAddress(family))?;
    if place.addresses.iter().any(|own| own.address == via) {
        return Err(Why::OwnAddress(via));
    }
    let covering = foreign.iter().filter(|route| route.destination.contains(via));
    let best = covering.max_by_key(|route| (route.destination.length(), Reverse(route.metric)));
    match best {
        Some(&&Route { destination, via: None, link: Some(link), .. })
            if Some(link) != place.bridge =>
        {
            if is_host(via, destination) {
                Ok(Some(Hop { via, link }))
            } else {
                Err(Why::NoHost(via))
            }
        }
        _ => Err(Why::OffLink(via)),
    }
}

/// Whether an address of `network` can be a machine's. The kernel refuses some of the others.
fn is_host(address: IpAddr, network: Prefix) -> bool {
    let small = network.length() + 1 >= network.family().width();
    small || (address != network.network() && (address.is_ipv6() || address != network.last()))
}

/// Changes that turn the `observed` routes of the machine into the `desired`; none once they agree.
///
/// Only routes of our protocol are deleted, and before any is set, so that a range that moves never
/// has two.
pub fn plan(desired: &Routes, observed: &[Route]) -> Vec<RouteChange> {
    let mut ours = observed.iter().filter(|route| is_ours(route)).collect::<Vec<_>>();
    ours.sort();
    let mut ours = ours.into_iter().peekable();
    let (mut deletions, mut replacements) = (Vec::new(), Vec::new());
    for &(destination, hop) in &desired.by_destination {
        let wanted = hop.route_to(destination);
        let mut right = false;
        while let Some(route) = ours.next_if(|route| route.destination <= destination) {
            if *route == wanted {
                right = true;
            } else if (route.destination, route.metric) != (destination, wanted.metric) {
                deletions.push(RouteChange::Delete(*route));
            }
            // Else it will be replaced.
        }
        if !right {
            replacements.push(RouteChange::Replace(wanted));
        }
    }
    deletions.extend(ours.map(|route| RouteChange::Delete(*route)));
    deletions.append(&mut replacements);
    deletions
}

fn is_ours(route: &Route) -> bool {
    route.protocol == names::ROUTE_PROTOCOL
}

/// Of a route that names none: of IPv6 `IP6_RT_PRIO_USER` in `include/net/ip6_fib.h`.
const fn metric(family: Family) -> u32 {
    match family {
        Family::V4 => 0,
        Family::V6 => 1024,
    }
}

impl Hop {
    fn route_to(self, destination: Prefix) -> Route {
        Route {
            destination,
            via: Some(self.via),
            link: Some(self.link),
            protocol: names::ROUTE_PROTOCOL,
            metric: metric(destination.family()),
            mtu: None,
        }
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { node, cidr, why } = self;
        write!(f, "no route to podCIDR {cidr:?} of node {node}: ")?;
        match why {
            Why::NoCidr => f.write_str("it is no CIDR"),
            Why::OutsideCluster => f.write_str("it is in no --cluster-cidr"),
            Why::OfServices(services) => write!(f, "it overlaps {services}, which is Services'"),
            Why::Overlaps { cidr, node } => write!(f, "it overlaps {cidr} of node {node}"),
            Why::Occupied { protocol } => {
                write!(f, "there is one of protocol {protocol}, which is not ours")
            }
            Why::NoAddress(family) => write!(f, "the node has no {family} InternalIP"),
            Why::OwnAddress(via) => write!(f, "{via} is an address of this machine"),
            Why::NoHost(via) => write!(f, "{via} is no machine's address in its network"),
            Why::OffLink(via) => write!(f, "{via} is not on a link of this machine"),
        }
    }
}

#[cfg(test)]
mod tests;
