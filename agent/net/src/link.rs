//! Links: bridges, veth pairs, and what else the machine has. They are read in `link/read.rs` and changed in
//! `link/change.rs`.

use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::link::{LinkAttribute, LinkExtentMask, LinkMessage};

use crate::error::During;
use crate::shaping::Shaping;
use crate::{Mac, NetError, Netlink, Netns};

mod change;
mod read;

/// One network interface.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of its own, see netdevice(7)")]
pub struct Link {
    pub index: u32,
    pub name: String,
    /// Further names, by which the kernel finds it too (`ip link property add altname`).
    pub alt_names: Vec<String>,
    pub kind: Kind,
    /// In bytes.
    pub mtu: u32,
    /// None where the link layer has no 48-bit addresses.
    pub mac: Option<Mac>,
    /// Enabled by the administrator (`IFF_UP`).
    pub up: bool,
    /// Able to carry packets (`IFF_RUNNING`): enabled, and its peer or cable too.
    pub running: bool,
    pub loopback: bool,
    pub point_to_point: bool,
    /// Promiscuous by the administrator's flag; a bridge port is so anyway, without it.
    pub promiscuous: bool,
    /// Index of the bridge (or bond) that it is a port of.
    pub master: Option<u32>,
    pub alias: Option<String>,
    /// Whether a bridge port sends frames back where they came from; none for what is no bridge port.
    pub hairpin: Option<bool>,
    /// Whether a bridge port lets frames pass as the kernel makes one: it learns and floods, and is neither
    /// isolated, locked, closed nor held back by the spanning tree protocol (bridge(8)); none for what is no
    /// bridge port.
    pub open: Option<bool>,
    /// Whether a bridge looks for loops by the spanning tree protocol (IEEE 802.1D), in the kernel or by a
    /// program: then a new port lets nothing pass for half a minute.
    pub spanning_tree: bool,
    /// Whether a bridge keeps VLANs apart, so that a port may lack the one that its frames are of.
    pub vlan_filtering: bool,
    pub addr_gen: Option<AddrGen>,
    /// The other end of a veth pair, or the link below a VLAN.
    pub peer: Option<Peer>,
}

/// What the kernel calls a link's kind (`IFLA_INFO_KIND`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// None is given: a network card, or `lo`.
    Device,
    Bridge,
    Veth,
    Ifb,
    Other(String),
}

/// Where the other end of a link is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Index in its own namespace.
    pub index: u32,
    /// Number of that namespace in this one (`ip netns list-id`); none if it is this one.
    pub netnsid: Option<i32>,
}

/// How a link comes by its own IPv6 addresses (`addr_gen_mode`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AddrGen {
    /// By none: no link-local address, so neither duplicate address detection nor router solicitation.
    None,
    /// From its MAC: the kernel's default.
    Eui64,
    Other(u8),
}

/// A veth pair: the host end in the namespace of the [`Netlink`], the container end in `netns`.
#[derive(Clone, Copy, Debug)]
pub struct VethSpec<'a> {
    pub host_name: &'a str,
    pub host_mac: Mac,
    pub container_name: &'a str,
    pub container_mac: Mac,
    pub netns: &'a Netns,
    /// In bytes, of both ends.
    pub mtu: u32,
    /// Of the host end: at most 255 bytes.
    pub alias: &'a str,
    /// Index of the bridge that the host end becomes a port of.
    pub bridge: u32,
    pub hairpin: Hairpin,
    /// Of the host end.
    pub shaping: Shaping,
}

/// Whether a bridge port sends frames back where they came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hairpin {
    On,
    Off,
}

/// What [`Netlink::create_veth`] made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Veth {
    /// Index of the host end, which is up.
    pub host: u32,
    /// Index of the container end, in its namespace, where it is down.
    pub container: u32,
}

/// What to change of a link; what is none stays as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LinkChange {
    pub up: Option<bool>,
    /// In bytes.
    pub mtu: Option<u32>,
    pub master: Option<Master>,
    pub mac: Option<Mac>,
    /// An empty one is none.
    pub alias: Option<String>,
    pub promiscuous: Option<bool>,
    /// For a bridge port, or what becomes one by this change.
    pub hairpin: Option<bool>,
    /// Has a bridge port, or what becomes one by this change, let frames pass; see [`Link::open`].
    pub open: bool,
    /// For a bridge.
    pub spanning_tree: Option<bool>,
    /// For a bridge.
    pub vlan_filtering: Option<bool>,
    /// In force before the link is up, if this change enables it.
    pub addr_gen: Option<AddrGen>,
}

/// Whose port a link becomes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Master {
    Nobody,
    Bridge(u32),
}

impl Netlink {
    /// All links of the namespace.
    pub fn links(&mut self) -> Result<Vec<Link>, NetError> {
        let all = RouteNetlinkMessage::GetLink(without_statistics());
        self.dump(&all, Link::read).during("list", "links")
    }

    /// The link named `name`, if there is one.
    pub fn link(&mut self, name: &str) -> Result<Option<Link>, NetError> {
        let mut message = without_statistics();
        message.attributes.push(LinkAttribute::IfName(name.to_owned()));
        match self.find(RouteNetlinkMessage::GetLink(message), Link::read).during("find", name) {
            Err(error) if error.is_missing() => Ok(None),
            found => found.map(Some),
        }
    }
}

/// A request that leaves out the counters, which are most of a link's answer.
fn without_statistics() -> LinkMessage {
    let mut message = LinkMessage::default();
    message.attributes.push(LinkAttribute::ExtMask(vec![LinkExtentMask::SkipStats]));
    message
}

impl Link {
    /// All its names, the first one first.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        [&self.name].into_iter().chain(&self.alt_names).map(String::as_str)
    }

    /// Whether the kernel finds it by `name`.
    pub fn is_called(&self, name: &str) -> bool {
        self.names().any(|its| its == name)
    }
}

#[cfg(test)]
mod tests;
