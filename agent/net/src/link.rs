//! Links: bridges, veth pairs, and what else the machine has.

use crate::{Mac, NetError, Netlink, Netns};

/// One network interface.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of its own, see netdevice(7)")]
pub struct Link {
    pub index: u32,
    pub name: String,
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
}

/// Whether a bridge port sends frames back where they came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hairpin {
    On,
    Off,
}

/// What [`Netlink::create_veth`] made; both ends are up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Veth {
    /// Index of the host end.
    pub host: u32,
    /// Index of the container end, in its namespace.
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
    pub alias: Option<String>,
    pub promiscuous: Option<bool>,
    /// For what is a bridge port already: not together with `master`.
    pub hairpin: Option<bool>,
    /// For what may have IPv6 addresses.
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
        unimplemented!()
    }

    /// The link named `name`, if there is one.
    pub fn link(&mut self, _name: &str) -> Result<Option<Link>, NetError> {
        unimplemented!()
    }

    /// Makes a bridge that keeps its MAC; it is down. Returns its index.
    ///
    /// Its MTU follows its ports until a [`LinkChange`] of its own sets it.
    pub fn create_bridge(&mut self, _name: &str, _mac: Mac) -> Result<u32, NetError> {
        unimplemented!()
    }

    /// Makes a veth pair, its host end a bridge port, both ends up; or leaves nothing behind.
    ///
    /// # Errors
    /// [`NetError::already_exists`] if either name is taken in its namespace.
    pub fn create_veth(&mut self, _spec: &VethSpec<'_>) -> Result<Veth, NetError> {
        unimplemented!()
    }

    /// Changes a link in as few messages as the kernel allows: one.
    pub fn set_link(&mut self, _index: u32, _change: &LinkChange) -> Result<(), NetError> {
        unimplemented!()
    }

    /// Deletes a link; of a veth pair, both ends.
    pub fn delete_link(&mut self, _index: u32) -> Result<(), NetError> {
        unimplemented!()
    }
}
