//! ADD: what a pod has, whom it reaches, and what is left of one that fails.

use std::collections::BTreeSet;
use std::fs;

use common::Family;
use common::attachment::Attachment;
use net::Netlink;
use net::link::LinkChange;
use net::sysctl::Sysctl;
use serde_json::{Value, json};

use crate::hostports::{make_table, mapping};
use crate::lab::{
    ENABLED, Host, IPV4, IPV6, Outcome, call, command, path, pod, round_trip_at_once,
};

const VERSIONS: [&str; 7] = ["0.1.0", "0.2.0", "0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"];

#[test]
fn pods_reach_each_other_and_the_gateway_at_once() {
    let host = Host::new(&[IPV4, IPV6]);
    let (first, second) = (pod(), pod());
    let ones = host.add("c1", &first).addresses();
    let others = host.add("c2", &second).addresses();
    assert_eq!(ones.len(), 2);
    for (own, other) in ones.into_iter().zip(others) {
        round_trip_at_once(&first, &second, other);
        round_trip_at_once(&second, &first, own);
    }
    for (_, gateway) in [IPV4, IPV6] {
        round_trip_at_once(&second, &host.netns, gateway.parse().unwrap());
    }
}

#[test]
fn the_first_packet_of_a_pod_arrives() {
    let host = Host::new(&[IPV4]);
    for number in 0..20 {
        let pod = pod();
        let address = host.add(&format!("c{number}"), &pod).addresses()[0];
        round_trip_at_once(&host.netns, &pod, address);
    }
}

#[test]
fn a_pod_has_what_the_result_says() {
    let mut host = Host::new(&[IPV4, IPV6]);
    let pod = pod();
    let result = host.add("c1", &pod).result();
    let link = host.host_link("c1").unwrap();
    assert_eq!((link.up, link.hairpin, link.mtu), (true, Some(true), 1450));
    let inode = pod.inode().unwrap();
    let alias = format!("kubenet c1@eth0 10.244.1.2 fd00:10:244:1::2 net:[{inode}]");
    assert_eq!(link.alias, Some(alias));
    let mut inside = pod.run(Netlink::open).unwrap().unwrap();
    let eth0 = inside.link("eth0").unwrap().unwrap();
    assert_eq!((eth0.up, eth0.mtu), (true, 1450));
    let cbr0 = host.netlink.link("cbr0").unwrap().unwrap();
    assert_eq!(link.master, Some(cbr0.index));
    let text = |mac: Option<net::Mac>| mac.unwrap().to_string();
    let expected = json!([
        { "name": "cbr0", "mac": text(cbr0.mac) },
        { "name": link.name, "mac": text(link.mac), "mtu": 1450 },
        { "name": "eth0", "mac": text(eth0.mac), "mtu": 1450, "sandbox": path(&pod) },
    ]);
    assert_eq!(result["interfaces"], expected);
    assert_eq!(text(eth0.mac), "0a:58:0a:f4:01:02");
    let addresses = inside.addresses().unwrap();
    let own = addresses.iter().filter(|a| a.link == eth0.index && a.permanent && !a.tentative);
    let own = own.map(|a| format!("{}/{}", a.address, a.length)).collect::<BTreeSet<_>>();
    let named = result["ips"].as_array().unwrap().iter();
    assert!(named.clone().all(|ip| own.contains(ip["address"].as_str().unwrap())), "{own:?}");
    assert_eq!(named.map(|ip| ip["interface"].as_u64()).collect::<Vec<_>>(), [Some(2), Some(2)]);
    let routes = inside.routes().unwrap();
    for (_, gateway) in [IPV4, IPV6] {
        let gateway = Some(gateway.parse().unwrap());
        assert!(routes.iter().any(|route| route.destination.length() == 0 && route.via == gateway));
    }
}

#[test]
fn lease_and_record_are_as_documented() {
    let host = Host::new(&[IPV4, IPV6]);
    let pod = pod();
    host.add("c1", &pod).result();
    for address in ["10.244.1.2", "fd00:10:244:1::2"] {
        let lease = fs::read_to_string(host.file("leases").join(address)).unwrap();
        assert_eq!(lease, "c1\r\neth0");
    }
    let record = fs::read(host.file("attachments/c1@eth0")).unwrap();
    let record: Attachment = serde_json::from_slice(&record).unwrap();
    assert_eq!(record.netns_inode, pod.inode().unwrap());
    assert_eq!((record.mac.as_str(), record.addresses.len()), ("0a:58:0a:f4:01:02", 2));
    assert_eq!(record.host_link, record.id().unwrap().host_link());
}

#[test]
fn each_version_gets_its_result() {
    let host = Host::new(&[IPV4, IPV6]);
    for version in VERSIONS {
        let pod = pod();
        let conf = host.conf(&json!({ "cniVersion": version }));
        let result = host.call("ADD", version, Some(&pod), &conf).result();
        assert_eq!(result["cniVersion"], version);
        if version < "0.3" {
            let length = |key| result[key]["ip"].as_str().unwrap().split('/').nth(1);
            assert_eq!(["ip4", "ip6"].map(length), [Some("24"), Some("64")], "{result}");
            host.call("DEL", version, Some(&pod), &conf).succeeded();
            continue;
        }
        let families = result["ips"].as_array().unwrap().iter().map(|ip| ip.get("version"));
        let expected = if version < "1" { [Some("4"), Some("6")] } else { [None, None] };
        assert!(families.map(|version| version.and_then(Value::as_str)).eq(expected), "{result}");
        host.call("DEL", version, Some(&pod), &conf).succeeded();
    }
    // Without a version it is the first.
    let mut conf = host.conf.clone();
    conf.as_object_mut().unwrap().remove("cniVersion");
    assert_eq!(host.call("ADD", "c1", Some(&pod()), &conf).result()["cniVersion"], "0.1.0");
}

#[test]
fn one_family_is_enough() {
    for range in [IPV4, IPV6] {
        let host = Host::new(&[range]);
        let (first, second) = (pod(), pod());
        let result = host.add("c1", &first).result();
        assert_eq!(result["routes"].as_array().map(Vec::len), Some(1));
        let addresses = host.add("c2", &second).addresses();
        assert_eq!(addresses.len(), 1);
        let family = Family::from(addresses[0]);
        assert_eq!(family, Family::from(range.1.parse::<std::net::IpAddr>().unwrap()));
        round_trip_at_once(&first, &second, addresses[0]);
    }
}

#[test]
fn ipv6_comes_on_where_the_runtime_turned_it_off() {
    let host = Host::new(&[IPV6]);
    let pod = pod();
    pod.run(|| Sysctl::default().write("net/ipv6/conf/all/disable_ipv6", "1")).unwrap().unwrap();
    let mut inside = pod.run(Netlink::open).unwrap().unwrap();
    let lo = inside.link("lo").unwrap().unwrap().index;
    inside.set_link(lo, &ENABLED).unwrap();
    let address = host.add("c1", &pod).addresses()[0];
    for from in [&host.netns, &pod] {
        round_trip_at_once(from, &pod, address);
    }
}

#[test]
fn a_pod_that_takes_its_interface_down_and_up_has_its_addresses() {
    let (host, pod) = (Host::new(&[IPV4, IPV6]), pod());
    let addresses = host.add("c1", &pod).addresses();
    let mut inside = pod.run(Netlink::open).unwrap().unwrap();
    let eth0 = inside.link("eth0").unwrap().unwrap().index;
    inside.set_link(eth0, &LinkChange { up: Some(false), ..LinkChange::default() }).unwrap();
    inside.set_link(eth0, &ENABLED).unwrap();
    let held = inside.addresses().unwrap();
    for address in addresses {
        assert!(held.iter().any(|its| its.link == eth0 && its.address == address), "{held:?}");
    }
}

#[test]
fn the_mtu_is_the_bridges_where_none_is_given() {
    let mut host = Host::new(&[IPV4]);
    let cbr0 = host.netlink.link("cbr0").unwrap().unwrap().index;
    host.netlink.set_link(cbr0, &LinkChange { mtu: Some(1400), ..LinkChange::default() }).unwrap();
    let pod = pod();
    let conf = host.conf(&json!({ "mtu": null, "hairpin": false }));
    let result = host.call("ADD", "c1", Some(&pod), &conf).result();
    assert_eq!(result["interfaces"][2]["mtu"], 1400);
    let link = host.host_link("c1").unwrap();
    assert_eq!((link.mtu, link.hairpin), (1400, Some(false)));
}

#[test]
fn a_second_add_is_refused_and_changes_nothing() {
    let mut host = Host::new(&[IPV4, IPV6]);
    let pod = pod();
    host.add("c1", &pod).result();
    let (traces, link) = (host.traces(), host.host_link("c1"));
    host.add("c1", &pod).failed(101, &["c1@eth0 is attached already"]);
    assert_eq!((host.traces(), host.host_link("c1")), (traces, link));
    host.call("ADD", "c1", Some(&crate::lab::pod()), &host.conf).failed(101, &["DEL"]);
    host.del("c1").succeeded();
    host.add("c1", &pod).result();
}

#[test]
fn a_container_may_have_two_interfaces() {
    let mut host = Host::new(&[IPV4]);
    let pod = pod();
    let first = host.add("c1", &pod).addresses();
    let mut second = call("ADD", "c1", Some(&pod));
    second.ifname = "net1";
    let addresses = host.run(&second, host.conf.to_string().as_bytes()).addresses();
    assert_ne!(addresses, first);
    host.del("c1").succeeded();
    assert!(host.traces().contains(&format!("leases/{}", addresses[0])));
}

#[test]
fn an_interface_of_somebody_else_is_refused_and_stays() {
    let mut host = Host::new(&[IPV4]);
    let pod = pod();
    let mut inside = pod.run(Netlink::open).unwrap().unwrap();
    let theirs = inside.create_bridge("eth0", net::Mac([2, 0, 0, 0, 0, 1])).unwrap();
    host.add("c1", &pod).failed(101, &["the container has an interface eth0"]);
    assert_eq!(host.traces(), [""; 0]);
    assert_eq!(inside.link("eth0").unwrap().unwrap().index, theirs);
}

#[test]
fn parallel_adds_give_distinct_addresses() {
    let host = Host::new(&[IPV4, IPV6]);
    let pods = (0..50).map(|number| (format!("c{number}"), pod())).collect::<Vec<_>>();
    let stdin = host.conf.to_string();
    let start = |(id, pod): &(String, _)| host.start(&call("ADD", id, Some(pod)), stdin.as_bytes());
    let children = pods.iter().map(start).collect::<Vec<_>>();
    let addresses = children.into_iter().flat_map(|child| Outcome::of(child).addresses());
    assert_eq!(addresses.collect::<BTreeSet<_>>().len(), 100);
}

#[test]
fn an_exhausted_range_says_the_arithmetic() {
    let mut host = Host::new(&[("10.244.1.0/29", "10.244.1.1"), IPV6]);
    let pods = (0..5).map(|_| pod()).collect::<Vec<_>>();
    for (number, pod) in pods.iter().enumerate() {
        host.add(&format!("c{number}"), pod).result();
    }
    let traces = host.traces();
    let outcome = host.add("one-more", &pod());
    let arithmetic = "of 8 addresses 3 are for no pod, and the other 5 are leased";
    outcome.failed(100, &["10.244.1.0/29", arithmetic]);
    assert_eq!(host.traces(), traces);
}

#[test]
fn an_address_rests_until_the_others_were_given() {
    let host = Host::new(&[("10.244.1.0/29", "10.244.1.1")]);
    let given = (0..6).map(|number| {
        let (id, pod) = (format!("c{number}"), pod());
        let address = host.add(&id, &pod).addresses()[0].to_string();
        host.del(&id).succeeded();
        address
    });
    let expected =
        ["10.244.1.2", "10.244.1.3", "10.244.1.4", "10.244.1.5", "10.244.1.6", "10.244.1.2"];
    assert_eq!(given.collect::<Vec<_>>(), expected);
}

#[test]
fn leases_of_the_dead_are_given_when_no_other_is_free() {
    let mut host = Host::new(&[("10.244.1.0/30", "10.244.1.1")]);
    let dead = pod();
    host.add("dead", &dead).result();
    drop(dead);
    host.await_death("dead");
    let living = pod();
    assert_eq!(
        host.add("living", &living).addresses(),
        ["10.244.1.2".parse::<std::net::IpAddr>().unwrap()]
    );
    host.add("one-more", &pod()).failed(100, &["10.244.1.0/30"]);
    assert!(host.traces().iter().all(|trace| !trace.contains("dead")));
}

#[test]
fn a_bridge_that_is_not_ready_means_later() {
    let mut host = Host::new(&[IPV4]);
    let later = |host: &Host, parts: &[&str]| host.add("c1", &pod()).failed(11, parts);
    let cbr0 = host.netlink.link("cbr0").unwrap().unwrap().index;
    host.netlink.delete_address(cbr0, IPV4.1.parse().unwrap(), 24).unwrap();
    later(&host, &["cbr0 lacks its gateway 10.244.1.1"]);
    host.netlink.set_link(cbr0, &LinkChange { up: Some(false), ..LinkChange::default() }).unwrap();
    later(&host, &["cbr0 is down"]);
    host.netlink.delete_link(cbr0).unwrap();
    later(&host, &["cbr0 is missing"]);
    assert_eq!(host.traces(), [""; 0]);
}

#[test]
fn one_program_does_it_all() {
    let mut host = Host::new(&[IPV4, IPV6]);
    make_table(&host);
    let pod = pod();
    host.conf["runtimeConfig"] = json!({
        "portMappings": [mapping(8080, 80, "udp", "")],
        "bandwidth": { "ingressRate": 8_000_000, "egressRate": 8_000_000 },
    });
    for verb in ["ADD", "DEL"] {
        let trace = host.file("strace");
        let mut strace = command("strace".as_ref());
        strace.args(["-f", "-qq", "-e", "trace=execve,fork,vfork,clone,clone3", "-o"]).arg(&trace);
        let call = call(verb, "c1", Some(&pod));
        strace.arg(call.program);
        let outcome = Outcome::of(host.execute(strace, &call, host.conf.to_string().as_bytes()));
        assert!(outcome.success, "{outcome:?}");
        let text = fs::read_to_string(trace).unwrap();
        assert_eq!(text.matches("execve(").count(), 1, "{text}");
        let is_process = |line: &&str| line.contains("fork(") || line.contains("clone");
        let processes = text.lines().filter(is_process);
        assert!(processes.clone().all(|line| line.contains("CLONE_THREAD")), "{text}");
    }
    assert_eq!(host.traces(), [""; 0]);
}

#[test]
fn in_a_chain_what_came_before_stays() {
    let host = Host::new(&[IPV4]);
    let pod = pod();
    let previous = json!({
        "cniVersion": "1.1.0", "interfaces": [{ "name": "net0", "sandbox": path(&pod) }],
        "ips": [{ "interface": 0, "address": "192.0.2.7/24" }], "dns": {},
    });
    let conf = host.conf(&json!({ "prevResult": previous }));
    let result = host.call("ADD", "c1", Some(&pod), &conf).result();
    assert_eq!(result["interfaces"][0], previous["interfaces"][0]);
    assert_eq!(result["interfaces"].as_array().map(Vec::len), Some(4));
    assert_eq!(result["ips"][1]["interface"], 3);
}
