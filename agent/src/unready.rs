//! Pure: why this machine's network is not ready, in the one text that the log, the condition and
//! the plugin's STATUS share.

use common::Prefix;

/// What stands between this machine and its pods.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unready {
    #[error("waiting for the API server's list of Nodes")]
    NodesUnknown,
    #[error("node {0} does not exist: its kubelet has yet to register it, or --node-name is wrong")]
    NoNode(String),
    #[error("node {0} has no podCIDRs yet: kubenet-controller assigns them")]
    NoPodCidr(String),
    #[error("podCIDR {cidr:?} of node {node} has no room for a gateway and pods, or is no CIDR")]
    PodCidr { node: String, cidr: String },
    /// The podCIDR, and what of the machine's it holds.
    #[error(
        "podCIDR {cidr} of node {node} holds {of}: with it on cbr0 this machine would lose its own network"
    )]
    PodCidrTaken { node: String, cidr: Prefix, of: String },
    #[error(
        "no enabled normal interface to take the MTU from: set one up, or give --network-plugin-mtu"
    )]
    NoUplink,
    #[error("cbr0 exists but is no bridge: remove it with `ip link delete cbr0`")]
    NoBridge,
    #[error("/proc/sys/{0} is missing: load br_netfilter with `modprobe br_netfilter`")]
    NoBridgeNetfilter(String),
    #[error(
        "kubenet is being removed from this machine, which takes no new pods: to keep it after all, \
         restart the agent"
    )]
    CleaningUp,
    /// A configuration that a runtime reads before ours.
    #[error(
        "the container runtime takes {0} instead of 10-kubenet.conflist, which comes after it by name: \
         remove or rename it"
    )]
    Shadowed(String),
    /// The folder.
    #[error(
        "no network configuration in {0}: install the pod network whose plugins --network-plugin=cni \
         waits for"
    )]
    NoConfig(String),
    #[error("{config} names plugins that are in none of {folders}: {plugins}")]
    PluginsMissing { config: String, plugins: String, folders: String },
    /// What could not be read, and why.
    #[error("{0}")]
    Unseen(String),
    /// The text of the step and of what went wrong.
    #[error("cannot {0}")]
    Failed(String),
}

/// Whether pods can be started here, or why not.
pub type Verdict = Result<(), Unready>;

impl Unready {
    /// The condition's reason: one word for machines.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::NodesUnknown => "NodesUnknown",
            Self::NoNode(_) => "NodeMissing",
            Self::NoPodCidr(_) => "PodCIDRMissing",
            Self::PodCidr { .. } => "PodCIDRInvalid",
            Self::PodCidrTaken { .. } => "PodCIDRTaken",
            Self::NoUplink => "UplinkMissing",
            Self::NoBridge => "BridgeNameTaken",
            Self::NoBridgeNetfilter(_) => "BridgeNetfilterMissing",
            Self::CleaningUp => "CleaningUp",
            Self::Shadowed(_) => "ConfigShadowed",
            Self::NoConfig(_) => "ConfigMissing",
            Self::PluginsMissing { .. } => "PluginsMissing",
            Self::Unseen(_) => "MachineNotRead",
            Self::Failed(_) => "MachineNotChanged",
        }
    }
}

impl Unready {
    /// Whether no work of ours ends it, but something whose arrival wakes the loop.
    pub const fn is_awaited(&self) -> bool {
        match self {
            Self::NodesUnknown
            | Self::NoNode(_)
            | Self::NoPodCidr(_)
            | Self::PodCidr { .. }
            | Self::PodCidrTaken { .. }
            | Self::NoUplink
            | Self::NoBridge
            | Self::NoBridgeNetfilter(_)
            | Self::CleaningUp
            | Self::Shadowed(_)
            | Self::NoConfig(_)
            | Self::PluginsMissing { .. } => true,
            Self::Unseen(_) | Self::Failed(_) => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_says_what_to_do() {
        let text =
            Unready::NoBridgeNetfilter("net/bridge/bridge-nf-call-iptables".into()).to_string();
        assert!(text.ends_with("`modprobe br_netfilter`"), "{text}");
    }
}
