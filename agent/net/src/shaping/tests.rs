//! Limits, in a namespace of their own; `tc` sees what was made.

use common::bandwidth::Rate;

use super::*;
use crate::link::Kind;
use crate::testing::Machine;

fn limit(bits_per_second: u64) -> Limit {
    Limit::new(Rate { bits_per_second, burst: None }, 1500)
}

/// A machine with a veth pair that is down, and the index of one end.
fn machine() -> (Machine, u32) {
    let mut machine = Machine::new();
    machine.run("ip link add name a type veth peer name b");
    let index = machine.netlink.link("a").unwrap().unwrap().index;
    (machine, index)
}

#[test]
fn a_limit_is_what_tc_says() {
    for rate in [1_000, 20_000_000, 80_000_000_000, 1_000_000_000_000_000] {
        let (mut machine, index) = machine();
        let (limit, redirect) = (limit(rate), None);
        machine.netlink.shape(index, &Shaping { limit: Some(limit), redirect }).unwrap();
        let qdisc = &machine.json("tc -j qdisc show dev a")[0];
        assert_eq!((&qdisc["kind"], &qdisc["root"]), (&"tbf".into(), &true.into()), "{qdisc}");
        assert_eq!(qdisc["options"]["rate"], limit.bytes_per_second, "{qdisc}");
        let found = machine.netlink.shaping(index).unwrap();
        let found = found.limit.unwrap();
        assert!(found.is_about(&limit), "{found} instead of {limit}");
    }
}

#[test]
fn what_a_link_receives_goes_through_the_ifb() {
    let (mut machine, index) = machine();
    let ifb = machine.netlink.create_ifb("ifb0", "pod a", &limit(8_000_000)).unwrap();
    let link = machine.netlink.link("ifb0").unwrap().unwrap();
    assert_eq!((link.index, link.up, link.addr_gen), (ifb, true, Some(AddrGen::None)));
    assert_eq!((link.kind, link.alias.as_deref()), (Kind::Ifb, Some("pod a")));
    let shaping = Shaping { limit: None, redirect: Some(ifb) };
    machine.netlink.shape(index, &shaping).unwrap();
    assert_eq!(machine.netlink.shaping(index).unwrap(), shaping);
    let filters = machine.run("tc filter show dev a ingress");
    assert!(filters.contains("mirred (Egress Redirect to device ifb0) stolen"), "{filters}");
}

#[test]
fn a_link_without_limits_has_none() {
    let (mut machine, index) = machine();
    assert_eq!(machine.netlink.shaping(index).unwrap(), Shaping::default());
    machine.run("ip link set dev a up");
    assert_eq!(machine.netlink.shaping(index).unwrap(), Shaping::default());
    machine.run("tc qdisc add dev a clsact");
    assert_eq!(machine.netlink.shaping(index).unwrap(), Shaping::default());
}

#[test]
fn an_ifb_that_can_not_be_finished_leaves_nothing_behind() {
    let (mut machine, _) = machine();
    let refused = Limit { bytes_per_second: 1, burst: 0 };
    machine.netlink.create_ifb("ifb0", "", &refused).unwrap_err();
    let long = "x".repeat(256);
    machine.netlink.create_ifb("ifb0", &long, &limit(1_000)).unwrap_err();
    assert_eq!(machine.netlink.link("ifb0").unwrap(), None);
    machine.netlink.create_ifb("ifb0", "", &limit(1_000)).unwrap();
    assert!(machine.netlink.create_ifb("ifb0", "", &limit(1_000)).unwrap_err().already_exists());
}
