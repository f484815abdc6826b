//! Pure: what this machine should look like, what it does look like, and the steps between.
//!
//! It composes what `bridge`, `sysctl`, `routes`, `firewall` and `cni_config` say of their parts.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;

use common::attachment::AttachmentId;
use common::conflist::Range;
use common::node::NodeView;
use common::{Prefix, names};
use net::addr::Address;
use net::link::{Kind, Link};
use net::nftables::Chain;
use net::route::{Route, RouteChange};

use crate::bridge::{self, Bridge, Held};
use crate::cni_config::{self, Installed};
use crate::firewall::{self, Table};
use crate::mtu;
use crate::ports;
use crate::routes::{self, Place, Routes, Routing};
use crate::segment::Segment;
use crate::sysctl::{self, Setting};
use crate::unready::Unready;

/// What the operator says about this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    pub node: String,
    pub cluster_cidrs: Vec<Prefix>,
    /// Destinations outside of these that see pods' own addresses all the same.
    pub unmasqueraded: Vec<Prefix>,
    pub routing: Routing,
    /// In bytes; the smallest of the normal interfaces' where none is given.
    pub mtu: Option<u32>,
    /// Where the plugin keeps leases and records.
    pub state_dir: PathBuf,
}

/// Whether pods' ports send frames back where they came from.
pub const HAIRPIN: bool = true;

/// The Nodes of the cluster by name.
pub type Nodes = BTreeMap<String, Arc<NodeView>>;

/// The machine as it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Desired {
    pub ranges: Vec<Range>,
    pub segment: Segment,
    pub bridge: Bridge,
    pub sysctls: Vec<Setting>,
    pub routes: Routes,
    pub tables: BTreeMap<Table, String>,
    pub conflist: String,
}

/// The machine as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Observed {
    pub links: Vec<Link>,
    pub addresses: Vec<Address>,
    pub routes: Vec<Route>,
    pub sysctls: sysctl::Values,
    /// The texts that are in force.
    pub tables: BTreeMap<Table, String>,
    /// The addresses of all attachments.
    pub attached: Vec<IpAddr>,
    /// What is wrong with records whose addresses are therefore missing in `attached`.
    pub unreadable: Vec<String>,
    /// Attachments that have a record.
    pub recorded: BTreeSet<AttachmentId>,
    /// Chains of others that drop what is forwarded.
    pub dropping: Vec<Chain>,
    /// Configurations that a runtime takes rather than ours.
    pub earlier: Vec<String>,
    pub plugins: Vec<(&'static str, Installed)>,
    pub conflist: Option<String>,
}

/// One change of the machine; safe to repeat.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    Bridge(bridge::Step),
    Port(ports::Step),
    Sysctl(Setting),
    /// All of one kind.
    Routes(Vec<RouteChange>),
    Table(firewall::Step),
    Runtime(cni_config::Step),
}

impl Observed {
    pub fn bridge(&self) -> Option<&Link> {
        self.links.iter().find(|link| link.name == names::BRIDGE)
    }
}

/// What the machine should look like.
///
/// # Errors
/// While that is not known: then nothing is changed, and above all nothing deleted.
pub fn desired(
    config: &Config,
    nodes: Option<&Nodes>,
    observed: &Observed,
) -> Result<Desired, Unready> {
    let nodes = nodes.ok_or(Unready::NodesUnknown)?;
    let own = nodes.get(&config.node).ok_or_else(|| Unready::NoNode(config.node.clone()))?;
    let ranges = ranges(own)?;
    let now = observed.bridge();
    if now.is_some_and(|link| link.kind != Kind::Bridge) {
        return Err(Unready::NoBridge);
    }
    let segment = segment(config, &ranges, observed)?;
    let (links, addresses) = (observed.links.as_slice(), observed.addresses.as_slice());
    let mut families = ranges.iter().map(|range| range.subnet.family()).collect::<Vec<_>>();
    families.sort();
    let place = Place {
        node: &config.node,
        ranges: &ranges,
        cluster_cidrs: &config.cluster_cidrs,
        addresses,
        routes: &observed.routes,
        bridge: now.map(|link| link.index),
    };
    let peers = nodes.values().map(Arc::as_ref);
    let routes = match config.routing {
        Routing::Direct => routes::desired(place, peers),
        // Those of an earlier start in another mode go.
        Routing::Cloud | Routing::None => Routes::default(),
    };
    let inside = [config.cluster_cidrs.as_slice(), &config.unmasqueraded].concat();
    let machine = firewall::render_machine(&sources(&ranges, observed), &inside);
    Ok(Desired {
        bridge: bridge::desired(&ranges, segment.bridge(), now, &observed.attached),
        sysctls: sysctl::desired(&families, links, &observed.routes, &observed.sysctls),
        routes,
        tables: BTreeMap::from([
            (Table::Machine, machine),
            (Table::Pods, firewall::render_pods(&[])),
        ]),
        conflist: cni_config::render(&ranges, segment, &config.state_dir),
        ranges,
        segment,
    })
}

/// The ranges of this machine's pods, in the Node's order.
fn ranges(own: &NodeView) -> Result<Vec<Range>, Unready> {
    let range = |cidr: &String| {
        let subnet = Prefix::parse_masking(cidr).ok().filter(|subnet| has_room(*subnet));
        let range = subnet.and_then(|subnet| Some(Range::new(subnet, subnet.gateway()?)));
        range.ok_or_else(|| Unready::PodCidr { node: own.name.clone(), cidr: cidr.clone() })
    };
    if own.pod_cidrs.is_empty() {
        return Err(Unready::NoPodCidr(own.name.clone()));
    }
    own.pod_cidrs.iter().map(range).collect()
}

/// For the network's own address, the gateway, a pod, and IPv4's broadcast.
const fn has_room(subnet: Prefix) -> bool {
    subnet.length() + 2 <= subnet.family().width()
}

/// The machine's MTU is the bridge's while every uplink is down.
fn segment(config: &Config, ranges: &[Range], observed: &Observed) -> Result<Segment, Unready> {
    let least = mtu::least(ranges.iter().map(|range| range.subnet.family()));
    let smallest = || mtu::smallest(&observed.links, &observed.addresses, least);
    let kept = || observed.bridge().map(|link| link.mtu);
    let machine = config.mtu.or_else(smallest).or_else(kept).ok_or(Unready::NoUplink)?;
    let bridge = observed.bridge().map(|link| link.index);
    let ours = |link: &Link| ports::owner(link).is_some_and(|id| observed.recorded.contains(&id));
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

/// Steps that turn `observed` into `desired`; none once they agree.
///
/// Deletions come before additions, links before addresses before routes, and the conflist last, if
/// nothing stands in the way of pods: but one that sends them to a range that is no more goes first.
pub fn plan(desired: &Desired, observed: &Observed) -> Vec<Step> {
    use bridge::Step::{Create, DeleteAddress};
    let conflist = cni_config::plan_conflist(&desired.conflist, observed.conflist.as_deref());
    let moved = cni_config::names_other_ranges(observed.conflist.as_deref(), &desired.ranges);
    let (first, last) = if moved { (conflist, None) } else { (None, conflist) };
    let last = last.filter(|_| obstacle(desired, observed).is_none());

    let changes = routes::plan(&desired.routes, &observed.routes);
    let (deletions, replacements): (Vec<_>, Vec<_>) =
        changes.into_iter().partition(|change| matches!(change, RouteChange::Delete(_)));
    let addresses = &observed.addresses;
    let bridge = bridge::plan(&desired.bridge, observed.bridge(), addresses, &observed.attached);
    // Settings of the bridge can't be made before it is there, and must be before it is up.
    let (before, after): (Vec<_>, Vec<_>) =
        bridge.into_iter().partition(|step| matches!(step, DeleteAddress(_) | Create(_)));
    let settings = sysctl::plan(&desired.sysctls, &observed.sysctls);
    let plugins = cni_config::plan_plugins(&observed.plugins);

    let mut steps = first.map(Step::Runtime).into_iter().collect::<Vec<_>>();
    steps.extend(batch(deletions));
    steps.extend(before.into_iter().map(Step::Bridge));
    steps.extend(settings.into_iter().map(Step::Sysctl));
    steps.extend(after.into_iter().map(Step::Bridge));
    let ports = ports::plan(&observed.links, observed.bridge(), &observed.recorded, HAIRPIN);
    steps.extend(ports.into_iter().map(Step::Port));
    steps.extend(firewall::plan(&desired.tables, &observed.tables).into_iter().map(Step::Table));
    steps.extend(batch(replacements));
    steps.extend(plugins.into_iter().chain(last).map(Step::Runtime));
    steps
}

/// What no step can cure.
pub fn obstacle(desired: &Desired, observed: &Observed) -> Option<Unready> {
    let missing = sysctl::missing(&desired.sysctls, &observed.sysctls)?;
    Some(Unready::NoBridgeNetfilter(missing.key.clone()))
}

/// What others put in the way of pods, though all of ours is in place.
pub fn shadow(observed: &Observed) -> Option<Unready> {
    observed.earlier.first().cloned().map(Unready::Shadowed)
}

/// What is not as it should be, by others' doing or for their sake, but keeps no pod from starting.
pub fn complaints(desired: &Desired, observed: &Observed) -> BTreeSet<String> {
    let refused = desired.routes.refused.iter().map(ToString::to_string);
    let bridge = observed.bridge().into_iter();
    let stale = bridge.flat_map(|link| desired.bridge.stale(link, &observed.addresses));
    let used = stale.filter(|&held| desired.bridge.keeps(held, &observed.attached));
    let kept = used.map(|held| format!("cbr0 keeps {held}: pods of an earlier podCIDR live there"));
    let dropping = observed.dropping.iter().map(|Chain { family, table, name }| {
        format!(
            "chain {name} of nft table {family} {table} drops what it does not accept of what this \
             machine forwards: pods may be cut off; see `nft list chain {family} {table} {name}`"
        )
    });
    let held_back = desired.segment.held_back().map(|held_back| held_back.to_string());
    refused
        .chain(kept)
        .chain(held_back)
        .chain(dropping)
        .chain(observed.unreadable.iter().cloned())
        .collect()
}

fn batch(changes: Vec<RouteChange>) -> Option<Step> {
    (!changes.is_empty()).then_some(Step::Routes(changes))
}

impl Step {
    /// What is repaired by it, in one word.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Bridge(step) => step.kind(),
            Self::Port(_) => "port",
            Self::Sysctl(_) => "sysctl",
            Self::Routes(_) => "route",
            Self::Table(_) => "table",
            Self::Runtime(step) => step.kind(),
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bridge(step) => step.fmt(f),
            Self::Port(step) => step.fmt(f),
            Self::Sysctl(setting) => setting.fmt(f),
            Self::Routes(changes) => match changes.as_slice() {
                [RouteChange::Replace(route)] => write!(f, "set route {route}"),
                [RouteChange::Delete(route)] => write!(f, "delete route {route}"),
                [RouteChange::Delete(_), ..] => write!(f, "delete {} routes", changes.len()),
                changes => write!(f, "set {} routes", changes.len()),
            },
            Self::Table(step) => step.fmt(f),
            Self::Runtime(step) => step.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests;
