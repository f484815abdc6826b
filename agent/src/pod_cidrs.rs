//! Pure: the podCIDRs of this machine's own Node: the ranges of its pods, or what is wrong with them.
//!
//! Whoever may write Nodes must not take the machine off its network by that: a range that holds what the
//! machine itself reaches elsewhere never gets on cbr0.

use std::net::IpAddr;

use common::conflist::Range;
use common::node::NodeView;
use common::{Prefix, names};
use net::route::Route;

use crate::state::{Config, Observed};
use crate::unready::Unready;

/// The ranges of this machine's pods, in the Node's order.
///
/// # Errors
/// If there are none, or one that can't be on this machine.
pub fn ranges(own: &NodeView, observed: &Observed) -> Result<Vec<Range>, Unready> {
    let range = |cidr: &String| {
        let subnet = Prefix::parse_masking(cidr).ok();
        let range = subnet.and_then(range);
        let node = || own.name.clone();
        let range = range.ok_or_else(|| Unready::PodCidr { node: node(), cidr: cidr.clone() })?;
        match taken(range.subnet, own, observed) {
            Some(of) => Err(Unready::PodCidrTaken { node: node(), cidr: range.subnet, of }),
            None => Ok(range),
        }
    };
    if own.pod_cidrs.is_empty() {
        return Err(Unready::NoPodCidr(own.name.clone()));
    }
    own.pod_cidrs.iter().map(range).collect()
}

/// The range of a podCIDR; none where there is no room for the network's own address, the gateway, a
/// pod, and IPv4's broadcast.
pub fn range(subnet: Prefix) -> Option<Range> {
    let has_room = subnet.length() + 2 <= subnet.family().width();
    has_room.then_some(Range::new(subnet, subnet.gateway()?))
}

/// What of the machine's own network is in `subnet`, if anything is.
///
/// Routes to single addresses may be: they are of pods that another network has left.
fn taken(subnet: Prefix, own: &NodeView, observed: &Observed) -> Option<String> {
    let address = own.internal_ips.iter().find(|ip| subnet.contains(**ip));
    if let Some(address) = address {
        return Some(format!("its InternalIP {address}"));
    }
    let bridge = observed.bridge().map(|link| link.index);
    let elsewhere = |route: &&Route| {
        route.protocol != names::ROUTE_PROTOCOL && route.link.is_some() && route.link != bridge
    };
    observed.routes.iter().filter(elsewhere).find_map(|route| {
        let Route { destination, via, link, .. } = *route;
        let name = observed.links.iter().find(|known| Some(known.index) == link);
        let name = name.map(|known| known.name.as_str()).unwrap_or_default();
        match via {
            Some(via) => subnet.contains(via).then(|| format!("the next hop {via} on {name}")),
            None => (is_network(destination) && subnet.overlaps(destination))
                .then(|| format!("addresses of {destination} on {name}")),
        }
    })
}

/// Whether there are others in it, and not all the world.
fn is_network(destination: Prefix) -> bool {
    (1..destination.family().width()).contains(&destination.length())
        && !is_link_local(destination.network())
}

fn is_link_local(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(ip) => ip.is_link_local(),
        IpAddr::V6(ip) => ip.is_unicast_link_local(),
    }
}

/// What is odd about the `ranges`, though pods can live in them: the others make no routes there.
pub fn complaints(config: &Config, ranges: &[Range]) -> Vec<String> {
    let mut complaints = Vec::new();
    for subnet in ranges.iter().map(|range| range.subnet) {
        let own = format!("podCIDR {subnet} of this machine");
        if !config.cluster_cidrs.iter().any(|cluster| cluster.covers(subnet)) {
            complaints
                .push(format!("{own} is in no --cluster-cidr: other machines make no route there"));
        }
        if let Some(services) = config.services.iter().find(|services| services.overlaps(subnet)) {
            complaints.push(format!("{own} overlaps {services}, which is Services'"));
        }
    }
    complaints
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{link, node, route};

    /// The podCIDR `cidr` on a machine with an uplink in 192.0.2.0/24.
    #[track_caller]
    fn check(cidr: &str, expected: &str) {
        let observed = Observed {
            links: vec![
                link(1, "lo 65536 up loopback"),
                link(2, "eth0 1500 up"),
                link(7, "cbr0:bridge 1500 up"),
            ],
            routes: [
                "0.0.0.0/0 via 192.0.2.254 dev 2",
                "192.0.2.0/24 dev 2",
                "198.51.100.0/24 via 203.0.113.9 dev 2 proto 4",
                "10.244.9.9/32 dev 2",
                "10.244.1.0/24 dev 7",
                "10.244.2.0/24 via 192.0.2.2 dev 2 proto 107",
                "fe80::/64 dev 2 metric 256",
                "2001:db8::/64 dev 2 metric 256",
            ]
            .map(route)
            .to_vec()
            .into(),
            ..Observed::default()
        };
        let own = node(&format!("me 1 {cidr} 192.0.2.1 2001:db9::1"));
        let said =
            ranges(&own, &observed).map_or_else(|unready| unready.to_string(), |_| String::new());
        let why = said.strip_prefix(&format!("podCIDR {cidr} of node me holds "));
        assert_eq!(why.and_then(|why| why.split(':').next()).unwrap_or(&said), expected);
    }

    #[test]
    fn the_machines_own_network_is_never_its_pods() {
        check("192.0.2.0/24", "its InternalIP 192.0.2.1");
        check("192.0.2.64/26", "addresses of 192.0.2.0/24 on eth0");
        check("0.0.0.0/0", "its InternalIP 192.0.2.1");
        check("203.0.113.0/24", "the next hop 203.0.113.9 on eth0");
        check("2001::/16", "its InternalIP 2001");
        check("2001:db8::/48", "addresses of 2001");
    }

    #[test]
    fn what_is_nobodys_or_was_its_pods_before_is_in_order() {
        for cidr in ["10.244.1.0/24", "10.244.9.0/24", "10.244.2.0/24", "fd00:1::/64"] {
            check(cidr, "");
        }
    }
}
