//! STATUS and VERSION.

use std::fs::{self, File};

use serde_json::{Value, json};

use crate::lab::{Host, IPV4, IPV6, Outcome};

fn status(host: &Host) -> Outcome {
    host.call("STATUS", "", None, &host.conf)
}

#[test]
fn a_machine_that_is_ready_has_nothing_to_say() {
    status(&Host::new(&[IPV4, IPV6])).succeeded();
}

#[test]
fn a_bridge_that_is_not_ready_is_named() {
    let mut host = Host::new(&[IPV4, IPV6]);
    let cbr0 = host.netlink.link("cbr0").unwrap().unwrap().index;
    host.netlink.delete_address(cbr0, IPV6.1.parse().unwrap(), 64).unwrap();
    status(&host).failed(50, &["cbr0 lacks its gateway fd00:10:244:1::1"]);
    host.netlink.delete_link(cbr0).unwrap();
    status(&host).failed(50, &["cbr0 is missing"]);
}

#[test]
fn pods_that_may_be_cut_off_are_told_from_pods_to_come() {
    let (mut host, pod) = (Host::new(&[IPV4]), crate::lab::pod());
    host.add("c1", &pod).result();
    fs::write(host.file("reason"), "the uplink is gone").unwrap();
    let lock = File::create(host.file("agent.lock")).unwrap();
    lock.lock().unwrap();
    status(&host).failed(50, &["the uplink is gone"]);
    let cbr0 = host.netlink.link("cbr0").unwrap().unwrap().index;
    host.netlink.delete_link(cbr0).unwrap();
    status(&host).failed(51, &["the uplink is gone: bridge cbr0 is missing"]);
    host.del("c1").succeeded();
    status(&host).failed(50, &["the uplink is gone: bridge cbr0 is missing"]);
}

#[test]
fn the_agents_reason_counts_while_the_agent_lives() {
    let host = Host::new(&[IPV4]);
    fs::write(host.file("reason"), "br_netfilter is not loaded\n").unwrap();
    status(&host).succeeded();
    let lock = File::create(host.file("agent.lock")).unwrap();
    status(&host).succeeded();
    lock.lock().unwrap();
    status(&host).failed(50, &["br_netfilter is not loaded"]);
    fs::remove_file(host.file("reason")).unwrap();
    status(&host).succeeded();
}

#[test]
fn an_add_that_has_to_wait_tells_the_agents_reason() {
    let mut host = Host::new(&[IPV4]);
    let cbr0 = host.netlink.link("cbr0").unwrap().unwrap().index;
    host.netlink.delete_link(cbr0).unwrap();
    fs::write(host.file("reason"), "the Node has no podCIDR").unwrap();
    let lock = File::create(host.file("agent.lock")).unwrap();
    lock.lock().unwrap();
    host.add("c1", &crate::lab::pod()).failed(11, &["cbr0 is missing", "the Node has no podCIDR"]);
}

#[test]
fn versions_are_told_to_whoever_asks() {
    let host = Host::new(&[IPV4]);
    let check = |stdin: &str, version: &str| {
        let outcome = host.run(&crate::lab::call("VERSION", "", None), stdin.as_bytes());
        let expected: Value = json!({
            "cniVersion": version,
            "supportedVersions": ["0.1.0", "0.2.0", "0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"],
        });
        assert_eq!(outcome.result(), expected);
    };
    check(r#"{"cniVersion": "1.0.0"}"#, "1.0.0");
    check(r#"{"cniVersion": "9.9.9"}"#, "1.1.0");
    check("", "1.1.0");
}

#[test]
fn a_person_is_told_what_it_is() {
    let host = Host::new(&[IPV4]);
    let outcome = host.run(&crate::lab::call("", "", None), b"");
    assert!(outcome.success && outcome.stdout.is_empty(), "{outcome:?}");
    let versions =
        "CNI protocol versions supported: 0.1.0, 0.2.0, 0.3.0, 0.3.1, 0.4.0, 1.0.0, 1.1.0";
    for part in ["CNI plugin kubenet", versions] {
        assert!(outcome.stderr.contains(part), "{outcome:?}");
    }
    let mut empty = crate::lab::command(env!("CARGO_BIN_EXE_kubenet").as_ref());
    let output = empty.env_clear().env("CNI_COMMAND", "").output().unwrap();
    assert_eq!((output.status.success(), output.stderr), (true, outcome.stderr.into_bytes()));
}

#[test]
fn a_machine_that_is_cleaned_up_takes_no_pod_and_lets_all_go() {
    let mut host = Host::new(&[IPV4]);
    let pods = [crate::lab::pod(), crate::lab::pod()];
    host.add("c1", &pods[0]).result();
    fs::write(host.file("cleaning"), "kubenet is being removed\n").unwrap();
    let before = host.traces();
    host.add("c2", &pods[1]).failed(11, &["kubenet is being removed"]);
    assert_eq!(host.traces(), before);
    status(&host).failed(50, &["kubenet is being removed"]);
    host.del("c1").succeeded();
    assert!(host.traces().is_empty());
}
