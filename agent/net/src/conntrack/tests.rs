//! Flows of a namespace of the test's own.

use std::net::{SocketAddr, UdpSocket};

use super::*;
use crate::link::LinkChange;
use crate::testing::Machine;

/// UDP flows that are known, by their port, in the order of their beginning.
fn known(machine: &Machine, family: Family, ports: &[u16]) -> Vec<u16> {
    let mut conntrack = machine.netns.run(Conntrack::open).unwrap().unwrap();
    let known = |port: &&u16| !conntrack.udp(family, **port, &|_| true).unwrap().is_empty();
    ports.iter().filter(known).copied().collect()
}

fn send(machine: &Machine, to: &str) {
    let to = to.parse::<SocketAddr>().unwrap();
    let any = SocketAddr::new(if to.is_ipv4() { [0; 4].into() } else { [0_u16; 8].into() }, 0);
    machine.netns.run(|| UdpSocket::bind(any).unwrap().send_to(b"x", to).unwrap()).unwrap();
}

#[test]
fn only_flows_to_the_port_and_a_stale_address_are_forgotten() {
    let mut machine = Machine::new();
    let lo = machine.netlink.link("lo").unwrap().unwrap().index;
    let up = LinkChange { up: Some(true), ..LinkChange::default() };
    machine.netlink.set_link(lo, &up).unwrap();
    // Without a rule that asks for it, connections are not tracked.
    let chain = "{ type filter hook output priority 0; ct state invalid drop; }";
    let rules = format!("table inet t {{ chain c {chain}; }}");
    machine.netns.run(|| crate::nft::apply(&rules)).unwrap().unwrap();
    let mut conntrack = machine.netns.run(Conntrack::open).unwrap().unwrap();
    for (family, address, other) in
        [(Family::V4, "127.0.0.1", "127.0.0.2"), (Family::V6, "[::1]", "[::1]")]
    {
        send(&machine, &format!("{address}:53"));
        send(&machine, &format!("{address}:53"));
        send(&machine, &format!("{other}:54"));
        let ports = [53, 54];
        assert_eq!(known(&machine, family, &ports), ports);
        conntrack.forget_udp(family, 53, |_| false).unwrap();
        assert_eq!(known(&machine, family, &ports), ports);
        let stale = address.trim_matches(['[', ']']).parse::<IpAddr>().unwrap();
        conntrack.forget_udp(family, 53, |ip| ip == stale).unwrap();
        assert_eq!(known(&machine, family, &ports), [54]);
        conntrack.forget_udp(family, 53, |_| true).unwrap();
    }
}
