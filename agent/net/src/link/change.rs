//! Makes, changes and deletes links.

use std::os::fd::{AsFd, AsRawFd};

use netlink_packet_core::{DefaultNla, NLM_F_CREATE, NLM_F_EXCL};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::link::{
    AfSpecInet6, AfSpecUnspec, BridgeStpState, In6AddrGenMode, InfoBridge, InfoBridgePort,
    InfoData, InfoKind, InfoPortData, InfoPortKind, InfoVeth, LinkAttribute, LinkFlags, LinkInfo,
    LinkMessage, Prop,
};
use nix::errno::Errno;

use super::read::{BR_STATE_FORWARDING, OPEN};
use super::{AddrGen, Hairpin, LinkChange, Master, Veth, VethSpec};
use crate::connection::Refusal;
use crate::error::During;
use crate::netlink::Request;
use crate::{Mac, NetError, Netlink};

impl Netlink {
    /// Makes a bridge that keeps its MAC; it is down. Returns its index.
    ///
    /// Its MTU follows its ports until a [`LinkChange`] of its own sets it.
    ///
    /// # Errors
    /// [`NetError::already_exists`] if the name is taken.
    pub fn create_bridge(&mut self, name: &str, mac: Mac) -> Result<u32, NetError> {
        let mut message = LinkMessage::default();
        message.attributes = vec![
            LinkAttribute::IfName(name.to_owned()),
            LinkAttribute::Address(mac.0.to_vec()),
            LinkAttribute::LinkInfo(vec![LinkInfo::Kind(InfoKind::Bridge)]),
        ];
        self.change(create(message), "create bridge", name)?;
        self.made(name).map(|link| link.index)
    }

    /// Makes a veth pair, its host end a bridge port that is up; or leaves nothing behind.
    ///
    /// The container end is down: a veth can't be enabled while it is made. Its owner gives it
    /// addresses and enables it by a [`LinkChange`], through a [`Netlink`] that was opened in its
    /// namespace. The host end has no IPv6 address ([`AddrGen::None`]): the pod's gateway is the
    /// bridge.
    ///
    /// # Errors
    /// [`NetError::already_exists`] if either name is taken in its namespace.
    pub fn create_veth(&mut self, spec: &VethSpec<'_>) -> Result<Veth, NetError> {
        self.change(create(pair(spec)), "create veth", spec.host_name)?;
        let link = self.made(spec.host_name)?;
        let change = LinkChange {
            up: Some(true),
            alias: Some(spec.alias.to_owned()),
            hairpin: Some(spec.hairpin == Hairpin::On),
            addr_gen: Some(AddrGen::None),
            ..LinkChange::default()
        };
        let container = link.peer.map(|peer| peer.index).ok_or_else(Refusal::senseless);
        let container = container.during("find the other end of", spec.host_name);
        let finished = container.and_then(|container| {
            self.shape(link.index, &spec.shaping)?;
            self.set_link(link.index, &change)?;
            Ok(Veth { host: link.index, container })
        });
        if finished.is_err() {
            // The error that led here says more than one of this would.
            let _ = self.delete_link(link.index);
        }
        finished
    }

    /// Changes a link, in one datagram.
    ///
    /// What the kernel does too late or too early within one message goes in one of its own. Where
    /// one is refused, the others may have been made.
    pub fn set_link(&mut self, index: u32, change: &LinkChange) -> Result<(), NetError> {
        let object = || format!("link {index}");
        let outcomes = self.batch(requests(index, change)).during("change", object())?;
        let last = outcomes.len().saturating_sub(1);
        for (position, outcome) in outcomes.into_iter().enumerate() {
            match outcome {
                // Without a carrier a port is closed, and the spanning tree protocol opens its ports.
                Err(refusal)
                    if position == last
                        && change.open
                        && matches!(refusal.errno(), Some(Errno::ENETDOWN | Errno::EBUSY)) => {}
                // A link without IPv6 gives itself no addresses anyway.
                Err(refusal)
                    if position == 0
                        && change.addr_gen == Some(AddrGen::None)
                        && refusal.errno() == Some(Errno::EAFNOSUPPORT) => {}
                outcome => outcome.during("change", object())?,
            }
        }
        Ok(())
    }

    /// Gives a link another name, while it carries what it carries.
    ///
    /// A kernel before 6.2 renames no link that is up: there it is down for a moment, and loses its IPv6
    /// addresses.
    pub fn rename_link(&mut self, index: u32, name: &str) -> Result<(), NetError> {
        let up = |up| LinkChange { up: Some(up), ..LinkChange::default() };
        match self.rename(index, name) {
            Err(error) if error.kind() == std::io::ErrorKind::ResourceBusy => {
                self.set_link(index, &up(false))?;
                self.rename(index, name)?;
                self.set_link(index, &up(true))
            }
            renamed => renamed,
        }
    }

    fn rename(&mut self, index: u32, name: &str) -> Result<(), NetError> {
        let names = vec![LinkAttribute::IfName(name.to_owned())];
        let request =
            Request { message: RouteNetlinkMessage::NewLink(message(index, names)), flags: 0 };
        self.change(request, "rename", format_args!("link {index} to {name}"))
    }

    /// Gives a link a further name, while it carries what it carries (Linux 5.5).
    ///
    /// # Errors
    /// [`NetError::already_exists`] if the name is taken.
    pub fn add_alt_name(&mut self, index: u32, name: &str) -> Result<(), NetError> {
        let names = vec![LinkAttribute::PropList(vec![Prop::AltIfName(name.to_owned())])];
        let request = Request {
            message: RouteNetlinkMessage::NewLinkProp(message(index, names)),
            flags: NLM_F_CREATE | NLM_F_EXCL,
        };
        self.change(request, "give a further name to", format_args!("link {index}"))
    }

    /// Deletes a link; of a veth pair, both ends.
    pub fn delete_link(&mut self, index: u32) -> Result<(), NetError> {
        let mut message = LinkMessage::default();
        message.header.index = index;
        let request = Request { message: RouteNetlinkMessage::DelLink(message), flags: 0 };
        self.change(request, "delete", format_args!("link {index}"))
    }

    /// Deletes links, of veth pairs both ends; one that is gone by now is as good as deleted.
    ///
    /// A deletion waits for all who may still look at the link (`netdev_run_todo` in net/core/dev.c,
    /// about 20 ms), that of a whole group once: they are put into `group`, which must be nobody's else.
    pub fn delete_links(&mut self, indices: &[u32], group: u32) -> Result<(), NetError> {
        let missing_is_fine = |deleted: Result<(), NetError>| match deleted {
            Err(error) if error.is_missing() => Ok(()),
            deleted => deleted,
        };
        let attributes = || vec![LinkAttribute::Group(group)];
        match indices {
            [] => return Ok(()),
            [index] => return missing_is_fine(self.delete_link(*index)),
            _ => {}
        }
        let change = |&index| Request {
            message: RouteNetlinkMessage::SetLink(message(index, attributes())),
            flags: 0,
        };
        let object = || format!("{} links", indices.len());
        let grouped = self.batch(indices.iter().map(change)).during("group", object())?;
        for outcome in grouped {
            missing_is_fine(outcome.during("group", object()))?;
        }
        let message = RouteNetlinkMessage::DelLink(message(0, attributes()));
        missing_is_fine(self.change(Request { message, flags: 0 }, "delete", object()))
    }

    /// The link that was made under this name a moment ago: its index comes with no acknowledgement.
    pub(crate) fn made(&mut self, name: &str) -> Result<super::Link, NetError> {
        let gone = || Refusal::from(std::io::Error::from(Errno::ENODEV)).during("find", name);
        self.link(name)?.ok_or_else(gone)
    }
}

fn create(message: LinkMessage) -> Request {
    Request { message: RouteNetlinkMessage::NewLink(message), flags: NLM_F_CREATE | NLM_F_EXCL }
}

/// The bridge takes the host end as a port in the same message: if it can't, no pair is made.
fn pair(spec: &VethSpec<'_>) -> LinkMessage {
    let end = |name: &str, mac: Mac, more: LinkAttribute| {
        let mut message = LinkMessage::default();
        message.attributes = vec![
            LinkAttribute::IfName(name.to_owned()),
            LinkAttribute::Address(mac.0.to_vec()),
            LinkAttribute::Mtu(spec.mtu),
            // Else it gets a queue for each processor, which the kernel takes away again, all but one;
            // for that it waits until nobody looks at them (`veth_init_queues` in drivers/net/veth.c).
            LinkAttribute::NumTxQueues(1),
            LinkAttribute::NumRxQueues(1),
            more,
        ];
        message
    };
    let netns = LinkAttribute::NetNsFd(spec.netns.as_fd().as_raw_fd());
    let container = end(spec.container_name, spec.container_mac, netns);
    let bridge = LinkAttribute::Controller(spec.bridge);
    let mut host = end(spec.host_name, spec.host_mac, bridge);
    host.attributes.push(LinkAttribute::LinkInfo(vec![
        LinkInfo::Kind(InfoKind::Veth),
        LinkInfo::Data(InfoData::Veth(InfoVeth::Peer(container))),
    ]));
    host
}

/// The messages that make `change`.
///
/// `do_setlink` (net/core/rtnetlink.c) enables a link before it looks at the way in which that finds
/// its addresses, and looks at bridge port flags before it makes the link a port.
fn requests(index: u32, change: &LinkChange) -> Vec<Request> {
    let before = change.addr_gen.map(|mode| vec![addr_gen(mode)]).unwrap_or_default();
    let mut flags = change.hairpin.map(InfoBridgePort::HairpinMode).into_iter().collect::<Vec<_>>();
    let mut state = Vec::new();
    if change.open {
        let flag = |&(number, value): &(u16, u8)| DefaultNla::new(number, vec![value]);
        flags.extend(OPEN.iter().map(flag).map(InfoBridgePort::Other));
        state.push(InfoBridgePort::State(BR_STATE_FORWARDING.into()));
    }
    let mut main = message(index, attributes(change));
    for (on, flag) in [(change.up, LinkFlags::Up), (change.promiscuous, LinkFlags::Promisc)] {
        if let Some(on) = on {
            main.header.change_mask |= flag;
            main.header.flags.set(flag, on);
        }
    }
    [message(index, before), main, message(index, port(flags)), message(index, port(state))]
        .into_iter()
        .filter(|m| !m.attributes.is_empty() || !m.header.change_mask.is_empty())
        .map(|message| Request { message: RouteNetlinkMessage::NewLink(message), flags: 0 })
        .collect()
}

fn message(index: u32, attributes: Vec<LinkAttribute>) -> LinkMessage {
    let mut message = LinkMessage::default();
    message.header.index = index;
    message.attributes = attributes;
    message
}

fn attributes(change: &LinkChange) -> Vec<LinkAttribute> {
    let master = change.master.map(|master| match master {
        Master::Nobody => LinkAttribute::Controller(0),
        Master::Bridge(bridge) => LinkAttribute::Controller(bridge),
    });
    let mac = change.mac.map(|mac| LinkAttribute::Address(mac.0.to_vec()));
    let alias = change.alias.clone().map(LinkAttribute::IfAlias);
    let mtu = change.mtu.map(LinkAttribute::Mtu);
    [mtu, master, mac, alias, bridge(change)].into_iter().flatten().collect()
}

fn bridge(change: &LinkChange) -> Option<LinkAttribute> {
    let state = |on| if on { BridgeStpState::KernelStp } else { BridgeStpState::Disabled };
    let spanning_tree = change.spanning_tree.map(|on| InfoBridge::StpState(state(on)));
    let vlan_filtering = change.vlan_filtering.map(InfoBridge::VlanFiltering);
    let settings = spanning_tree.into_iter().chain(vlan_filtering).collect::<Vec<_>>();
    (!settings.is_empty()).then(|| {
        LinkAttribute::LinkInfo(vec![
            LinkInfo::Kind(InfoKind::Bridge),
            LinkInfo::Data(InfoData::Bridge(settings)),
        ])
    })
}

fn addr_gen(mode: AddrGen) -> LinkAttribute {
    let mode = match mode {
        AddrGen::None => In6AddrGenMode::None,
        AddrGen::Eui64 => In6AddrGenMode::Eui64,
        AddrGen::Other(mode) => In6AddrGenMode::Other(mode),
    };
    LinkAttribute::AfSpecUnspec(vec![AfSpecUnspec::Inet6(vec![AfSpecInet6::AddrGenMode(mode)])])
}

fn port(flags: Vec<InfoBridgePort>) -> Vec<LinkAttribute> {
    if flags.is_empty() {
        return Vec::new();
    }
    vec![LinkAttribute::LinkInfo(vec![
        LinkInfo::PortKind(InfoPortKind::Bridge),
        LinkInfo::PortData(InfoPortData::BridgePort(flags)),
    ])]
}
