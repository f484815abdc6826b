//! One machine with an agent and without a kubelet, on a real API server: the other Nodes of its
//! cluster are objects alone.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};
use common::names;
use k8s_openapi::api::core::v1::Node;
use nix::sys::signal::Signal;
use probe::http::fetch;

use crate::api_server::{Alone, ApiServer};
use crate::artifacts::Artifacts;
use crate::cni_call;
use crate::fake;
use crate::network::{self, Switch};
use crate::pki::Pki;
use crate::place::{Place, Process};
use crate::program::output;
use crate::traces::Traces;

/// For one answer of the agent.
const ONCE: Duration = Duration::from_secs(2);

/// The machine and its Node.
pub const NAME: &str = "solo";

/// Its number on the switch.
pub const NUMBER: u8 = 11;

/// Its podCIDRs.
pub const POD_CIDRS: [&str; 2] = ["10.244.1.0/24", "fd00:10:244:1::/64"];

/// The cluster, and where the parts of it are.
pub struct Solo {
    pub api: ApiServer,
    pub place: Place,
    /// None while it is stopped.
    pub agent: Option<Process>,
    /// Pod addresses of the cluster, as flags have them.
    pub cluster_cidrs: String,
    /// With the rights that the chart gives.
    pub kubeconfig: PathBuf,
    pub pki: Pki,
    pub switch: Switch,
    pub artifacts: Artifacts,
    pub traces: Traces,
}

impl Solo {
    /// Everything but the agent, down to the Node with its podCIDRs.
    pub fn open(traces: &Traces) -> Result<Self> {
        let Alone { api, artifacts, pki, switch, .. } = Alone::start(traces)?;
        let place = Place::open(traces, NAME, &artifacts.probe)?;
        switch.plug(&place, NUMBER)?;
        let kubeconfig = pki.kubeconfig("kubenet-agent", "kubenet-agent", "")?;
        api.observer.create_nodes(vec![own_node()])?;
        Ok(Self {
            api,
            place,
            agent: None,
            cluster_cidrs: network::CLUSTER_CIDRS.to_owned(),
            kubeconfig,
            pki,
            switch,
            artifacts,
            traces: traces.clone(),
        })
    }

    /// The agent's command line; `more` flags come last.
    pub fn command(&self, more: &[&str]) -> Command {
        let mut agent = self.place.command(&self.artifacts.agent);
        agent.arg("--kubeconfig").arg(&self.kubeconfig).args(["--node-name", NAME]);
        agent.args(["--cluster-cidr", &self.cluster_cidrs]);
        agent.arg("--plugin").arg(&self.artifacts.plugin).args(more);
        agent
    }

    /// Starts the agent with `more` flags, and waits until it has found all well.
    pub fn start_agent(&mut self, more: &[&str]) -> Result<()> {
        let agent = self.place.start("kubenet-agent", &mut self.command(more))?;
        self.agent.insert(agent).wait_for_log("network ready")
    }

    pub fn end_agent(&mut self) -> Result<()> {
        self.agent.take().context("no agent runs")?.end(Signal::SIGTERM)
    }

    /// What the agent answers to a GET of `path`.
    pub fn ask_agent(&self, path: &str) -> Result<String> {
        let at = SocketAddr::from((Ipv4Addr::LOCALHOST, names::AGENT_PORT));
        Ok(self.place.netns.run(|| fetch(at, path, ONCE))??)
    }

    /// One call of the plugin for a pod of that name.
    pub fn plugin(&self, verb: &str, pod: &str) -> Result<String> {
        let netns = |change| output(self.place.command("ip").args(["netns", change, pod]));
        if verb == "ADD" {
            netns("add")?;
        }
        let said = cni_call::call(&self.place, verb, pod, None)?;
        if verb == "DEL" {
            netns("delete")?;
        }
        Ok(said)
    }

    /// A route of the machine as `ip` shows it, by its destination; none if there is none.
    pub fn route(&self, destination: &str) -> Result<Option<String>> {
        let family = if destination.contains(':') { "-6" } else { "-4" };
        let text = self.place.output(&["ip", family, "route", "show", "exact", destination])?;
        Ok(text.lines().next().map(|line| line.trim_end().to_owned()))
    }

    /// The nft table that masquerades.
    pub fn table(&self) -> Result<String> {
        self.place.output(&["nft", "list", "table", "inet", names::TABLE])
    }
}

fn own_node() -> Node {
    let addresses = network::addresses(NUMBER);
    let mut node = fake::node(NAME, &[addresses.v4, addresses.v6], &POD_CIDRS);
    // It has a machine.
    node.metadata.labels = None;
    node
}

/// A Node on the machine's link, without a machine: `number` is at most 200.
pub fn peer(number: u8, pod_cidrs: &[&str]) -> Node {
    let addresses = network::addresses(number);
    at(&format!("peer-{number}"), &[addresses.v4, addresses.v6], pod_cidrs)
}

/// A Node whose InternalIP these are, without a machine.
pub fn at(name: &str, addresses: &[IpAddr], pod_cidrs: &[&str]) -> Node {
    fake::node(name, addresses, pod_cidrs)
}
