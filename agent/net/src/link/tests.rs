//! Links, in a namespace of their own; `ip` sees what was made.

use std::io;
use std::time::{Duration, Instant};

use netlink_packet_core::Emitable;
use netlink_packet_route::link::{InfoBridge, InfoData, InfoKind, LinkInfo};
use nix::errno::Errno;

use super::*;
use crate::connection::Message;
use crate::testing::{MAC, Machine};

const HOST_MAC: Mac = Mac([0x0a, 0x58, 0x0a, 0, 0, 2]);
const CONTAINER_MAC: Mac = Mac([0x0a, 0x58, 0x0a, 0, 0, 3]);

/// A machine with a bridge that is up, and a pod.
fn machine_and_pod() -> (Machine, u32, Machine) {
    let (mut machine, pod) = (Machine::new(), Machine::new());
    let bridge = machine.netlink.create_bridge("cbr0", MAC).unwrap();
    let up = LinkChange { up: Some(true), ..LinkChange::default() };
    machine.netlink.set_link(bridge, &up).unwrap();
    (machine, bridge, pod)
}

fn spec(bridge: u32, pod: &Machine) -> VethSpec<'_> {
    VethSpec {
        host_name: "veth0",
        host_mac: HOST_MAC,
        container_name: "eth0",
        container_mac: CONTAINER_MAC,
        netns: &pod.netns,
        mtu: 1400,
        alias: "pod a",
        bridge,
        hairpin: Hairpin::On,
        shaping: Shaping::default(),
    }
}

fn names(machine: &mut Machine) -> Vec<String> {
    machine.netlink.links().unwrap().into_iter().map(|link| link.name).collect()
}

#[test]
fn a_bridge_has_the_mac_it_was_made_with_and_is_down() {
    let mut machine = Machine::new();
    let index = machine.netlink.create_bridge("cbr0", MAC).unwrap();
    let link = machine.netlink.link("cbr0").unwrap().unwrap();
    assert_eq!((link.index, &link.kind, link.mac), (index, &Kind::Bridge, Some(MAC)));
    assert!(!link.up);
    // A MAC that nobody set follows the ports (`br_stp_recalculate_bridge_id`).
    machine.run("ip link add name a address 02:00:00:00:00:01 type veth peer name b");
    machine.run("ip link set dev a master cbr0");
    assert_eq!(machine.netlink.link("cbr0").unwrap().unwrap().mac, Some(MAC));
}

#[test]
fn a_taken_name_is_told() {
    let mut machine = Machine::new();
    machine.netlink.create_bridge("cbr0", MAC).unwrap();
    let error = machine.netlink.create_bridge("cbr0", MAC).unwrap_err();
    assert!(error.already_exists());
    assert_eq!(error.kind(), io::ErrorKind::AlreadyExists);
    assert_eq!(error.to_string(), "cannot create bridge cbr0");
}

#[test]
fn a_link_that_is_not_there_is_none() {
    let mut machine = Machine::new();
    assert_eq!(machine.netlink.link("cbr0").unwrap(), None);
    let error = machine.netlink.delete_link(4242).unwrap_err();
    assert!(error.is_missing(), "{error:?}");
    let up = LinkChange { up: Some(true), ..LinkChange::default() };
    assert!(machine.netlink.set_link(4242, &up).unwrap_err().is_missing());
}

#[test]
fn a_bridge_keeps_an_mtu_that_was_set_when_a_smaller_port_joins() {
    let (mut machine, bridge, pod) = machine_and_pod();
    let mtu = LinkChange { mtu: Some(1450), ..LinkChange::default() };
    machine.netlink.set_link(bridge, &mtu).unwrap();
    machine.netlink.create_veth(&spec(bridge, &pod)).unwrap();
    assert_eq!(machine.netlink.link("cbr0").unwrap().unwrap().mtu, 1450);
    assert_eq!(machine.netlink.link("veth0").unwrap().unwrap().mtu, 1400);
}

#[test]
fn a_veth_is_a_port_that_is_up_with_its_other_end_in_the_pod() {
    let (mut machine, bridge, mut pod) = machine_and_pod();
    let veth = machine.netlink.create_veth(&spec(bridge, &pod)).unwrap();

    let host = machine.netlink.link("veth0").unwrap().unwrap();
    assert!(host.up);
    assert_eq!((host.index, &host.kind, host.mtu), (veth.host, &Kind::Veth, 1400));
    assert_eq!((host.mac, host.master), (Some(HOST_MAC), Some(bridge)));
    assert_eq!((host.hairpin, host.addr_gen), (Some(true), Some(AddrGen::None)));
    assert_eq!(host.alias.as_deref(), Some("pod a"));
    let peer = host.peer.unwrap();
    assert_eq!(peer.index, veth.container);
    assert!(peer.netnsid.is_some());

    let container = pod.netlink.link("eth0").unwrap().unwrap();
    assert_eq!((container.index, container.mac), (veth.container, Some(CONTAINER_MAC)));
    assert_eq!((container.mtu, container.up, container.master), (1400, false, None));
    assert_eq!(container.peer.unwrap().index, veth.host);

    let seen = &machine.json("ip -j -d link show veth0")[0];
    assert_eq!(seen["ifalias"], "pod a");
    assert_eq!(seen["master"], "cbr0");
    assert_eq!(seen["linkinfo"]["info_slave_data"]["hairpin"], true);
    assert_eq!(seen["inet6_addr_gen_mode"], "none");
}

#[test]
fn a_host_end_never_has_an_address_of_its_own() {
    let (mut machine, bridge, mut pod) = machine_and_pod();
    let veth = machine.netlink.create_veth(&spec(bridge, &pod)).unwrap();
    let up = LinkChange { up: Some(true), ..LinkChange::default() };
    pod.netlink.set_link(veth.container, &up).unwrap();
    let host = machine.netlink.link("veth0").unwrap().unwrap();
    assert!(host.running, "{host:?}");
    let pods = pod.netlink.addresses().unwrap();
    assert!(pods.iter().any(|address| address.link == veth.container), "{pods:?}");
    let hosts = machine.netlink.addresses().unwrap();
    assert_eq!(hosts.iter().find(|address| address.link == veth.host), None);
}

#[test]
fn a_failed_veth_leaves_nothing_behind() {
    let (mut machine, bridge, mut pod) = machine_and_pod();
    let spec = spec(bridge, &pod);
    // No bridge at all, no bridge but a link, an alias that is too long: each fails at another step.
    let long = "x".repeat(300);
    for bad in [
        VethSpec { bridge: 4242, ..spec },
        VethSpec { bridge: 1, ..spec },
        VethSpec { alias: &long, ..spec },
    ] {
        let error = machine.netlink.create_veth(&bad).unwrap_err();
        assert!(!error.already_exists(), "{error:?}");
        assert_eq!(machine.netlink.link("veth0").unwrap(), None);
    }
    assert_eq!(names(&mut machine), ["lo", "cbr0"]);
    assert_eq!(names(&mut pod), ["lo"]);
}

#[test]
fn a_veth_never_touches_whoever_has_its_names() {
    let (mut machine, bridge, mut pod) = machine_and_pod();
    let spec = spec(bridge, &pod);
    machine.netlink.create_veth(&spec).unwrap();
    let before = machine.netlink.link("veth0").unwrap();
    let same_host = VethSpec { container_name: "eth1", ..spec };
    let same_container = VethSpec { host_name: "veth1", ..spec };
    for taken in [same_host, same_container] {
        assert!(machine.netlink.create_veth(&taken).unwrap_err().already_exists());
    }
    assert_eq!(machine.netlink.link("veth0").unwrap(), before);
    assert_eq!(names(&mut machine), ["lo", "cbr0", "veth0"]);
    assert_eq!(names(&mut pod), ["lo", "eth0"]);
}

#[test]
fn a_deleted_veth_is_gone_at_both_ends() {
    let (mut machine, bridge, mut pod) = machine_and_pod();
    let veth = machine.netlink.create_veth(&spec(bridge, &pod)).unwrap();
    machine.netlink.delete_link(veth.host).unwrap();
    assert_eq!(names(&mut machine), ["lo", "cbr0"]);
    assert_eq!(names(&mut pod), ["lo"]);
}

#[test]
fn one_change_sets_all_that_it_names_and_nothing_else() {
    let (mut machine, bridge, pod) = machine_and_pod();
    let veth = machine.netlink.create_veth(&spec(bridge, &pod)).unwrap();
    let before = machine.netlink.link("veth0").unwrap().unwrap();
    machine.netlink.set_link(veth.host, &LinkChange::default()).unwrap();
    assert_eq!(machine.netlink.link("veth0").unwrap().unwrap(), before);

    let change = LinkChange {
        up: Some(false),
        mtu: Some(1300),
        master: Some(Master::Nobody),
        mac: Some(MAC),
        alias: Some("pod b".into()),
        promiscuous: Some(true),
        hairpin: None,
        open: false,
        spanning_tree: None,
        vlan_filtering: None,
        addr_gen: Some(AddrGen::Eui64),
    };
    machine.netlink.set_link(veth.host, &change).unwrap();
    let after = machine.netlink.link("veth0").unwrap().unwrap();
    let expected = Link {
        up: false,
        running: after.running,
        mtu: 1300,
        master: None,
        mac: Some(MAC),
        alias: Some("pod b".into()),
        promiscuous: true,
        hairpin: None,
        open: None,
        addr_gen: Some(AddrGen::Eui64),
        ..before.clone()
    };
    assert_eq!(after, expected);

    let back = LinkChange {
        up: Some(true),
        master: Some(Master::Bridge(bridge)),
        hairpin: Some(false),
        promiscuous: Some(false),
        ..LinkChange::default()
    };
    machine.netlink.set_link(veth.host, &back).unwrap();
    let port = machine.netlink.link("veth0").unwrap().unwrap();
    assert_eq!((port.master, port.hairpin), (Some(bridge), Some(false)));
    assert_eq!((port.up, port.promiscuous), (true, false));
}

#[test]
fn a_port_that_somebody_has_closed_is_opened() {
    let (mut machine, bridge, mut pod) = machine_and_pod();
    let veth = machine.netlink.create_veth(&spec(bridge, &pod)).unwrap();
    let up = LinkChange { up: Some(true), ..LinkChange::default() };
    pod.netlink.set_link(veth.container, &up).unwrap();
    let is_open = |machine: &mut Machine| machine.netlink.link("veth0").unwrap().unwrap().open;
    assert_eq!(is_open(&mut machine), Some(true));
    let flags = ["isolated on", "learning off", "flood off", "mcast_flood off", "bcast_flood off"];
    let flags = flags.into_iter().chain(["neigh_suppress on", "locked on", "state 0"]);
    for flag in flags {
        machine.run(&format!("bridge link set dev veth0 {flag}"));
        assert_eq!(is_open(&mut machine), Some(false), "{flag}");
        let open = LinkChange { open: true, ..LinkChange::default() };
        machine.netlink.set_link(veth.host, &open).unwrap();
        assert_eq!(is_open(&mut machine), Some(true), "{flag}");
    }
    // Without a carrier it is closed as it has to be.
    pod.netlink.set_link(veth.container, &LinkChange { up: Some(false), ..up }).unwrap();
    assert_eq!(is_open(&mut machine), Some(true));
    machine
        .netlink
        .set_link(veth.host, &LinkChange { open: true, ..LinkChange::default() })
        .unwrap();
}

#[test]
fn a_bridge_is_told_whether_to_look_for_loops() {
    let (mut machine, bridge, _) = machine_and_pod();
    let spanning_tree = |on| LinkChange { spanning_tree: Some(on), ..LinkChange::default() };
    for on in [true, false] {
        machine.netlink.set_link(bridge, &spanning_tree(on)).unwrap();
        assert_eq!(machine.netlink.link("cbr0").unwrap().unwrap().spanning_tree, on);
        let seen = &machine.json("ip -j -d link show cbr0")[0]["linkinfo"]["info_data"];
        assert_eq!(seen["stp_state"], i32::from(on));
    }
    let error = machine.netlink.set_link(1, &spanning_tree(false)).unwrap_err();
    assert_eq!(error.errno(), Some(Errno::EOPNOTSUPP), "{error:?}");
}

#[test]
fn a_bridge_is_told_whether_to_look_at_vlans_where_the_kernel_can() {
    let (mut machine, bridge, _) = machine_and_pod();
    let seen = machine.json("ip -j -d link show cbr0");
    let can = seen[0]["linkinfo"]["info_data"]["vlan_protocol"].is_string();
    for on in [true, false] {
        let change = LinkChange { vlan_filtering: Some(on), ..LinkChange::default() };
        let refusal = machine.netlink.set_link(bridge, &change).err();
        // Without CONFIG_BRIDGE_VLAN_FILTERING nobody switches it on.
        let expected = (!can).then_some(Errno::EOPNOTSUPP);
        assert_eq!(refusal.and_then(|error| error.errno()), expected);
        assert_eq!(machine.netlink.link("cbr0").unwrap().unwrap().vlan_filtering, can && on);
    }
}

#[test]
fn that_a_bridge_looks_at_vlans_is_read() {
    let mut message = LinkMessage::default();
    message.attributes.push(LinkAttribute::LinkInfo(vec![
        LinkInfo::Kind(InfoKind::Bridge),
        LinkInfo::Data(InfoData::Bridge(vec![InfoBridge::VlanFiltering(true)])),
    ]));
    let mut body = vec![0; message.buffer_len()];
    message.emit(&mut body);
    let link =
        Link::read(&Message { kind: 16, flags: 0, sequence: 0, port: 0, body: &body }).unwrap();
    assert!(link.vlan_filtering && !link.spanning_tree);
}

#[test]
fn a_port_that_a_spanning_tree_has_held_back_is_opened() {
    let (mut machine, bridge, mut pod) = machine_and_pod();
    let spanning_tree = |on| LinkChange { spanning_tree: Some(on), ..LinkChange::default() };
    machine.netlink.set_link(bridge, &spanning_tree(true)).unwrap();
    let veth = machine.netlink.create_veth(&spec(bridge, &pod)).unwrap();
    let up = LinkChange { up: Some(true), ..LinkChange::default() };
    pod.netlink.set_link(veth.container, &up).unwrap();
    let mut port = || machine.netlink.link("veth0").unwrap().unwrap();
    let deadline = Instant::now() + Duration::from_secs(20);
    while !port().running {
        assert!(Instant::now() < deadline, "it has no carrier");
    }
    assert_eq!(port().open, Some(false));
    let open = LinkChange { open: true, ..LinkChange::default() };
    machine.netlink.set_link(veth.host, &open).unwrap();
    assert_eq!(machine.netlink.link("veth0").unwrap().unwrap().open, Some(false));
    machine.netlink.set_link(bridge, &spanning_tree(false)).unwrap();
    assert_eq!(machine.netlink.link("veth0").unwrap().unwrap().open, Some(false));
    machine.netlink.set_link(veth.host, &open).unwrap();
    assert_eq!(machine.netlink.link("veth0").unwrap().unwrap().open, Some(true));
}

#[test]
fn hairpin_is_refused_for_what_is_no_port() {
    let (mut machine, bridge, _) = machine_and_pod();
    let hairpin = LinkChange { hairpin: Some(true), ..LinkChange::default() };
    let error = machine.netlink.set_link(bridge, &hairpin).unwrap_err();
    assert_eq!(error.errno(), Some(Errno::EOPNOTSUPP), "{error:?}");
}

#[test]
fn a_link_without_ipv6_needs_no_addr_gen() {
    let (mut machine, _, _) = machine_and_pod();
    // Below 1280 bytes a link has no IPv6 (RFC 8200, section 5).
    machine.run("ip link add name small type veth peer name other");
    machine.run("ip link set dev small mtu 1000");
    let small = machine.netlink.link("small").unwrap().unwrap();
    assert_eq!(small.addr_gen, None);
    let change =
        LinkChange { up: Some(true), addr_gen: Some(AddrGen::None), ..LinkChange::default() };
    machine.netlink.set_link(small.index, &change).unwrap();
    assert!(machine.netlink.link("small").unwrap().unwrap().up);
}

#[test]
fn links_of_other_kinds_are_listed_too() {
    let mut machine = Machine::new();
    machine.run("ip link add name vx type vxlan id 1 dstport 4789");
    machine.run("ip link add name a type veth peer name b");
    machine.run("ip link add name m link a type macvlan");
    let links = machine.netlink.links().unwrap();
    let find = |name: &str| links.iter().find(|link| link.name == name).unwrap();
    assert!(find("lo").loopback);
    assert_eq!(find("lo").kind, Kind::Device);
    assert_eq!(find("vx").kind, Kind::Other("vxlan".into()));
    let below = Peer { index: find("a").index, netnsid: None };
    assert_eq!((&find("m").kind, find("m").peer), (&Kind::Other("macvlan".into()), Some(below)));
    assert_eq!(find("b").peer, Some(below));
}

#[test]
fn a_link_is_found_by_a_further_name_too() {
    let (mut machine, bridge, pod) = machine_and_pod();
    let host = machine.netlink.create_veth(&spec(bridge, &pod)).unwrap().host;
    machine.netlink.add_alt_name(host, "veth0123456789a").unwrap();
    let link = machine.netlink.link("veth0123456789a").unwrap().unwrap();
    assert_eq!((link.index, link.name.as_str()), (host, "veth0"));
    assert!(link.is_called("veth0") && link.is_called("veth0123456789a") && !link.is_called("x"));
    assert!(machine.netlink.links().unwrap().contains(&link));
    let taken = machine.netlink.add_alt_name(bridge, "veth0123456789a").unwrap_err();
    assert!(taken.already_exists());
    machine.netlink.delete_link(host).unwrap();
    assert_eq!(machine.netlink.link("veth0123456789a").unwrap(), None);
}

#[test]
fn a_link_is_renamed_with_what_it_carries() {
    let (mut machine, bridge, pod) = machine_and_pod();
    let port = machine.netlink.create_veth(&spec(bridge, &pod)).unwrap().host;
    machine.netlink.rename_link(bridge, "br0").unwrap();
    let link = machine.netlink.link("br0").unwrap().unwrap();
    assert_eq!((link.index, link.up), (bridge, true));
    assert_eq!(machine.netlink.link("veth0").unwrap().unwrap().master, Some(bridge));
    assert_eq!(machine.netlink.link("cbr0").unwrap(), None);
    assert!(machine.netlink.rename_link(port, "br0").unwrap_err().already_exists());
}
