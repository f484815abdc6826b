//! The agent's flags and environment, checked once at start.

use std::path::PathBuf;

use clap::Parser;
use common::{Prefix, names};
use process::serve::{Addresses, ServeFlags};
use process::settings::{Mistakes, Shared, SharedFlags};

use crate::loopback::Loopback;
use crate::machine::Paths;
use crate::mode::Mode;
use crate::mtu;
use crate::state::Config;

mod mode_flags;

use mode_flags::{ModeFlags, one_of_each_family};

pub use mode_flags::Source;

/// kubenet-agent: one machine's part of the pod network.
#[derive(Clone, Debug, Parser)]
#[command(name = names::AGENT, version = common::version())]
pub struct Flags {
    #[command(flatten)]
    shared: SharedFlags,

    #[command(flatten)]
    serve: ServeFlags,

    #[command(flatten)]
    mode: ModeFlags,

    /// Name of the Node that this machine is; without it no API server is asked
    #[arg(long, env = "NODE_NAME", value_name = "NAME", default_value = "")]
    node_name: String,

    /// Pod addresses of the whole cluster, one CIDR for each family: what is not masqueraded; with
    /// --pod-cidr it may be left out where there is one machine
    #[arg(long, value_name = "CIDR[,CIDR]", value_delimiter = ',')]
    cluster_cidr: Vec<String>,

    /// Addresses of Services, besides those of ServiceCIDRs, which are followed live: not masqueraded,
    /// and no Node's podCIDRs
    #[arg(long, value_name = "CIDR[,CIDR]", value_delimiter = ',')]
    service_cluster_ip_range: Vec<String>,

    /// Destinations that see pods' own addresses, besides --cluster-cidr; one of length 0 turns
    /// masquerading off for its family
    #[arg(long, value_name = "CIDR[,CIDR]", value_delimiter = ',')]
    non_masquerade_cidr: Vec<String>,

    /// A file of more of these, as ip-masq-agent reads it (nonMasqueradeCIDRs, masqLinkLocal,
    /// masqLinkLocalIPv6), followed live; it may be missing
    #[arg(long, value_name = "FILE")]
    non_masquerade_config: Option<PathBuf>,

    /// Who makes the routes to other Nodes' pods: direct (this agent), cloud (the cloud's route
    /// controller, whose the condition NetworkUnavailable is then) or none (somebody else)
    #[arg(long, value_name = "MODE", default_value = "direct")]
    routing: String,

    /// How a pod reaches itself through a Service: hairpin-veth, promiscuous-bridge or none (not at all)
    #[arg(long, value_name = "MODE", default_value = "hairpin-veth")]
    hairpin_mode: String,

    /// Host ports are there on 127.0.0.1 too, for who asks from the machine itself (IPv4)
    #[arg(
        long,
        value_name = "BOOL",
        default_value_t = true,
        default_missing_value = "true",
        num_args = 0..=1,
        require_equals = true,
        action = clap::ArgAction::Set
    )]
    loopback_host_ports: bool,

    /// Take over from another pod network: rename configurations that the container runtime takes rather
    /// than ours to NAME.kubenet-disabled (`kubenet-agent cleanup` names them back), and make its pods on
    /// cbr0 ours, with the addresses that host-local gave them
    #[arg(long)]
    take_over: bool,

    /// MTU of pods in bytes; 0 is the smallest of the enabled normal interfaces'
    #[arg(long, value_name = "BYTES", default_value = "0")]
    network_plugin_mtu: String,

    #[command(flatten)]
    folders: FolderFlags,
}

/// Where the machine's files are.
#[derive(Clone, Debug, clap::Args)]
pub struct FolderFlags {
    /// Folders where the container runtime looks for plugins; ours is installed in the first
    #[arg(long, value_name = "DIR[,DIR]", default_value = names::CNI_BIN_DIR, value_delimiter = ',')]
    cni_bin_dir: Vec<PathBuf>,

    /// Folder where the container runtime looks for network configurations
    #[arg(long, value_name = "DIR", default_value = names::CNI_CONF_DIR)]
    cni_conf_dir: PathBuf,

    /// Folder where host-local and libcni keep what they know of pods; with --take-over it is read
    #[arg(long, value_name = "DIR", default_value = names::CNI_DATA_DIR)]
    cni_data_dir: PathBuf,

    /// The plugin's program; without it, the file kubenet beside this program
    #[arg(long, value_name = "FILE")]
    plugin: Option<PathBuf>,

    /// Where /proc/sys is mounted: in a container's own it is read-only
    #[arg(long, value_name = "DIR", default_value = "/proc/sys")]
    sysctl_dir: PathBuf,

    /// Folder for leases, records and locks, which must not outlive a reboot; the plugin is told
    #[arg(long, value_name = "DIR", default_value = names::STATE_DIR)]
    state_dir: PathBuf,
}

/// What the agent was told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    pub shared: Shared,
    pub config: Config,
    pub source: Source,
    pub paths: Paths,
    /// Where health and metrics are answered.
    pub addresses: Addresses,
}

impl Flags {
    /// Checks all flags, and names all mistakes together.
    pub fn check(self) -> Result<Settings, Mistakes> {
        let mut mistakes = Mistakes::default();
        let shared = self.shared.check(&mut mistakes);
        let addresses = self.serve.check(names::AGENT_PORT, &mut mistakes);
        let mode = self.mode.mode(&mut mistakes);
        let source = self.mode.source(&mode, &self.node_name, &mut mistakes);
        let cluster_cidrs = cluster_cidrs(&self.cluster_cidr, &mode, &source, &mut mistakes);
        let mtu = pod_mtu(&self.network_plugin_mtu, &cluster_cidrs, &mut mistakes);
        let hairpin =
            mistakes.keep("--hairpin-mode", self.hairpin_mode.parse()).unwrap_or_default();
        let routing = mistakes.keep("--routing", self.routing.parse()).unwrap_or_default();
        let services =
            prefixes("--service-cluster-ip-range", &self.service_cluster_ip_range, &mut mistakes);
        one_of_each_family("--service-cluster-ip-range", &services, &mut mistakes);
        let unmasqueraded =
            prefixes("--non-masquerade-cidr", &self.non_masquerade_cidr, &mut mistakes);
        let paths = Paths { exceptions: self.non_masquerade_config, ..self.folders.paths() };
        if mode.runtime.is_ours() && !paths.plugin.is_file() {
            let text = format!("there is no plugin to install at {}", paths.plugin.display());
            mistakes.add("--plugin", text);
        }
        let config = Config {
            mode,
            node: self.node_name,
            cluster_cidrs,
            services,
            unmasqueraded,
            routing,
            hairpin,
            loopback: Loopback::of(self.loopback_host_ports),
            take_over: self.take_over,
            mtu,
            state_dir: paths.state.clone(),
        };
        mistakes.or(Some(Settings { shared, config, source, paths, addresses }))
    }
}

impl FolderFlags {
    pub fn paths(self) -> Paths {
        let beside = || Some(std::env::current_exe().ok()?.with_file_name(names::PLUGIN));
        let mut bins = self.cni_bin_dir.into_iter();
        Paths {
            sysctl: self.sysctl_dir,
            state: self.state_dir,
            bin: bins.next().unwrap_or_default(),
            other_bins: bins.collect(),
            conf: self.cni_conf_dir,
            data: self.cni_data_dir,
            plugin: self.plugin.or_else(beside).unwrap_or_default(),
            exceptions: None,
        }
    }
}

fn cluster_cidrs(
    texts: &[String],
    mode: &Mode,
    source: &Source,
    mistakes: &mut Mistakes,
) -> Vec<Prefix> {
    let cidrs = prefixes("--cluster-cidr", texts, mistakes);
    one_of_each_family("--cluster-cidr", &cidrs, mistakes);
    match source {
        // What pods say to each other is not masqueraded, also where they are all there is.
        Source::Flags(own) if texts.is_empty() => return own.clone(),
        Source::Cluster if texts.is_empty() && mode.bridge => {
            let missing = "give the pod addresses of the cluster, as in 10.244.0.0/16";
            mistakes.add("--cluster-cidr", missing);
        }
        _ => {}
    }
    cidrs
}

fn prefixes(flag: &str, texts: &[String], mistakes: &mut Mistakes) -> Vec<Prefix> {
    let parsed = texts.iter().map(|text| Prefix::parse_masking(text.trim()));
    parsed.filter_map(|cidr| mistakes.keep(flag, cidr)).collect()
}

fn pod_mtu(text: &str, cluster_cidrs: &[Prefix], mistakes: &mut Mistakes) -> Option<u32> {
    let mtu = mistakes.keep("--network-plugin-mtu", text.parse::<u32>()).filter(|&mtu| mtu != 0)?;
    let least = mtu::least(cluster_cidrs.iter().map(|cidr| cidr.family()));
    if !(least..=mtu::MOST).contains(&mtu) {
        let bounds = format!("{mtu} is not between {least} and {}", mtu::MOST);
        mistakes.add("--network-plugin-mtu", bounds);
    }
    Some(mtu)
}

#[cfg(test)]
mod tests;
