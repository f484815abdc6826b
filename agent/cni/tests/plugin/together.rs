//! Many calls at once: each result is exact, whatever comes between.

use std::collections::BTreeSet;
use std::process::Child;

use net::Netns;
use serde_json::{Value, json};

use crate::hostports::{listing, make_table, mapping};
use crate::lab::{Host, IPV4, IPV6, Outcome, call, pod};

/// As many pods as a kubelet has by default.
const PODS: usize = 110;

fn machine() -> Host {
    let host = Host::new(&[IPV4, IPV6]);
    make_table(&host);
    host
}

fn start(host: &Host, verb: &str, id: &str, pod: Option<&Netns>, conf: &Value) -> Child {
    host.start(&call(verb, id, pod), conf.to_string().as_bytes())
}

fn with_port(host: &Host, port: usize) -> Value {
    let port = u16::try_from(8000 + port).unwrap();
    host.conf(&json!({ "runtimeConfig": { "portMappings": [mapping(port, 80, "tcp", "")] } }))
}

fn valid(host: &Host, ids: &[String]) -> Value {
    let ids = ids.iter().map(|id| json!({ "containerID": id, "ifname": "eth0" }));
    host.conf(&json!({ "cni.dev/valid-attachments": ids.collect::<Vec<_>>() }))
}

fn end(children: Vec<Child>) -> Vec<Outcome> {
    children.into_iter().map(Outcome::of).collect()
}

#[test]
fn a_node_full_of_pods_comes_and_goes_at_once() {
    let mut host = machine();
    let table = listing(&host);
    let pods = (0..PODS).map(|number| (format!("c{number}"), pod())).collect::<Vec<_>>();
    for _ in 0..2 {
        let adds = pods.iter().enumerate().map(|(number, (id, pod))| {
            start(&host, "ADD", id, Some(pod), &with_port(&host, number))
        });
        let addresses = end(adds.collect()).iter().flat_map(Outcome::addresses).collect::<Vec<_>>();
        assert_eq!(addresses.iter().collect::<BTreeSet<_>>().len(), 2 * PODS);
        // Link, claim, record and two leases of each.
        assert_eq!(host.traces().len(), 5 * PODS);
        let dels = pods.iter().map(|(id, _)| start(&host, "DEL", id, None, &host.conf));
        end(dels.collect()).iter().for_each(Outcome::succeeded);
        assert_eq!((host.traces(), listing(&host)), (Vec::new(), table.clone()));
    }
}

#[test]
fn of_two_adds_of_one_container_one_wins() {
    let (mut host, pod) = (machine(), pod());
    for _ in 0..10 {
        let adds = (0..4).map(|_| start(&host, "ADD", "c1", Some(&pod), &with_port(&host, 0)));
        let (won, lost) = end(adds.collect()).into_iter().partition::<Vec<_>, _>(|o| o.success);
        assert_eq!(won.len(), 1, "{won:?}");
        for lost in lost {
            lost.failed(101, &["attached already"]);
        }
        let conf = host.conf(&json!({ "prevResult": won[0].result() }));
        host.call("CHECK", "c1", Some(&pod), &conf).succeeded();
        host.del("c1").succeeded();
        assert_eq!(host.traces(), [""; 0]);
    }
}

#[test]
fn of_two_adds_of_one_host_port_one_wins() {
    let mut host = machine();
    let pods = [("c1", pod()), ("c2", pod())];
    for _ in 0..10 {
        let adds =
            pods.iter().map(|(id, pod)| start(&host, "ADD", id, Some(pod), &with_port(&host, 0)));
        let (won, lost) = end(adds.collect()).into_iter().partition::<Vec<_>, _>(|o| o.success);
        assert_eq!((won.len(), lost.len()), (1, 1), "{won:?} {lost:?}");
        lost[0].failed(102, &["host port tcp 8000"]);
        for (id, _) in &pods {
            host.del(id).succeeded();
        }
        assert_eq!(host.traces(), [""; 0]);
    }
}

#[test]
fn del_before_during_and_after_add_leaves_all_or_nothing() {
    let mut host = machine();
    let table = listing(&host);
    let pod = pod();
    for _ in 0..10 {
        let calls = ["DEL", "ADD", "DEL"]
            .map(|verb| start(&host, verb, "c1", Some(&pod), &with_port(&host, 0)));
        let [before, add, during] = calls.map(Outcome::of);
        before.succeeded();
        during.succeeded();
        let result = add.result();
        if host.traces().is_empty() {
            assert_eq!(listing(&host), table);
        } else {
            let conf = host.conf(&json!({ "prevResult": result }));
            host.call("CHECK", "c1", Some(&pod), &conf).succeeded();
        }
        host.del("c1").succeeded();
        assert_eq!((host.traces(), listing(&host)), (Vec::new(), table.clone()));
    }
}

#[test]
fn gc_during_add_spares_what_is_valid_and_takes_the_rest_whole() {
    let mut host = machine();
    let table = listing(&host);
    let pods = (0..20).map(|number| (format!("c{number}"), pod())).collect::<Vec<_>>();
    let known = pods.iter().take(10).map(|(id, _)| id.clone()).collect::<Vec<_>>();
    let mut children = Vec::new();
    for (number, (id, pod)) in pods.iter().enumerate() {
        children.push(start(&host, "ADD", id, Some(pod), &with_port(&host, number)));
        if number % 5 == 0 {
            children.push(start(&host, "GC", "", None, &valid(&host, &known)));
        }
    }
    let outcomes = end(children);
    assert!(outcomes.iter().all(|outcome| outcome.success), "{outcomes:?}");
    let results = outcomes.iter().filter(|outcome| !outcome.stdout.is_empty());
    let mut whole = 0;
    for ((id, pod), result) in pods.iter().zip(results) {
        let conf = host.conf(&json!({ "prevResult": result.result() }));
        let check = host.call("CHECK", id, Some(pod), &conf);
        assert!(check.success || !known.contains(id), "{id}: {check:?}");
        whole += usize::from(check.success);
    }
    assert_eq!(host.traces().len(), 5 * whole, "{:?}", host.traces());
    host.call("GC", "", None, &valid(&host, &[])).succeeded();
    assert_eq!((host.traces(), listing(&host)), (Vec::new(), table));
}
