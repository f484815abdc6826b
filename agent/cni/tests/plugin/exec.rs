//! The plugin by the name `kubenet-exec`, before a plugin of kubelet's exec protocol.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};

use net::Netns;
use serde_json::json;
use tempfile::TempDir;

use crate::lab::{Host, IPV4, Outcome, call, path, pod};

/// Wires a veth with an address, found by the namespace of its environment.
const WIRING: &str = r#"
case $1 in
setup)
    ip link add exec0 type veth peer name peer0
    ip link set exec0 up
    ip link set peer0 netns "$CNI_NETNS" name "$CNI_IFNAME"
    nsenter --net="$CNI_NETNS" ip address add 10.20.30.40/24 dev "$CNI_IFNAME"
    nsenter --net="$CNI_NETNS" ip link set "$CNI_IFNAME" up
    ;;
teardown) ip link delete exec0 2>/dev/null || true ;;
status) echo '{"apiVersion":"v1beta1","kind":"PodNetworkStatus","ip":"10.20.30.40"}' ;;
esac
"#;

struct Adapter {
    host: Host,
    directory: TempDir,
}

impl Adapter {
    /// Before a plugin that runs `script` for each call, and writes its arguments down.
    fn new(script: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        symlink(env!("CARGO_BIN_EXE_kubenet"), directory.path().join("kubenet-exec")).unwrap();
        let program = directory.path().join("sdn");
        let calls = directory.path().join("calls");
        let text = format!(
            "#!/bin/sh\nset -e\nPATH=/usr/sbin:/usr/bin:/sbin:/bin\necho \"$*\" >>{}\n{script}\n",
            calls.display()
        );
        fs::write(&program, text).unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        Self { host: Host::new(&[IPV4]), directory }
    }

    fn call(&self, verb: &str, netns: Option<&Netns>) -> Outcome {
        let program = self.directory.path().join("kubenet-exec");
        let mut call = call(verb, "c1", netns);
        call.program = &program;
        call.args = "IgnoreUnknown=1;K8S_POD_NAMESPACE=ns;K8S_POD_NAME=web-0";
        let conf = json!({
            "cniVersion": "1.1.0", "name": "kubenet-exec", "type": "kubenet-exec",
            "program": self.directory.path().join("sdn"), "stateDir": self.host.state.path(),
            "prevResult": { "cniVersion": "1.1.0" },
        });
        self.host.run(&call, conf.to_string().as_bytes())
    }

    fn calls(&self) -> String {
        fs::read_to_string(self.directory.path().join("calls")).unwrap()
    }
}

#[test]
fn an_exec_plugin_wires_a_pod_and_its_status_gives_the_address() {
    let (adapter, pod) = (Adapter::new(WIRING), pod());
    let result = adapter.call("ADD", Some(&pod)).result();
    assert_eq!(result["ips"], json!([{ "interface": 0, "address": "10.20.30.40/24" }]));
    assert_eq!(result["interfaces"][0]["name"], "eth0");
    assert_eq!(result["interfaces"][0]["sandbox"], path(&pod));
    adapter.call("CHECK", Some(&pod)).succeeded();
    adapter.call("STATUS", None).succeeded();
    adapter.call("DEL", Some(&pod)).succeeded();
    adapter.call("DEL", None).succeeded();
    let calls = "setup ns web-0 c1\nstatus ns web-0 c1\nstatus ns web-0 c1\n\
                 teardown ns web-0 c1\nteardown ns web-0 c1\n";
    assert_eq!(adapter.calls(), calls);
}

#[test]
fn without_a_status_the_interface_tells_its_addresses() {
    let (adapter, pod) = (Adapter::new(&WIRING.replace("status) echo", "status) true ||")), pod());
    let result = adapter.call("ADD", Some(&pod)).result();
    assert_eq!(result["ips"][0]["address"], "10.20.30.40/24");
}

#[test]
fn words_on_stderr_spoil_no_status() {
    let script = WIRING.replace("status) echo", "status) echo careful >&2; echo");
    Adapter::new(&script).call("ADD", Some(&pod())).result();
}

#[test]
fn a_setup_that_fails_is_told_in_the_plugins_words_and_undone() {
    let adapter = Adapter::new("[ $1 != setup ] || { echo no cable >&2; exit 3; }");
    adapter.call("ADD", Some(&pod())).failed(106, &["sdn exits with 3: no cable"]);
    assert_eq!(adapter.calls(), "setup ns web-0 c1\nteardown ns web-0 c1\n");
}

#[test]
fn a_plugin_that_makes_nothing_is_named() {
    let adapter = Adapter::new("true");
    adapter.call("ADD", Some(&pod())).failed(103, &["the exec plugin made no interface eth0"]);
    let elsewhere = WIRING.replace("\"ip\":\"10.20.30.40\"", "\"ip\":\"10.20.30.41\"");
    let adapter = Adapter::new(&elsewhere);
    adapter.call("ADD", Some(&pod())).failed(103, &["made no address 10.20.30.41"]);
}
