//! The agent as a process: flags, signals, its lock, an API server that is not there, and DELs.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking, and so do its helpers")]

mod cleanup;
mod lab;
mod privileges;
mod reaper;
mod records;

use std::fs;
use std::os::unix::fs::PermissionsExt;

use lab::{Agent, agent, folders, know_a_node, machine};

#[test]
fn without_an_api_server_it_waits_and_says_so() {
    let (netns, files) = machine();
    let mut agent = Agent::start(&netns, files.path());
    agent.says("network not ready: waiting for the API server's list of Nodes");
    agent.says("cannot reach the API server");
    let reason = fs::read_to_string(files.path().join("state/reason")).unwrap();
    assert_eq!(reason, "waiting for the API server's list of Nodes\n");
    assert!(agent.child.try_wait().unwrap().is_none());
    assert_eq!(agent.terminate().code(), Some(0));
    assert!(!files.path().join("conf").exists());
}

#[test]
fn without_an_api_server_it_goes_on_with_the_nodes_that_it_knew() {
    let (netns, files) = machine();
    know_a_node(files.path());
    let mut netlink = netns.run(net::Netlink::open).unwrap().unwrap();
    let mac = net::Mac([0x0a, 0x58, 0, 0, 0, 1]);
    // It gives the agent an MTU, there being no uplink.
    let cbr0 = netlink.create_bridge("cbr0", mac).unwrap();
    let mut agent = Agent::start(&netns, files.path());
    agent.says("going on with the Nodes that were known last");
    agent.says("network ready");
    let addresses = netlink.addresses().unwrap();
    assert!(addresses.iter().any(|a| a.link == cbr0 && a.address.to_string() == "10.244.1.1"));
    assert!(files.path().join("conf/10-kubenet.conflist").exists());
    // Whoever made it.
    let state = fs::metadata(files.path().join("state")).unwrap();
    assert_eq!(state.permissions().mode() & 0o7777, 0o700);
    assert_eq!(agent.terminate().code(), Some(0));
}

#[test]
fn with_a_pod_cidr_it_needs_no_api_server_at_all() {
    let (netns, files) = machine();
    let mut command = agent();
    command.args(["--pod-cidr=10.244.7.0/24,fd00:0:0:7::/64", "--network-plugin-mtu=1400"]);
    command.args(folders(files.path())).env_remove("NODE_NAME");
    let mut agent = Agent::run(&netns, command);
    agent.says("no API server is asked or told");
    agent.says("network ready");
    let mut netlink = netns.run(net::Netlink::open).unwrap().unwrap();
    let cbr0 = netlink.link("cbr0").unwrap().unwrap();
    assert_eq!((cbr0.mtu, cbr0.up), (1400, true));
    let addresses = netlink.addresses().unwrap();
    let addresses = addresses.iter().filter(|a| a.link == cbr0.index);
    let addresses = addresses.map(|a| a.address.to_string()).collect::<Vec<_>>();
    for gateway in ["10.244.7.1", "fd00:0:0:7::1"] {
        assert!(addresses.iter().any(|address| address == gateway), "{addresses:?}");
    }
    assert!(files.path().join("conf/10-kubenet.conflist").exists());
    assert!(!files.path().join("state/nodes.json").exists());
    assert_eq!(agent.terminate().code(), Some(0));
}

#[test]
fn a_second_agent_waits_for_the_end_of_the_first() {
    let (netns, files) = machine();
    let mut first = Agent::start(&netns, files.path());
    first.says("network not ready");
    let second = Agent::start(&netns, files.path());
    second.says("another agent runs on this machine");
    first.terminate();
    second.says("network not ready");
}

/// Its other half needs a kernel without it; agent/net/src/module.rs has what can be tested of that.
#[test]
fn modprobe_leaves_alone_what_is_there() {
    let output = agent().args(["modprobe", "--modules-dir=/nowhere"]).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert_eq!(String::from_utf8(output.stdout).unwrap(), "br_netfilter is there\n");
}

#[test]
fn bad_flags_end_it_with_64_and_one_message() {
    let output = agent()
        .args(["--node-name=", "--network-plugin-mtu=x", "--plugin=/nowhere"])
        .output()
        .unwrap();
    let text = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(64), "{text}");
    for flag in ["--node-name", "--cluster-cidr", "--network-plugin-mtu", "--plugin"] {
        assert!(text.contains(&format!("\n  {flag}: ")), "{text}");
    }
}
