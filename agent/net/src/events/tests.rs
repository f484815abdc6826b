//! What the kernel really tells, in a namespace of its own.

use std::time::Instant;

use super::*;
use crate::link::LinkChange;
use crate::nft;
use crate::route::{Route, RouteChange};
use crate::sysctl::Sysctl;
use crate::testing::{MAC, Machine};

/// Waits until all of `expected` were told.
#[track_caller]
fn tells(events: &mut Events, expected: &[Event]) {
    let deadline = Instant::now() + Duration::from_secs(10);
    let mut told = BTreeSet::new();
    while !expected.iter().all(|event| told.contains(event)) {
        let left = deadline.saturating_duration_since(Instant::now());
        let mut ready = [PollFd::new(events.as_fd(), PollFlags::POLLIN)];
        let left = PollTimeout::try_from(left).unwrap();
        assert_ne!(poll(&mut ready, left).unwrap(), 0, "told only {told:?}");
        told.extend(events.next().unwrap());
    }
}

#[track_caller]
fn is_quiet(events: &mut Events) {
    assert_eq!(events.next().unwrap_err().kind(), io::ErrorKind::WouldBlock);
}

#[test]
fn links_addresses_and_routes_of_both_families_are_told() {
    let mut machine = Machine::new();
    let mut events = machine.netns.run(Events::of_routing).unwrap().unwrap();
    is_quiet(&mut events);
    let bridge = machine.netlink.create_bridge("cbr0", MAC).unwrap();
    tells(&mut events, &[Event::Link]);
    for ip in ["10.0.0.1", "fd00::1"] {
        machine.netlink.add_address(bridge, ip.parse().unwrap(), 24).unwrap();
        tells(&mut events, &[Event::Address]);
    }
    let up = LinkChange { up: Some(true), ..LinkChange::default() };
    machine.netlink.set_link(bridge, &up).unwrap();
    tells(&mut events, &[Event::Link, Event::Route]);
    machine.run("ip -6 route add fd00:1::/64 dev cbr0");
    tells(&mut events, &[Event::Route]);
    is_quiet(&mut events);
}

#[test]
fn of_routes_that_somebody_else_changed_alone_it_tells_if_that_is_wanted() {
    let mut machine = Machine::new();
    let others = || Events::of_routing_by_others(&machine.netlink);
    let mut events = machine.netns.run(others).unwrap().unwrap();
    let route = |to: &str| Route {
        destination: to.parse().unwrap(),
        via: None,
        link: Some(1),
        protocol: 107,
        metric: 1024,
        mtu: None,
    };
    let change = |netlink: &mut Netlink, change| {
        netlink.change_routes(&[change]).unwrap().remove(0).unwrap();
    };
    let up = LinkChange { up: Some(true), ..LinkChange::default() };
    machine.netlink.set_link(1, &up).unwrap();
    tells(&mut events, &[Event::Link]);
    while events.next().is_ok() {}
    for to in ["10.1.0.0/24", "fd00:1::/64"] {
        change(&mut machine.netlink, RouteChange::Replace(route(to)));
        change(&mut machine.netlink, RouteChange::Delete(route(to)));
        assert!(!matches!(events.next(), Ok(told) if !told.is_empty()), "{to}");
        let mut other = machine.netns.run(Netlink::open).unwrap().unwrap();
        change(&mut other, RouteChange::Replace(route(to)));
        tells(&mut events, &[Event::Route]);
    }
}

#[test]
fn our_tables_and_their_elements_are_told_apart_and_others_are_not_told() {
    let machine = Machine::new();
    let mut events = machine.netns.run(Events::of_nftables).unwrap().unwrap();
    is_quiet(&mut events);
    let table = |name| format!("table inet {name} {{ set s {{ type ipv4_addr; }}; }}");
    let apply = |text: &str| machine.netns.run(|| nft::apply(text).unwrap()).unwrap();
    apply(&table("kube-proxy"));
    apply("add element inet kube-proxy s { 10.0.0.1 }");
    is_quiet(&mut events);
    apply("add chain inet kube-proxy c { type filter hook forward priority 0; policy drop; }");
    tells(&mut events, &[Event::Ruleset]);
    apply(&table("kubenet-pods"));
    tells(&mut events, &[Event::Ruleset]);
    apply("add element inet kubenet-pods s { 10.0.0.1 }");
    tells(&mut events, &[Event::Element]);
    is_quiet(&mut events);
    machine.netns.run(|| nft::apply("flush ruleset").unwrap()).unwrap();
    tells(&mut events, &[Event::Ruleset]);
}

#[test]
fn settings_of_one_link_and_of_all_are_told() {
    let machine = Machine::new();
    let mut events = machine.netns.run(Events::of_routing).unwrap().unwrap();
    for key in ["net/ipv4/ip_forward", "net/ipv6/conf/all/forwarding"] {
        machine.netns.run(|| Sysctl::default().write(key, "1").unwrap()).unwrap();
        tells(&mut events, &[Event::Setting]);
        while events.next().is_ok() {}
    }
}

#[test]
fn what_the_socket_cannot_hold_is_told_as_lost() {
    let mut machine = Machine::new();
    let mut events = machine.netns.run(Events::of_routing).unwrap().unwrap();
    for index in 0..2000_u32 {
        let ip = [10, 0, (index / 256).to_le_bytes()[0], (index % 256).to_le_bytes()[0]];
        machine.netlink.add_address(1, ip.into(), 32).unwrap();
    }
    let told = events.next().unwrap();
    assert!(told.contains(&Event::Lost) && told.contains(&Event::Address), "{told:?}");
    // It goes on as before.
    while events.next().is_ok() {}
    machine.netlink.create_bridge("cbr0", MAC).unwrap();
    tells(&mut events, &[Event::Link]);
}
