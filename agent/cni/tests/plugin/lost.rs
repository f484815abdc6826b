//! What is lost under a call or behind it: a record without an agent to make it anew, a namespace while
//! its ADD is at work.

use std::fs;

use net::Netns;
use serde_json::{Value, json};

use crate::hostports::{listing, make_table, mapping};
use crate::lab::{Host, IPV4, IPV6, Outcome, call, pod};

const MAC: &str = "02:00:5e:10:00:01";

fn asking(host: &Host, asked: &Value) -> Value {
    host.conf(&json!({ "runtimeConfig": asked, "cni.dev/valid-attachments": [] }))
}

/// A pod with all that can be held, and without its record.
fn without_record(host: &Host) -> Netns {
    let pod = pod();
    let asked = json!({
        "portMappings": [mapping(8080, 80, "tcp", ""), mapping(8081, 81, "udp", "192.0.2.1")],
        "bandwidth": { "ingressRate": 8_000_000, "egressRate": 8_000_000 },
        "mac": MAC, "ips": ["10.244.1.7"],
    });
    host.call("ADD", "c1", Some(&pod), &asking(host, &asked)).result();
    fs::remove_file(host.file("attachments/c1@eth0")).unwrap();
    pod
}

#[test]
fn what_a_pod_without_its_record_holds_nobody_else_gets() {
    let mut host = Host::new(&[IPV4, IPV6]);
    make_table(&host);
    let (first, other) = (without_record(&host), pod());
    let before = (host.traces(), listing(&host));
    let port = json!({ "portMappings": [mapping(8080, 80, "tcp", "")] });
    let named = json!({ "portMappings": [mapping(8081, 81, "udp", "192.0.2.1")] });
    for (asked, code, text) in [
        (json!({ "ips": ["10.244.1.7"] }), 104, "10.244.1.7 is taken by c1@eth0"),
        (json!({ "mac": MAC }), 105, "is taken by c1@eth0"),
        (port, 102, "host port tcp 8080 (IPv4) is taken"),
        (named, 102, "host port 192.0.2.1 udp 8081 (IPv4) is taken"),
    ] {
        let conf = asking(&host, &asked);
        host.call("ADD", "c2", Some(&other), &conf).failed(code, &[text]);
        assert_eq!((host.traces(), listing(&host)), before, "{asked}");
    }
    host.add("c1", &first).failed(101, &["c1@eth0 is attached already"]);
    assert_eq!((host.traces(), listing(&host)), before);
}

#[test]
fn a_pod_without_its_record_ends_whole() {
    let mut host = Host::new(&[IPV4, IPV6]);
    make_table(&host);
    let table = listing(&host);
    let conf = asking(&host, &json!({}));
    let ends: [fn(&mut Host, Netns, &Value) -> Outcome; 4] = [
        |host, _pod, conf| host.call("DEL", "c1", None, conf),
        |host, _pod, conf| host.call("GC", "", None, conf),
        |host, pod, conf| {
            drop(pod);
            host.await_death("c1");
            host.call("DEL", "c1", None, conf)
        },
        |host, pod, conf| {
            drop(pod);
            host.await_death("c1");
            host.call("GC", "", None, conf)
        },
    ];
    for end in ends {
        let pod = without_record(&host);
        end(&mut host, pod, &conf).succeeded();
        assert_eq!((host.traces(), listing(&host)), (Vec::new(), table.clone()));
    }
    // Who wants what it held completes it.
    let pod = without_record(&host);
    drop(pod);
    host.await_death("c1");
    let other = self::pod();
    let asked = json!({ "ips": ["10.244.1.7"], "mac": MAC });
    host.call("ADD", "c2", Some(&other), &asking(&host, &asked)).result();
    assert!(host.traces().iter().all(|trace| !trace.contains("c1@")), "{:?}", host.traces());
    host.del("c2").succeeded();
    assert_eq!((host.traces(), listing(&host)), (Vec::new(), table));
}

#[test]
fn a_namespace_that_goes_while_its_add_waits_holds_nothing_for_long() {
    // One address, and no table yet: an ADD with a host port waits for that.
    let mut host = Host::new(&[("10.244.1.0/30", "10.244.1.1")]);
    let conf = asking(&host, &json!({ "portMappings": [mapping(8080, 80, "tcp", "")] }));
    let pod = pod();
    let add = host.start(&call("ADD", "c1", Some(&pod)), conf.to_string().as_bytes());
    host.await_file("attachments/c1@eth0");
    drop(pod);
    make_table(&host);
    // The plugin has it open until it ends.
    Outcome::of(add).result();
    host.await_death("c1");
    let other = self::pod();
    host.call("ADD", "c2", Some(&other), &conf).result();
    assert!(host.traces().iter().all(|trace| !trace.contains("c1@")), "{:?}", host.traces());
    host.del("c1").succeeded();
    host.del("c2").succeeded();
    assert_eq!(host.traces(), [""; 0]);
    assert!(!listing(&host).contains("elements"), "{}", listing(&host));
}

#[test]
fn a_range_without_room_for_a_pod_says_the_arithmetic() {
    for (subnet, gateway) in [
        ("10.244.1.0/31", "10.244.1.1"),
        ("10.244.1.7/32", "10.244.1.7"),
        ("fd00::/127", "fd00::1"),
        ("fd00::7/128", "fd00::7"),
    ] {
        let mut host = Host::new(&[(subnet, gateway)]);
        host.add("c1", &pod()).failed(100, &[subnet, "addresses"]);
        assert_eq!(host.traces(), [""; 0]);
    }
    let mut host = Host::new(&[IPV4]);
    let ends = |start: &str, end: &str| {
        let range = json!({
            "subnet": IPV4.0, "gateway": IPV4.1, "rangeStart": start, "rangeEnd": end,
        });
        host.conf(&json!({ "ranges": [range] }))
    };
    let none = [("10.244.1.0", "10.244.1.1"), ("10.244.1.255", "10.244.1.255")];
    let confs = none.map(|(start, end)| ends(start, end));
    let one = ends("10.244.1.254", "10.244.1.255");
    for conf in confs {
        host.call("ADD", "c1", Some(&pod()), &conf).failed(100, &["of 256 addresses 256 are"]);
    }
    let given = host.call("ADD", "c1", Some(&pod()), &one).addresses();
    assert_eq!(given[0].to_string(), "10.244.1.254");
    host.del("c1").succeeded();
    assert_eq!(host.traces(), [""; 0]);
}
