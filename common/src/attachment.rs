//! One pod's attachment: its names, and its record, which the plugin writes and the agent reads.
//!
//! With all records in hand the agent rebuilds [`crate::names::PODS_TABLE`] after a flush; what a host
//! link says of its attachment is in `alias`.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::bandwidth::Bandwidth;
use crate::names;

/// Longest container id, in bytes, that fits a link's alias together with all that stands there.
///
/// Runtimes use 64 hexadecimal digits.
pub const CONTAINER_ID_MAX: usize = 128;

/// `IFNAMSIZ` without the final NUL (linux/if.h).
pub const IFNAME_MAX: usize = 15;

/// Which interface of which container; `CONTAINERID@IFNAME` is also its record's file name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AttachmentId {
    container_id: String,
    ifname: String,
}

/// Why a text is no name of a container or an interface.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// CNI spec 1.1, section 2, `CNI_CONTAINERID`; it becomes a file's name.
    #[error(
        "{0:?} is no container id: want a letter or digit, then letters, digits, '_', '.' and '-', \
         {CONTAINER_ID_MAX} at most"
    )]
    ContainerId(String),
    /// What the kernel refuses (`dev_valid_name` in net/core/dev.c), or takes for the template of a name
    /// (`eth%d`); and what bytes become that are no UTF-8.
    #[error(
        "{0:?} is no interface name: want 1 to {IFNAME_MAX} bytes of UTF-8 without '/', ':', '%' and \
         white space, and neither \".\" nor \"..\""
    )]
    Ifname(String),
}

impl AttachmentId {
    pub fn new(container_id: &str, ifname: &str) -> Result<Self, NameError> {
        check_container_id(container_id)?;
        check_ifname(ifname)?;
        Ok(Self { container_id: container_id.to_owned(), ifname: ifname.to_owned() })
    }

    pub fn container_id(&self) -> &str {
        &self.container_id
    }

    pub fn ifname(&self) -> &str {
        &self.ifname
    }

    /// The host end's name: a hash, so that whoever knows the id finds the link without a record.
    ///
    /// 44 bits of 64-bit FNV-1a: among 4000 pods two share one once in two million times.
    pub fn host_link(&self) -> String {
        self.link(names::HOST_LINK_PREFIX)
    }

    /// The name of the link that limits what the pod sends.
    pub fn limiter(&self) -> String {
        self.link(names::LIMITER_PREFIX)
    }

    fn link(&self, prefix: &str) -> String {
        let hash = self.to_string().bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
        });
        format!("{}{:011x}", prefix, hash >> 20)
    }
}

impl FromStr for AttachmentId {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        // No container id has an '@', an interface's name may.
        let (container_id, ifname) = text.split_once('@').unwrap_or((text, ""));
        Self::new(container_id, ifname)
    }
}

impl fmt::Display for AttachmentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.container_id, self.ifname)
    }
}

pub fn check_container_id(text: &str) -> Result<(), NameError> {
    let begins = text.starts_with(|c: char| c.is_ascii_alphanumeric());
    let rest = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-');
    let valid = begins && text.len() <= CONTAINER_ID_MAX && text.chars().all(rest);
    if valid { Ok(()) } else { Err(NameError::ContainerId(text.to_owned())) }
}

pub fn check_ifname(text: &str) -> Result<(), NameError> {
    let refused = |c: char| {
        matches!(c, '/' | ':' | '%' | '\0' | char::REPLACEMENT_CHARACTER) || c.is_whitespace()
    };
    let valid = (1..=IFNAME_MAX).contains(&text.len())
        && !matches!(text, "." | "..")
        && !text.contains(refused);
    if valid { Ok(()) } else { Err(NameError::Ifname(text.to_owned())) }
}

/// A pod's MAC address where none is asked for: of its IPv4 address, if it has one.
pub fn mac_of(addresses: &[IpAddr]) -> [u8; 6] {
    let first = addresses.iter().find(|address| address.is_ipv4()).or(addresses.first());
    first.map_or([0; 6], |&address| mac(address))
}

/// As the kernel prints it.
pub(crate) fn mac_text([first, rest @ ..]: [u8; 6]) -> String {
    rest.iter().fold(format!("{first:02x}"), |text, byte| format!("{text}:{byte:02x}"))
}

/// kubenet's rule for a MAC address: 0a:58 (locally administered) and four bytes of the IP address.
///
/// Of an IPv6 address the two last bytes of its /64 and of all, because what is between is mostly
/// zero. Who gets the address next has the same MAC, so no neighbour's cache goes stale.
pub fn mac(address: IpAddr) -> [u8; 6] {
    let [a, b, c, d] = match address {
        IpAddr::V4(address) => address.octets(),
        IpAddr::V6(address) => {
            let bytes = address.octets();
            [bytes[6], bytes[7], bytes[14], bytes[15]]
        }
    };
    [0x0a, 0x58, a, b, c, d]
}

/// One interface of one container on the bridge.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
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
    /// Name of the network that it is attached to.
    #[serde(default = "default_network")]
    pub network: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub host_ports: Vec<HostPort>,
    #[serde(default, skip_serializing_if = "Bandwidth::is_unlimited")]
    pub bandwidth: Bandwidth,
    /// Whether the elements of its host ports are on their way in or out: nobody has been told that it
    /// owns them, and another attachment may.
    #[serde(default, skip_serializing_if = "is_false")]
    pub pending: bool,
    /// Whose container it is, where the runtime has said so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod: Option<Pod>,
}

/// A pod by the names that a runtime gives in `CNI_ARGS` (`K8S_POD_NAMESPACE` and so on).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Pod {
    pub namespace: String,
    pub name: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub uid: String,
}

/// `NAMESPACE/NAME`.
impl fmt::Display for Pod {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

fn default_network() -> String {
    names::PLUGIN.to_owned()
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
const fn is_false(value: &bool) -> bool {
    !*value
}

impl Attachment {
    /// # Errors
    /// For a record that was not written by us: its names could lead out of a directory.
    pub fn id(&self) -> Result<AttachmentId, NameError> {
        AttachmentId::new(&self.container_id, &self.ifname)
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_that_lead_nowhere_else_are_taken() {
        let long = "a".repeat(CONTAINER_ID_MAX + 1);
        for id in ["", "../x", "a/b", "..", ".a", "-a", "a b", "a\0", "a@b", "é", long.as_str()] {
            assert!(
                matches!(AttachmentId::new(id, "eth0"), Err(NameError::ContainerId(_))),
                "{id}"
            );
        }
        let senseless = ["", ".", "..", "sixteen-letters-", "eth%d", "\u{fffd}"];
        let dividing = ["../e", "a/b", "a:b", "a b", "a\t", "a\0b"];
        for ifname in senseless.into_iter().chain(dividing) {
            assert!(
                matches!(AttachmentId::new("c", ifname), Err(NameError::Ifname(_))),
                "{ifname}"
            );
        }
        let longest = &long[1..];
        assert!(AttachmentId::new(longest, "fifteen-letters").is_ok());
        assert!(AttachmentId::new("0a.b_c-d", "eth0").is_ok());
    }

    #[test]
    fn an_id_is_read_back_from_its_text() {
        for ifname in ["eth0", "eth@0"] {
            let id = AttachmentId::new("c-1", ifname).unwrap();
            assert_eq!(id.to_string().parse(), Ok(id));
        }
        assert!("c-1".parse::<AttachmentId>().is_err());
    }

    #[test]
    fn a_host_link_is_known_by_its_id() {
        let check = |id: &str, expected: &str| {
            assert_eq!(id.parse::<AttachmentId>().unwrap().host_link(), expected);
        };
        check("c@eth0", "vethd63491b1f0b");
        check("c@eth1", "vethd63490b1f0b");
    }

    #[test]
    fn a_mac_is_derived_from_the_address() {
        let check = |address: &str, expected: [u8; 6]| {
            assert_eq!(mac(address.parse().unwrap()), expected);
        };
        check("10.244.1.5", [0x0a, 0x58, 10, 244, 1, 5]);
        check("fd00:10:244:17::5", [0x0a, 0x58, 0, 0x17, 0, 5]);
    }
}
