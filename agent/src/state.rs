//! Pure: what this machine should look like, what it does look like, and the steps between.
//!
//! It composes what `network`, `sysctl`, `ports`, `cni_config` and `others` say of their parts; which
//! of these are the agent's is the [`Mode`]'s to say.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;

use common::attachment::AttachmentId;
use common::node::NodeView;
use common::{Prefix, names};
use net::Mac;
use net::addr::Address;
use net::link::{Kind, Link};
use net::nftables::Chain;
use net::route::{Route, RouteChange};

use crate::attachments::Files;
use crate::bridge;
use crate::cni_config::{self, Installed, Offer};
use crate::exceptions::Exceptions;
use crate::firewall::{self, Table};
use crate::hairpin::Hairpin;
use crate::loopback::{self, Loopback};
use crate::mode::{Mode, Runtime};
use crate::network::{self, Network};
use crate::others::Others;
use crate::peers::Peers;
use crate::ports;
use crate::routes::Routing;
use crate::sysctl::{self, Setting};
use crate::unready::Unready;

/// What the operator says about this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    pub mode: Mode,
    pub node: String,
    pub cluster_cidrs: Vec<Prefix>,
    /// Addresses of Services, which are no pods'.
    pub services: Vec<Prefix>,
    /// Destinations outside of these that see pods' own addresses all the same.
    pub unmasqueraded: Vec<Prefix>,
    pub routing: Routing,
    pub hairpin: Hairpin,
    pub loopback: Loopback,
    /// Whether another network's configuration makes way for ours.
    pub take_over: bool,
    /// In bytes; the smallest of the normal interfaces' where none is given.
    pub mtu: Option<u32>,
    /// Where the plugin keeps leases and records.
    pub state_dir: PathBuf,
}

impl Config {
    /// Whether the Node's condition NetworkUnavailable is this agent's to keep: where it makes cbr0, but for
    /// the cloud's route controller, which keeps it with its routes.
    pub fn keeps_condition(&self) -> bool {
        self.mode.bridge && self.routing != Routing::Cloud
    }
}

/// The Nodes of the cluster by name.
pub type Nodes = BTreeMap<String, Arc<NodeView>>;

/// The machine as it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Desired {
    pub sysctls: Vec<Setting>,
    /// None where no cbr0 is the agent's.
    pub network: Option<Network>,
    /// None where the container runtime finds nothing of ours.
    pub offer: Option<Offer>,
    /// Whether configurations that a runtime takes rather than ours make way.
    pub take_over: bool,
}

/// The machine as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Observed {
    pub links: Vec<Link>,
    /// Which of them was cbr0 when it was seen last.
    pub bridge_was: Option<u32>,
    pub addresses: Vec<Address>,
    pub routes: Arc<Vec<Route>>,
    pub sysctls: sysctl::Values,
    /// The texts that are in force.
    pub tables: BTreeMap<Table, String>,
    /// The addresses of all attachments, by their records and by their links.
    pub attached: Vec<IpAddr>,
    /// The MAC that cbr0 had when it was taken over.
    pub kept_mac: Option<Mac>,
    /// What is wrong with records whose addresses are therefore missing in `attached`.
    pub unreadable: Vec<String>,
    pub files: Files,
    /// Chains of others that drop what is forwarded.
    pub dropping: Vec<Chain>,
    /// What the operator's file says.
    pub exceptions: Exceptions,
    /// Configurations that a runtime takes rather than ours.
    pub earlier: Vec<String>,
    pub plugins: Vec<(&'static str, Installed)>,
    pub conflist: Option<String>,
    /// Whether the plugin that ours adapts was told of this start.
    pub initialised: bool,
    /// What a runtime finds of others, where nothing of ours.
    pub others: Option<Others>,
}

/// One change of the machine; safe to repeat.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    Bridge(bridge::Step),
    Port(ports::Step),
    /// Makes lost files of an attachment anew.
    Restore(AttachmentId),
    Sysctl(Setting),
    /// All of one kind.
    Routes(Vec<RouteChange>),
    Table(firewall::Step),
    Runtime(cni_config::Step),
}

impl Observed {
    /// cbr0, also where somebody has renamed it.
    pub fn bridge(&self) -> Option<&Link> {
        let named = self.links.iter().find(|link| link.name == names::BRIDGE);
        let was = |link: &&Link| Some(link.index) == self.bridge_was && link.kind == Kind::Bridge;
        named.or_else(|| self.links.iter().find(was))
    }
}

/// What the machine should look like.
///
/// # Errors
/// While that is not known: then nothing is changed, and above all nothing deleted.
pub fn desired(
    config: &Config,
    peers: Option<&Peers>,
    observed: &Observed,
) -> Result<Desired, Unready> {
    let Config { mode, state_dir, .. } = config;
    let network = mode.bridge.then(|| network::desired(config, peers, observed)).transpose()?;
    let families = network.as_ref().map(Network::families).unwrap_or_default();
    let Observed { links, routes, sysctls, .. } = observed;
    let offer = match &mode.runtime {
        Runtime::Nothing | Runtime::Others => None,
        Runtime::Kubenet => {
            network.as_ref().map(|n| Offer::kubenet(&n.ranges, n.segment, n.hairpin, state_dir))
        }
        Runtime::Exec(plugin) => Some(Offer::exec(plugin, state_dir)),
    };
    let mut sysctls = sysctl::desired(&families, links, routes, sysctls);
    sysctls.extend(network.as_ref().and_then(Network::localnet));
    Ok(Desired { sysctls, network, offer, take_over: config.take_over })
}

/// Steps that turn `observed` into `desired`; none once they agree.
///
/// Deletions come before additions, links before addresses before routes, and the conflist last, if
/// nothing stands in the way of pods: but one that sends them to a range that is no more goes first.
pub fn plan(desired: &Desired, observed: &Observed) -> Vec<Step> {
    let Desired { sysctls, network, offer, take_over } = desired;
    let conflist =
        offer.as_ref().and_then(|offer| offer.plan_conflist(observed.conflist.as_deref()));
    let moved = network.as_ref().is_some_and(|network| {
        cni_config::names_other_ranges(observed.conflist.as_deref(), &network.ranges)
    });
    let (first, last) = if moved { (conflist, None) } else { (None, conflist) };
    let clear = obstacle(desired, observed).is_none();
    let last = last.filter(|_| clear);
    // A runtime finds ours before it loses the other.
    let disabled = observed.earlier.iter().filter(|_| *take_over && clear);
    let disabled = disabled.cloned().map(cni_config::Step::Disable);

    let (before, after) =
        network.as_ref().map(|network| network.plan(observed)).unwrap_or_default();
    let settings = sysctl::plan(sysctls, &observed.sysctls).into_iter();
    let (guarded, settings): (Vec<_>, Vec<_>) = settings.partition(loopback::wants_guard);
    let rest = offer.iter().flat_map(|o| o.plan_plugins(&observed.plugins, observed.initialised));

    let mut steps = first.map(Step::Runtime).into_iter().collect::<Vec<_>>();
    steps.extend(before);
    steps.extend(settings.into_iter().map(Step::Sysctl));
    steps.extend(after);
    steps.extend(guarded.into_iter().map(Step::Sysctl));
    steps.extend(rest.chain(last).chain(disabled).map(Step::Runtime));
    steps
}

/// What no step can cure.
pub fn obstacle(desired: &Desired, observed: &Observed) -> Option<Unready> {
    let missing = sysctl::missing(&desired.sysctls, &observed.sysctls)?;
    Some(Unready::NoBridgeNetfilter(missing.key.clone()))
}

/// What others put in the way of pods, or don't, though all of ours is in place.
pub fn shadow(desired: &Desired, observed: &Observed) -> Option<Unready> {
    let missing = observed.others.as_ref().and_then(|others| others.check().err());
    let mut earlier = observed.earlier.iter().filter(|_| !desired.take_over);
    missing.or_else(|| earlier.next().cloned().map(Unready::Shadowed))
}

/// What is not as it should be, by others' doing or for their sake, but keeps no pod from starting.
pub fn complaints(desired: &Desired, observed: &Observed) -> BTreeSet<String> {
    let network = desired.network.iter().flat_map(|network| network.complaints(observed));
    let skipped = observed.others.iter().flat_map(Others::skipped);
    let own = observed.unreadable.iter().chain(&observed.exceptions.complaint).cloned();
    network.chain(skipped).chain(own).collect()
}

impl Step {
    /// What is repaired by it, in one word.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Bridge(step) => step.kind(),
            Self::Port(_) => "port",
            Self::Restore(_) => "record",
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
            Self::Restore(id) => write!(f, "make lost record or leases of {id} anew"),
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
