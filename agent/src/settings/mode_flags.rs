//! Flags that say which parts of the machine are the agent's, and where its podCIDRs come from.

use std::path::PathBuf;

use clap::Args;
use common::{Family, Prefix, names};
use process::settings::Mistakes;

use crate::exec_plugins;
use crate::mode::{Mode, Runtime};
use crate::pod_cidrs;
use crate::selection::select;

#[derive(Clone, Debug, Args)]
pub(super) struct ModeFlags {
    /// kubenet, cni, exec (the only plugin in --network-plugin-dir), the name of a plugin there, or
    /// noop, which is also what an empty value means
    #[arg(long, value_name = "NAME", default_value = "kubenet")]
    network_plugin: String,

    /// Folder of plugins of kubelet's exec protocol: each is an executable NAME/NAME or
    /// VENDOR~NAME/NAME in it
    #[arg(long, value_name = "DIR", default_value = names::EXEC_PLUGIN_DIR)]
    network_plugin_dir: PathBuf,

    /// Make cbr0 with address, MTU, masquerade and routes for pods that others attach to it
    #[arg(
        long,
        value_name = "BOOL",
        default_value_t = false,
        default_missing_value = "true",
        num_args = 0..=1,
        require_equals = true,
        action = clap::ArgAction::Set
    )]
    configure_cbr0: bool,

    /// Pod addresses of this machine, one CIDR for each family; then no API server is asked
    #[arg(long, value_name = "CIDR[,CIDR]", value_delimiter = ',')]
    pod_cidr: Vec<String>,
}

/// Who says what this machine's podCIDRs are, and who its peers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// The API server's Nodes.
    Cluster,
    /// The flags: this machine is alone, and nobody is asked or told.
    Flags(Vec<Prefix>),
}

impl ModeFlags {
    /// Looks for plugins, once.
    pub(super) fn mode(&self, mistakes: &mut Mistakes) -> Mode {
        let dir = &self.network_plugin_dir;
        let found =
            exec_plugins::probe(dir).map_err(|e| format!("cannot read {}: {e}", dir.display()));
        let found = mistakes.keep("--network-plugin-dir", found).unwrap_or_default();
        let selected = select(&self.network_plugin, dir, &found);
        let runtime = mistakes.keep("--network-plugin", selected).unwrap_or(Runtime::Nothing);
        let bridge = runtime == Runtime::Kubenet || self.configure_cbr0;
        if self.configure_cbr0 && runtime == Runtime::Kubenet {
            mistakes.add(
                "--configure-cbr0",
                "--network-plugin kubenet, which is the default, makes cbr0 itself: give this flag \
                 with another --network-plugin, as noop or cni, or leave it out",
            );
        }
        Mode { bridge, runtime }
    }

    /// Without a name for its Node a machine has no part in a cluster.
    pub(super) fn source(&self, mode: &Mode, node: &str, mistakes: &mut Mistakes) -> Source {
        let cidrs = self.pod_cidrs(mistakes);
        if !self.pod_cidr.is_empty() && !mode.bridge {
            let unused = "it is for cbr0, which this --network-plugin does not make: leave it out, or \
                          give --configure-cbr0";
            mistakes.add("--pod-cidr", unused);
        }
        if node.is_empty() && self.pod_cidr.is_empty() && mode.bridge {
            let missing = "name the Node that this machine is, here or in NODE_NAME; or give \
                           --pod-cidr, and no API server is needed";
            mistakes.add("--node-name", missing);
        }
        let alone = node.is_empty() && !mode.bridge;
        if alone || !self.pod_cidr.is_empty() { Source::Flags(cidrs) } else { Source::Cluster }
    }

    fn pod_cidrs(&self, mistakes: &mut Mistakes) -> Vec<Prefix> {
        let parsed = self.pod_cidr.iter().map(|text| {
            let cidr = Prefix::parse_masking(text.trim()).map_err(|error| error.to_string())?;
            let range = pod_cidrs::range(cidr);
            range.ok_or_else(|| format!("{cidr} has no room for a gateway and pods"))?;
            Ok::<_, String>(cidr)
        });
        let cidrs = parsed.filter_map(|cidr| mistakes.keep("--pod-cidr", cidr)).collect::<Vec<_>>();
        one_of_each_family("--pod-cidr", &cidrs, mistakes);
        cidrs
    }
}

pub(super) fn one_of_each_family(flag: &str, cidrs: &[Prefix], mistakes: &mut Mistakes) {
    for family in Family::BOTH {
        if cidrs.iter().filter(|cidr| cidr.family() == family).count() > 1 {
            mistakes.add(flag, format!("give at most one CIDR of {family}"));
        }
    }
}
