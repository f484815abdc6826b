//! Addresses of a link in a namespace of its own.

use super::*;
use crate::link::LinkChange;
use crate::testing::{MAC, Machine};

fn machine_with_bridge() -> (Machine, u32) {
    let mut machine = Machine::new();
    let bridge = machine.netlink.create_bridge("cbr0", MAC).unwrap();
    let up = LinkChange { up: Some(true), ..LinkChange::default() };
    machine.netlink.set_link(bridge, &up).unwrap();
    (machine, bridge)
}

fn of(machine: &mut Machine, ip: IpAddr) -> Option<Address> {
    machine.netlink.addresses().unwrap().into_iter().find(|address| address.address == ip)
}

#[test]
fn an_address_is_usable_at_once_in_both_families() {
    let (mut machine, bridge) = machine_with_bridge();
    for (ip, length) in [("10.0.0.1", 24), ("fd00::1", 64)] {
        let ip = ip.parse().unwrap();
        machine.netlink.add_address(bridge, ip, length).unwrap();
        let expected =
            Address { link: bridge, address: ip, length, permanent: true, tentative: false };
        assert_eq!(of(&mut machine, ip), Some(expected));
    }
    let seen = &machine.json("ip -j addr show dev cbr0")[0]["addr_info"];
    let v4 = seen.as_array().unwrap().iter().find(|a| a["local"] == "10.0.0.1").unwrap();
    assert_eq!(v4["broadcast"], "10.0.0.255");
}

#[test]
fn an_address_that_is_there_is_added_again_without_a_change() {
    let (mut machine, bridge) = machine_with_bridge();
    for ip in ["10.0.0.1", "fd00::1"] {
        let ip = ip.parse().unwrap();
        machine.netlink.add_address(bridge, ip, 24).unwrap();
        let before = machine.netlink.addresses().unwrap();
        machine.netlink.add_address(bridge, ip, 24).unwrap();
        assert_eq!(machine.netlink.addresses().unwrap(), before);
    }
}

#[test]
fn a_deleted_address_is_gone_and_missing_the_second_time() {
    let (mut machine, bridge) = machine_with_bridge();
    for ip in ["10.0.0.1", "fd00::1"] {
        let ip = ip.parse().unwrap();
        machine.netlink.add_address(bridge, ip, 24).unwrap();
        machine.netlink.delete_address(bridge, ip, 24).unwrap();
        assert_eq!(of(&mut machine, ip), None);
        let error = machine.netlink.delete_address(bridge, ip, 24).unwrap_err();
        assert!(error.is_missing(), "{error:?}");
    }
}

#[test]
fn a_link_that_is_gone_is_told_as_missing() {
    let (mut machine, _) = machine_with_bridge();
    let error = machine.netlink.add_address(4242, "10.0.0.1".parse().unwrap(), 24).unwrap_err();
    assert!(error.is_missing(), "{error:?}");
}

#[test]
fn an_address_that_waits_for_its_check_is_tentative() {
    let (mut machine, _) = machine_with_bridge();
    machine.run("ip link add name a type veth peer name b");
    machine.run("ip link set dev a up");
    machine.run("ip link set dev b up");
    machine.run("ip addr add fd00::7/64 dev a");
    let address = of(&mut machine, "fd00::7".parse().unwrap()).unwrap();
    assert!(address.tentative && address.permanent, "{address:?}");
}
