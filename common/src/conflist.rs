//! The network configuration: written by the agent, handed to the plugin by the runtime.
//!
//! All that the plugin needs to know stands in it; it asks no daemon and no API server.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::{Prefix, names};

/// A CNI network configuration list (CNI spec 1.1, section 1).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Conflist<P = PluginConfig> {
    /// Understood by every runtime that is in use: containerd 1.6 refuses 1.1.0 alone.
    pub cni_version: String,
    /// From which newer runtimes choose; containerd 2 calls STATUS from 1.1.0 on.
    pub cni_versions: Vec<String>,
    pub name: String,
    pub plugins: Vec<P>,
}

/// Our entry in the list. The runtime adds `cniVersion`, `name`, `prevResult` and `runtimeConfig`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PluginConfig {
    #[serde(rename = "type")]
    pub plugin: String,
    /// Which of the runtime's facts the plugin wants, in `runtimeConfig`.
    #[serde(default)]
    pub capabilities: Capabilities,
    /// The bridge that the pod is put on.
    #[serde(default = "default_bridge")]
    pub bridge: String,
    /// Device MTU of both ends of the veth pair, in bytes; the bridge's, where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mtu: Option<u32>,
    /// MTU of the pod's routes that leave the bridge's segment, in bytes; the device's, where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub route_mtu: Option<u32>,
    /// Whether a pod may reach itself through a Service: the hairpin flag of its bridge port. The
    /// reference `bridge` has the longer name.
    #[serde(default, alias = "hairpinMode")]
    pub hairpin: bool,
    /// A pod gets an address of each family that there is here, from the first range that has a free one.
    /// DEL needs none.
    #[serde(default)]
    pub ranges: Vec<Range>,
    /// Where leases and records are kept.
    #[serde(default = "default_state_dir")]
    pub state_dir: String,
}

/// Our entry where the plugin is the adapter of one of kubelet's exec protocol.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ExecConfig {
    #[serde(rename = "type")]
    pub plugin: String,
    /// Path of the plugin that is adapted.
    pub program: String,
    /// Where the agent's last word is kept.
    #[serde(default = "default_state_dir")]
    pub state_dir: String,
}

/// A range of pod addresses, spelled as host-local spells it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", try_from = "WrittenRange")]
pub struct Range {
    pub subnet: Prefix,
    /// The bridge's address: the pod's default route leads there, and no pod gets it.
    pub gateway: IpAddr,
    /// The first address for pods, where that is not the subnet's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub range_start: Option<IpAddr>,
    /// The last one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub range_end: Option<IpAddr>,
}

/// A [`Range`] whose gateway may be left out: it is the subnet's first address then.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct WrittenRange {
    subnet: Prefix,
    gateway: Option<IpAddr>,
    range_start: Option<IpAddr>,
    range_end: Option<IpAddr>,
}

/// A subnet that has no room for a gateway.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0} has no room for a gateway")]
pub struct NoGateway(Prefix);

impl Range {
    /// All of `subnet`.
    pub const fn new(subnet: Prefix, gateway: IpAddr) -> Self {
        Self { subnet, gateway, range_start: None, range_end: None }
    }
}

impl TryFrom<WrittenRange> for Range {
    type Error = NoGateway;

    fn try_from(written: WrittenRange) -> Result<Self, NoGateway> {
        let WrittenRange { subnet, gateway, range_start, range_end } = written;
        let gateway = gateway.or_else(|| subnet.gateway()).ok_or(NoGateway(subnet))?;
        Ok(Self { subnet, gateway, range_start, range_end })
    }
}

/// Capabilities of the plugin (CNI conventions, "dynamic plugin specific fields").
#[expect(clippy::struct_excessive_bools, reason = "the conventions have one for each capability")]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Capabilities {
    pub port_mappings: bool,
    pub bandwidth: bool,
    pub ips: bool,
    pub ip_ranges: bool,
    pub mac: bool,
    pub dns: bool,
}

fn default_bridge() -> String {
    names::BRIDGE.to_owned()
}

fn default_state_dir() -> String {
    names::STATE_DIR.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_as_cni_spells_it() {
        let text = r#"{
            "cniVersion": "1.0.0", "cniVersions": ["1.0.0", "1.1.0"], "name": "kubenet",
            "plugins": [{
                "type": "kubenet", "capabilities": {"portMappings": true, "bandwidth": true},
                "bridge": "cbr0", "mtu": 1450, "hairpin": true, "stateDir": "/run/kubenet",
                "ranges": [{"subnet": "10.244.1.0/24", "gateway": "10.244.1.1"}]
            }]
        }"#;
        let list: Conflist = serde_json::from_str(text).unwrap();
        let plugin = &list.plugins[0];
        assert!(plugin.capabilities.port_mappings && plugin.capabilities.bandwidth);
        assert!(plugin.hairpin);
        assert_eq!(plugin.ranges[0].subnet.to_string(), "10.244.1.0/24");
        let again = serde_json::from_str(&serde_json::to_string(&list).unwrap()).unwrap();
        assert_eq!(list, again);
    }

    #[test]
    fn a_range_reads_as_host_local_spells_it() {
        let range = |text: &str| serde_json::from_str::<Range>(text);
        let short = range(r#"{"subnet": "10.0.0.0/24", "rangeStart": "10.0.0.10"}"#).unwrap();
        assert_eq!(short.gateway.to_string(), "10.0.0.1");
        assert_eq!((short.range_start, short.range_end), ("10.0.0.10".parse().ok(), None));
        let error = range(r#"{"subnet": "10.0.0.0/32"}"#).unwrap_err();
        assert!(error.to_string().contains("10.0.0.0/32 has no room for a gateway"), "{error}");
    }

    #[test]
    fn a_short_entry_has_kubenets_defaults() {
        let plugin: PluginConfig =
            serde_json::from_str(r#"{"type": "kubenet", "ranges": []}"#).unwrap();
        assert_eq!((plugin.bridge.as_str(), plugin.state_dir.as_str()), ("cbr0", "/run/kubenet"));
        assert_eq!((plugin.mtu, plugin.hairpin), (None, false));
        let plugin: PluginConfig =
            serde_json::from_str(r#"{"type": "kubenet", "hairpinMode": true}"#).unwrap();
        assert!(plugin.hairpin);
    }
}
