//! Reads a link from the kernel's message.

use netlink_packet_route::link::{LinkFlags, LinkHeader, LinkMessageBuffer};

use super::{AddrGen, Kind, Link, Peer};
use crate::Mac;
use crate::attribute::{attribute, attributes, i32_of, text_of, u32_of};
use crate::connection::Message;

/// linux/rtnetlink.h.
const RTM_NEWLINK: u16 = 16;

/// `linux/if_link.h`: attributes of a link, and of those what is nested in them.
const IFLA_ADDRESS: u16 = 1;
const IFLA_IFNAME: u16 = 3;
const IFLA_MTU: u16 = 4;
const IFLA_LINK: u16 = 5;
const IFLA_MASTER: u16 = 10;
const IFLA_LINKINFO: u16 = 18;
const IFLA_INFO_KIND: u16 = 1;
const IFLA_INFO_DATA: u16 = 2;
const IFLA_BR_STP_STATE: u16 = 5;
const IFLA_BR_VLAN_FILTERING: u16 = 7;
const IFLA_INFO_SLAVE_KIND: u16 = 4;
const IFLA_INFO_SLAVE_DATA: u16 = 5;
const IFLA_BRPORT_STATE: u16 = 1;
const IFLA_BRPORT_MODE: u16 = 4;
const IFLA_IFALIAS: u16 = 20;
const IFLA_AF_SPEC: u16 = 26;
const AF_INET6: u16 = 10;
const IFLA_INET6_ADDR_GEN_MODE: u16 = 8;
const IFLA_LINK_NETNSID: u16 = 37;
const IFLA_PROP_LIST: u16 = 52;
const IFLA_ALT_IFNAME: u16 = 53;

/// `linux/if_bridge.h`.
pub(super) const BR_STATE_FORWARDING: u8 = 3;

/// Flags of a bridge port, as the kernel makes one (`new_nbp` in `net/bridge/br_if.c`): learning, floods of
/// unicast, multicast and broadcast, suppression of neighbours' questions, isolation, lock.
pub(super) const OPEN: [(u16, u8); 7] =
    [(8, 1), (9, 1), (27, 1), (30, 1), (32, 0), (33, 0), (39, 0)];

impl Link {
    pub(super) fn read(message: &Message<'_>) -> Option<Self> {
        let header = LinkHeader::parse(message.body).ok()?;
        let mut link = (message.kind == RTM_NEWLINK).then(|| Self::bare(&header))?;
        let (mut below, mut netnsid) = (None, None);
        for (number, value) in attributes(message.body.get(size_of::<LinkMessageBuffer>()..)?) {
            match number {
                IFLA_IFNAME => link.name = text_of(value),
                IFLA_ADDRESS => link.mac = value.try_into().ok().map(Mac),
                IFLA_MTU => link.mtu = u32_of(value)?,
                IFLA_MASTER => link.master = u32_of(value),
                IFLA_IFALIAS => link.alias = Some(text_of(value)),
                IFLA_LINKINFO => link.read_info(value),
                IFLA_AF_SPEC => link.addr_gen = addr_gen(value),
                IFLA_LINK => below = u32_of(value).filter(|&index| index != 0),
                IFLA_LINK_NETNSID => netnsid = i32_of(value),
                IFLA_PROP_LIST => {
                    let names = attributes(value).filter(|(number, _)| *number == IFLA_ALT_IFNAME);
                    link.alt_names = names.map(|(_, name)| text_of(name)).collect();
                }
                _ => {}
            }
        }
        link.peer = below.map(|index| Peer { index, netnsid });
        Some(link)
    }

    /// What its header says.
    fn bare(header: &LinkHeader) -> Self {
        Self {
            index: header.index,
            name: String::new(),
            alt_names: Vec::new(),
            kind: Kind::Device,
            mtu: 0,
            mac: None,
            up: header.flags.contains(LinkFlags::Up),
            running: header.flags.contains(LinkFlags::Running),
            loopback: header.flags.contains(LinkFlags::Loopback),
            point_to_point: header.flags.contains(LinkFlags::Pointopoint),
            promiscuous: header.flags.contains(LinkFlags::Promisc),
            master: None,
            alias: None,
            hairpin: None,
            open: None,
            spanning_tree: false,
            vlan_filtering: false,
            addr_gen: None,
            peer: None,
        }
    }

    fn read_info(&mut self, info: &[u8]) {
        if let Some(kind) = attribute(info, IFLA_INFO_KIND) {
            self.kind = match text_of(kind).as_str() {
                "bridge" => Kind::Bridge,
                "veth" => Kind::Veth,
                "ifb" => Kind::Ifb,
                other => Kind::Other(other.to_owned()),
            };
        }
        let bridge = attribute(info, IFLA_INFO_DATA).filter(|_| self.kind == Kind::Bridge);
        let is_on = |number| {
            let value = bridge.and_then(|bridge| attribute(bridge, number));
            value.is_some_and(|value| value.iter().any(|&byte| byte != 0))
        };
        self.spanning_tree = is_on(IFLA_BR_STP_STATE);
        self.vlan_filtering = is_on(IFLA_BR_VLAN_FILTERING);
        let of_a_bridge =
            attribute(info, IFLA_INFO_SLAVE_KIND).map(text_of) == Some("bridge".into());
        let port = attribute(info, IFLA_INFO_SLAVE_DATA).filter(|_| of_a_bridge);
        let mode = port.and_then(|port| attribute(port, IFLA_BRPORT_MODE));
        self.hairpin = mode.map(|mode| mode != [0]);
        self.open = port.map(|port| self.is_open(port));
    }

    /// A port whose link is not running is closed by that.
    fn is_open(&self, port: &[u8]) -> bool {
        let state = attribute(port, IFLA_BRPORT_STATE);
        let closed = state.is_some_and(|state| state != [BR_STATE_FORWARDING]);
        let odd = OPEN
            .iter()
            .any(|(number, value)| attribute(port, *number).is_some_and(|flag| flag != [*value]));
        !(odd || (closed && self.running))
    }
}

fn addr_gen(families: &[u8]) -> Option<AddrGen> {
    let mode = attribute(attribute(families, AF_INET6)?, IFLA_INET6_ADDR_GEN_MODE)?;
    Some(match *mode.first()? {
        0 => AddrGen::Eui64,
        1 => AddrGen::None,
        other => AddrGen::Other(other),
    })
}
