//! The pod's veth pair: made, given addresses and routes, found again, deleted.

use std::net::IpAddr;
use std::time::Duration;

use common::alias::read_alias;
use common::attachment::{self, Attachment, AttachmentId};
use common::conflist::Range;
use common::{PerFamily, names};
use net::link::{Hairpin, Kind, Link, LinkChange, Master, VethSpec};
use net::route::{Route, RouteChange};
use net::shaping::Shaping;
use net::sysctl::Sysctl;
use net::{Mac, NetError, Netlink, Netns};

use crate::error::{During, Error};
use crate::spec::default_route;
use crate::wait;

/// How long the kernel's work queues may take: microseconds, if it has nothing else to do.
const KERNEL_LIMIT: Duration = Duration::from_secs(5);

/// What lets the kernel announce addresses, by gratuitous ARP and by unsolicited neighbour
/// advertisements; and keep those of IPv6, as those of IPv4, when a pod takes its interface down
/// (Documentation/networking/ip-sysctl.rst).
const SETTINGS: PerFamily<&[&str]> = PerFamily {
    v4: &["ipv4/conf/{}/arp_notify"],
    v6: &["ipv6/conf/{}/ndisc_notify", "ipv6/conf/{}/keep_addr_on_down"],
};

/// What ADD makes of a veth pair.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan<'a> {
    pub(crate) id: &'a AttachmentId,
    pub(crate) record: &'a Attachment,
    pub(crate) netns: &'a Netns,
    /// Those of its addresses.
    pub(crate) ranges: &'a [Range],
    /// The container end's.
    pub(crate) mac: Mac,
    /// Index of the bridge.
    pub(crate) bridge: u32,
    /// In bytes.
    pub(crate) mtu: u32,
    /// Of the routes that leave the segment; none is the link's.
    pub(crate) route_mtu: Option<u32>,
    pub(crate) hairpin: Hairpin,
}

/// The container end's MAC address: of its IPv4 address, if it has one.
pub(crate) fn container_mac(addresses: &[IpAddr]) -> Mac {
    Mac(attachment::mac_of(addresses))
}

/// The host end's: the same with 59 for 58, so that both are unique on the segment.
pub(crate) fn host_mac(addresses: &[IpAddr]) -> Mac {
    let Mac([first, _, rest @ ..]) = container_mac(addresses);
    let [a, b, c, d] = rest;
    Mac([first, 0x59, a, b, c, d])
}

impl Plan<'_> {
    /// Makes the pair, and the container end ready for use; on an error it may be there in part.
    pub(crate) fn apply(&self, host: &mut Netlink, pod: &mut Netlink) -> Result<(), Error> {
        let record = self.record;
        let limiter = record
            .bandwidth
            .egress
            .map(|limit| host.create_ifb(&self.id.limiter(), &record.alias(), &limit));
        let shaping = Shaping { limit: record.bandwidth.ingress, redirect: limiter.transpose()? };
        let made = host.create_veth(&VethSpec {
            host_name: &record.host_link,
            host_mac: host_mac(&record.addresses),
            container_name: &record.ifname,
            container_mac: self.mac,
            netns: self.netns,
            mtu: self.mtu,
            alias: &record.alias(),
            bridge: self.bridge,
            hairpin: self.hairpin,
            shaping,
        });
        let veth = match made {
            Err(error) if error.already_exists() => {
                let ifname = &record.ifname;
                return Err(Error::Attached(format!("the container has an interface {ifname}")));
            }
            made => made?,
        };
        let entered = self.netns.run(|| self.set());
        entered.during(|| "enter the container's network namespace".to_owned())?;
        let enabled = LinkChange { up: Some(true), ..LinkChange::default() };
        pod.set_link(veth.container, &enabled)?;
        for &address in &record.addresses {
            self.add_address(pod, veth.container, address)?;
        }
        let routes = self.ranges.iter().map(|range| {
            RouteChange::Replace(Route {
                destination: default_route(range.subnet.family()),
                via: Some(range.gateway),
                link: Some(veth.container),
                protocol: names::ROUTE_PROTOCOL,
                metric: 0,
                mtu: self.route_mtu,
            })
        });
        let outcomes = pod.change_routes(&routes.collect::<Vec<_>>())?;
        outcomes.into_iter().collect::<Result<(), _>>()?;
        await_carrier(host, &record.host_link)?;
        await_carrier(host, &record.bridge)?;
        self.ranges.iter().try_for_each(|range| await_address(host, range.gateway))?;
        record.addresses.iter().try_for_each(|&address| await_address(pod, address))?;
        // A change of the MAC address is announced, also one to what it is: neighbours may know an
        // address by that of the pod that had it last.
        let announced = LinkChange { mac: Some(self.mac), ..LinkChange::default() };
        Ok(pod.set_link(veth.container, &announced)?)
    }

    /// In the container's namespace. A pod whose addresses are not announced is reached a little later.
    fn set(&self) {
        for setting in self.ranges.iter().flat_map(|range| SETTINGS[range.subnet.family()]) {
            let key = format!("net/{}", setting.replace("{}", &self.record.ifname));
            if let Err(error) = Sysctl::default().write(&key, "1") {
                eprintln!("kubenet: cannot write {key} in the container: {error}");
            }
        }
    }

    /// Also where the runtime has turned IPv6 off in the namespace: the network has it, so has the pod,
    /// which reaches itself by `lo`.
    fn add_address(&self, pod: &mut Netlink, link: u32, address: IpAddr) -> Result<(), Error> {
        let range = self.ranges.iter().find(|range| range.subnet.contains(address));
        let length = range.map_or(0, |range| range.subnet.length());
        match pod.add_address(link, address, length) {
            Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => {
                for name in [&self.record.ifname, "lo"] {
                    let key = format!("net/ipv6/conf/{name}/disable_ipv6");
                    let written = self.netns.run(|| Sysctl::default().write(&key, "0")).flatten();
                    written.during(|| format!("turn on IPv6 in the container by {key}"))?;
                }
                Ok(pod.add_address(link, address, length)?)
            }
            added => Ok(added?),
        }
    }
}

/// Waits until a link of the machine sends what it is given.
///
/// The host end hears of the container end that was enabled from a work queue (`linkwatch_event` in
/// net/core), and so does a bridge of its first port; both drop packets until then, and a lost ARP
/// request is repeated after a second.
fn await_carrier(host: &mut Netlink, name: &str) -> Result<(), Error> {
    let running = || host.link(name).map(|link| link.filter(|link| link.running).map(drop));
    let missing = || Error::TryLater(format!("{name} has no carrier"));
    wait::until(KERNEL_LIMIT, running)?.ok_or_else(missing)
}

/// Waits until `machine`, the host or the container, answers to `address`.
fn await_address(machine: &mut Netlink, address: IpAddr) -> Result<(), Error> {
    let received = || machine.receives(address).map(|received| received.then_some(()));
    let missing = || Error::TryLater(format!("{address} is not received"));
    wait::until(KERNEL_LIMIT, received)?.ok_or_else(missing)
}

/// The host end of `id`, alive: a veth dies with its namespace.
///
/// A link of that name without an alias is one that nobody had the time to finish.
pub(crate) fn find(host: &mut Netlink, id: &AttachmentId) -> Result<Option<Link>, NetError> {
    Ok(host.link(&id.host_link())?.filter(|link| is_of(link, id)))
}

/// Whether `link` is the host end of `id`.
pub(crate) fn is_of(link: &Link, id: &AttachmentId) -> bool {
    let alias = link.alias.as_deref();
    link.kind == Kind::Veth
        && alias.is_none_or(|text| AttachmentId::of_alias(text).as_ref() == Some(id))
}

/// All attachments that live, as their host ends tell.
pub(crate) fn living(host: &mut Netlink) -> Result<Vec<(AttachmentId, Vec<IpAddr>)>, NetError> {
    let links = host.links()?.into_iter().filter(|link| link.kind == Kind::Veth);
    Ok(links.filter_map(|link| read_alias(&link.alias?)).collect())
}

/// The link that limits what the pod of `id` sends; unlike the pair it outlives the namespace.
///
/// One without an alias is one that nobody had the time to finish.
pub(crate) fn limiter(host: &mut Netlink, id: &AttachmentId) -> Result<Option<Link>, NetError> {
    let is_of = |link: &Link| {
        let owner = link.alias.as_deref().map(AttachmentId::of_alias);
        link.kind == Kind::Ifb && owner.is_none_or(|owner| owner.as_ref() == Some(id))
    };
    Ok(host.link(&id.limiter())?.filter(is_of))
}

/// The attachments that have a link, also those whose pods are gone.
pub(crate) fn owners(host: &mut Netlink) -> Result<Vec<AttachmentId>, NetError> {
    let links = host.links()?.into_iter();
    let ours = links.filter(|link| matches!(link.kind, Kind::Veth | Kind::Ifb));
    Ok(ours.filter_map(|link| AttachmentId::of_alias(&link.alias?)).collect())
}

/// Takes the host end of `id` off its bridge and down, if there is one: nothing reaches the pod any more.
pub(crate) fn unhook(host: &mut Netlink, id: &AttachmentId) -> Result<(), NetError> {
    let Some(link) = find(host, id)? else { return Ok(()) };
    let off = LinkChange { up: Some(false), master: Some(Master::Nobody), ..LinkChange::default() };
    match host.set_link(link.index, &off) {
        // Its namespace went meanwhile.
        Err(error) if error.is_missing() => Ok(()),
        unhooked => unhooked,
    }
}

pub(crate) fn has_links(host: &mut Netlink, id: &AttachmentId) -> Result<bool, NetError> {
    Ok(links(host, id)?.next().is_some())
}

fn links(
    host: &mut Netlink,
    id: &AttachmentId,
) -> Result<impl Iterator<Item = Link> + use<>, NetError> {
    Ok([find(host, id)?, limiter(host, id)?].into_iter().flatten())
}

/// Deletes all links of `ids` that there are.
pub(crate) fn delete<'a>(
    host: &mut Netlink,
    ids: impl IntoIterator<Item = &'a AttachmentId>,
) -> Result<(), NetError> {
    let mut indices = Vec::new();
    for id in ids {
        indices.extend(links(host, id)?.map(|link| link.index));
    }
    host.delete_links(&indices, names::DELETED_LINKS_GROUP)
}
