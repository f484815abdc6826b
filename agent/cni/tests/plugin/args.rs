//! `CNI_ARGS`: whose container it is.

use std::fs;

use common::attachment::{Attachment, Pod};
use net::Netns;
use serde_json::json;

use crate::hostports::{make_table, mapping};
use crate::lab::{Call, Host, IPV4, Outcome, call, pod};

/// What containerd says of the pod `web-0`.
const WEB: &str = "IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME=web-0;\
    K8S_POD_INFRA_CONTAINER_ID=c1;K8S_POD_UID=4f6a;SOMETHING_NEW=1";

fn add(host: &Host, id: &str, pod: &Netns, args: &str) -> Outcome {
    let conf = host.conf(&json!({
        "runtimeConfig": { "portMappings": [mapping(8080, 80, "tcp", "")] },
    }));
    let call = Call { args, ..call("ADD", id, Some(pod)) };
    host.run(&call, conf.to_string().as_bytes())
}

#[test]
fn record_and_link_say_whose_pod_it_is() {
    let (mut host, pod) = (Host::new(&[IPV4]), pod());
    make_table(&host);
    add(&host, "c1", &pod, WEB).result();
    let record = fs::read(host.file("attachments/c1@eth0")).unwrap();
    let record: Attachment = serde_json::from_slice(&record).unwrap();
    let expected = Pod { namespace: "default".into(), name: "web-0".into(), uid: "4f6a".into() };
    assert_eq!(record.pod, Some(expected));
    let alias = host.host_link("c1").unwrap().alias.unwrap();
    let inode = pod.inode().unwrap();
    assert_eq!(alias, format!("kubenet c1@eth0 10.244.1.2 net:[{inode}] default/web-0"));
    host.del("c1").succeeded();
    assert_eq!(host.traces(), [""; 0]);
}

#[test]
fn a_refusal_names_the_pod_that_holds_it() {
    let (host, first) = (Host::new(&[IPV4]), pod());
    make_table(&host);
    add(&host, "c1", &first, WEB).result();
    let taken = "host port tcp 8080 (IPv4) is taken by default/web-0 (c1@eth0)";
    add(&host, "c2", &pod(), "").failed(102, &[taken]);
    let attached = ["default/web-0 (c1@eth0) is attached already"];
    add(&host, "c1", &first, WEB).failed(101, &attached);
    // Also by the link alone.
    fs::remove_file(host.file("attachments/c1@eth0")).unwrap();
    add(&host, "c1", &first, WEB).failed(101, &attached);
}

#[test]
fn arguments_that_make_no_sense_stop_an_add_and_no_del() {
    let (mut host, pod) = (Host::new(&[IPV4]), pod());
    make_table(&host);
    let bad = "K8S_POD_NAME;FOO=1";
    add(&host, "c1", &pod, bad).failed(4, &["CNI_ARGS", "K8S_POD_NAME", "is no pair", "FOO"]);
    assert_eq!(host.traces(), [""; 0]);
    add(&host, "c1", &pod, "").result();
    let del = Call { args: bad, ..call("DEL", "c1", Some(&pod)) };
    host.run(&del, host.conf.to_string().as_bytes()).succeeded();
    assert_eq!(host.traces(), [""; 0]);
}
