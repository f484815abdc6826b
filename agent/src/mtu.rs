//! Pure: the MTU of the bridge and of new pods.
//!
//! It is the operator's, or the smallest of the machine's enabled *normal* interfaces. An interface
//! is normal if it is up, is neither loopback, point-to-point nor cbr0, is no port of another (its
//! master stands for it), and leads out of the machine:
//! - a network card, bond, team, VLAN, macvlan or ipvlan always does;
//! - a bridge does if one of its ports is one of these: docker0 with containers alone does not;
//! - any other kind (veth, vxlan, dummy, ...) does if it has a global address whose network has room
//!   for a neighbour: the uplink of a machine in a container does, the host end of a pod does not.

use common::{Family, names};
use net::addr::Address;
use net::link::{Kind, Link};

/// What IPv4 asks every host to take (RFC 791, section 3.1), and kubenet's own bound.
const LEAST_V4: u32 = 576;

/// What IPv6 asks every link to carry (RFC 8200, section 5).
const LEAST_V6: u32 = 1280;

/// The largest of an Ethernet device (`ETH_MAX_MTU` in `linux/if_ether.h`).
pub const MOST: u32 = 65535;

/// Kinds that stand for a network card.
const CARD_LIKE: &[&str] = &["bond", "team", "vlan", "macvlan", "ipvlan"];

/// The least MTU, in bytes, that carries all of `families`.
pub fn least(families: impl IntoIterator<Item = Family>) -> u32 {
    let least = families.into_iter().map(|family| match family {
        Family::V4 => LEAST_V4,
        Family::V6 => LEAST_V6,
    });
    least.max().unwrap_or(LEAST_V4)
}

/// The smallest MTU of the normal interfaces, in bytes; none if there is no such interface.
///
/// An interface below `least` or above [`MOST`] is left out: one odd device must not decide for all.
/// Where all are below `least` it is that: the machine says to pods which packets were too large.
pub fn smallest(links: &[Link], addresses: &[Address], least: u32) -> Option<u32> {
    let normal = links.iter().filter(|link| is_normal(link, links, addresses));
    let mtus = normal.map(|link| link.mtu).filter(|mtu| *mtu <= MOST).collect::<Vec<_>>();
    let usable = mtus.iter().copied().filter(|mtu| *mtu >= least).min();
    usable.or(mtus.first().map(|_| least))
}

fn is_normal(link: &Link, links: &[Link], addresses: &[Address]) -> bool {
    link.up
        && !link.loopback
        && !link.point_to_point
        && link.master.is_none()
        && link.name != names::BRIDGE
        && leads_out(link, links, addresses)
}

fn leads_out(link: &Link, links: &[Link], addresses: &[Address]) -> bool {
    match &link.kind {
        Kind::Bridge => {
            links.iter().any(|port| port.master == Some(link.index) && is_card(&port.kind))
        }
        kind if is_card(kind) => true,
        _ => addresses.iter().any(|address| address.link == link.index && has_neighbours(address)),
    }
}

fn is_card(kind: &Kind) -> bool {
    match kind {
        Kind::Device => true,
        Kind::Bridge | Kind::Veth | Kind::Ifb => false,
        Kind::Other(kind) => CARD_LIKE.contains(&kind.as_str()),
    }
}

fn has_neighbours(address: &Address) -> bool {
    let link_local = match address.address {
        std::net::IpAddr::V4(ip) => ip.is_link_local(),
        std::net::IpAddr::V6(ip) => ip.is_unicast_link_local(),
    };
    !link_local && address.length < Family::from(address.address).width()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{address, link};

    /// Links as `NAME[:KIND] MTU [FLAG...] [ADDRESS/LENGTH...]`, their indexes counted from 1.
    #[track_caller]
    fn check(links: &[&str], least: u32, expected: Option<u32>) {
        let (mut all, mut addresses) = (Vec::new(), Vec::new());
        for (text, index) in links.iter().zip(1..) {
            all.push(link(index, text));
            let words = text.split(' ').filter(|word| word.contains('/'));
            addresses.extend(words.map(|word| address(index, word)));
        }
        assert_eq!(smallest(&all, &addresses, least), expected, "{links:?}");
    }

    #[test]
    fn the_smallest_normal_interface_decides() {
        check(&["lo 65536 up loopback", "eth0 1500 up", "eth1 9000 up"], 576, Some(1500));
        check(&["eth0 1500 up", "eth1 1400"], 576, Some(1500));
        check(&["eth0 1500 up", "wg0:wireguard 1420 up point-to-point"], 576, Some(1500));
        check(&["bond0:bond 9000 up", "eth0 9000 up master=1"], 576, Some(9000));
        check(&["eth0 1500 up", "eth0.5:vlan 1496 up"], 576, Some(1496));
        check(&["lo 65536 up loopback"], 576, None);
    }

    #[test]
    fn inner_segments_do_not_drag_it_down() {
        check(&["eth0 1500 up", "cbr0:bridge 1400 up 10.244.1.1/24"], 576, Some(1500));
        let docker = ["eth0 1500 up", "docker0:bridge 1300 up 172.17.0.1/16"];
        check(&docker, 576, Some(1500));
        check(&[docker[0], docker[1], "veth1:veth 1300 up master=2"], 576, Some(1500));
        check(&["eth0 9000 up", "nodelocaldns:dummy 1500 up 169.254.20.10/32"], 576, Some(9000));
        check(&["eth0 1500 up", "flannel.1:vxlan 1450 up 10.244.0.0/32"], 576, Some(1500));
        check(&["eth0 1500 up", "cali1:veth 1440 up fe80::1/64"], 576, Some(1500));
    }

    #[test]
    fn an_uplink_counts_whatever_its_kind() {
        check(&["eth0:veth 1450 up 172.18.0.2/16"], 576, Some(1450));
        check(&["eth0:veth 1450 up 2001:db8::2/64"], 576, Some(1450));
        check(&["br0:bridge 1500 up 192.0.2.1/24", "eth0 1500 up master=1"], 576, Some(1500));
    }

    #[test]
    fn an_interface_that_pods_cannot_use_is_left_out() {
        check(&["eth0 1500 up", "odd0 296 up"], 576, Some(1500));
        check(&["eth0 1500 up", "old0 1000 up"], least([Family::V4]), Some(1000));
        check(&["eth0 1500 up", "old0 1000 up"], least(Family::BOTH), Some(1500));
    }

    #[test]
    fn where_all_are_too_small_pods_have_the_least_that_there_is() {
        check(&["odd0 296 up"], 576, Some(576));
        check(&["eth0 576 up"], least([Family::V4]), Some(576));
        check(&["eth0 576 up"], least(Family::BOTH), Some(1280));
    }
}
