//! Routes of a machine with one uplink, in a namespace of its own.

use super::*;
use crate::link::LinkChange;
use crate::testing::{MAC, Machine};

const OURS: u8 = common::names::ROUTE_PROTOCOL;

fn machine_with_uplink() -> (Machine, u32) {
    let mut machine = Machine::new();
    let uplink = machine.netlink.create_bridge("eth0", MAC).unwrap();
    let up = LinkChange { up: Some(true), ..LinkChange::default() };
    machine.netlink.set_link(uplink, &up).unwrap();
    for (ip, length) in [("192.0.2.1", 24), ("2001:db8::1", 64)] {
        machine.netlink.add_address(uplink, ip.parse().unwrap(), length).unwrap();
    }
    (machine, uplink)
}

fn route(destination: &str, via: &str) -> Route {
    Route {
        destination: destination.parse().unwrap(),
        via: Some(via.parse().unwrap()),
        link: None,
        protocol: OURS,
        metric: 0,
        mtu: None,
    }
}

fn ours(machine: &mut Machine) -> Vec<Route> {
    let routes = machine.netlink.routes().unwrap().into_iter();
    let mut ours = routes.filter(|route| route.protocol == OURS).collect::<Vec<_>>();
    ours.sort_unstable();
    ours
}

fn all_well(outcomes: Vec<Result<(), NetError>>) {
    for outcome in outcomes {
        outcome.unwrap();
    }
}

#[test]
fn an_empty_namespace_has_no_routes() {
    let mut machine = Machine::new();
    assert_eq!(machine.netlink.routes().unwrap(), []);
    assert!(machine.netlink.change_routes(&[]).unwrap().is_empty());
}

#[test]
fn own_addresses_are_received_and_others_are_not() {
    let (mut machine, _) = machine_with_uplink();
    for (ip, expected) in [("192.0.2.1", true), ("192.0.2.2", false), ("198.51.100.1", false)] {
        assert_eq!(machine.netlink.receives(ip.parse().unwrap()).unwrap(), expected, "{ip}");
    }
    assert!(!machine.netlink.receives("2001:db8::2".parse().unwrap()).unwrap());
    assert!(!machine.netlink.receives("2001:db8:1::1".parse().unwrap()).unwrap());
    // A work queue has to come to it.
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
    while !machine.netlink.receives("2001:db8::1".parse().unwrap()).unwrap() {
        assert!(std::time::Instant::now() < deadline, "the address is never received");
    }
}

#[test]
fn a_route_is_read_as_it_was_written_in_both_families() {
    let (mut machine, uplink) = machine_with_uplink();
    let written = [
        Route { mtu: Some(1400), metric: 7, ..route("10.0.1.0/24", "192.0.2.2") },
        Route { link: Some(uplink), metric: 1024, ..route("fd00:1::/64", "2001:db8::2") },
        Route { via: None, link: Some(uplink), ..route("10.0.2.0/24", "192.0.2.2") },
        route("0.0.0.0/0", "192.0.2.3"),
        Route { metric: 9, ..route("::/0", "2001:db8::3") },
    ];
    let changes = written.map(RouteChange::Replace);
    all_well(machine.netlink.change_routes(&changes).unwrap());
    let mut expected = written.map(|route| Route { link: Some(uplink), ..route });
    expected.sort_unstable();
    assert_eq!(ours(&mut machine), expected);
    // Scope and type are as `ip route add` makes them.
    let seen = machine.json("ip -j route show 10.0.2.0/24");
    assert_eq!(seen[0]["scope"], "link");
}

#[test]
fn replacing_moves_a_route_and_never_doubles_it() {
    let (mut machine, uplink) = machine_with_uplink();
    for (destination, hops) in [
        ("10.0.1.0/24", ["192.0.2.2", "192.0.2.3"]),
        ("fd00:1::/64", ["2001:db8::2", "2001:db8::3"]),
    ] {
        for via in hops {
            let change = RouteChange::Replace(route(destination, via));
            all_well(machine.netlink.change_routes(&[change, change]).unwrap());
        }
        let metric = if destination.contains(':') { 1024 } else { 0 };
        let expected = Route { link: Some(uplink), metric, ..route(destination, hops[1]) };
        let routes = ours(&mut machine);
        let found = routes.iter().filter(|route| route.destination == expected.destination);
        assert_eq!(found.collect::<Vec<_>>(), [&expected]);
    }
}

#[test]
fn deleting_removes_exactly_the_route_that_is_named() {
    let (mut machine, _) = machine_with_uplink();
    machine.run("ip route add 10.0.1.0/24 via 192.0.2.9 metric 5");
    let mine = route("10.0.1.0/24", "192.0.2.2");
    all_well(machine.netlink.change_routes(&[RouteChange::Replace(mine)]).unwrap());
    let other = Route { protocol: 4, ..mine };
    let elsewhere = route("10.0.1.0/24", "192.0.2.3");
    let changes = [other, elsewhere, mine, mine].map(RouteChange::Delete);
    let outcomes = machine.netlink.change_routes(&changes).unwrap();
    let missing =
        |outcome: &Result<(), NetError>| outcome.as_ref().is_err_and(NetError::is_missing);
    assert_eq!(outcomes.iter().map(missing).collect::<Vec<_>>(), [true, true, false, true]);
    assert!(machine.run("ip route show 10.0.1.0/24").contains("192.0.2.9"));
}

#[test]
fn one_bad_route_among_many_spoils_only_itself() {
    let (mut machine, _) = machine_with_uplink();
    for bad in [0, 127, 128, 200, 299] {
        let changes = (0..300_u32).map(|index| {
            let destination = format!("{}.{}.{}.0/24", 10 + index / 256, bad / 2, index % 256);
            let via = if index == bad { "203.0.113.1" } else { "192.0.2.2" };
            RouteChange::Replace(route(&destination, via))
        });
        let before = ours(&mut machine).len();
        let outcomes = machine.netlink.change_routes(&changes.collect::<Vec<_>>()).unwrap();
        let failed = (0_u32..).zip(&outcomes).filter(|(_, outcome)| outcome.is_err());
        let failed = failed.map(|(index, _)| index).collect::<Vec<_>>();
        assert_eq!((outcomes.len(), failed), (300, vec![bad]));
        let error = outcomes.into_iter().find_map(Result::err).unwrap();
        assert_eq!(error.errno(), Some(Errno::ENETUNREACH));
        assert_eq!(error.explanation.as_deref(), Some("Nexthop has invalid gateway"));
        assert_eq!(ours(&mut machine).len(), before + 299);
    }
}

#[test]
fn every_refusal_of_a_full_batch_is_told() {
    let (mut machine, _) = machine_with_uplink();
    let bad = (0..255).map(|index| route(&format!("10.0.{index}.0/24"), "203.0.113.1"));
    let changes = bad.map(RouteChange::Replace).collect::<Vec<_>>();
    let outcomes = machine.netlink.change_routes(&changes).unwrap();
    assert!(outcomes.iter().all(Result::is_err), "{outcomes:?}");
}

#[test]
fn five_thousand_routes_are_made_and_listed() {
    let (mut machine, uplink) = machine_with_uplink();
    let routes = (0..5000_u32).map(|index| Route {
        link: Some(uplink),
        ..route(&format!("10.{}.{}.0/24", index / 256, index % 256), "192.0.2.2")
    });
    let routes = routes.collect::<Vec<_>>();
    let changes = routes.iter().copied().map(RouteChange::Replace).collect::<Vec<_>>();
    all_well(machine.netlink.change_routes(&changes).unwrap());
    assert_eq!(ours(&mut machine), routes);
}

#[test]
fn routes_of_other_tables_and_types_are_not_listed() {
    let (mut machine, _) = machine_with_uplink();
    machine.run("ip route add 10.9.0.0/24 via 192.0.2.2 table 100");
    machine.run("ip route add blackhole 10.8.0.0/24");
    let kernels = machine.netlink.routes().unwrap();
    assert!(kernels.iter().all(|route| route.protocol == 2), "{kernels:?}");
    assert!(kernels.iter().any(|route| route.destination == "192.0.2.0/24".parse().unwrap()));
}

#[test]
fn of_several_next_hops_the_first_is_read_even_of_the_other_family() {
    let (mut machine, uplink) = machine_with_uplink();
    machine.run("ip route add 10.9.0.0/24 nexthop via 192.0.2.2 nexthop via 192.0.2.3");
    machine.run("ip route add 10.8.0.0/24 via inet6 2001:db8::2");
    let routes = machine.netlink.routes().unwrap();
    for (destination, via) in [("10.9.0.0/24", "192.0.2.2"), ("10.8.0.0/24", "2001:db8::2")] {
        let destination = destination.parse().unwrap();
        let route = routes.iter().find(|route| route.destination == destination).unwrap();
        assert_eq!((route.via, route.link), (Some(via.parse().unwrap()), Some(uplink)));
    }
}
