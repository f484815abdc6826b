//! Elements in tables as the agent makes them, in a namespace of their own; `nft` sees them.

use std::net::IpAddr;

use common::attachment::Protocol;
use common::pods_table::Field;

use super::*;
use crate::nft;
use crate::testing::Machine;

const TABLE: &str = "
table inet t {
    map hostports4 { type inet_proto . inet_service : ipv4_addr . inet_service; }
    map hostports6 { type inet_proto . inet_service : ipv6_addr . inet_service; }
    set hairpin4 { type ipv4_addr . ipv4_addr; }
    set hairpin6 { type ipv6_addr . ipv6_addr; }
    set ports { type inet_service; }
}";

fn machine_with_table() -> (Machine, Nftables) {
    let machine = Machine::new();
    machine.netns.run(|| nft::apply(TABLE).unwrap()).unwrap();
    let nftables = machine.netns.run(Nftables::open).unwrap().unwrap();
    (machine, nftables)
}

fn host_port(port: u16, pod: &str) -> Element {
    let pod: IpAddr = pod.parse().unwrap();
    Element {
        set: if pod.is_ipv4() { "hostports4" } else { "hostports6" },
        key: vec![Field::Protocol(Protocol::Udp), Field::Port(port)],
        data: vec![Field::Address(pod), Field::Port(80)],
    }
}

fn hairpin(pod: &str) -> Element {
    let pod: IpAddr = pod.parse().unwrap();
    let set = if pod.is_ipv4() { "hairpin4" } else { "hairpin6" };
    Element { set, key: vec![Field::Address(pod); 2], data: Vec::new() }
}

/// Whether nft lists `text` in the table.
fn has(machine: &Machine, text: &str) -> bool {
    machine.run("nft list table inet t").contains(text)
}

#[track_caller]
fn exists(result: Result<(), ElementsError>, expected: &Element) {
    match result.unwrap_err() {
        ElementsError::Exists { element } => assert_eq!(&element, expected),
        other => panic!("{other:?}"),
    }
}

#[test]
fn nft_lists_what_was_added() {
    let (machine, mut nftables) = machine_with_table();
    let single = Element { set: "ports", key: vec![Field::Port(53)], data: Vec::new() };
    let elements = [
        host_port(8080, "10.0.0.5"),
        host_port(8080, "fd00::5"),
        hairpin("10.0.0.5"),
        hairpin("fd00::5"),
        single,
    ];
    nftables.add_elements("t", &elements).unwrap();
    for text in [
        "udp . 8080 : 10.0.0.5 . 80",
        "udp . 8080 : fd00::5 . 80",
        "10.0.0.5 . 10.0.0.5",
        "fd00::5 . fd00::5",
        "elements = { 53 }",
    ] {
        assert!(has(&machine, text), "{text} in {}", machine.run("nft list table inet t"));
    }
    assert_eq!(nftables.missing_elements("t", &elements).unwrap(), []);
}

#[test]
fn each_protocol_has_the_number_that_nft_gives_it() {
    let (machine, mut nftables) = machine_with_table();
    for (protocol, name) in
        [(Protocol::Tcp, "tcp"), (Protocol::Udp, "udp"), (Protocol::Sctp, "sctp")]
    {
        let key = vec![Field::Protocol(protocol), Field::Port(1)];
        let element = Element { key, ..host_port(1, "10.0.0.5") };
        nftables.add_elements("t", &[element]).unwrap();
        assert!(has(&machine, &format!("{name} . 1 : 10.0.0.5 . 80")), "{name}");
    }
}

#[test]
fn a_taken_host_port_is_told_and_nothing_is_added() {
    let (machine, mut nftables) = machine_with_table();
    let (first, other) = (host_port(8080, "10.0.0.5"), host_port(8080, "10.0.0.6"));
    nftables.add_elements("t", std::slice::from_ref(&first)).unwrap();
    let free = host_port(9090, "10.0.0.6");
    exists(nftables.add_elements("t", &[free.clone(), other.clone(), hairpin("10.0.0.6")]), &other);
    exists(nftables.add_elements("t", &[free.clone(), first.clone()]), &first);
    assert!(!has(&machine, "9090") && !has(&machine, "10.0.0.6"));
    // The socket is none the worse for it.
    nftables.add_elements("t", &[free]).unwrap();
    assert!(has(&machine, "9090"));
}

#[test]
fn deleting_takes_what_is_there_and_ignores_the_rest() {
    let (machine, mut nftables) = machine_with_table();
    let elements = [host_port(1, "10.0.0.5"), host_port(2, "10.0.0.5"), hairpin("10.0.0.5")];
    let [first, second, _] = &elements;
    nftables.add_elements("t", &[first.clone(), second.clone()]).unwrap();
    // By key alone: the data may be another's.
    let elements = elements.clone().map(|element| Element { data: Vec::new(), ..element });
    nftables.delete_elements("t", &elements).unwrap();
    assert!(!has(&machine, "elements"));
    nftables.delete_elements("t", &elements).unwrap();
    nftables.delete_elements("t", &[]).unwrap();
}

#[test]
fn hundreds_of_elements_are_deleted_though_none_is_there() {
    let (machine, mut nftables) = machine_with_table();
    let elements = (1..=600).map(|port| host_port(port, "10.0.0.5")).collect::<Vec<_>>();
    nftables.delete_elements("t", &elements).unwrap();
    nftables.add_elements("t", &elements).unwrap();
    assert!(has(&machine, "udp . 600 "));
    nftables.delete_elements("t", &elements).unwrap();
    assert!(!has(&machine, "elements"));
}

#[test]
fn a_missing_table_or_set_is_told_by_every_call() {
    let (_machine, mut nftables) = machine_with_table();
    let element = [host_port(1, "10.0.0.5")];
    let unknown = [Element { set: "nowhere", ..host_port(1, "10.0.0.5") }];
    for (table, element) in [("other", &element), ("t", &unknown)] {
        for error in [
            nftables.add_elements(table, element).unwrap_err(),
            nftables.delete_elements(table, element).unwrap_err(),
            nftables.replace_elements(table, element, element).unwrap_err(),
            nftables.missing_elements(table, element).unwrap_err(),
        ] {
            let ElementsError::TableMissing { set, .. } = &error else { panic!("{error:?}") };
            assert_eq!(*set, element[0].set);
        }
    }
}

#[test]
fn replacing_moves_a_host_port_to_another_pod() {
    let (machine, mut nftables) = machine_with_table();
    let old = [host_port(8080, "10.0.0.5"), hairpin("10.0.0.5")];
    let new = [host_port(8080, "10.0.0.6"), hairpin("10.0.0.6")];
    // Of the old ones one is there, then both, then none.
    nftables.add_elements("t", &old[..1]).unwrap();
    nftables.replace_elements("t", &old, &new).unwrap();
    assert!(has(&machine, "10.0.0.6 . 80") && !has(&machine, "10.0.0.5"));
    nftables.replace_elements("t", &new, &old).unwrap();
    assert!(has(&machine, "10.0.0.5 . 80") && !has(&machine, "10.0.0.6"));
    nftables
        .replace_elements("t", &[host_port(1, "10.0.0.9")], &[host_port(2, "10.0.0.5")])
        .unwrap();
    assert!(has(&machine, "udp . 2 "));
}

#[test]
fn a_replacement_that_conflicts_changes_nothing() {
    let (machine, mut nftables) = machine_with_table();
    let (old, other) = (host_port(1, "10.0.0.5"), host_port(2, "10.0.0.6"));
    nftables.add_elements("t", &[old.clone(), other]).unwrap();
    let taken = host_port(2, "10.0.0.5");
    let absent = host_port(3, "10.0.0.5");
    exists(nftables.replace_elements("t", &[absent, old], std::slice::from_ref(&taken)), &taken);
    assert!(has(&machine, "udp . 1 : 10.0.0.5") && has(&machine, "udp . 2 : 10.0.0.6"));
}

#[test]
fn missing_is_what_is_absent_or_leads_elsewhere() {
    let (_machine, mut nftables) = machine_with_table();
    let (there, absent) = (host_port(1, "10.0.0.5"), host_port(2, "10.0.0.5"));
    nftables.add_elements("t", &[there.clone(), hairpin("10.0.0.5")]).unwrap();
    let elsewhere = host_port(1, "10.0.0.6");
    let asked =
        [there, absent.clone(), elsewhere.clone(), hairpin("10.0.0.5"), hairpin("10.0.0.6")];
    let missing = nftables.missing_elements("t", &asked).unwrap();
    assert_eq!(missing, [absent, elsewhere, hairpin("10.0.0.6")]);
}

#[test]
fn the_generation_changes_with_the_ruleset_alone() {
    let (machine, mut nftables) = machine_with_table();
    let before = nftables.generation().unwrap();
    assert_eq!(nftables.generation().unwrap(), before);
    machine.netns.run(|| nft::apply("add table ip other").unwrap()).unwrap();
    assert_ne!(nftables.generation().unwrap(), before);
}

#[test]
fn a_chain_that_drops_what_is_forwarded_is_found_whoever_made_it() {
    let (machine, mut nftables) = machine_with_table();
    assert_eq!(nftables.dropping_forward().unwrap(), []);
    let chain = |family: &str, name: &str, hook: &str, policy: &str| {
        let spec = format!("{{ type filter hook {hook} priority 0; policy {policy}; }}");
        let text = format!("table {family} filter {{ chain {name} {spec}; }}");
        machine.netns.run(|| nft::apply(&text).unwrap()).unwrap();
    };
    chain("ip", "FORWARD", "forward", "drop");
    chain("ip", "INPUT", "input", "drop");
    chain("ip6", "FORWARD", "forward", "accept");
    chain("inet", "zone", "forward", "drop");
    let found = |family, name: &str| Chain { family, table: "filter".into(), name: name.into() };
    let mut chains = nftables.dropping_forward().unwrap();
    chains.sort();
    assert_eq!(chains, [found("inet", "zone"), found("ip", "FORWARD")]);
}

#[test]
fn a_table_is_there_or_is_not() {
    let (machine, mut nftables) = machine_with_table();
    assert!(nftables.has_table("t").unwrap());
    machine.run("nft delete table inet t");
    assert!(!nftables.has_table("t").unwrap());
    // Of another family.
    machine.run("nft add table ip t");
    assert!(!nftables.has_table("t").unwrap());
}
