//! Tombstones: what a DEL leaves to an agent, and who completes it where that never does.

use std::fs;
use std::os::unix::net::UnixListener;

use net::Netns;
use serde_json::json;

use crate::crash::with_fault;
use crate::hostports::{listing, make_table, mapping};
use crate::lab::{Host, IPV4, IPV6, call, pod};

const TINY: (&str, &str) = ("10.244.1.0/30", "10.244.1.1");

/// A machine with the table of host ports, whose range has one address.
fn machine() -> Host {
    let mut host = Host::new(&[TINY, IPV6]);
    make_table(&host);
    host.conf["runtimeConfig"] = json!({ "portMappings": [mapping(8080, 80, "tcp", "")] });
    host
}

/// Leaves what a DEL leaves to an agent, if that is killed before it can do anything: DEL itself is killed
/// as it knocks. An agent that answers in 20 ms can't be had on a machine that has no time.
fn leave_a_tombstone(host: &Host, id: &str) {
    let tombstone = host.file(&format!("tombstones/{id}@eth0"));
    // It connects to the kernel before.
    for number in 1..=4 {
        let del = call("DEL", id, None);
        with_fault(host, &del, "signal=KILL", "connect", number).unwrap();
        if tombstone.exists() {
            return;
        }
    }
    panic!("no tombstone");
}

/// A container that had a DEL which nobody completed.
fn dying(host: &mut Host, id: &str) -> Netns {
    let pod = pod();
    host.add(id, &pod).result();
    leave_a_tombstone(host, id);
    let link = host.host_link(id).unwrap();
    assert_eq!((link.master, link.up), (None, false), "the pod can still be reached");
    pod
}

#[test]
fn what_an_agent_took_over_is_completed_by_the_next_del() {
    let mut host = machine();
    let table = listing(&host);
    // Its own, another's, and one of a container that nobody knows.
    for id in ["c1", "c2", "c3"] {
        let pod = dying(&mut host, "c1");
        host.del(id).succeeded();
        let expected = if id == "c1" { 0 } else { 5 };
        assert_eq!(host.traces().len(), expected, "{id}: {:?}", host.traces());
        host.del("c1").succeeded();
        assert_eq!((host.traces(), listing(&host)), (Vec::new(), table.clone()));
        drop(pod);
    }
}

#[test]
fn an_add_of_the_same_container_and_namespace_completes_it_first() {
    let mut host = machine();
    let pod = dying(&mut host, "c1");
    let result = host.add("c1", &pod).result();
    let conf = host.conf(&json!({ "prevResult": result }));
    host.call("CHECK", "c1", Some(&pod), &conf).succeeded();
    assert!(!host.file("tombstones/c1@eth0").exists());
    host.add("c1", &pod).failed(101, &["attached already"]);
}

#[test]
fn an_add_that_wants_its_only_address_completes_it_first() {
    let mut host = machine();
    let dying = dying(&mut host, "c1");
    let other = pod();
    let address = host.add("c2", &other).addresses()[0];
    assert_eq!(address.to_string(), "10.244.1.2");
    assert!(host.traces().iter().all(|trace| !trace.contains("c1@eth0")));
    assert!(host.host_link("c1").is_none());
    assert!(listing(&host).contains("tcp . 8080 : 10.244.1.2 . 80"));
    host.del("c2").succeeded();
    assert_eq!(host.traces(), [""; 0]);
    drop(dying);
}

#[test]
fn an_add_that_wants_its_host_port_completes_it_first() {
    let mut host = Host::new(&[IPV4, IPV6]);
    make_table(&host);
    let table = listing(&host);
    host.conf["runtimeConfig"] = json!({ "portMappings": [
        mapping(8080, 80, "tcp", ""), mapping(8081, 81, "udp", ""),
    ] });
    let dying = dying(&mut host, "c1");
    let other = pod();
    let address = host.add("c2", &other).addresses()[0];
    assert_eq!(address.to_string(), "10.244.1.3");
    let with_one = listing(&host);
    assert!(with_one.contains("tcp . 8080 : 10.244.1.3 . 80"), "{with_one}");
    assert!(!with_one.contains("10.244.1.2"), "{with_one}");
    assert!(host.host_link("c1").is_none());
    // The DEL that comes again spares the successor's.
    host.del("c1").succeeded();
    assert_eq!(listing(&host), with_one);
    host.del("c2").succeeded();
    assert_eq!((host.traces(), listing(&host)), (Vec::new(), table));
    drop(dying);
}

#[test]
fn gc_completes_it() {
    let mut host = machine();
    let table = listing(&host);
    let dying = dying(&mut host, "c1");
    host.call("GC", "", None, &host.conf(&json!({ "cni.dev/valid-attachments": [] }))).succeeded();
    assert_eq!((host.traces(), listing(&host)), (Vec::new(), table));
    drop(dying);
}

#[test]
fn check_and_status_know_that_it_is_no_attachment() {
    let mut host = machine();
    let pod = pod();
    let result = host.add("c1", &pod).result();
    leave_a_tombstone(&host, "c1");
    let conf = host.conf(&json!({ "prevResult": result }));
    host.call("CHECK", "c1", Some(&pod), &conf).failed(103, &["has no record"]);
    host.call("STATUS", "", None, &host.conf).succeeded();
    host.del("c1").succeeded();
    assert_eq!(host.traces(), [""; 0]);
}

#[test]
fn nobody_who_never_answers_is_waited_for() {
    let mut host = machine();
    let pod = pod();
    host.add("c1", &pod).result();
    // As of an agent that is stopped: connections wait in its queue.
    let _listener = UnixListener::bind(host.file("agent.sock")).unwrap();
    host.del("c1").succeeded();
    assert_eq!(host.traces(), [""; 0]);
}

#[test]
fn del_leaves_a_tombstone_where_an_older_plugin_made_the_directory() {
    let mut host = machine();
    let pod = pod();
    host.add("c1", &pod).result();
    fs::remove_dir(host.file("tombstones")).unwrap();
    host.del("c1").succeeded();
    assert_eq!(host.traces(), [""; 0]);
}
