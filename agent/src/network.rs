//! Pure: the part of a machine that is cbr0 and what leads to it, where that is the agent's.

use std::collections::BTreeMap;

use common::conflist::Range;
use common::{Family, Prefix};
use net::link::{Kind, Link};
use net::nftables::Chain;
use net::route::RouteChange;

use crate::attachments;
use crate::bridge::{self, Bridge, Held};
use crate::firewall::{self, Table};
use crate::hairpin::{Hairpin, deduplication};
use crate::loopback::Loopback;
use crate::mode::Runtime;
use crate::mtu;
use crate::peers::Peers;
use crate::pod_cidrs;
use crate::ports;
use crate::routes::{self, Place, Routes, Routing};
use crate::segment::Segment;
use crate::state::{Config, Observed, Step};
use crate::sysctl::Setting;
use crate::unready::Unready;

/// cbr0 as it should be, with masquerade and routes to the peers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Network {
    /// In the order of the Node's podCIDRs.
    pub ranges: Vec<Range>,
    pub segment: Segment,
    pub bridge: Bridge,
    pub routes: Routes,
    pub tables: BTreeMap<Table, String>,
    /// Whether pods hang on it by our plugin, whose ports are repaired.
    pub has_ports: bool,
    /// Whether these send frames back where they came from.
    pub hairpin: bool,
    pub loopback: Loopback,
    /// What is odd about the ranges.
    pub odd: Vec<String>,
}

/// The network of this machine's pods.
///
/// # Errors
/// While that is not known: then nothing is changed, and above all nothing deleted.
pub fn desired(
    config: &Config,
    peers: Option<&Peers>,
    observed: &Observed,
) -> Result<Network, Unready> {
    let peers = peers.ok_or(Unready::NodesUnknown)?;
    let own = peers.own.as_ref().ok_or_else(|| Unready::NoNode(config.node.clone()))?;
    let ranges = pod_cidrs::ranges(own, observed)?;
    let now = observed.bridge();
    if now.is_some_and(|link| link.kind != Kind::Bridge) {
        return Err(Unready::NoBridge);
    }
    let segment = segment(config, &ranges, observed)?;
    let sources = sources(&ranges, observed);
    let place = Place {
        node: &config.node,
        ranges: &sources,
        cluster_cidrs: &config.cluster_cidrs,
        services: &config.services,
        addresses: &observed.addresses,
        routes: &observed.routes,
        bridge: now.map(|link| link.index),
    };
    let routes = match config.routing {
        Routing::Direct => routes::desired(place, &peers.claims),
        // Those of an earlier start in another mode go.
        Routing::Cloud | Routing::None => Routes::default(),
    };
    let Config { cluster_cidrs, services, unmasqueraded, .. } = config;
    let inside = [cluster_cidrs, services, unmasqueraded, &observed.exceptions.cidrs];
    let inside = inside.into_iter().flatten().copied().collect::<Vec<_>>();
    let machine = firewall::render_machine(&sources, &inside);
    let mut tables = BTreeMap::from([(Table::Machine, machine)]);
    let has_ports = config.mode.runtime == Runtime::Kubenet;
    if has_ports {
        tables.insert(Table::Pods, firewall::render_pods(config.loopback));
    }
    let learned = bridge::learned(now, &observed.attached, observed.kept_mac);
    let bridge = bridge::desired(&ranges, segment.bridge(), config.hairpin, learned);
    if config.hairpin == Hairpin::PromiscuousBridge {
        tables.insert(Table::Dedup, firewall::render_dedup(&deduplication(bridge.mac)));
    }
    Ok(Network {
        odd: pod_cidrs::complaints(config, &ranges),
        bridge,
        routes,
        tables,
        ranges,
        segment,
        has_ports,
        hairpin: config.hairpin.is_of_ports(),
        loopback: config.loopback,
    })
}

impl Network {
    /// In order, each once.
    pub fn families(&self) -> Vec<Family> {
        let families = self.ranges.iter().map(|range| range.subnet.family());
        let mut families = families.collect::<Vec<_>>();
        families.sort();
        families
    }

    /// Whether cbr0 carries what the machine sends to a host port by 127.0.0.1; none without host ports.
    pub fn localnet(&self) -> Option<Setting> {
        let has_host_ports = self.has_ports && self.families().contains(&Family::V4);
        has_host_ports.then(|| self.loopback.setting())
    }

    /// Steps that turn `observed` into this network, before and after the kernel's settings: those of
    /// the bridge can't be made before it is there, and must be before it is up.
    pub fn plan(&self, observed: &Observed) -> (Vec<Step>, Vec<Step>) {
        use bridge::Step::{Create, DeleteAddress, Rename};
        let Observed { addresses, attached, links, files, .. } = observed;
        let (deletions, replacements): (Vec<_>, Vec<_>) =
            routes::plan(&self.routes, &observed.routes)
                .into_iter()
                .partition(|change| matches!(change, RouteChange::Delete(_)));
        let bridge = bridge::plan(&self.bridge, observed.bridge(), addresses, attached);
        let (before, after): (Vec<_>, Vec<_>) =
            bridge.into_iter().partition(|s| matches!(s, Rename(_) | DeleteAddress(_) | Create(_)));
        let cbr0 = observed.bridge();
        let ours = if self.has_ports { links.as_slice() } else { &[] };
        let lost = attachments::lost(ours, cbr0, files);
        let recorded = files.recorded.iter().chain(&lost).cloned().collect();
        let ports = ports::plan(ours, cbr0, &recorded, self.hairpin);
        let tables = firewall::plan(&self.tables, &observed.tables);

        let mut first = batch(deletions).into_iter().collect::<Vec<_>>();
        first.extend(before.into_iter().map(Step::Bridge));
        let mut then = after.into_iter().map(Step::Bridge).collect::<Vec<_>>();
        // Before the tables, which are made of records.
        then.extend(lost.into_iter().map(Step::Restore));
        then.extend(ports.into_iter().map(Step::Port));
        then.extend(tables.into_iter().map(Step::Table));
        then.extend(batch(replacements));
        (first, then)
    }

    /// What is not as it should be, by others' doing or for their sake.
    pub fn complaints(&self, observed: &Observed) -> Vec<String> {
        let refused = self.routes.refused.iter().map(ToString::to_string);
        let bridge = observed.bridge().into_iter();
        let stale = bridge.flat_map(|link| self.bridge.stale(link, &observed.addresses));
        let used = stale.filter(|&held| self.bridge.keeps(held, &observed.attached));
        let kept =
            used.map(|held| format!("cbr0 keeps {held}: pods of an earlier podCIDR live there"));
        let dropping = observed.dropping.iter().map(|Chain { family, table, name }| {
            format!(
                "chain {name} of nft table {family} {table} drops what it does not accept of what \
                 this machine forwards: pods may be cut off; see `nft list chain {family} {table} \
                 {name}`"
            )
        });
        let quarrels = attachments::quarrels(&observed.links, observed.bridge());
        let held_back = self.segment.held_back().map(|held_back| held_back.to_string());
        let odd = self.odd.iter().cloned();
        odd.chain(refused).chain(kept).chain(quarrels).chain(held_back).chain(dropping).collect()
    }
}

fn batch(changes: Vec<RouteChange>) -> Option<Step> {
    (!changes.is_empty()).then_some(Step::Routes(changes))
}

/// The machine's MTU is the bridge's while every uplink is down.
fn segment(config: &Config, ranges: &[Range], observed: &Observed) -> Result<Segment, Unready> {
    let least = mtu::least(ranges.iter().map(|range| range.subnet.family()));
    let smallest = || mtu::smallest(&observed.links, &observed.addresses, least);
    let kept = || observed.bridge().map(|link| link.mtu);
    let machine = config.mtu.or_else(smallest).or_else(kept).ok_or(Unready::NoUplink)?;
    let bridge = observed.bridge().map(|link| link.index);
    let ours =
        |link: &Link| ports::owner(link).is_some_and(|id| observed.files.recorded.contains(&id));
    let is_port = |link: &Link| link.master.is_some() && link.master == bridge;
    let living = observed.links.iter().filter(|link| is_port(link) || ours(link));
    Ok(Segment::of(machine, living.map(|port| port.mtu).filter(|&port| port >= least)))
}

/// The networks of this machine's pods: its ranges, and older ones that pods still live in.
fn sources(ranges: &[Range], observed: &Observed) -> Vec<Prefix> {
    let mut sources = ranges.iter().map(|range| range.subnet).collect::<Vec<_>>();
    let held =
        observed.bridge().into_iter().flat_map(|link| bridge::held(link, &observed.addresses));
    let used = held.filter(|held| held.is_used(&observed.attached)).filter_map(Held::network);
    for network in used {
        if !sources.iter().any(|source| source.overlaps(network)) {
            sources.push(network);
        }
    }
    sources
}
