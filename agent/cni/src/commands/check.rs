//! CHECK: whether an attachment is still as ADD left it; every difference is named.

use std::net::IpAddr;

use common::attachment::{Attachment, AttachmentId};
use common::bandwidth::Bandwidth;
use net::Netlink;
use net::link::Link;
use serde_json::Value;

use super::container;
use crate::error::Error;
use crate::request::{Config, Target};
use crate::spec::default_route;
use crate::state::State;
use crate::{bridge, hostports, ranges, veth};

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
    let mut differences = named(previous, target, &record);
    let unleased = record.addresses.iter().filter(|&&ip| !state.is_leased(ip, &target.id));
    differences.extend(unleased.map(|ip| format!("{ip} is not leased to {}", target.id)));
    let mut host = Netlink::open()?;
    let link = outside(&mut host, target, &record, config, &mut differences)?;
    let inner = inside(&mut container.links, link.as_ref(), &record, config, &mut differences)?;
    let mtus = [link, inner].map(|link| link.map(|link| link.mtu));
    differences.extend(mtu(mtus, interface(previous, target).and_then(|(_, mtu)| mtu), target));
    differences.extend(hostports::missing(&record)?);
    if differences.is_empty() { Ok(()) } else { Err(Error::Differs(differences)) }
}

/// Whether `id` has a host link, whatever has become of its files.
fn living(id: &AttachmentId) -> Result<bool, Error> {
    Ok(veth::find(&mut Netlink::open()?, id)?.is_some())
}

/// What `previous` says of our interface and the record does not, or the other way round.
fn named(previous: &Value, target: &Target, record: &Attachment) -> Vec<String> {
    let Some((index, _)) = interface(previous, target) else {
        return vec![format!("prevResult has no interface {}", target.id.ifname())];
    };
    let ips = list(previous, "ips");
    let own = ips.iter().filter(|ip| ip["interface"].as_u64() == u64::try_from(index).ok());
    let texts = own.filter_map(|ip| ip["address"].as_str()?.split('/').next());
    let named = texts.filter_map(|text| text.parse::<IpAddr>().ok()).collect::<Vec<_>>();
    let unknown = named.iter().filter(|ip| !record.addresses.contains(ip));
    let unknown = unknown.map(|ip| format!("{ip} of prevResult is not in the record"));
    let unnamed = record.addresses.iter().filter(|ip| !named.contains(ip));
    unknown.chain(unnamed.map(|ip| format!("{ip} of the record is not in prevResult"))).collect()
}

/// Place and MTU of our interface in `previous`, which has an MTU from CNI 1.1.0 on.
fn interface(previous: &Value, target: &Target) -> Option<(usize, Option<u64>)> {
    let (name, sandbox) = (target.id.ifname(), target.netns.to_string_lossy());
    let interfaces = list(previous, "interfaces");
    let index = interfaces.iter().position(|interface| {
        interface["name"] == name && interface["sandbox"].as_str() == Some(&sandbox)
    })?;
    Some((index, interfaces[index]["mtu"].as_u64()))
}

fn list(previous: &Value, key: &str) -> Vec<Value> {
    previous.get(key).and_then(Value::as_array).cloned().unwrap_or_default()
}

/// The ends' `mtus` against what ADD has `said`, and against each other: what is larger than the
/// receiver's vanishes without a word.
fn mtu(mtus: [Option<u32>; 2], said: Option<u64>, target: &Target) -> Vec<String> {
    let [outer, inner] = mtus;
    let said = said.and_then(|mtu| u32::try_from(mtu).ok()).or(inner);
    let ends = [(target.id.host_link(), outer), (target.id.ifname().to_owned(), inner)];
    let other = ends.into_iter().filter_map(|(name, mtu)| {
        let (mtu, said) = (mtu?, said?);
        (mtu != said).then(|| format!("the MTU of {name} is {mtu}, not {said}"))
    });
    other.collect()
}

/// The host end.
fn outside(
    host: &mut Netlink,
    target: &Target,
    record: &Attachment,
    config: &Config,
    differences: &mut Vec<String>,
) -> Result<Option<Link>, Error> {
    let bridge = bridge::find(host, config)?.map_err(|reason| differences.push(reason)).ok();
    let Some(link) = veth::find(host, &target.id)? else {
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
    differences.extend(unlimited(host, &link, target, record)?);
    Ok(Some(link))
}

/// The directions in which the pod is not limited as it should be.
fn unlimited(
    host: &mut Netlink,
    link: &Link,
    target: &Target,
    record: &Attachment,
) -> Result<Vec<String>, Error> {
    let Bandwidth { ingress, egress } = record.bandwidth;
    let outside = host.shaping(link.index)?;
    let limiter = veth::limiter(host, &target.id)?.filter(|limiter| limiter.up);
    let sent = match limiter.filter(|limiter| outside.redirect == Some(limiter.index)) {
        Some(limiter) => host.shaping(limiter.index)?.limit,
        None => None,
    };
    let directions = [("receives", ingress, outside.limit), ("sends", egress, sent)];
    let wrong = directions.into_iter().filter_map(|(verb, wanted, found)| {
        let wanted = wanted.filter(|wanted| !found.is_some_and(|found| found.is_about(wanted)))?;
        Some(format!("what {} {verb} is not limited to {wanted}", target.id))
    });
    Ok(wrong.collect())
}

/// The container end, with its addresses and routes.
fn inside(
    netlink: &mut Netlink,
    host_link: Option<&Link>,
    record: &Attachment,
    config: &Config,
    differences: &mut Vec<String>,
) -> Result<Option<Link>, Error> {
    let name = &record.ifname;
    let Some(link) = netlink.link(name)? else {
        differences.push(format!("{name} is missing"));
        return Ok(None);
    };
    if !link.up {
        differences.push(format!("{name} is down"));
    }
    if link.mac.map(|mac| mac.to_string()).as_ref() != Some(&record.mac) {
        differences.push(format!("{name} has not the MAC address {}", record.mac));
    }
    let peer = host_link.and_then(|link| link.peer).map(|peer| peer.index);
    if peer.is_some_and(|peer| peer != link.index) {
        differences.push(format!("{name} is not the other end of {}", record.host_link));
    }
    let addresses = netlink.addresses()?;
    let held = |ip: &IpAddr| {
        addresses.iter().any(|a| a.link == link.index && a.address == *ip && !a.tentative)
    };
    let missing = record.addresses.iter().filter(|ip| !held(ip));
    differences.extend(missing.map(|ip| format!("{name} lacks address {ip}")));
    let routes = netlink.routes()?;
    for range in ranges::of_addresses(&config.ranges, &record.addresses) {
        let destination = default_route(range.subnet.family());
        let way = (destination, Some(range.gateway), Some(link.index));
        if !routes.iter().any(|route| (route.destination, route.via, route.link) == way) {
            differences.push(format!("{destination} does not lead to {}", range.gateway));
        }
    }
    Ok(Some(link))
}
