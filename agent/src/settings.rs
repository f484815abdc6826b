//! The agent's flags and environment, checked once at start.

use std::path::PathBuf;

use clap::Parser;
use common::{Family, Prefix, names};
use process::serve::{Addresses, ServeFlags};
use process::settings::{Mistakes, Shared, SharedFlags};

use crate::machine::Paths;
use crate::mtu;
use crate::state::Config;

/// kubenet-agent: one machine's part of the pod network.
#[derive(Clone, Debug, Parser)]
#[command(name = names::AGENT, version = common::version())]
pub struct Flags {
    #[command(flatten)]
    shared: SharedFlags,

    #[command(flatten)]
    serve: ServeFlags,

    /// Name of the Node that this machine is
    #[arg(long, env = "NODE_NAME", value_name = "NAME", default_value = "")]
    node_name: String,

    /// Pod addresses of the whole cluster, one CIDR for each family: what is not masqueraded
    #[arg(long, value_name = "CIDR[,CIDR]", value_delimiter = ',')]
    cluster_cidr: Vec<String>,

    /// Destinations that see pods' own addresses, besides --cluster-cidr; one of length 0 turns
    /// masquerading off for its family
    #[arg(long, value_name = "CIDR[,CIDR]", value_delimiter = ',')]
    non_masquerade_cidr: Vec<String>,

    /// Who makes the routes to other Nodes' pods: direct (this agent), cloud (the cloud's route
    /// controller, whose the condition NetworkUnavailable is then) or none (somebody else)
    #[arg(long, value_name = "MODE", default_value = "direct")]
    routing: String,

    /// MTU of pods in bytes; 0 is the smallest of the enabled normal interfaces'
    #[arg(long, value_name = "BYTES", default_value = "0")]
    network_plugin_mtu: String,

    #[command(flatten)]
    folders: FolderFlags,
}

/// Where the machine's files are.
#[derive(Clone, Debug, clap::Args)]
pub struct FolderFlags {
    /// Folder where the container runtime looks for plugins
    #[arg(long, value_name = "DIR", default_value = names::CNI_BIN_DIR)]
    cni_bin_dir: PathBuf,

    /// Folder where the container runtime looks for network configurations
    #[arg(long, value_name = "DIR", default_value = names::CNI_CONF_DIR)]
    cni_conf_dir: PathBuf,

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
        if self.node_name.is_empty() {
            mistakes.add("--node-name", "name the Node that this machine is, here or in NODE_NAME");
        }
        let cluster_cidrs = cluster_cidrs(&self.cluster_cidr, &mut mistakes);
        let mtu = pod_mtu(&self.network_plugin_mtu, &cluster_cidrs, &mut mistakes);
        let routing = mistakes.keep("--routing", self.routing.parse()).unwrap_or_default();
        let unmasqueraded = self.non_masquerade_cidr.iter();
        let unmasqueraded = unmasqueraded.map(|text| Prefix::parse_masking(text.trim()));
        let unmasqueraded =
            unmasqueraded.filter_map(|cidr| mistakes.keep("--non-masquerade-cidr", cidr)).collect();
        let paths = self.folders.paths();
        if !paths.plugin.is_file() {
            let text = format!("there is no plugin to install at {}", paths.plugin.display());
            mistakes.add("--plugin", text);
        }
        let state_dir = paths.state.clone();
        let config =
            Config { node: self.node_name, cluster_cidrs, unmasqueraded, routing, mtu, state_dir };
        mistakes.or(Some(Settings { shared, config, paths, addresses }))
    }
}

impl FolderFlags {
    pub fn paths(self) -> Paths {
        let beside = || Some(std::env::current_exe().ok()?.with_file_name(names::PLUGIN));
        Paths {
            sysctl: self.sysctl_dir,
            state: self.state_dir,
            bin: self.cni_bin_dir,
            conf: self.cni_conf_dir,
            plugin: self.plugin.or_else(beside).unwrap_or_default(),
        }
    }
}

fn cluster_cidrs(texts: &[String], mistakes: &mut Mistakes) -> Vec<Prefix> {
    let parsed = texts.iter().map(|text| Prefix::parse_masking(text.trim()));
    let cidrs = parsed.filter_map(|cidr| mistakes.keep("--cluster-cidr", cidr)).collect::<Vec<_>>();
    if texts.is_empty() {
        mistakes
            .add("--cluster-cidr", "give the pod addresses of the cluster, as in 10.244.0.0/16");
    }
    for family in Family::BOTH {
        if cidrs.iter().filter(|cidr| cidr.family() == family).count() > 1 {
            mistakes.add("--cluster-cidr", format!("give at most one CIDR of {family}"));
        }
    }
    cidrs
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
mod tests {
    use super::*;
    use crate::routes::Routing;

    fn settings(arguments: &[&str]) -> Result<Settings, String> {
        let program = [names::AGENT, "--plugin=/proc/self/exe"];
        let flags = Flags::try_parse_from(program.iter().chain(arguments)).unwrap();
        flags.check().map_err(|mistakes| mistakes.to_string())
    }

    #[test]
    fn good_flags_are_settings() {
        let arguments = ["--node-name=n1", "--cluster-cidr=10.244.0.0/16,fd00::/48"];
        let Settings { config, paths, .. } = settings(&arguments).unwrap();
        assert_eq!((config.node.as_str(), config.mtu), ("n1", None));
        assert_eq!(config.cluster_cidrs.len(), 2);
        assert_eq!(paths.conflist(), PathBuf::from("/etc/cni/net.d/10-kubenet.conflist"));
        assert_eq!(paths.bin, PathBuf::from("/opt/cni/bin"));
        assert_eq!((config.state_dir, paths.sysctl), ("/run/kubenet".into(), "/proc/sys".into()));
    }

    #[test]
    fn all_mistakes_are_named_at_once() {
        let text = settings(&[
            "--node-name=",
            "--cluster-cidr=10.244.0.0/16,10.0.0.0/8,fd00::/200",
            "--network-plugin-mtu=100",
        ])
        .unwrap_err();
        let lines = text.lines().map(str::trim).collect::<Vec<_>>();
        assert_eq!(
            lines,
            [
                "--node-name: name the Node that this machine is, here or in NODE_NAME",
                "--cluster-cidr: /200 is too long for IPv6, which has 128 bits",
                "--cluster-cidr: give at most one CIDR of IPv4",
                "--network-plugin-mtu: 100 is not between 576 and 65535",
            ]
        );
    }

    #[test]
    fn ipv6_asks_for_a_larger_mtu() {
        let both =
            ["--node-name=n", "--cluster-cidr=10.0.0.0/8,fd00::/48", "--network-plugin-mtu=1200"];
        assert!(settings(&both).unwrap_err().contains("between 1280 and 65535"));
        let v4 = ["--node-name=n", "--cluster-cidr=10.0.0.0/8", "--network-plugin-mtu=1200"];
        assert_eq!(settings(&v4).unwrap().config.mtu, Some(1200));
    }

    #[test]
    fn routes_and_masquerade_are_the_operators_to_say() {
        let least = ["--node-name=n", "--cluster-cidr=10.0.0.0/8"];
        let config = |more: &[&str]| settings(&[&least, more].concat()).map(|s| s.config);
        assert_eq!(config(&[]).unwrap().routing, Routing::Direct);
        let many =
            ["--non-masquerade-cidr=172.16.0.0/12,fd00::/8", "--non-masquerade-cidr=192.0.2.0/24"];
        assert_eq!(config(&many).unwrap().unmasqueraded.len(), 3);
        assert_eq!(config(&["--routing=cloud"]).unwrap().routing, Routing::Cloud);
        let text = config(&["--routing=bgp", "--non-masquerade-cidr=ten"]).unwrap_err();
        let lines = text.lines().map(str::trim).collect::<Vec<_>>();
        assert_eq!(lines[0], "--routing: \"bgp\" is no mode: want direct, cloud or none");
        assert!(lines[1].starts_with("--non-masquerade-cidr: "), "{text}");
    }
}
