//! What a runtime asks for by capabilities and `CNI_ARGS`: addresses, ranges, a MAC address, DNS.

use std::fs;
use std::path::Path;
use std::time::Instant;

use common::attachment::Attachment;
use net::link::LinkChange;
use net::{Mac, Netlink, Netns};
use serde_json::{Value, json};

use crate::lab::{Call, DEADLINE, Host, IPV4, IPV6, Outcome, call, command, pod, round_trip};

fn add(host: &Host, id: &str, pod: &Netns, runtime: &Value) -> Outcome {
    host.call("ADD", id, Some(pod), &host.conf(&json!({ "runtimeConfig": runtime })))
}

#[track_caller]
fn given(outcome: &Outcome) -> Vec<String> {
    outcome.addresses().iter().map(ToString::to_string).collect()
}

#[test]
fn an_address_that_is_asked_for_is_given() {
    let (host, first, second) = (Host::new(&[IPV4, IPV6]), pod(), pod());
    let asked = json!({ "ips": ["10.244.1.77/24", "fd00:10:244:1::77"] });
    let addresses = given(&add(&host, "c1", &first, &asked));
    assert_eq!(addresses, ["10.244.1.77", "fd00:10:244:1::77"]);
    let args = "IP=10.244.1.99;IgnoreUnknown=1";
    let stdin = host.conf.to_string();
    let by_args = Call { args, ..call("ADD", "c2", Some(&second)) };
    let addresses = host.run(&by_args, stdin.as_bytes()).addresses();
    assert_eq!(addresses[0].to_string(), "10.244.1.99");
    round_trip(&first, &second, addresses[0]);
    let conf = host.conf(&json!({ "args": { "cni": { "ips": ["10.244.1.55"] } } }));
    assert_eq!(given(&host.call("ADD", "c3", Some(&pod()), &conf))[0], "10.244.1.55");
}

#[test]
fn an_address_that_another_holds_is_refused_with_its_name() {
    let (mut host, first) = (Host::new(&[IPV4]), pod());
    let args = "K8S_POD_NAMESPACE=default;K8S_POD_NAME=web-0";
    let conf = host.conf(&json!({ "runtimeConfig": { "ips": ["10.244.1.7"] } })).to_string();
    let call = Call { args, ..call("ADD", "c1", Some(&first)) };
    host.run(&call, conf.as_bytes()).result();
    let traces = host.traces();
    let asked = json!({ "ips": ["10.244.1.7"] });
    let taken = "10.244.1.7 is taken by default/web-0 (c1@eth0)";
    add(&host, "c2", &pod(), &asked).failed(104, &[taken]);
    assert_eq!(host.traces(), traces);
    // Who asks for this very address has it without a rest, and so has whoever finds its holder dead.
    host.del("c1").succeeded();
    let dead = pod();
    assert_eq!(given(&add(&host, "dead", &dead, &asked)), ["10.244.1.7"]);
    drop(dead);
    host.await_death("dead");
    assert_eq!(given(&add(&host, "c3", &pod(), &asked)), ["10.244.1.7"]);
}

#[test]
fn an_address_of_no_pod_is_refused() {
    let mut host = Host::new(&[IPV4]);
    for (address, why) in [
        ("10.244.1.1", "is the gateway"),
        ("10.244.1.0", "is the address of the network"),
        ("10.244.1.255", "is the broadcast address"),
        ("10.9.9.9", "is in no range"),
        ("fd00::1", "is in no range"),
    ] {
        add(&host, "c1", &pod(), &json!({ "ips": [address] })).failed(7, &[address, why]);
    }
    let call = Call { args: "IP=10.244", ..call("ADD", "c1", Some(&pod())) };
    host.run(&call, host.conf.to_string().as_bytes()).failed(4, &["CNI_ARGS", "10.244"]);
    assert_eq!(host.traces(), [""; 0]);
}

#[test]
fn ranges_that_are_asked_for_are_kept_to() {
    let host = Host::new(&[IPV4, IPV6]);
    let range = json!({
        "subnet": "10.244.1.0/24", "rangeStart": "10.244.1.200", "rangeEnd": "10.244.1.201",
    });
    let asked = json!({ "ipRanges": [[range]] });
    let pods = [pod(), pod()];
    assert_eq!(given(&add(&host, "c1", &pods[0], &asked))[0], "10.244.1.200");
    assert_eq!(given(&add(&host, "c2", &pods[1], &asked))[0], "10.244.1.201");
    let arithmetic = "of 256 addresses 254 are for no pod, and the other 2 are leased";
    add(&host, "c3", &pod(), &asked).failed(100, &["10.244.1.0/24", arithmetic]);
    let foreign = json!({ "ipRanges": [{ "Subnet": "10.9.0.0/24", "RangeStart": "" }] });
    add(&host, "c3", &pod(), &foreign).failed(7, &["10.9.0.0/24 is in no range of the network"]);
}

#[test]
fn a_second_range_comes_after_the_first() {
    let host = Host::new(&[("10.244.1.0/30", "10.244.1.1"), ("10.244.9.0/30", "10.244.9.1"), IPV6]);
    let (first, second) = (pod(), pod());
    let ones = host.add("c1", &first).addresses();
    assert_eq!(ones[0].to_string(), "10.244.1.2");
    let outcome = host.add("c2", &second);
    let others = outcome.addresses();
    assert_eq!((others[0].to_string(), others.len()), ("10.244.9.2".to_owned(), 2));
    let gateways = outcome.result()["ips"].as_array().unwrap().clone();
    assert_eq!(gateways[0]["gateway"], "10.244.9.1");
    let mut inside = second.run(Netlink::open).unwrap().unwrap();
    let ways = inside.routes().unwrap().into_iter().filter(|route| route.destination.length() == 0);
    assert_eq!(ways.filter(|route| route.via.is_some_and(|via| via.is_ipv4())).count(), 1);
    round_trip(&second, &host.netns, "10.244.9.1".parse().unwrap());
    let conf = host.conf(&json!({ "prevResult": outcome.result() }));
    host.call("CHECK", "c2", Some(&second), &conf).succeeded();
    let arithmetic = "10.244.1.0/30 and 10.244.9.0/30: of 8 addresses 6 are for no pod";
    host.add("c3", &pod()).failed(100, &[arithmetic]);
}

#[test]
fn a_mac_that_is_asked_for_is_the_pods() {
    let (host, first, second) = (Host::new(&[IPV4, IPV6]), pod(), pod());
    let mac = "02:00:5E:10:00:01";
    let outcome = add(&host, "c1", &first, &json!({ "mac": mac }));
    let result = outcome.result();
    assert_eq!(result["interfaces"][2]["mac"], "02:00:5e:10:00:01");
    let mut inside = first.run(Netlink::open).unwrap().unwrap();
    let eth0 = inside.link("eth0").unwrap().unwrap();
    assert_eq!(eth0.mac.unwrap().to_string(), "02:00:5e:10:00:01");
    let record = fs::read(host.file("attachments/c1@eth0")).unwrap();
    let record: Attachment = serde_json::from_slice(&record).unwrap();
    assert_eq!(record.mac, "02:00:5e:10:00:01");
    let conf = host.conf(&json!({ "prevResult": result }));
    host.call("CHECK", "c1", Some(&first), &conf).succeeded();
    let by_args = Call { args: "MAC=02:00:5e:10:00:02", ..call("ADD", "c2", Some(&second)) };
    let other = host.run(&by_args, host.conf.to_string().as_bytes());
    assert_eq!(other.result()["interfaces"][2]["mac"], "02:00:5e:10:00:02");
    round_trip(&first, &second, other.addresses()[0]);
}

#[test]
fn a_mac_that_another_has_is_refused() {
    let (mut host, first) = (Host::new(&[IPV4]), pod());
    let asked = json!({ "mac": "02:00:5e:10:00:01" });
    add(&host, "c1", &first, &asked).result();
    let traces = host.traces();
    let taken = "MAC address 02:00:5e:10:00:01 is taken by c1@eth0";
    add(&host, "c2", &pod(), &asked).failed(105, &[taken]);
    let derived = json!({ "mac": "0a:58:0a:f4:01:02" });
    add(&host, "c2", &pod(), &derived).failed(7, &["follow from an IP address"]);
    let cbr0 = host.netlink.link("cbr0").unwrap().unwrap().index;
    let of_bridge = LinkChange { mac: Some(Mac([2, 0, 0, 0, 0, 9])), ..LinkChange::default() };
    host.netlink.set_link(cbr0, &of_bridge).unwrap();
    let bridges = json!({ "mac": "02:00:00:00:00:09" });
    add(&host, "c2", &pod(), &bridges).failed(7, &["mac: cbr0 has 02:00:00:00:00:09"]);
    assert_eq!(host.traces(), traces);
    drop(first);
    host.await_death("c1");
    add(&host, "c2", &pod(), &asked).result();
}

/// What the neighbours on the segment know of an address.
fn neighbours(netns: &Netns) -> String {
    let listing = netns.run(|| command(Path::new("ip")).arg("neigh").output().unwrap()).unwrap();
    String::from_utf8(listing.stdout).unwrap()
}

#[test]
fn an_address_that_is_used_again_is_announced() {
    let (host, peer) = (Host::new(&[IPV4, IPV6]), pod());
    host.add("peer", &peer).result();
    let ips = ["10.244.1.77", "fd00:10:244:1::77"];
    let asked = |mac: &str| json!({ "ips": ips, "mac": mac });
    let (first, second) = (pod(), pod());
    let (old, new) = ("02:00:5e:10:00:01", "02:00:5e:10:00:02");
    let addresses = add(&host, "c1", &first, &asked(old)).addresses();
    for netns in [&host.netns, &peer] {
        for &address in &addresses {
            round_trip(netns, &first, address);
        }
        assert_eq!(neighbours(netns).matches(old).count(), 2, "{}", neighbours(netns));
    }
    host.del("c1").succeeded();
    add(&host, "c2", &second, &asked(new)).result();
    // Nobody sends anything, so nobody asks.
    let deadline = Instant::now() + DEADLINE;
    while [&host.netns, &peer].iter().any(|netns| neighbours(netns).matches(new).count() < 2) {
        let known = [neighbours(&host.netns), neighbours(&peer)];
        assert!(Instant::now() < deadline, "neighbours know the old address: {known:?}");
    }
}

#[test]
fn resolver_settings_are_passed_on() {
    let host = Host::new(&[IPV4]);
    let asked =
        json!({ "dns": { "Servers": ["10.96.0.10"], "Searches": ["svc"], "Options": null } });
    let expected = json!({ "nameservers": ["10.96.0.10"], "search": ["svc"] });
    assert_eq!(add(&host, "c1", &pod(), &asked).result()["dns"], expected);
    let of_network = json!({ "nameservers": ["10.0.0.53"], "domain": "example.net" });
    let conf = host.conf(&json!({ "dns": of_network, "cniVersion": "0.2.0" }));
    assert_eq!(host.call("ADD", "c2", Some(&pod()), &conf).result()["dns"], of_network);
    let previous = json!({ "cniVersion": "1.1.0", "dns": { "nameservers": ["192.0.2.53"] } });
    let conf = host.conf(&json!({ "prevResult": previous }));
    assert_eq!(host.call("ADD", "c3", Some(&pod()), &conf).result()["dns"], previous["dns"]);
}
