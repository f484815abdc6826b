//! The Node comes back with other podCIDRs, under pods that live on.

use std::net::{IpAddr, UdpSocket};
use std::time::Duration;

use common::Family;

use super::*;
use crate::testing::lab::Born;
use crate::testing::traffic::{Place, all_reach_all};

/// For what must come.
const DEADLINE: Duration = Duration::from_secs(20);

const OLD: [&str; 2] = ["10.244.1.0/24", "fd00:0:0:1::/64"];
const NEW: [&str; 2] = ["10.244.9.0/24", "fd00:0:0:9::/64"];

/// Gives the machine's Node these podCIDRs.
fn move_to(lab: &mut Lab, cidrs: [&str; 2]) {
    let text = format!("me 1 {} 192.0.2.1 2001:db8::1", cidrs.join(" "));
    lab.nodes.insert("me".to_owned(), node(&text).into());
}

/// What cbr0 holds besides link-local addresses, and what is named as kept.
fn held(lab: &Lab, machine: &mut Machine) -> (Vec<String>, usize) {
    let round = lab.round(machine);
    let observed = lab.inside(|| machine.observe(&Mode::KUBENET).unwrap());
    let cbr0 = observed.bridge().unwrap();
    let held = crate::bridge::held(cbr0, &observed.addresses).map(|held| held.to_string());
    let kept = |text: &&String| text.contains("pods of an earlier podCIDR live there");
    (held.collect(), round.complaints.iter().filter(kept).count())
}

/// As whom `pod` is seen at `outside`, by each family.
fn seen(pod: &Born, outside: &Place<'_>) -> Vec<IpAddr> {
    let seen = outside.addresses.iter().map(|&address| {
        let server = outside.netns.run(|| UdpSocket::bind((address, 0)).unwrap()).unwrap();
        server.set_read_timeout(Some(DEADLINE)).unwrap();
        let any = Family::from(address).address(0);
        let client = pod.netns.run(|| UdpSocket::bind((any, 0)).unwrap()).unwrap();
        client.send_to(b"who", server.local_addr().unwrap()).unwrap();
        server.recv_from(&mut [0; 8]).unwrap().1.ip()
    });
    seen.collect()
}

#[track_caller]
fn check(new: [&str; 2]) {
    let mut lab = Lab::new();
    let mut machine = lab.machine();
    lab.converge(&mut machine);
    let (first, last) = (lab.add("first"), lab.add("last"));
    move_to(&mut lab, new);
    let moved = OLD.iter().filter(|old| !new.contains(old)).count();
    lab.converge(&mut machine);
    let both = held(&lab, &mut machine);
    assert_eq!((both.0.len(), both.1), (2 + moved, moved), "{both:?}");
    let young = lab.add("young");
    let ranges = new.map(|cidr| cidr.parse::<common::Prefix>().unwrap());
    assert!(young.addresses.iter().all(|ip| ranges.iter().any(|range| range.contains(*ip))));

    let (outside, host) = (lab.outside(), lab.host());
    let uplink = host.addresses.clone();
    let mut places = vec![outside, host, first.place("a pod of the old range")];
    places.extend([last.place("another one"), young.place("a pod of the new range")]);
    all_reach_all(&places, 1450);
    for pod in [&first, &young] {
        assert_eq!(seen(pod, &places[0]), uplink);
    }

    // A start in between knows of it too.
    let mut machine = lab.machine();
    lab.del("first");
    lab.converge(&mut machine);
    assert_eq!(held(&lab, &mut machine), both);
    lab.del("last");
    lab.converge(&mut machine);
    let (gateways, named) = held(&lab, &mut machine);
    assert_eq!((gateways.len(), named), (2, 0), "{gateways:?}");
    drop(places.drain(2..4));
    all_reach_all(&places, 1450);
}

#[test]
fn an_old_range_lives_until_its_last_pod_is_gone_and_is_named() {
    check(NEW);
}

#[test]
fn one_family_can_move_alone() {
    check([OLD[0], NEW[1]]);
    check([NEW[0], OLD[1]]);
}
