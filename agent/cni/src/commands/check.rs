//! CHECK: whether an attachment is still as ADD left it; every difference is named.

use std::net::IpAddr;

use common::attachment::{Attachment, AttachmentId};
use common::bandwidth::Bandwidth;
use net::link::Link;
use net::{Mac, Netlink};
use serde_json::Value;

use self::told::Told;
use super::container;
use crate::error::Error;
use crate::request::{Config, Target};
use crate::spec::default_route;
use crate::state::State;
use crate::{bridge, hostports, ranges, veth};

mod told;

pub(crate) fn check(target: &Target, config: &Config, previous: &Value) -> Result<(), Error> {
    let mut container = container(&target.netns)?;
    let state = State::at(&config.state_dir);
    let Some(record) = state.record(&target.id)? else {
        let left = state.ids()?.contains(&target.id) || living(&target.id)?;
        if !left {
            return Err(Error::Unattached(target.id.clone()));
        }
        return Err(Error::Differs(vec![format!("{} has no record", target.id)]));
    };
    let told = Told::of(previous, target);
    let mut differences = match &told {
        Some(told) => told.differences(&record),
        None => vec![format!("prevResult has no interface {}", target.id.ifname())],
    };
    let told = told.unwrap_or_default();
    let unleased = record.addresses.iter().filter(|&&ip| !state.is_leased(ip, &target.id));
    differences.extend(unleased.map(|ip| format!("{ip} is not leased to {}", target.id)));
    let mut host = Netlink::open()?;
    let wanted = Wanted { target, record: &record, config, told: &told };
    let link = wanted.outside(&mut host, &mut differences)?;
    let inner = wanted.inside(&mut container.links, link.as_ref(), &mut differences)?;
    differences.extend(mtu([link, inner].map(|link| link.map(|link| link.mtu)), told.mtu, target));
    differences.extend(hostports::missing(&record)?);
    if differences.is_empty() { Ok(()) } else { Err(Error::Differs(differences)) }
}

/// Whether `id` has a host link, whatever has become of its files.
fn living(id: &AttachmentId) -> Result<bool, Error> {
    Ok(veth::find(&mut Netlink::open()?, id)?.is_some())
}

/// The ends' `mtus` against what ADD has `said`, and against each other: what is larger than the
/// receiver's vanishes without a word.
fn mtu(mtus: [Option<u32>; 2], said: Option<u32>, target: &Target) -> Vec<String> {
    let [outer, inner] = mtus;
    let said = said.or(inner);
    let ends = [(target.id.host_link(), outer), (target.id.ifname().to_owned(), inner)];
    let other = ends.into_iter().filter_map(|(name, mtu)| {
        let (mtu, said) = (mtu?, said?);
        (mtu != said).then(|| format!("the MTU of {name} is {mtu}, not {said}"))
    });
    other.collect()
}

fn other_mac(link: &Link, wanted: &str) -> Option<String> {
    let is_it = wanted.parse::<Mac>().is_ok_and(|wanted| link.mac == Some(wanted));
    (!is_it).then(|| format!("{} has not the MAC address {wanted}", link.name))
}

/// What an attachment has to be like.
#[derive(Clone, Copy)]
struct Wanted<'a> {
    target: &'a Target,
    record: &'a Attachment,
    config: &'a Config,
    told: &'a Told,
}

impl Wanted<'_> {
    /// The host end, and the bridge.
    fn outside(
        self,
        host: &mut Netlink,
        differences: &mut Vec<String>,
    ) -> Result<Option<Link>, Error> {
        let Self { target, config, told, .. } = self;
        let bridge = bridge::find(host, config)?.map_err(|reason| differences.push(reason)).ok();
        let link = veth::find(host, &target.id)?;
        for (name, mac) in &told.outside {
            let links = [&bridge, &link].into_iter().flatten();
            differences
                .extend(links.filter(|it| it.name == *name).find_map(|it| other_mac(it, mac)));
        }
        let Some(link) = link else {
            differences.push(format!("host link {} is missing", target.id.host_link()));
            return Ok(None);
        };
        let name = &link.name;
        if !link.up {
            differences.push(format!("{name} is down"));
        }
        if bridge.is_some_and(|bridge| link.master != Some(bridge.index)) {
            differences.push(format!("{name} is no port of {}", config.bridge));
        } else if link.hairpin.is_some_and(|hairpin| hairpin != config.hairpin) {
            differences.push(format!("hairpin of {name} is not {}", config.hairpin));
        }
        differences.extend(self.unlimited(host, &link)?);
        Ok(Some(link))
    }

    /// The directions in which the pod is not limited as it should be.
    fn unlimited(self, host: &mut Netlink, link: &Link) -> Result<Vec<String>, Error> {
        let Self { target, record, .. } = self;
        let Bandwidth { ingress, egress } = record.bandwidth;
        let outside = host.shaping(link.index)?;
        let limiter = veth::limiter(host, &target.id)?.filter(|limiter| limiter.up);
        let sent = match limiter.filter(|limiter| outside.redirect == Some(limiter.index)) {
            Some(limiter) => host.shaping(limiter.index)?.limit,
            None => None,
        };
        let directions = [("receives", ingress, outside.limit), ("sends", egress, sent)];
        let wrong = directions.into_iter().filter_map(|(verb, wanted, found)| {
            let wanted = wanted.filter(|wanted| !found.is_some_and(|it| it.is_about(wanted)))?;
            Some(format!("what {} {verb} is not limited to {wanted}", target.id))
        });
        Ok(wrong.collect())
    }

    /// The container end, with its addresses and routes.
    fn inside(
        self,
        netlink: &mut Netlink,
        host_link: Option<&Link>,
        differences: &mut Vec<String>,
    ) -> Result<Option<Link>, Error> {
        let Self { record, told, .. } = self;
        let name = &record.ifname;
        let Some(link) = netlink.link(name)? else {
            differences.push(format!("{name} is missing"));
            return Ok(None);
        };
        if !link.up {
            differences.push(format!("{name} is down"));
        }
        differences.extend(other_mac(&link, told.mac.as_ref().unwrap_or(&record.mac)));
        let peer = host_link.and_then(|link| link.peer).map(|peer| peer.index);
        if peer.is_some_and(|peer| peer != link.index) {
            differences.push(format!("{name} is not the other end of {}", record.host_link));
        }
        let addresses = netlink.addresses()?;
        let held = |ip: &IpAddr, length: Option<u8>| {
            let mut own = addresses.iter().filter(|a| a.link == link.index && !a.tentative);
            own.any(|a| a.address == *ip && length.is_none_or(|length| a.length == length))
        };
        let missing = record.addresses.iter().filter(|ip| !held(ip, None));
        differences.extend(missing.map(|ip| format!("{name} lacks address {ip}")));
        let other =
            told.addresses.iter().filter(|(ip, length)| held(ip, None) && !held(ip, Some(*length)));
        let other = other.map(|(ip, length)| format!("the length of {ip} is not {length}"));
        differences.extend(other);
        differences.extend(self.routes(netlink, &link)?);
        Ok(Some(link))
    }

    /// The routes that are missing.
    fn routes(self, netlink: &mut Netlink, link: &Link) -> Result<Vec<String>, Error> {
        let Self { record, config, told, .. } = self;
        let own = ranges::of_addresses(&config.ranges, &record.addresses).into_iter();
        let own = own.map(|range| (default_route(range.subnet.family()), range.gateway));
        let own = own.collect::<Vec<_>>();
        let routes = netlink.routes()?;
        let ours = own.iter().map(|&way| (way, Some(link.index)));
        let others = told.routes.iter().filter(|way| !own.contains(way));
        let missing = ours.chain(others.map(|&way| (way, None))).filter(|((to, by), link)| {
            let mut ways =
                routes.iter().filter(|route| link.is_none_or(|it| route.link == Some(it)));
            !ways.any(|route| (route.destination, route.via) == (*to, Some(*by)))
        });
        Ok(missing.map(|((to, by), _)| format!("{to} does not lead to {by}")).collect())
    }
}
