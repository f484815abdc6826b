//! Pure: the modes of the agent, as data: which parts of a machine it makes its own.
//!
//! All other code asks [`Mode`] and never which plugin was named, so a mode is one row of this table;
//! docs/modes.md has the rules of each.
//!
//! | `--network-plugin` | cbr0 | what the container runtime finds |
//! |---|---|---|
//! | `kubenet`, or no such flag | yes | our plugin |
//! | `noop`, or given but empty | by `--configure-cbr0` | nothing of ours |
//! | `cni` | by `--configure-cbr0` | somebody else's plugins, which are looked at |
//! | `exec`, or a plugin's name | by `--configure-cbr0` | our plugin, as the adapter of that one |
//!
//! In all of them bridged packets are shown to kube-proxy's rules.

use std::path::PathBuf;

use common::names;

/// What is the agent's on its machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mode {
    /// cbr0 for the machine's podCIDRs, with masquerade and routes to its peers; whoever makes these
    /// reports NetworkUnavailable.
    pub bridge: bool,
    pub runtime: Runtime,
}

/// What the container runtime finds, by our doing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Runtime {
    Nothing,
    /// A configuration of somebody else's, which is only looked at.
    Others,
    Kubenet,
    Exec(ExecPlugin),
}

/// A plugin of kubelet's exec protocol.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExecPlugin {
    /// As `mycompany/mysdn`.
    pub name: String,
    pub program: PathBuf,
}

impl Mode {
    /// Of a machine whose flags say nothing else.
    pub const KUBENET: Self = Self { bridge: true, runtime: Runtime::Kubenet };
}

impl Runtime {
    /// Whether it finds something of ours.
    pub const fn is_ours(&self) -> bool {
        !self.plugins().is_empty()
    }

    /// The names by which our plugin is installed. `loopback` first: what equals the plugin that is
    /// installed is known to be ours, which can't be seen any more once that is replaced.
    pub const fn plugins(&self) -> &'static [&'static str] {
        match self {
            Self::Nothing | Self::Others => &[],
            Self::Kubenet => &[names::LOOPBACK_PLUGIN, names::PLUGIN],
            Self::Exec(_) => &[names::LOOPBACK_PLUGIN, names::EXEC_PLUGIN],
        }
    }
}
