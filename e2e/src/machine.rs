//! A machine of the cluster: containerd, kubelet, kube-proxy and a kubenet agent in one place.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};
use common::names;
use nix::sys::signal::Signal;
use probe::http::fetch;
use serde_json::Value;

use crate::artifacts::Artifacts;
use crate::cgroup;
use crate::kubernetes::Kubernetes;
use crate::network::{self, Switch};
use crate::pki::Pki;
use crate::place::{Place, Process};
use crate::program::output;
use crate::runtime::{Runtime, SOCKET};
use crate::traces::Traces;
use crate::wait::eventually;

const PATIENCE: Duration = Duration::from_secs(30);
const ONCE: Duration = Duration::from_secs(1);

/// Where a kubelet that stands alone looks for pods.
pub const STATIC_PODS: &str = "/etc/kubernetes/manifests";

/// Where it tells of them (its flag's documented default, off since 1.10).
pub const READ_ONLY_PORT: u16 = 10255;

/// A running machine.
#[derive(Debug)]
pub struct Machine {
    pub place: Place,
    pub number: u8,
    /// None before it is started, and while a scenario has it stopped.
    pub agent: Option<Process>,
    runtime: Runtime,
    agent_program: PathBuf,
    plugin: PathBuf,
    agent_kubeconfig: PathBuf,
    proxy: PathBuf,
    proxy_kubeconfig: PathBuf,
    folder: PathBuf,
}

/// What there is to say of a machine's cbr0.
#[derive(Clone, Debug)]
pub struct Bridge {
    /// In bytes.
    pub mtu: u64,
    pub addresses: Vec<Address>,
}

/// An address and the length of its prefix.
#[derive(Clone, Copy, Debug)]
pub struct Address {
    pub ip: IpAddr,
    pub length: u64,
}

/// What a machine is made of.
#[derive(Clone, Copy)]
pub struct Parts<'a> {
    pub traces: &'a Traces,
    pub switch: &'a Switch,
    pub pki: &'a Pki,
    pub kubernetes: &'a Kubernetes,
    pub artifacts: &'a Artifacts,
    /// The tar file of the lab's image.
    pub image: &'a Path,
}

impl Machine {
    /// Opens the place and starts containerd; its kubelet comes when there is an API server.
    pub fn open(parts: Parts<'_>, number: u8, runtime: Runtime) -> Result<Self> {
        let name = format!("node{}", number - 10);
        let folder = parts.traces.folder().join(&name);
        fs::create_dir_all(&folder)?;
        cgroup::add(&parts.traces.name(), &name)?;
        let place = Place::open(parts.traces, &name, &parts.artifacts.probe)?;
        parts.switch.plug(&place, number)?;
        let control_plane = network::addresses(crate::api_server::NUMBER);
        // The interface with the default route is the uplink.
        place.ip(&format!(
            "route add default via {}\nroute add default via {}",
            control_plane.v4, control_plane.v6
        ))?;
        let agent_kubeconfig = parts.pki.kubeconfig("kubenet-agent", "kubenet-agent", "")?;
        let machine = Self {
            place,
            number,
            agent: None,
            runtime,
            agent_program: parts.artifacts.agent.clone(),
            plugin: parts.artifacts.plugin.clone(),
            agent_kubeconfig,
            proxy: parts.kubernetes.program("kube-proxy")?.to_owned(),
            proxy_kubeconfig: parts.pki.kubeconfig("kube-proxy", "system:kube-proxy", "")?,
            folder,
        };
        machine.start_containerd()?;
        Ok(machine)
    }

    /// The name of the machine and of its Node.
    pub fn name(&self) -> &str {
        &self.place.name
    }

    fn start_containerd(&self) -> Result<()> {
        let config = self.file("containerd.toml", &self.runtime.config()?)?;
        let mut containerd = self.runtime.daemon(&self.place);
        self.place.start("containerd", containerd.arg("--config").arg(config)).map(drop)
    }

    /// Waits for containerd, and brings the image.
    pub fn import(&self, image: &Path) -> Result<()> {
        let ctr = || self.runtime.client(&self.place);
        eventually("containerd answers", PATIENCE, || Ok(output(ctr().arg("version")).ok()))?;
        output(ctr().args(["images", "import"]).arg(image)).map(drop)
    }

    /// Starts the kubelet.
    pub fn join(&self, parts: Parts<'_>) -> Result<()> {
        let name = self.name();
        let user = format!("system:node:{name}");
        let kubeconfig = parts.pki.kubeconfig(name, &user, "system:nodes")?;
        let flag = format!("--kubeconfig={}", kubeconfig.display());
        self.start_kubelet(parts, "", &[flag])
    }

    /// Starts a kubelet that knows no API server: its pods are those in [`STATIC_PODS`], and who asks
    /// its [`READ_ONLY_PORT`] hears what becomes of them.
    pub fn stand_alone(&self, parts: Parts<'_>) -> Result<()> {
        fs::create_dir_all(self.place.path(STATIC_PODS))?;
        let config = format!("staticPodPath: {STATIC_PODS}\nreadOnlyPort: {READ_ONLY_PORT}\n");
        self.start_kubelet(parts, &config, &[])
    }

    fn start_kubelet(&self, parts: Parts<'_>, config: &str, flags: &[String]) -> Result<()> {
        let name = self.name();
        let config = kubelet_config(&parts.traces.name(), name) + config;
        let config = self.file("kubelet.yaml", &config)?;
        let addresses = network::addresses(self.number);
        let mut kubelet = self.place.command(parts.kubernetes.program("kubelet")?);
        kubelet.arg("--config").arg(config).args(flags);
        kubelet.arg(format!("--hostname-override={name}"));
        kubelet.arg(format!("--node-ip={},{}", addresses.v4, addresses.v6));
        kubelet.args(["--cert-dir=/var/lib/kubelet/pki", "--v=2"]);
        self.place.start("kubelet", &mut kubelet).map(drop)
    }

    /// Starts kube-proxy.
    pub fn start_proxy(&self) -> Result<Process> {
        let config = proxy_config(&self.proxy_kubeconfig, self.name());
        let config = self.file("kube-proxy.yaml", &config)?;
        let mut proxy = self.place.command(&self.proxy);
        self.place.start("kube-proxy", proxy.arg("--config").arg(config))
    }

    /// Lets nothing out of the machine's own network; its programs go on.
    pub fn fall_silent(&self) -> Result<()> {
        let chain = "{ type filter hook output priority 0; policy drop; oif lo accept; }";
        let table = format!("table inet silent {{ chain output {chain}; }}");
        self.place.output(&["nft", &table]).map(drop)
    }

    /// The end of that.
    pub fn speak_again(&self) -> Result<()> {
        self.place.output(&["nft", "delete table inet silent"]).map(drop)
    }

    /// The command line of an agent in `place`, as a systemd unit would have it.
    pub fn agent_in(&self, place: &Place) -> Command {
        let mut agent = place.command(&self.agent_program);
        agent.arg("--kubeconfig").arg(&self.agent_kubeconfig);
        agent.arg("--node-name").arg(&place.name);
        agent.args(["--cluster-cidr", network::CLUSTER_CIDRS]);
        agent.arg("--plugin").arg(&self.plugin);
        agent
    }

    /// Starts the agent.
    pub fn start_agent(&mut self) -> Result<()> {
        self.start_agent_with(&[])
    }

    /// Starts the agent with these flags besides.
    pub fn start_agent_with(&mut self, flags: &[&str]) -> Result<()> {
        let mut agent = self.agent_in(&self.place);
        self.agent = Some(self.place.start("kubenet-agent", agent.args(flags))?);
        Ok(())
    }

    /// Runs `kubenet-agent cleanup` with these flags.
    ///
    /// # Errors
    /// What it says, if it leaves anything.
    pub fn clean_up(&self, flags: &[&str]) -> Result<String> {
        let mut cleanup = self.place.command(&self.agent_program);
        output(cleanup.arg("cleanup").arg("--plugin").arg(&self.plugin).args(flags))
    }

    /// Ends the agent by `signal`, starts another one, and waits until that has found all well.
    pub fn restart_agent(&mut self, signal: Signal) -> Result<()> {
        self.agent.take().context("no agent runs")?.end(signal)?;
        self.start_agent()?;
        let agent = self.agent.as_mut().context("no agent runs")?;
        agent.wait_for_log("network ready")
    }

    /// What the agent answers to /readyz?verbose, whether it is ready or not.
    pub fn readiness(&self) -> Result<String> {
        let at = SocketAddr::from((Ipv4Addr::LOCALHOST, names::AGENT_PORT));
        let answer = self.place.netns.run(|| fetch(at, "/readyz?verbose", ONCE))?;
        Ok(answer.unwrap_or_else(|error| error.to_string()))
    }

    /// cbr0 as `ip` shows it.
    pub fn bridge(&self) -> Result<Bridge> {
        let text = self.place.output(&["ip", "-json", "address", "show", "dev", names::BRIDGE])?;
        let links = serde_json::from_str::<Value>(&text)?;
        let link = &links[0];
        let addresses = link["addr_info"].as_array().into_iter().flatten();
        let addresses = addresses.filter(|address| address["scope"] == "global").map(|address| {
            let ip = address["local"].as_str().unwrap_or_default().parse()?;
            let length = address["prefixlen"].as_u64().unwrap_or_default();
            Ok(Address { ip, length })
        });
        Ok(Bridge {
            mtu: link["mtu"].as_u64().with_context(|| format!("no MTU in {link}"))?,
            addresses: addresses.collect::<Result<_>>()?,
        })
    }

    fn file(&self, name: &str, text: &str) -> Result<PathBuf> {
        let path = self.folder.join(name);
        fs::write(&path, text).with_context(|| path.display().to_string())?;
        Ok(path)
    }
}

fn kubelet_config(lab: &str, machine: &str) -> String {
    format!(
        "apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
authentication: {{anonymous: {{enabled: true}}, webhook: {{enabled: false}}}}
authorization: {{mode: AlwaysAllow}}
cgroupDriver: cgroupfs
cgroupRoot: /{lab}/{machine}
containerRuntimeEndpoint: unix://{SOCKET}
enforceNodeAllocatable: []
evictionHard: {{nodefs.available: \"1%\", imagefs.available: \"1%\"}}
failCgroupV1: false
failSwapOn: false
imageGCHighThresholdPercent: 100
localStorageCapacityIsolation: false
resolvConf: \"\"
"
    )
}

fn proxy_config(kubeconfig: &Path, machine: &str) -> String {
    format!(
        "apiVersion: kubeproxy.config.k8s.io/v1alpha1
kind: KubeProxyConfiguration
mode: nftables
hostnameOverride: {machine}
clientConnection: {{kubeconfig: \"{}\"}}
clusterCIDR: \"{}\"
conntrack: {{maxPerCore: 0, tcpEstablishedTimeout: 0s, tcpCloseWaitTimeout: 0s}}
",
        kubeconfig.display(),
        network::CLUSTER_CIDRS
    )
}
