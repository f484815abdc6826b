//! `kubenet-agent ipam` as a process, on a machine whose pod was forgotten.

#![expect(clippy::unwrap_used, reason = "what a test can't do is its failure")]

use std::fs::{self, File};
use std::os::fd::{AsFd, AsRawFd};
use std::path::Path;
use std::process::{Command, Output};
use std::time::{Duration, SystemTime};

use common::attachment::{Attachment, AttachmentId};
use net::link::{Hairpin, VethSpec};
use net::shaping::Shaping;
use net::{Mac, Netlink, Netns};
use serde_json::Value;
use tempfile::TempDir;

/// A machine with one pod, whose files say that it came an hour ago.
struct Machine {
    netns: Netns,
    netlink: Netlink,
    files: TempDir,
    id: AttachmentId,
}

impl Machine {
    fn new() -> Self {
        let netns = Netns::unnamed().unwrap();
        let netlink = netns.run(Netlink::open).unwrap().unwrap();
        let files = tempfile::tempdir().unwrap();
        Self { netns, netlink, files, id: "c1@eth0".parse().unwrap() }
    }

    /// As the plugin does it.
    fn attach(&mut self, pod: &Netns) {
        let record = Attachment {
            container_id: self.id.container_id().to_owned(),
            ifname: self.id.ifname().to_owned(),
            addresses: vec!["10.244.1.2".parse().unwrap()],
            netns_inode: pod.inode().unwrap(),
            ..Attachment::default()
        };
        for folder in ["claims", "leases", "attachments"] {
            fs::create_dir(self.files.path().join(folder)).unwrap();
        }
        let file = |name: &str| self.files.path().join(name);
        fs::write(file("claims/c1@eth0"), "c1\r\neth0").unwrap();
        let hour = SystemTime::now() - Duration::from_hours(1);
        File::options()
            .write(true)
            .open(file("claims/c1@eth0"))
            .unwrap()
            .set_modified(hour)
            .unwrap();
        fs::hard_link(file("claims/c1@eth0"), file("leases/10.244.1.2")).unwrap();
        fs::write(file("attachments/c1@eth0"), serde_json::to_vec(&record).unwrap()).unwrap();
        let bridge = self.netlink.create_bridge("cbr0", Mac([2, 0, 0, 0, 0, 1])).unwrap();
        let veth = self.netlink.create_veth(&VethSpec {
            host_name: &self.id.host_link(),
            host_mac: Mac([2, 0, 0, 0, 0, 2]),
            container_name: "eth0",
            container_mac: Mac([2, 0, 0, 0, 0, 3]),
            netns: pod,
            mtu: 1500,
            alias: &record.alias(),
            bridge,
            hairpin: Hairpin::Off,
            shaping: Shaping::default(),
        });
        veth.unwrap();
    }

    fn run(&self, arguments: &[&str]) -> Output {
        let mut command = agent();
        command.arg("ipam").args(arguments).arg("--state-dir").arg(self.files.path());
        self.netns.run(|| command.output().unwrap()).unwrap()
    }

    /// Its exit code, and what it printed.
    #[track_caller]
    fn says(&self, arguments: &[&str]) -> (Option<i32>, String) {
        let output = self.run(arguments);
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(stderr, "", "{output:?}", output = output.status);
        (output.status.code(), String::from_utf8(output.stdout).unwrap())
    }
}

#[expect(clippy::disallowed_methods, reason = "a test of the program runs the program")]
fn agent() -> Command {
    Command::new(env!("CARGO_BIN_EXE_kubenet-agent"))
}

/// A process that is in `pod` as long as it lives.
fn sleeper(pod: &Netns) -> std::process::Child {
    #[expect(clippy::disallowed_methods, reason = "stands for a pod's process")]
    let mut command = Command::new("sleep");
    pod.run(|| command.arg("600").spawn().unwrap()).unwrap()
}

#[test]
fn show_says_who_holds_what() {
    let mut machine = Machine::new();
    let (code, text) = machine.says(&["show"]);
    assert_eq!((code, text.lines().count()), (Some(0), 1), "{text}");
    let pod = Netns::unnamed().unwrap();
    machine.attach(&pod);
    let mut process = sleeper(&pod);
    let (code, text) = machine.says(&["show", "--output=json"]);
    process.kill().unwrap();
    let pid = process.id();
    process.wait().unwrap();
    assert_eq!(code, Some(0));
    let json = serde_json::from_str::<Value>(&text).unwrap();
    let held = &json["attachments"][0];
    assert_eq!(held["addresses"][0], "10.244.1.2");
    assert_eq!((&held["container"], &held["state"]), (&"c1".into(), &"live".into()));
    assert_eq!(held["hostLink"], machine.id.host_link());
    assert_eq!(held["namespace"]["process"], pid);
}

#[test]
fn check_finds_nothing_on_a_machine_that_is_well() {
    let mut machine = Machine::new();
    assert_eq!(machine.says(&["check"]), (Some(0), "0 attachments, nothing is wrong\n".into()));
    let pod = Netns::unnamed().unwrap();
    machine.attach(&pod);
    assert_eq!(machine.says(&["check"]), (Some(0), "1 attachments, nothing is wrong\n".into()));
}

#[test]
fn check_names_a_pod_that_is_gone_and_exits_with_3() {
    let mut machine = Machine::new();
    let pod = Netns::unnamed().unwrap();
    machine.attach(&pod);
    let link = machine.netlink.link(&machine.id.host_link()).unwrap().unwrap();
    machine.netlink.delete_link(link.index).unwrap();
    let (code, text) = machine.says(&["check"]);
    assert_eq!(code, Some(3));
    assert!(text.starts_with("c1@eth0 holds 10.244.1.2 since "), "{text}");
    // The answer to a look is no error, whatever it shows.
    assert_eq!(machine.says(&["show"]).0, Some(0));
}

#[test]
fn check_names_the_mount_that_keeps_a_namespace_without_a_process() {
    let mut machine = Machine::new();
    let pod = Netns::unnamed().unwrap();
    machine.attach(&pod);
    let mount = machine.files.path().join("mount");
    fs::write(&mount, "").unwrap();
    let pod = format!("/proc/{}/fd/{}", std::process::id(), pod.as_fd().as_raw_fd());
    let script = format!(
        "mount --bind {pod} {mount} && exec {agent} ipam check --state-dir {state}",
        mount = mount.display(),
        agent = env!("CARGO_BIN_EXE_kubenet-agent"),
        state = machine.files.path().display(),
    );
    #[expect(clippy::disallowed_methods, reason = "the mount is in a namespace of its own")]
    let mut command = Command::new("unshare");
    command.args(["--mount", "--propagation=private", "sh", "-c", &script]);
    let output = machine.netns.run(|| command.output().unwrap()).unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let first = fs::read_link("/proc/self/ns/pid").unwrap() == Path::new("pid:[4026531836]");
    if first {
        assert_eq!(output.status.code(), Some(3), "{text}");
        let part = format!("umount {} frees 10.244.1.2", mount.display());
        assert!(text.contains(&part), "{text}");
    } else {
        // A process in it may be hidden by the PID namespace.
        assert_eq!(output.status.code(), Some(0), "{text}");
    }
}

#[test]
fn a_folder_that_can_not_be_read_is_an_error_and_no_finding() {
    let machine = Machine::new();
    fs::write(machine.files.path().join("leases"), "a file").unwrap();
    let output = machine.run(&["check"]);
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    assert!(stderr.contains("cannot list") && stderr.contains("leases"), "{stderr}");
}
