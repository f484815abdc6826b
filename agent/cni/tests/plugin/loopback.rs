//! The plugin by the name `loopback`.

use std::os::unix::fs::symlink;
use std::path::Path;

use net::{Netlink, Netns};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::lab::{Host, IPV4, Outcome, call, path, pod};

/// What containerd writes.
const CONF: &str = r#"{"cniVersion": "0.3.1", "name": "cni-loopback", "type": "loopback"}"#;

struct Loopback {
    host: Host,
    directory: TempDir,
}

impl Loopback {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        symlink(env!("CARGO_BIN_EXE_kubenet"), directory.path().join("loopback")).unwrap();
        Self { host: Host::new(&[IPV4]), directory }
    }

    fn call(&self, verb: &str, netns: Option<&Netns>, conf: &str) -> Outcome {
        let program = self.directory.path().join("loopback");
        let mut call = call(verb, "c1", netns);
        (call.program, call.ifname) = (Path::new(&program), "lo");
        // As the reference plugin's own test says: it is no pair, and nothing that lo heeds.
        call.args = "none";
        self.host.run(&call, conf.as_bytes())
    }
}

#[test]
fn lo_is_up_with_its_addresses() {
    let (loopback, pod) = (Loopback::new(), pod());
    let lo = || pod.run(|| Netlink::open().unwrap().link("lo").unwrap().unwrap()).unwrap();
    assert!(!lo().up);
    let with_prev = json!({ "cniVersion": "1.0.0", "name": "l", "type": "loopback" });
    loopback.call("CHECK", Some(&pod), &with_prev.to_string()).failed(103, &["lo is down"]);
    let result = loopback.call("ADD", Some(&pod), CONF).result();
    let expected = json!({
        "cniVersion": "0.3.1",
        "interfaces": [{ "name": "lo", "mac": "00:00:00:00:00:00", "sandbox": path(&pod) }],
        "ips": [
            { "version": "4", "interface": 0, "address": "127.0.0.1/8" },
            { "version": "6", "interface": 0, "address": "::1/128" },
        ],
        "dns": {},
    });
    assert_eq!(result, expected);
    assert!(lo().up);
    loopback.call("ADD", Some(&pod), CONF).result();
    loopback.call("CHECK", Some(&pod), &with_prev.to_string()).succeeded();
    loopback.call("DEL", Some(&pod), CONF).succeeded();
    assert!(!lo().up);
    loopback.call("DEL", Some(&pod), CONF).succeeded();
    loopback.call("DEL", None, CONF).succeeded();
}

#[test]
fn a_namespace_that_is_gone_leaves_nothing_to_take_down() {
    let loopback = Loopback::new();
    let program = loopback.directory.path().join("loopback");
    let gone = loopback.host.file("gone");
    for content in [None, Some("the mount point of one that is gone")] {
        content.map_or(Ok(()), |content| std::fs::write(&gone, content)).unwrap();
        let mut call = call("DEL", "c1", None);
        (call.program, call.ifname) = (Path::new(&program), "lo");
        call.netns = Some(gone.display().to_string());
        loopback.host.run(&call, CONF.as_bytes()).succeeded();
    }
}

#[test]
fn in_a_chain_it_passes_on_what_came_before() {
    let (loopback, pod) = (Loopback::new(), pod());
    let previous = json!({ "cniVersion": "1.0.0", "ips": [] });
    let conf =
        json!({ "cniVersion": "1.0.0", "name": "l", "type": "loopback", "prevResult": previous });
    assert_eq!(loopback.call("ADD", Some(&pod), &conf.to_string()).result(), previous);
}

#[test]
fn the_machines_own_lo_is_not_touched() {
    let loopback = Loopback::new();
    loopback.call("ADD", Some(&loopback.host.netns), CONF).failed(4, &["namespace of the machine"]);
    loopback.call("ADD", None, CONF).failed(4, &["CNI_NETNS is missing"]);
    loopback.call("DEL", Some(&loopback.host.netns), CONF).succeeded();
    let lo = loopback.host.netns.run(|| Netlink::open().unwrap().link("lo").unwrap().unwrap());
    assert!(lo.unwrap().up);
}

#[test]
fn it_speaks_the_same_versions() {
    let loopback = Loopback::new();
    let versions = loopback.call("VERSION", None, CONF).result();
    assert_eq!(versions["supportedVersions"].as_array().map(Vec::len), Some(7));
    let conf = json!({ "cniVersion": "1.1.0", "name": "l", "type": "loopback" }).to_string();
    loopback.call("STATUS", None, &conf).succeeded();
    let old: Value = json!({ "cniVersion": "0.2.0", "name": "l", "type": "loopback" });
    let result = loopback.call("ADD", Some(&pod()), &old.to_string()).result();
    assert_eq!(result["ip4"]["ip"], "127.0.0.1/8");
}
