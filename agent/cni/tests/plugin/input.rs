//! Bad input: the right code, every mistake named, and nothing touched.

use std::os::unix::fs::symlink;

use serde_json::{Value, json};

use crate::lab::{Call, Host, IPV4, call, path, pod};

#[test]
fn variables_that_are_missing_are_named_at_once() {
    let host = Host::new(&[IPV4]);
    let bare = |verb| Call { ifname: "", ..call(verb, "", None) };
    let conf = host.conf.to_string();
    let check =
        |verb, code, parts: &[&str]| host.run(&bare(verb), conf.as_bytes()).failed(code, parts);
    let all = ["CNI_CONTAINERID is missing", "CNI_IFNAME is missing", "CNI_NETNS is missing"];
    check("ADD", 4, &all);
    check("CHECK", 4, &all);
    check("DEL", 4, &all[..2]);
    check("UPDATE", 4, &["CNI_COMMAND", "UPDATE"]);
}

#[test]
fn names_that_lead_elsewhere_are_refused() {
    let mut host = Host::new(&[IPV4]);
    let pod = pod();
    let long = "a".repeat(300);
    for verb in ["ADD", "DEL"] {
        for id in ["../../../tmp/x", "a/b", ".", "-a", "a b", &long] {
            host.call(verb, id, Some(&pod), &host.conf).failed(4, &["CNI_CONTAINERID"]);
        }
        for ifname in ["../x", "..", "a:b", "a b", "sixteen-letters-", "eth%d"] {
            let call = Call { ifname, ..call(verb, "c1", Some(&pod)) };
            host.run(&call, host.conf.to_string().as_bytes()).failed(4, &["CNI_IFNAME"]);
        }
    }
    assert_eq!(host.traces(), [""; 0]);
}

#[test]
fn what_is_no_configuration_is_refused() {
    let host = Host::new(&[IPV4]);
    let pod = pod();
    let huge = format!("{{\"cniVersion\": \"1.1.0\", \"x\": \"{}\"}}", "x".repeat(2 << 20));
    for stdin in ["", "not JSON", "[]", "{", "null", "\u{0}", &"[".repeat(100_000), &huge] {
        for verb in ["ADD", "DEL"] {
            host.run(&call(verb, "c1", Some(&pod)), stdin.as_bytes())
                .failed(6, &["standard input"]);
        }
    }
    host.run(&call("ADD", "c1", Some(&pod)), b"{\"cniVersion\": \"1.1.0\xff\"}").failed(6, &[]);
}

#[test]
fn fields_that_are_missing_or_wrong_are_named() {
    let mut host = Host::new(&[IPV4]);
    let pod = pod();
    let check = |changes: Value, code: u32, parts: &[&str]| {
        host.call("ADD", "c1", Some(&pod), &host.conf(&changes)).failed(code, parts);
    };
    check(
        json!({ "name": "../x", "ranges": [], "stateDir": "x" }),
        7,
        &["name", "ranges", "stateDir"],
    );
    check(
        json!({ "ranges": [{ "subnet": "10.244.1.0/33" }] }),
        7,
        &["invalid network configuration"],
    );
    check(json!({ "ipam": { "type": "host-local" } }), 2, &["ipam", "host-local"]);
    check(json!({ "cniVersion": "9.9.9" }), 1, &["9.9.9"]);
    check(json!({ "cniVersion": 1 }), 7, &["cniVersion"]);
    let mut conf = host.conf.clone();
    conf.as_object_mut().unwrap().remove("cniVersion");
    host.call("CHECK", "c1", Some(&pod), &conf).failed(1, &["0.1.0"]);
    assert_eq!(host.traces(), [""; 0]);
}

#[test]
fn a_verb_that_the_version_lacks_is_refused() {
    let host = Host::new(&[IPV4]);
    let pod = pod();
    for (verb, version) in [("CHECK", "0.3.1"), ("STATUS", "1.0.0"), ("GC", "0.4.0")] {
        let conf = host.conf(&json!({ "cniVersion": version }));
        host.call(verb, "c1", Some(&pod), &conf).failed(1, &[verb, version]);
    }
}

#[test]
fn the_namespace_of_the_machine_is_refused() {
    let mut host = Host::new(&[IPV4]);
    let refused = ["CNI_NETNS", "is the network namespace of the machine"];
    host.call("ADD", "c1", Some(&host.netns), &host.conf).failed(4, &refused);
    // By whatever path.
    let link = host.file("netns");
    symlink(path(&host.netns), &link).unwrap();
    for netns in [link.display().to_string(), "/proc/self/ns/net".to_owned()] {
        let call = Call { netns: Some(netns), ..call("ADD", "c1", None) };
        host.run(&call, host.conf.to_string().as_bytes()).failed(4, &refused);
    }
    assert_eq!(host.traces(), [""; 0]);
}

#[test]
fn what_is_no_namespace_is_refused() {
    let host = Host::new(&[IPV4]);
    let check = |netns: &str, code: u32, part: &str| {
        let call = Call { netns: Some(netns.to_owned()), ..call("ADD", "c1", None) };
        host.run(&call, host.conf.to_string().as_bytes()).failed(code, &[part]);
    };
    check("/proc/self/ns/mnt", 4, "is no network namespace");
    check("/etc/hostname", 4, "is no network namespace");
    check("/run/netns/gone", 3, "/run/netns/gone does not exist");
    check("/etc/hostname/x", 5, "/etc/hostname/x");
}

#[test]
fn an_error_speaks_the_version_of_the_request() {
    let host = Host::new(&[IPV4]);
    let conf = host.conf(&json!({ "cniVersion": "0.4.0" }));
    let outcome = host.call("ADD", "", None, &conf);
    let error: Value = serde_json::from_str(&outcome.stdout).unwrap();
    assert_eq!(error["cniVersion"], "0.4.0");
}
