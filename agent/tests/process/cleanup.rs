//! `kubenet-agent cleanup`: beside a running agent, with and without pods.

use std::collections::BTreeMap;
use std::fs::{self, File, TryLockError};
use std::net::{Ipv4Addr, TcpStream};
use std::path::Path;
use std::process::{Command, Output};
use std::time::Instant;

use common::attachment::{Attachment, AttachmentId};
use net::link::{AddrGen, Hairpin, LinkChange, VethSpec};
use net::shaping::Shaping;
use net::{Mac, Netlink, Netns};

use crate::lab::{Agent, DEADLINE, agent, folders, know_a_node, machine};
use crate::reaper::until;

fn cleanup(netns: &Netns, files: &Path, more: &[&str]) -> Output {
    let mut command = agent();
    command.arg("cleanup").args(folders(files)).args(more);
    netns.run(|| command.output().unwrap()).unwrap()
}

/// Links, addresses, routes, kernel settings and nft tables, one a line.
fn look(netns: &Netns) -> BTreeMap<String, String> {
    let inside = || {
        let mut netlink = Netlink::open().unwrap();
        let mut all = BTreeMap::new();
        let texts = [
            ("links", format!("{:#?}", netlink.links().unwrap())),
            ("addresses", format!("{:#?}", netlink.addresses().unwrap())),
            ("routes", format!("{:#?}", netlink.routes().unwrap())),
            ("ruleset", ruleset()),
        ];
        all.extend(texts.map(|(what, text)| (what.to_owned(), text)));
        settings(Path::new("/proc/sys/net"), &mut all);
        all
    };
    netns.run(inside).unwrap()
}

#[expect(clippy::disallowed_methods, reason = "a test looks at all tables, the program at its own")]
fn ruleset() -> String {
    let output = Command::new("nft").args(["list", "ruleset"]).output().unwrap();
    assert!(output.status.success());
    String::from_utf8(output.stdout).unwrap()
}

/// Those that nobody but the operator changes.
fn settings(folder: &Path, all: &mut BTreeMap<String, String>) {
    for entry in folder.read_dir().unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            settings(&path, all);
        } else if path.ends_with("nf_conntrack_count") {
            // Who has sent something meanwhile is nobody's concern.
        } else if let Ok(value) = fs::read_to_string(&path) {
            all.insert(path.display().to_string(), value);
        }
    }
}

#[track_caller]
fn same(before: &BTreeMap<String, String>, after: &BTreeMap<String, String>) {
    let differs = |(key, value): &(&String, &String)| before.get(*key) != Some(*value);
    let more = after.iter().filter(differs).collect::<Vec<_>>();
    let gone = before.keys().filter(|key| !after.contains_key(*key)).collect::<Vec<_>>();
    assert!(more.is_empty() && gone.is_empty(), "{more:#?}, gone: {gone:#?}");
}

/// With an uplink, to take the MTU from.
fn with_uplink() -> (Netns, Netns, tempfile::TempDir) {
    let ((netns, files), switch) = (machine(), Netns::unnamed().unwrap());
    let mut outside = switch.run(Netlink::open).unwrap().unwrap();
    let bridge = outside.create_bridge("switch", Mac([2, 0, 0, 0, 0, 1])).unwrap();
    let eth0 = veth(&mut outside, "port", &netns, "", bridge);
    let mut inside = netns.run(Netlink::open).unwrap().unwrap();
    let quiet = Some(AddrGen::None);
    let up = LinkChange { up: Some(true), addr_gen: quiet, ..LinkChange::default() };
    inside.set_link(eth0, &up).unwrap();
    inside.add_address(eth0, "192.0.2.1".parse().unwrap(), 24).unwrap();
    // The carrier comes a moment later, and is to be seen.
    let deadline = Instant::now() + DEADLINE;
    while !inside.link("eth0").unwrap().unwrap().running {
        assert!(Instant::now() < deadline, "no carrier");
        std::thread::yield_now();
    }
    (netns, switch, files)
}

/// A pair whose host end is a port of `bridge` and whose other end is `eth0` in `netns`.
fn veth(netlink: &mut Netlink, host: &str, netns: &Netns, alias: &str, bridge: u32) -> u32 {
    let spec = VethSpec {
        host_name: host,
        host_mac: Mac([2, 0, 0, 0, 0, 2]),
        container_name: "eth0",
        container_mac: Mac([2, 0, 0, 0, 0, 3]),
        netns,
        mtu: 1450,
        alias,
        bridge,
        hairpin: Hairpin::Off,
        shaping: Shaping::default(),
    };
    netlink.create_veth(&spec).unwrap().container
}

fn names(folder: &Path) -> Vec<String> {
    let entries = folder.read_dir().unwrap();
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

#[test]
fn a_machine_without_pods_is_as_it_was_beside_an_agent_that_lets_go() {
    let (netns, _switch, files) = with_uplink();
    know_a_node(files.path());
    let before = look(&netns);
    let mut agent = Agent::start(&netns, files.path());
    agent.says("network ready");
    assert_ne!(look(&netns), before);
    let output = cleanup(&netns, files.path(), &[]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    agent.says("network not ready: kubenet is being removed from this machine");
    agent.says("told to clean up");
    same(&before, &look(&netns));
    assert!(!files.path().join("state").exists());
    assert!(names(&files.path().join("bin")).is_empty());
    assert!(names(&files.path().join("conf")).is_empty());
    let again = cleanup(&netns, files.path(), &[]);
    assert_eq!(again.status.code(), Some(0), "{again:?}");
    assert!(agent.child.try_wait().unwrap().is_none());
    assert_eq!(agent.terminate().code(), Some(0));
    same(&before, &look(&netns));
    assert!(!files.path().join("state").exists());
}

#[test]
fn living_pods_keep_what_they_need_and_are_named_unless_it_is_forced() {
    let (netns, _switch, files) = with_uplink();
    know_a_node(files.path());
    let before = look(&netns);
    let mut agent = Agent::start(&netns, files.path());
    agent.says("network ready");
    let (pod, mut netlink) =
        (Netns::unnamed().unwrap(), netns.run(Netlink::open).unwrap().unwrap());
    let id = "c1@eth0".parse::<AttachmentId>().unwrap();
    let record = Attachment {
        container_id: "c1".to_owned(),
        ifname: "eth0".to_owned(),
        addresses: vec!["10.244.1.5".parse().unwrap()],
        ..Attachment::default()
    };
    let cbr0 = netlink.link("cbr0").unwrap().unwrap().index;
    veth(&mut netlink, &id.host_link(), &pod, &record.alias(), cbr0);
    // The agent gives it what a pod's port lacks.
    until(|| match netlink.link(&id.host_link()).unwrap().unwrap().hairpin {
        Some(true) => Ok(()),
        hairpin => Err(format!("hairpin {hairpin:?}")),
    });
    let right = look(&netns);
    let kept = cleanup(&netns, files.path(), &[]);
    let text = String::from_utf8(kept.stderr).unwrap();
    assert_eq!(kept.status.code(), Some(3), "{text}");
    assert!(text.contains("attachment c1@eth0 10.244.1.5"), "{text}");
    same(&right, &look(&netns));
    assert!(files.path().join("conf/10-kubenet.conflist").is_file());
    assert!(files.path().join("bin/kubenet").is_file());
    let reason = fs::read_to_string(files.path().join("state/cleaning")).unwrap();
    assert!(reason.contains("takes no new pods"), "{reason}");
    // Whoever installs it again means it.
    agent.terminate();
    let agent = Agent::start(&netns, files.path());
    agent.says("an earlier cleanup has ended");
    agent.says("network ready");
    assert!(!files.path().join("state/cleaning").exists());
    same(&right, &look(&netns));
    let forced = cleanup(&netns, files.path(), &["--force"]);
    assert_eq!(forced.status.code(), Some(0), "{forced:?}");
    same(&before, &look(&netns));
    assert!(!files.path().join("state").exists());
}

#[test]
fn a_cleanup_that_stays_keeps_agents_out_until_its_end() {
    let (netns, files) = machine();
    let mut command = agent();
    command.args(["cleanup", "--stay"]).args(folders(files.path()));
    let mut cleanup = Agent::run(&netns, command);
    let lock = files.path().join("state/agent.lock");
    until(|| match File::open(&lock).map(|lock| lock.try_lock()) {
        Ok(Err(TryLockError::WouldBlock)) => Ok(()),
        other => Err(format!("{other:?}")),
    });
    let mut agent = Agent::start(&netns, files.path());
    agent.says("another agent runs on this machine");
    assert_eq!(agent.terminate().code(), Some(0));
    assert!(files.path().join("state/cleaning").exists());
    assert_eq!(cleanup.terminate().code(), Some(0));
    assert!(!files.path().join("state").exists());
}

#[test]
fn a_call_of_the_plugin_that_has_begun_is_waited_for_and_named() {
    let (netns, files) = machine();
    let claims = files.path().join("state/claims");
    fs::create_dir_all(&claims).unwrap();
    let claim = File::create(claims.join("c1@eth0")).unwrap();
    claim.lock().unwrap();
    let kept = cleanup(&netns, files.path(), &[]);
    assert_eq!(kept.status.code(), Some(3), "{kept:?}");
    let text = String::from_utf8(kept.stderr).unwrap();
    assert!(text.contains("c1@eth0, which a plugin has been working on"), "{text}");
    claim.unlock().unwrap();
    assert_eq!(cleanup(&netns, files.path(), &[]).status.code(), Some(0));
}

#[test]
fn an_agent_that_holds_on_to_the_machine_is_named() {
    let (netns, files) = machine();
    fs::create_dir(files.path().join("state")).unwrap();
    let lock = File::create(files.path().join("state/agent.lock")).unwrap();
    lock.lock().unwrap();
    let output = cleanup(&netns, files.path(), &[]);
    let text = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains("an agent runs on this machine and does not let go"), "{text}");
}

#[test]
fn a_config_that_made_way_for_ours_gets_its_name_back() {
    let (netns, files) = machine();
    let conf = files.path().join("conf");
    fs::create_dir(&conf).unwrap();
    fs::write(conf.join("05-other.conflist.kubenet-disabled"), "{}").unwrap();
    let output = cleanup(&netns, files.path(), &[]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert_eq!(names(&conf), ["05-other.conflist"]);
    // A new one of that name is nobody's to replace.
    fs::write(conf.join("05-other.conflist.kubenet-disabled"), "{}").unwrap();
    let output = cleanup(&netns, files.path(), &[]);
    let text = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains("there is another"), "{text}");
}

#[test]
fn it_takes_no_flags_of_a_running_agent() {
    let output = agent().args(["cleanup", "--node-name=me"]).output().unwrap();
    assert_eq!(output.status.code(), Some(64), "{output:?}");
}

#[test]
fn an_agent_without_an_api_server_lets_go_and_stays_until_its_end() {
    let (netns, _switch, files) = with_uplink();
    let mut netlink = netns.run(Netlink::open).unwrap().unwrap();
    let lo = netlink.link("lo").unwrap().unwrap().index;
    netlink.set_link(lo, &LinkChange { up: Some(true), ..LinkChange::default() }).unwrap();
    let mut command = agent();
    command.args(["--pod-cidr=10.244.7.0/24", "--network-plugin-mtu=1400"]);
    command.args(folders(files.path())).env_remove("NODE_NAME");
    let mut agent = Agent::run(&netns, command);
    agent.says("network ready");
    assert!(cleanup(&netns, files.path(), &[]).status.success());
    agent.says("told to clean up");
    // It answers as ever.
    let address = (Ipv4Addr::LOCALHOST, common::names::AGENT_PORT);
    let start = Instant::now();
    while netns.run(|| TcpStream::connect(address)).unwrap().is_err() {
        assert!(start.elapsed() < DEADLINE, "nobody answers");
    }
    assert_eq!(agent.terminate().code(), Some(0));
}
