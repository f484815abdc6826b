//! An agent with the privileges that its container gives it, and with less.

use std::fs;
use std::path::Path;
use std::process::Command;

use common::names;
use net::Netns;

use crate::lab::{Agent, folders, machine};

/// As a container runtime makes a root that is read-only, with the mounts of the chart's DaemonSet: all of
/// them in `$FILES`. Kernel settings are read-only but where the chart mounts them once more.
const CONTAINER: &str = r#"set -e
mount --make-rprivate /
mkdir -p "$FILES/sysctl/net"
mount --bind "$FILES" "$FILES"
mount --bind /proc/sys/net "$FILES/sysctl/net"
mount --bind /proc/sys /proc/sys
mount -o remount,bind,ro /proc/sys
mount -o remount,bind,ro /
exec setpriv --no-new-privs --clear-groups --inh-caps=-all --bounding-set="-all$CAPABILITIES" "$@""#;

/// The agent on a machine with `capabilities` alone, as `setpriv` has them.
#[expect(clippy::disallowed_methods, reason = "a test of the program runs the program")]
fn start(netns: &Netns, files: &Path, capabilities: &str) -> Agent {
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-c", CONTAINER, "sh", env!("CARGO_BIN_EXE_kubenet-agent")]);
    command.env("FILES", files).env("CAPABILITIES", capabilities).env_remove("NODE_NAME");
    command.args(["--pod-cidr=10.244.7.0/24,fd00:0:0:7::/64", "--network-plugin-mtu=1400"]);
    command.arg(format!("--sysctl-dir={}", files.join("sysctl").display())).args(folders(files));
    Agent::run(netns, command)
}

#[test]
fn cap_net_admin_alone_on_a_read_only_root_is_enough() {
    let (netns, files) = machine();
    let mut agent = start(&netns, files.path(), ",+net_admin");
    agent.says("network ready");
    let status = fs::read_to_string(format!("/proc/{}/status", agent.child.id())).unwrap();
    // CAP_NET_ADMIN is the twelfth (linux/capability.h).
    for line in ["CapEff:\t0000000000001000", "CapBnd:\t0000000000001000", "NoNewPrivs:\t1"] {
        assert!(status.contains(line), "{line} in {status}");
    }
    assert!(files.path().join("conf").join(names::CONFLIST).exists());
    let forward = || fs::read_to_string("/proc/sys/net/ipv4/ip_forward").unwrap();
    assert_eq!(netns.run(forward).unwrap(), "1\n");
    assert_eq!(agent.terminate().code(), Some(0));
}

#[test]
fn without_cap_net_admin_it_ends_and_says_what_it_may_not_do() {
    let (netns, files) = machine();
    let mut agent = start(&netns, files.path(), "");
    agent.says("cannot subscribe to the nft ruleset: Operation not permitted");
    assert_eq!(agent.child.wait().unwrap().code(), Some(1));
    assert!(!files.path().join("conf").exists());
}

#[test]
fn a_folder_of_plugins_that_root_alone_may_not_write_is_named_with_its_owner_and_the_cure() {
    let (netns, files) = machine();
    let bin = files.path().join("bin");
    fs::create_dir(&bin).unwrap();
    std::os::unix::fs::chown(&bin, Some(65_534), Some(65_534)).unwrap();
    let mut agent = start(&netns, files.path(), ",+net_admin");
    agent.says("belongs to uid 65534 and has mode 755, so that root alone may not");
    std::os::unix::fs::chown(&bin, Some(0), Some(0)).unwrap();
    agent.says("network ready");
    assert_eq!(agent.terminate().code(), Some(0));
}
