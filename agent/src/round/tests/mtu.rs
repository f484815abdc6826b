//! The uplink's MTU goes down and up again, under pods that live on.

use net::link::LinkChange;

use super::*;
use crate::testing::traffic::all_reach_all;

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

#[test]
fn traffic_of_full_size_survives_the_uplinks_mtu_going_down_and_up() {
    let lab = Lab::new();
    set_mtu(&lab, 1450);
    let (outside, host) = (lab.outside(), lab.host());
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
