//! Tables of Nodes and of the routes that they get.

use std::sync::Arc;

use common::node::NodeView;

use super::*;
use crate::peers::Peers;
use crate::testing::{address, node, route};

/// A machine `me` with a range of each family, and an earlier one where pods still live, at `192.0.2.1` and `2001:db8::1` on link 2.
fn routes_to(nodes: &[&str]) -> Routes {
    let ranges = ["10.244.1.0/24", "fd00:0:0:1::/64", "10.244.99.0/24"];
    let ranges = ranges.map(|text| text.parse().unwrap());
    let cluster_cidrs = ["10.244.0.0/16".parse().unwrap(), "fd00::/48".parse().unwrap()];
    let services = ["10.96.0.0/16", "10.244.200.0/22"].map(|cidr| cidr.parse().unwrap());
    let addresses = [address(2, "192.0.2.1/24"), address(2, "2001:db8::1/64")];
    let routes = [
        "0.0.0.0/0 via 192.0.2.254 dev 2",
        "192.0.2.0/24 dev 2",
        "2001:db8::/64 dev 2",
        "10.244.1.0/24 dev 7",
        "10.244.77.0/24 via 192.0.2.9 dev 2 proto 4",
    ];
    let place = Place {
        node: "me",
        ranges: &ranges,
        cluster_cidrs: &cluster_cidrs,
        services: &services,
        addresses: &addresses,
        routes: &routes.map(route),
        bridge: Some(7),
    };
    let nodes = nodes.iter().map(|text| Arc::new(node(text)));
    let nodes = nodes.map(|node| (node.name.clone(), node)).collect();
    desired(place, &Peers::read("me", &nodes, Peers::default()).claims)
}

#[track_caller]
fn check(nodes: &[&str], expected: &[&str], refused: &[&str]) {
    let routes = routes_to(nodes);
    let text = routes.by_destination.iter().map(|(to, hop)| format!("{to} via {}", hop.via));
    assert_eq!(text.collect::<Vec<_>>(), expected);
    assert_eq!(routes.refused.iter().map(Refused::to_string).collect::<Vec<_>>(), refused);
}

#[test]
fn each_family_goes_by_the_address_of_its_own() {
    check(
        &[
            "me 1 10.244.1.0/24 192.0.2.1",
            "b 2 10.244.2.0/24 fd00:0:0:2::/64 192.0.2.2 2001:db8::2",
            "c 3 10.244.3.0/24 fd00:0:0:3::/64 2001:db8::3",
        ],
        &[
            "10.244.2.0/24 via 192.0.2.2",
            "fd00:0:0:2::/64 via 2001:db8::2",
            "fd00:0:0:3::/64 via 2001:db8::3",
        ],
        &["no route to podCIDR \"10.244.3.0/24\" of node c: the node has no IPv4 InternalIP"],
    );
}

#[test]
fn an_earlier_range_is_this_machines_as_long_as_pods_live_there() {
    check(
        &["next 9 10.244.99.0/25 192.0.2.2"],
        &[],
        &[
            "no route to podCIDR \"10.244.99.0/25\" of node next: it overlaps 10.244.99.0/24 of node me",
        ],
    );
}

#[test]
fn a_bad_node_spoils_only_its_own_route() {
    check(
        &[
            "good 9 10.244.2.0/24 192.0.2.2",
            "all 1 0.0.0.0/0 192.0.2.3",
            "wide 1 10.0.0.0/8 192.0.2.3",
            "far 2 10.244.3.0/24 198.51.100.3",
            "mirror 3 10.244.4.0/24 192.0.2.1",
            "nonsense 4 10.244.5.0/240 192.0.2.5",
            "pod 5 10.244.6.0/24 10.244.1.7",
            "loud 5 10.244.7.0/24 192.0.2.255",
            "bare 5 fd00:0:0:7::/64 2001:db8::",
            "thief 6 10.244.1.128/25 192.0.2.6",
            "clerk 7 10.244.201.0/24 192.0.2.7",
            "vips 8 10.96.0.0/24 192.0.2.8",
        ],
        &["10.244.2.0/24 via 192.0.2.2"],
        &[
            "no route to podCIDR \"0.0.0.0/0\" of node all: it is in no --cluster-cidr",
            "no route to podCIDR \"fd00:0:0:7::/64\" of node bare: \
             2001:db8:: is no machine's address in its network",
            "no route to podCIDR \"10.244.201.0/24\" of node clerk: \
             it overlaps 10.244.200.0/22, which is Services'",
            "no route to podCIDR \"10.244.3.0/24\" of node far: \
             198.51.100.3 is not on a link of this machine",
            "no route to podCIDR \"10.244.7.0/24\" of node loud: \
             192.0.2.255 is no machine's address in its network",
            "no route to podCIDR \"10.244.4.0/24\" of node mirror: \
             192.0.2.1 is an address of this machine",
            "no route to podCIDR \"10.244.5.0/240\" of node nonsense: it is no CIDR",
            "no route to podCIDR \"10.244.6.0/24\" of node pod: \
             10.244.1.7 is not on a link of this machine",
            "no route to podCIDR \"10.244.1.128/25\" of node thief: \
             it overlaps 10.244.1.0/24 of node me",
            "no route to podCIDR \"10.96.0.0/24\" of node vips: it is in no --cluster-cidr",
            "no route to podCIDR \"10.0.0.0/8\" of node wide: it is in no --cluster-cidr",
        ],
    );
}

#[test]
fn a_route_of_somebody_else_is_not_replaced() {
    check(
        &["b 2 10.244.77.0/24 fd00:0:0:2::/64 192.0.2.2 2001:db8::2"],
        &["fd00:0:0:2::/64 via 2001:db8::2"],
        &["no route to podCIDR \"10.244.77.0/24\" of node b: \
           there is one of protocol 4, which is not ours"],
    );
}

#[test]
fn a_terminating_node_keeps_its_route() {
    let terminating = NodeView { terminating: true, ..node("b 2 10.244.2.0/24 192.0.2.2") };
    let ranges = ["10.244.1.0/24".parse().unwrap()];
    let place = Place {
        node: "me",
        ranges: &ranges,
        cluster_cidrs: &["10.244.0.0/16".parse().unwrap()],
        services: &[],
        addresses: &[],
        routes: &[route("192.0.2.0/24 dev 2")],
        bridge: None,
    };
    let claims = Claim::all_of(&terminating.into()).collect::<Vec<_>>();
    assert_eq!(desired(place, &claims).by_destination.len(), 1);
}

#[test]
fn the_older_node_keeps_its_range() {
    let refused =
        "no route to podCIDR \"10.244.2.0/23\" of node b: it overlaps 10.244.2.0/24 of node a";
    check(
        &["b 2 10.244.2.0/23 192.0.2.3", "a 1 10.244.2.0/24 192.0.2.2"],
        &["10.244.2.0/24 via 192.0.2.2"],
        &[refused],
    );
}

#[track_caller]
fn check_plan(nodes: &[&str], observed: &[&str], expected: &[&str]) {
    let observed = observed.iter().map(|text| route(text)).collect::<Vec<_>>();
    let text = plan(&routes_to(nodes), &observed).into_iter().map(|change| match change {
        RouteChange::Delete(route) => format!("delete {}", route.destination),
        RouteChange::Replace(Route { destination, via, .. }) => {
            format!("replace {destination} via {}", via.unwrap())
        }
    });
    assert_eq!(text.collect::<Vec<_>>(), expected);
}

#[test]
fn converges_with_the_fewest_changes() {
    let b = &["b 2 10.244.2.0/24 192.0.2.2"];
    check_plan(b, &[], &["replace 10.244.2.0/24 via 192.0.2.2"]);
    check_plan(b, &["10.244.2.0/24 via 192.0.2.2 dev 2 proto 107"], &[]);
    let moved = "10.244.2.0/24 via 192.0.2.3 dev 2 proto 107";
    check_plan(b, &[moved], &["replace 10.244.2.0/24 via 192.0.2.2"]);
    let gone = "10.244.9.0/24 via 192.0.2.9 dev 2 proto 107";
    check_plan(b, &[gone, moved], &["delete 10.244.9.0/24", "replace 10.244.2.0/24 via 192.0.2.2"]);
    let twin = "10.244.2.0/24 via 192.0.2.2 dev 2 proto 107 metric 50";
    let right = "10.244.2.0/24 via 192.0.2.2 dev 2 proto 107";
    check_plan(b, &[right, twin], &["delete 10.244.2.0/24"]);
}

#[test]
fn routes_of_others_stay() {
    check_plan(
        &[],
        &["10.244.9.0/24 via 192.0.2.9 dev 2 proto 4", "0.0.0.0/0 via 192.0.2.254 dev 2"],
        &[],
    );
}
