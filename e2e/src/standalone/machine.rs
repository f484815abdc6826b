//! A machine without Kubernetes: a place with an agent, and pods that are network namespaces in it.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use common::{Family, PerFamily, names};
use net::Netns;
use nix::sys::signal::Signal;
use probe::PORT;
use probe::dial::{Protocol, dial};
use probe::http::fetch;
use serde_json::{Value, json};

use crate::artifacts::Artifacts;
use crate::cni_call;
use crate::network::{self, Switch};
use crate::place::{Place, Process};
use crate::program::output;
use crate::traces::Traces;
use crate::wait::eventually;
use crate::workload::{HOST_PORT, Server};

const PATIENCE: Duration = Duration::from_secs(10);
const ONCE: Duration = Duration::from_secs(1);

/// Files and folders that the agent writes to.
const FOLDERS: [&str; 3] = [names::CNI_CONF_DIR, names::CNI_BIN_DIR, "/run"];

/// Kernel settings that the agent turns on.
const SETTINGS: [&str; 2] = ["net.ipv4.ip_forward", "net.ipv6.conf.all.forwarding"];

pub(super) struct Machine<'a> {
    pub(super) place: Place,
    pub(super) number: u8,
    artifacts: &'a Artifacts,
    agent: Option<Process>,
}

/// A network namespace with a server in it.
pub(super) struct Pod {
    pub(super) server: Server,
    pub(super) netns: Netns,
    process: Process,
}

impl<'a> Machine<'a> {
    /// On the switch, as somebody who knows nothing of pods left it.
    pub(super) fn open(
        traces: &Traces,
        switch: &Switch,
        artifacts: &'a Artifacts,
        number: u8,
    ) -> Result<Self> {
        let name = format!("machine{}", number - 10);
        let place = Place::open(traces, &name, &artifacts.probe)?;
        switch.plug(&place, number)?;
        Ok(Self { place, number, artifacts, agent: None })
    }

    pub(super) fn name(&self) -> &str {
        &self.place.name
    }

    /// The pod addresses that its operator has chosen for it.
    pub(super) fn cidrs(&self) -> PerFamily<String> {
        let number = self.number - 10;
        PerFamily { v4: format!("10.244.{number}.0/24"), v6: format!("fd00:10:244:{number}::/64") }
    }

    pub(super) fn start_agent(&mut self) -> Result<()> {
        let cidrs = self.cidrs();
        let mut agent = self.place.command(&self.artifacts.agent);
        agent.arg(format!("--pod-cidr={},{}", cidrs.v4, cidrs.v6));
        agent.args(["--cluster-cidr", network::CLUSTER_CIDRS]);
        agent.arg("--plugin").arg(&self.artifacts.plugin);
        let mut agent = self.place.start("kubenet-agent", &mut agent)?;
        agent.wait_for_log("network ready")?;
        self.agent = Some(agent);
        Ok(())
    }

    pub(super) fn end_agent(&mut self) -> Result<()> {
        self.agent.take().context("no agent runs")?.end(Signal::SIGTERM)
    }

    /// `ip route add` (or `delete`) of the way to `peer`'s pods, as its operator types it.
    pub(super) fn route(&self, verb: &str, peer: &Self) -> Result<()> {
        let (cidrs, via) = (peer.cidrs(), network::addresses(peer.number));
        let line = |family: Family| format!("route {verb} {} via {}\n", cidrs[family], via[family]);
        self.place.ip(&Family::BOTH.map(line).concat())
    }

    /// Attaches a pod as a container runtime would, and starts a server in it.
    pub(super) fn add(&self, name: &str, host_port: bool) -> Result<Pod> {
        self.ip(&["netns", "add", name])?;
        let result = self.call("ADD", name, host_port)?;
        let result = serde_json::from_str::<Value>(&result)?;
        let ips = result["ips"].as_array().into_iter().flatten();
        let ips = ips.filter_map(|ip| ip["address"].as_str()?.split('/').next()?.parse().ok());
        let ips = ips.collect::<Vec<IpAddr>>();
        let find = |family| ips.iter().copied().find(|ip| Family::from(*ip) == family);
        let (Some(v4), Some(v6)) = (find(Family::V4), find(Family::V6)) else {
            bail!("{name} has not both families: {result}");
        };
        let server = Server { name: name.to_owned(), addresses: PerFamily { v4, v6 } };
        let mut serve = self.place.command("ip");
        serve.args(["netns", "exec", name]).arg(&self.artifacts.probe).args(["serve", name]);
        let process = self.place.start(name, &mut serve)?;
        let netns = Netns::open(&self.place.path(&format!("/run/netns/{name}")))?;
        eventually(&format!("{name} answers"), PATIENCE, || {
            let ask = || dial(Protocol::Tcp, SocketAddr::new(v4, PORT), ONCE).ok();
            Ok(self.place.netns.run(ask)?)
        })?;
        Ok(Pod { server, netns, process })
    }

    /// Ends a pod as a container runtime would.
    pub(super) fn delete(&self, pod: Pod) -> Result<()> {
        let Pod { server, netns, process } = pod;
        process.end(Signal::SIGTERM)?;
        self.call("DEL", &server.name, false)?;
        drop(netns);
        self.ip(&["netns", "delete", &server.name])
    }

    fn call(&self, verb: &str, pod: &str, host_port: bool) -> Result<String> {
        let mapping = |protocol| json!({ "hostPort": HOST_PORT, "containerPort": PORT, "protocol": protocol });
        let mappings = ["tcp", "udp"].map(mapping);
        let asked = host_port.then(|| json!({ "portMappings": mappings }));
        cni_call::call(&self.place, verb, pod, asked)
    }

    fn ip(&self, arguments: &[&str]) -> Result<()> {
        output(self.place.command("ip").args(arguments)).map(drop)
    }

    /// How often the agent has repaired something.
    pub(super) fn repairs(&self) -> Result<u32> {
        let at = SocketAddr::from((Ipv4Addr::LOCALHOST, names::AGENT_PORT));
        let text = self.place.netns.run(|| fetch(at, "/metrics", ONCE))??;
        let lines =
            text.lines().filter(|line| line.starts_with("kubenet_agent_drift_repaired_total"));
        Ok(lines.filter_map(|line| line.rsplit(' ').next()?.parse::<u32>().ok()).sum())
    }

    /// `kubenet-agent cleanup`.
    ///
    /// # Errors
    /// What it says, if it leaves anything.
    pub(super) fn clean_up(&self) -> Result<String> {
        let mut cleanup = self.place.command(&self.artifacts.agent);
        output(cleanup.arg("cleanup").arg("--plugin").arg(&self.artifacts.plugin))
    }

    /// All that kubenet could have changed, as text.
    pub(super) fn look(&self) -> Result<String> {
        let mut seen = Vec::new();
        for program in [
            &["ip", "-brief", "link"][..],
            &["ip", "-brief", "address"],
            &["ip", "-4", "route"],
            &["ip", "-6", "route"],
            &["nft", "list", "ruleset"],
        ] {
            seen.push(self.place.output(program)?);
        }
        for folder in FOLDERS {
            let entries = self.place.path(folder).read_dir()?;
            let names = entries.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()));
            let mut names = names.collect::<Result<Vec<_>>>()?;
            names.sort();
            seen.push(format!("{folder}: {}\n", names.join(" ")));
        }
        seen.push(output(self.place.command("sysctl").args(SETTINGS))?);
        Ok(seen.concat())
    }
}
