//! The uplink's MTU goes down and up again, under pods that live on.

use net::link::LinkChange;
use net::route::RouteChange;

use super::*;
use crate::testing::traffic::{Place, all_reach_all};

/// Of the uplink on both sides, as of a network that changes.
fn set_mtu(lab: &Lab, mtu: u32) {
    let change = LinkChange { mtu: Some(mtu), up: Some(true), ..LinkChange::default() };
    let set = |names: &[&str]| {
        let mut netlink = Netlink::open().unwrap();
        for name in names {
            let index = index(&mut netlink, name);
            netlink.set_link(index, &change).unwrap();
        }
    };
    lab.switch.run(|| set(&["port", "switch"])).unwrap();
    lab.inside(|| set(&["eth0"]));
}

/// Gives the outside addresses, and routes to the pods.
fn outside(lab: &Lab) -> Place<'_> {
    let addresses = ["192.0.2.9", "2001:db8::9"].map(|text| text.parse().unwrap());
    let mut netlink = lab.switch.run(Netlink::open).unwrap().unwrap();
    let switch = index(&mut netlink, "switch");
    for (address, length) in addresses.into_iter().zip([24, 64]) {
        netlink.add_address(switch, address, length).unwrap();
    }
    let routes = [("10.244.1.0/24", "192.0.2.1"), ("fd00:0:0:1::/64", "2001:db8::1")];
    let routes = routes.map(|(to, via)| RouteChange::Replace(route(to, via, switch)));
    for outcome in netlink.change_routes(&routes).unwrap() {
        outcome.unwrap();
    }
    Place { name: "outside", netns: &lab.switch, addresses: addresses.into() }
}

#[test]
fn traffic_of_full_size_survives_the_uplinks_mtu_going_down_and_up() {
    let lab = Lab::new();
    set_mtu(&lab, 1450);
    let outside = outside(&lab);
    let host = ["192.0.2.1", "2001:db8::1"].map(|text| text.parse().unwrap());
    let host = Place { name: "host", netns: &lab.netns, addresses: host.into() };
    let mut machine = lab.machine();
    let bridge = |machine: &mut Machine| machine.netlink.link("cbr0").unwrap().unwrap().mtu;
    lab.converge(&mut machine);
    let before = lab.add("before");
    let mut places = vec![outside, host, before.place("a pod born before")];
    all_reach_all(&places, 1450);

    set_mtu(&lab, 1400);
    lab.converge(&mut machine);
    assert_eq!(bridge(&mut machine), 1400);
    let low = lab.add("low");
    places.push(low.place("a pod born while it was low"));
    all_reach_all(&places, 1450);
    let routes = low.netns.run(|| Netlink::open().unwrap().routes().unwrap()).unwrap();
    let defaults = routes.iter().filter(|route| route.via.is_some());
    assert_eq!(defaults.map(|route| route.mtu).collect::<Vec<_>>(), [Some(1400); 2]);

    set_mtu(&lab, 1500);
    let round = lab.round(&mut machine);
    assert!(round.complaints.iter().any(|text| text.contains("keep MTU 1450")), "{round:?}");
    lab.converge(&mut machine);
    assert_eq!(bridge(&mut machine), 1450);
    let after = lab.add("after");
    places.push(after.place("a pod born after"));
    all_reach_all(&places, 1450);

    for id in ["before", "low", "after"] {
        lab.del(id);
    }
    lab.converge(&mut machine);
    assert_eq!(bridge(&mut machine), 1500);
}
