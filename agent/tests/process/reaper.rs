//! DELs beside an agent that lives, is stopped, or is killed.

use std::fs;
use std::os::fd::{AsFd, AsRawFd};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use cni::{Answer, Environment, Plugin};
use common::attachment::AttachmentId;
use common::names;
use net::{Netlink, Netns};
use nix::sys::signal::Signal;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::lab::{Agent, DEADLINE, machine};

/// How often what depends on a fast answer is tried.
const ATTEMPTS: usize = 20;

/// For what may come or not.
const SILENCE: Duration = Duration::from_millis(500);

/// A machine with an agent that knows its Node.
pub(crate) struct Host {
    netns: Netns,
    netlink: Netlink,
    files: TempDir,
    agent: Agent,
}

/// What a runtime says besides the verb and whose container it is.
pub(crate) struct Said<'a> {
    /// `runtimeConfig`
    pub(crate) asked: Value,
    pub(crate) args: &'a str,
    /// `prevResult`
    pub(crate) previous: Value,
}

impl Host {
    pub(crate) fn new() -> Self {
        let (netns, files) = machine();
        fs::create_dir(files.path().join("state")).unwrap();
        let me = json!([{
            "name": "me", "uid": "u", "created": 1, "terminating": false,
            "pod_cidrs": ["10.244.1.0/24", "fd00:10:244:1::/64"], "internal_ips": [],
            "network_unavailable": null,
        }]);
        fs::write(files.path().join("state/nodes.json"), me.to_string()).unwrap();
        let mut netlink = netns.run(Netlink::open).unwrap().unwrap();
        netlink.create_bridge("cbr0", net::Mac([0x0a, 0x58, 0, 0, 0, 1])).unwrap();
        let agent = Agent::start(&netns, files.path());
        agent.says("network ready");
        Self { netns, netlink, files, agent }
    }

    /// Does `work` while the agent is stopped.
    pub(crate) fn stopped(&self, work: impl FnOnce()) {
        self.agent.signal(Signal::SIGSTOP);
        work();
        self.agent.signal(Signal::SIGCONT);
    }

    #[track_caller]
    pub(crate) fn says(&self, text: &str) {
        self.agent.says(text);
    }

    pub(crate) fn state(&self, name: &str) -> PathBuf {
        self.files.path().join("state").join(name)
    }

    /// Calls the plugin, with a host port.
    fn call(&self, verb: &str, id: &str, pod: &Netns) -> Answer {
        let mapping = json!({ "hostPort": 8080, "containerPort": 80, "protocol": "tcp" });
        let asked = json!({ "portMappings": [mapping] });
        self.call_with(verb, id, pod, &Said { asked, args: "", previous: Value::Null })
    }

    /// Calls the plugin as a runtime does by the configuration that the agent wrote.
    pub(crate) fn call_with(&self, verb: &str, id: &str, pod: &Netns, said: &Said<'_>) -> Answer {
        let list = fs::read(self.files.path().join("conf").join(names::CONFLIST)).unwrap();
        let list = serde_json::from_slice::<Value>(&list).unwrap();
        let mut conf = list["plugins"][0].clone();
        conf["cniVersion"] = json!("1.0.0");
        conf["name"] = list["name"].clone();
        conf["runtimeConfig"] = said.asked.clone();
        conf["prevResult"] = said.previous.clone();
        let path = format!("/proc/{}/fd/{}", std::process::id(), pod.as_fd().as_raw_fd());
        let environment = Environment {
            command: Some(verb.into()),
            container_id: Some(id.into()),
            netns: Some(path.into()),
            ifname: Some("eth0".into()),
            args: Some(said.args.into()),
            trace_parent: None,
        };
        let stdin = conf.to_string();
        let call = || cni::answer(Plugin::Kubenet, &environment, stdin.as_bytes());
        self.netns.run(call).unwrap()
    }

    #[track_caller]
    fn add(&self, id: &str, pod: &Netns) {
        let answer = self.call("ADD", id, pod);
        assert!(matches!(answer, Answer::Done(Some(_))), "{answer:?}");
    }

    #[track_caller]
    fn del(&self, id: &str, pod: &Netns) {
        assert_eq!(self.call("DEL", id, pod), Answer::Done(None));
    }

    /// What there is of pods: links, files, and elements.
    fn traces(&mut self) -> Vec<String> {
        let links = self.netlink.links().unwrap().into_iter().map(|link| link.name);
        let ours = |name: &String| name.starts_with("veth") || name.starts_with("ifb");
        let mut traces = links.filter(ours).collect::<Vec<_>>();
        for name in [names::CLAIMS, names::LEASES, names::ATTACHMENTS, names::TOMBSTONES] {
            let entries = self.state(name).read_dir().into_iter().flatten();
            let files = entries.map(|entry| entry.unwrap().file_name());
            traces.extend(files.map(|file| format!("{name}/{}", file.display())));
        }
        let listing = self.netns.run(|| net::nft::list(names::PODS_TABLE)).unwrap().unwrap();
        let listing = listing.unwrap_or_default();
        traces.extend(listing.lines().filter(|l| l.contains("elements")).map(str::to_owned));
        traces
    }

    fn host_link(&mut self, id: &str) -> Option<net::link::Link> {
        let id = AttachmentId::new(id, "eth0").unwrap();
        self.netlink.link(&id.host_link()).unwrap()
    }

    #[track_caller]
    pub(crate) fn await_nothing(&mut self) {
        until(|| {
            let traces = self.traces();
            if traces.is_empty() { Ok(()) } else { Err(format!("{traces:#?}")) }
        });
    }
}

/// Waits until it says yes.
#[track_caller]
pub(crate) fn until(mut condition: impl FnMut() -> Result<(), String>) {
    let deadline = Instant::now() + DEADLINE;
    while let Err(why) = condition() {
        assert!(Instant::now() < deadline, "{why}");
        std::thread::yield_now();
    }
}

pub(crate) fn pod() -> Netns {
    Netns::unnamed().unwrap()
}

#[test]
fn the_agent_completes_a_del() {
    let (mut host, pod) = (Host::new(), pod());
    let mut completed = 0;
    // Where the machine keeps the agent from answering in 20 ms, a DEL does it all.
    for _ in 0..ATTEMPTS {
        host.add("c1", &pod);
        host.del("c1", &pod);
        host.await_nothing();
        completed += usize::from(host.agent.has_said("removed id=c1@eth0", SILENCE));
        if completed == 3 {
            return;
        }
    }
    panic!("it completed {completed} of {ATTEMPTS}");
}

#[test]
fn an_add_of_the_same_container_and_namespace_right_after_del_works() {
    let (mut host, pod) = (Host::new(), pod());
    for _ in 0..10 {
        host.add("c1", &pod);
        host.del("c1", &pod);
    }
    host.add("c1", &pod);
    let link = host.host_link("c1").unwrap();
    let bridge = host.netlink.link(names::BRIDGE).unwrap().unwrap().index;
    assert_eq!((link.master, link.up), (Some(bridge), true));
    host.del("c1", &pod);
    host.await_nothing();
}

#[test]
fn a_host_port_passes_from_pod_to_pod() {
    let mut host = Host::new();
    for number in 0..10 {
        let (id, pod) = (format!("c{number}"), pod());
        host.add(&id, &pod);
        host.del(&id, &pod);
    }
    host.await_nothing();
}

#[test]
fn a_del_beside_a_stopped_agent_does_it_all() {
    let (mut host, pod) = (Host::new(), pod());
    host.add("c1", &pod);
    host.agent.signal(Signal::SIGSTOP);
    host.del("c1", &pod);
    assert_eq!(host.traces(), [""; 0]);
    // When it goes on it has been asked, and finds a successor.
    host.add("c1", &pod);
    let before = host.traces();
    host.agent.signal(Signal::SIGCONT);
    let (links, successor) = (host.netlink.links().unwrap().len(), host.host_link("c1"));
    host.del("c2", &pod);
    host.agent.says("round");
    assert_eq!((host.traces(), host.host_link("c1")), (before, successor), "of {links} links");
}

#[test]
fn a_del_without_an_agent_does_it_all() {
    let (mut host, pod) = (Host::new(), pod());
    host.add("c1", &pod);
    host.agent.terminate();
    host.del("c1", &pod);
    assert_eq!(host.traces(), [""; 0]);
}

#[test]
fn what_a_killed_agent_took_over_the_next_one_completes() {
    let (mut host, pods) = (Host::new(), [pod(), pod()]);
    let mut taken_over = 0;
    for _ in 0..5 {
        host.add("c1", &pods[0]);
        host.del("c1", &pods[0]);
        host.agent.signal(Signal::SIGKILL);
        host.agent.child.wait().unwrap();
        taken_over += usize::from(host.state("tombstones/c1@eth0").exists());
        host.agent = Agent::start(&host.netns, host.files.path());
        host.await_nothing();
    }
    assert!(taken_over > 0, "no agent was killed early enough");
}

#[test]
fn what_nobody_calls_del_for_goes_with_its_namespace() {
    let mut host = Host::new();
    let pods = [("c1", pod()), ("c2", pod())];
    host.add(pods[0].0, &pods[0].1);
    drop(pods);
    host.agent.says("removed: its network namespace is gone");
    host.await_nothing();
}
