//! Pure: how a pod reaches itself through a Service: kubelet's `--hairpin-mode`.

use std::str::FromStr;

use net::Mac;

/// What a frame needs that has to go back to the port where it came from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Hairpin {
    /// The hairpin flag of each pod's port.
    #[default]
    Veth,
    /// The same, and the bridge takes every frame that it sees; what would come twice by that is dropped.
    ///
    /// kubelet's mode had no flags: the machine routed the bridge's copy back. Linux does not follow
    /// connections of such copies since 6.9 (`br_nf_local_in` in `net/bridge/br_netfilter_hooks.c`), so
    /// that masquerade misses them and the pod does not take what comes from its own address.
    PromiscuousBridge,
    /// Pods do not reach themselves.
    None,
}

/// A text that names no mode.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no mode: want hairpin-veth, promiscuous-bridge or none")]
pub struct NoMode(String);

impl FromStr for Hairpin {
    type Err = NoMode;

    fn from_str(text: &str) -> Result<Self, NoMode> {
        match text {
            "hairpin-veth" => Ok(Self::Veth),
            "promiscuous-bridge" => Ok(Self::PromiscuousBridge),
            "none" => Ok(Self::None),
            other => Err(NoMode(other.to_owned())),
        }
    }
}

impl Hairpin {
    /// Whether pods' ports send frames back where they came from.
    pub const fn is_of_ports(self) -> bool {
        matches!(self, Self::Veth | Self::PromiscuousBridge)
    }
}

/// The rule for what the machine gets of its bridge, whose MAC is `mac`.
///
/// What others send to each other reaches the machine only because the bridge is promiscuous; it would
/// route a copy to where the frame has gone already.
pub fn deduplication(mac: Mac) -> String {
    format!("\t\tether daddr != {mac} ether daddr & 01:00:00:00:00:00 == 00:00:00:00:00:00 drop\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_kubelets_modes_are_taken() {
        assert_eq!("promiscuous-bridge".parse(), Ok(Hairpin::PromiscuousBridge));
        let error = "yes".parse::<Hairpin>().unwrap_err().to_string();
        assert_eq!(error, "\"yes\" is no mode: want hairpin-veth, promiscuous-bridge or none");
    }
}
