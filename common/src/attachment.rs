//! The record of one pod's attachment: written by the plugin, read by DEL, CHECK and the agent.
//!
//! With all records in hand the agent rebuilds [`crate::names::PODS_TABLE`] after a flush.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

/// One interface of one container on the bridge.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Attachment {
    pub container_id: String,
    /// The interface's name in the container: `eth0`.
    pub ifname: String,
    /// The bridge that the host link is a port of.
    pub bridge: String,
    /// The host end of the veth pair.
    pub host_link: String,
    /// The container end's address, as in `0a:58:0a:f4:01:05`.
    pub mac: String,
    /// One per family at most.
    pub addresses: Vec<IpAddr>,
    /// Inode of the network namespace on nsfs.
    pub netns_inode: u64,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub host_ports: Vec<HostPort>,
}

/// A port of the machine that leads to the container.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HostPort {
    pub protocol: Protocol,
    /// The machine's address; any of them where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host_ip: Option<IpAddr>,
    pub host_port: u16,
    pub container_port: u16,
}

/// A transport protocol that has ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    Tcp,
    Udp,
    Sctp,
}

impl Protocol {
    /// The number in an IP header (IANA protocol numbers).
    pub const fn number(self) -> u8 {
        match self {
            Self::Tcp => 6,
            Self::Udp => 17,
            Self::Sctp => 132,
        }
    }
}
