//! An agent takes a machine over from the reference plugins, under pods that go on talking.
//!
//! Needs root: machine, pods and the outside are namespaces.

#![expect(clippy::unwrap_used, reason = "what a test can't do is its failure")]

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use common::attachment::AttachmentId;
use common::{Family, PerFamily, names};
use e2e::network::Switch;
use e2e::place::{Place, Process};
use e2e::program::{converse, output, run};
use e2e::traces::{Logs, Traces};
use e2e::wait::eventually;
use e2e::{artifacts, chain, host, lab, reference};
use net::Netns;
use nix::sys::signal::Signal;
use probe::ping::Pinger;
use serde_json::{Value, json};

const CIDRS: [&str; 2] = ["10.244.1.0/24", "fd00:10:244:1::/64"];
const CONFLIST: &str = "05-reference.conflist";
const DISABLED: &str = "05-reference.conflist.kubenet-disabled";
const NUMBER: u8 = 11;
const PATIENCE: Duration = Duration::from_secs(20);

/// How many go each way at least, 100 in a second.
const PINGS: u32 = 100;

const ONCE: Duration = Duration::from_millis(200);

struct Machine {
    place: Place,
    libcni: PathBuf,
}

/// As tests are built: nothing is measured here.
fn program(name: &str) -> PathBuf {
    artifacts::target().join("debug").join(name)
}

fn build(traces: &Traces) -> anyhow::Result<()> {
    let mut cargo = artifacts::cargo();
    cargo.args(["build", "--locked", "-p", "agent", "-p", "cni", "-p", "probe"]);
    run(traces, "cargo build of agent, plugin and probe", "cargo-programs", &mut cargo)
}

struct Pod {
    id: &'static str,
    netns: Netns,
    addresses: PerFamily<IpAddr>,
}

impl Machine {
    /// With pods of the reference plugins on cbr0.
    fn open(traces: &Traces, switch: &Switch) -> Self {
        let place = Place::open(traces, "machine", &program("probe")).unwrap();
        switch.plug(&place, NUMBER).unwrap();
        chain::install(traces, &place).unwrap();
        let bridge = chain::bridge(names::BRIDGE, &CIDRS.map(str::to_owned));
        let list = chain::conflist(&bridge).to_string();
        std::fs::write(chain::file(&place, CONFLIST), list).unwrap();
        Self { place, libcni: reference::libcni(traces).unwrap().join("libcni") }
    }

    /// A call of libcni as a runtime makes it, with the configuration of that name.
    fn call(&self, verb: &str, config: &str, id: &str) -> Value {
        let call = json!({
            "verb": verb, "conflist": Path::new(names::CNI_CONF_DIR).join(config),
            "path": [names::CNI_BIN_DIR], "cache": names::CNI_DATA_DIR, "containerID": id,
            "netns": format!("/run/netns/{id}"), "ifname": "eth0",
            "args": [["IgnoreUnknown", "1"], ["K8S_POD_NAMESPACE", "default"], ["K8S_POD_NAME", id]],
        });
        let said = converse(&mut self.place.command(&self.libcni), &call.to_string()).unwrap();
        serde_json::from_str(&said).unwrap_or_default()
    }

    fn add(&self, config: &str, id: &'static str) -> Pod {
        output(self.place.command("ip").args(["netns", "add", id])).unwrap();
        let result = self.call("ADD", config, id);
        let ips = result["ips"].as_array().unwrap().iter();
        let ips = ips.map(|ip| ip["address"].as_str().unwrap().split('/').next().unwrap());
        let ips = ips.map(|ip| ip.parse::<IpAddr>().unwrap()).collect::<Vec<_>>();
        let find = |family| *ips.iter().find(|ip| Family::from(**ip) == family).unwrap();
        let netns = Netns::open(&self.place.path(&format!("/run/netns/{id}"))).unwrap();
        Pod { id, netns, addresses: PerFamily::from_fn(find) }
    }

    /// Where libcni keeps what the pod's ADD was answered.
    fn answer(&self, pod: &Pod) -> PathBuf {
        let name = format!("reference-{}-eth0", pod.id);
        self.place.path(names::CNI_DATA_DIR).join("results").join(name)
    }

    /// Its namespace goes, and nobody calls DEL.
    fn kill(&self, pod: Pod) {
        let Pod { id, netns, .. } = pod;
        drop(netns);
        output(self.place.command("ip").args(["netns", "delete", id])).unwrap();
    }

    fn start_agent(&self) -> Process {
        let mut agent = self.place.command(program("kubenet-agent"));
        agent.arg(format!("--pod-cidr={}", CIDRS.join(","))).arg("--take-over");
        agent.arg("--plugin").arg(program("kubenet"));
        let mut agent = self.place.start("kubenet-agent", &mut agent).unwrap();
        agent.wait_for_log("network ready").unwrap();
        agent
    }

    /// The kubenet program's answer to an operator.
    fn agent(&self, arguments: &[&str]) -> anyhow::Result<String> {
        output(self.place.command(program("kubenet-agent")).args(arguments))
    }

    fn state(&self, folder: &str) -> BTreeSet<String> {
        let folder = self.place.path(names::STATE_DIR).join(folder);
        let names = folder.read_dir().unwrap();
        names.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }

    #[track_caller]
    fn becomes(&self, what: &str, look: impl Fn(&Self) -> bool) {
        eventually(what, PATIENCE, || Ok(look(self).then_some(()))).unwrap();
    }

    /// Of cbr0.
    fn mac(&self) -> String {
        let links = self.place.output(&["ip", "-json", "link", "show", "dev", names::BRIDGE]);
        let links = serde_json::from_str::<Value>(&links.unwrap()).unwrap();
        links[0]["address"].as_str().unwrap().to_owned()
    }
}

/// Everybody who pings, with whom.
fn ways<'a>(
    pods: [&'a Pod; 2],
    machine: &'a Place,
    outside: &'a Place,
) -> Vec<(&'a Netns, IpAddr)> {
    let [a, b] = pods;
    let ways = Family::BOTH.map(|family| {
        let out = lab::outside_addresses()[family];
        [
            (&outside.netns, a.addresses[family]),
            (&machine.netns, b.addresses[family]),
            (&a.netns, b.addresses[family]),
            (&b.netns, out),
        ]
    });
    ways.concat()
}

/// Does `work` while pings go all these ways; none may be lost.
#[track_caller]
fn lossless<T>(ways: &[(&Netns, IpAddr)], work: impl FnOnce() -> T) -> T {
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let streams = ways.iter().zip(10..).map(|(&(netns, address), number)| {
            let (done, mut pings) = (&done, 0);
            let done = move || {
                pings += 1;
                pings > PINGS && done.load(Ordering::Relaxed)
            };
            let ping = move || Pinger::new(address, number).unwrap().stream(done).unwrap();
            (address, scope.spawn(move || netns.run(ping).unwrap()))
        });
        let streams = streams.collect::<Vec<_>>();
        let result = work();
        done.store(true, Ordering::Relaxed);
        for (address, stream) in streams {
            let count = stream.join().unwrap();
            assert_eq!(count.received, count.sent, "pings to {address} are lost");
        }
        result
    })
}

#[test]
fn a_machine_is_taken_over_from_bridge_and_host_local_without_a_packet_lost() {
    let traces = lab::begin().unwrap();
    host::prepare(&traces).unwrap();
    build(&traces).unwrap();
    let switch = Switch::open(&traces, &program("probe")).unwrap();
    let machine = Machine::open(&traces, &switch);
    let outside = lab::outside(&traces, &switch, &program("probe")).unwrap();
    let via = e2e::network::addresses(NUMBER);
    let routes = CIDRS.iter().zip([via.v4, via.v6]);
    let routes = routes.map(|(cidr, via)| format!("route add {cidr} via {via}\n"));
    outside.ip(&routes.collect::<String>()).unwrap();
    take_over(&machine, &outside);
    drop((machine, outside, switch));
    traces.end(Logs::Remove).unwrap();
}

fn take_over(machine: &Machine, outside: &Place) {
    let [a, b, deleted, nameless, silent] =
        ["old-a", "old-b", "old-deleted", "old-nameless", "old-silent"]
            .map(|id| machine.add(CONFLIST, id));
    let (mac, ways) = (machine.mac(), ways([&a, &b], &machine.place, outside));
    for &(netns, address) in &ways {
        let mut pinger = netns.run(|| Pinger::new(address, 1).unwrap()).unwrap();
        eventually("all reach all", PATIENCE, || Ok(pinger.ping(8, ONCE).ok())).unwrap();
    }
    // As kubelet's own kubenet was answered: which port is its, it tells itself.
    let old = json!({"kind": "cniCacheV1", "containerId": nameless.id, "ifName": "eth0", "result": {
        "cniVersion": "0.1.0", "ip4": {"ip": format!("{}/24", nameless.addresses.v4)}}});
    std::fs::write(machine.answer(&nameless), old.to_string()).unwrap();
    // Of this one nobody tells.
    std::fs::remove_file(machine.answer(&silent)).unwrap();
    let down = ["-n", silent.id, "link", "set", "eth0", "down"];
    output(machine.place.command("ip").args(down)).unwrap();

    let (agent, late, young) = lossless(&ways, || {
        let agent = machine.start_agent();
        assert!(chain::file(&machine.place, DISABLED).exists());
        // The runtime had begun this one before the configuration was gone.
        let late = machine.add(DISABLED, "old-late");
        let young = ["new-a", "new-b"].map(|id| machine.add(names::CONFLIST, id));
        machine
            .becomes("the late one is ours", |m| m.state("attachments").contains("old-late@eth0"));
        machine.call("DEL", names::CONFLIST, deleted.id);
        (agent, late, young)
    });
    assert!(machine.state("attachments").contains("old-nameless@eth0"));
    assert_eq!(machine.mac(), mac);
    let [c, d] = &young;
    let all = [&a, &b, &deleted, &nameless, &silent, &late, c, d];
    let addresses = all.iter().flat_map(|pod| [pod.addresses.v4, pod.addresses.v6]);
    assert_eq!(addresses.collect::<BTreeSet<_>>().len(), 16, "an address is given twice");
    lossless(&[(&c.netns, a.addresses.v4), (&b.netns, d.addresses.v6)], || {
        // What was taken over outlives the agent, and a second start takes nothing over.
        agent.end(Signal::SIGTERM).unwrap();
        let before = machine.state("attachments");
        machine.start_agent();
        assert_eq!(machine.state("attachments"), before);
    });

    let id = AttachmentId::new(deleted.id, "eth0").unwrap();
    machine.becomes("DEL leaves nothing", |m| {
        let link = m.place.output(&["ip", "link", "show", "dev", &id.host_link()]);
        link.is_err() && !m.state("claims").contains(&id.to_string())
    });
    let lease = silent.addresses.v4.to_string();
    assert!(
        machine.state("leases").contains(&lease)
            && !machine.state("claims").contains("old-silent@eth0")
    );
    machine.kill(silent);
    machine.becomes("a held address is let go", |m| !m.state("leases").contains(&lease));
    let lease = late.addresses.v6.to_string();
    let is_leased = |machine: &Machine| machine.state("leases").contains(&lease);
    assert!(is_leased(machine));
    machine.kill(late);
    machine.becomes("a dead pod's address is free", |m| !is_leased(m));
    let kept = machine.agent(&["cleanup"]).unwrap_err().to_string();
    assert!(kept.contains("pod default/old-a, attachment old-a@eth0"), "{kept}");
}
