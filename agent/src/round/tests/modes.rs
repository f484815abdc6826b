//! What each mode makes of a bare machine, and what it leaves alone: docs/modes.md, row by row.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use net::sysctl::Sysctl;

use super::*;
use crate::mode::{ExecPlugin, Runtime};

const NETFILTER: [&str; 2] =
    ["net/bridge/bridge-nf-call-iptables", "net/bridge/bridge-nf-call-ip6tables"];

/// A machine in this mode whose bridged packets nobody sees.
fn lab(bridge: bool, runtime: Runtime) -> Lab {
    let mut lab = Lab::new();
    lab.config.mode = Mode { bridge, runtime };
    lab.inside(|| NETFILTER.map(|key| Sysctl::default().write(key, "0").unwrap()));
    lab
}

fn sysctl(lab: &Lab, key: &str) -> String {
    lab.inside(|| Sysctl::default().read(key).unwrap())
}

/// Names below the lab's folders of configurations and plugins.
fn installed(lab: &Lab) -> Vec<String> {
    let mut names = Vec::new();
    for folder in ["bin", "conf"] {
        for entry in lab.path(folder).read_dir().into_iter().flatten() {
            names.push(format!("{folder}/{}", entry.unwrap().file_name().to_string_lossy()));
        }
    }
    names.sort();
    names
}

/// Names in the agent's own folder.
fn kept(lab: &Lab) -> Vec<String> {
    let entries = lab.path("state").read_dir().unwrap();
    entries.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned()).collect()
}

fn program(path: &Path, script: &str) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, format!("#!/bin/sh\n{script}\n")).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}

#[test]
fn noop_shows_bridged_packets_to_kube_proxy_and_nothing_else() {
    let lab = lab(false, Runtime::Nothing);
    let mut machine = lab.machine();
    let forwarding = sysctl(&lab, "net/ipv4/ip_forward");
    let mut tables = lab.inside(|| Events::of_nftables().unwrap());
    let links = |machine: &mut Machine| {
        let links = lab.inside(|| machine.observe(&Mode::KUBENET).unwrap()).links;
        links.into_iter().map(|link| (link.name, link.mtu, link.up)).collect::<Vec<_>>()
    };
    let before = links(&mut machine);
    let round = lab.round(&mut machine);
    assert_eq!((round.verdict, round.made.len()), (Ok(()), 2));
    assert_eq!(lab.converge(&mut machine), 0);
    assert_eq!(NETFILTER.map(|key| sysctl(&lab, key)), ["1", "1"]);
    assert_eq!(sysctl(&lab, "net/ipv4/ip_forward"), forwarding);
    assert_eq!(tables.next().unwrap_err().kind(), io::ErrorKind::WouldBlock);
    assert_eq!(links(&mut machine), before);
    assert_eq!(installed(&lab), [""; 0]);
    assert_eq!(kept(&lab), [names::BEFORE_FILE]);
}

#[test]
fn cni_is_ready_when_the_first_config_has_its_plugins_and_writes_nothing() {
    let lab = lab(false, Runtime::Others);
    let mut machine = lab.machine();
    let code = |machine: &mut Machine| lab.round(machine).verdict.err().map(|error| error.code());
    assert_eq!(code(&mut machine), Some("ConfigMissing"));
    assert_eq!(NETFILTER.map(|key| sysctl(&lab, key)), ["1", "1"]);
    fs::create_dir(lab.path("conf")).unwrap();
    let list = r#"{"plugins": [{"type": "bridge", "ipam": {"type": "host-local"}}]}"#;
    fs::write(lab.path("conf/20-b.conflist"), list).unwrap();
    assert_eq!(code(&mut machine), Some("PluginsMissing"));
    program(&lab.path("bin/bridge"), "");
    program(&lab.path("bin/host-local"), "");
    assert_eq!(code(&mut machine), None);
    fs::write(lab.path("conf/10-a.conf"), r#"{"type": "macvlan"}"#).unwrap();
    let verdict = lab.round(&mut machine).verdict.unwrap_err().to_string();
    assert!(verdict.contains("10-a.conf names plugins that are in none of"), "{verdict}");
    fs::write(lab.path("conf/10-a.conf"), "half of i").unwrap();
    assert_eq!(code(&mut machine), None);
    let expected = ["bin/bridge", "bin/host-local", "conf/10-a.conf", "conf/20-b.conflist"];
    assert_eq!(installed(&lab), expected);
    assert_eq!(kept(&lab), [names::BEFORE_FILE]);
}

#[test]
fn exec_tells_its_plugin_of_the_start_once_and_then_lets_pods_come() {
    let files = tempfile::tempdir().unwrap();
    let path = files.path().join("sdn/sdn");
    let plugin = ExecPlugin { name: "sdn".to_owned(), program: path.clone() };
    let lab = lab(false, Runtime::Exec(plugin));
    let mut machine = lab.machine();
    program(&path, "echo the fabric is away >&2; exit 7");
    let verdict = lab.round(&mut machine).verdict.unwrap_err().to_string();
    let expected =
        format!("cannot run {0} init: {0} exits with 7: the fabric is away", path.display());
    assert_eq!(verdict, expected);
    assert_eq!(installed(&lab), ["bin/kubenet-exec", "bin/loopback"]);
    let calls = lab.path("calls");
    program(&path, &format!("echo \"$@\" >>{}", calls.display()));
    assert_eq!(lab.converge(&mut machine), 1);
    assert_eq!(fs::read_to_string(calls).unwrap(), "init\n");
    let conflist = fs::read_to_string(lab.path("conf/10-kubenet.conflist")).unwrap();
    assert!(conflist.contains(&path.display().to_string()), "{conflist}");
    assert!(lab.inside(|| machine.observe(&Mode::KUBENET).unwrap()).bridge().is_none());
}

#[test]
fn configure_cbr0_makes_bridge_address_mtu_and_masquerade_without_cni() {
    let lab = lab(true, Runtime::Nothing);
    let mut machine = lab.machine();
    assert_eq!(lab.converge(&mut machine), 1);
    let observed = lab.inside(|| machine.observe(&Mode::KUBENET).unwrap());
    let cbr0 = observed.bridge().unwrap();
    assert_eq!((cbr0.mtu, cbr0.up), (1450, true));
    let own = observed.addresses.iter().filter(|a| a.link == cbr0.index && a.permanent);
    let own = own.map(|a| format!("{}/{}", a.address, a.length)).collect::<Vec<_>>();
    assert!(own.contains(&"10.244.1.1/24".to_owned()), "{own:?}");
    assert!(lab.inside(|| net::nft::list(names::TABLE).unwrap()).unwrap().contains("masquerade"));
    assert_eq!(lab.inside(|| net::nft::list(names::PODS_TABLE).unwrap()), None);
    assert_eq!(installed(&lab), [""; 0]);
    assert!(!lab.path("state/reason").exists());
}
