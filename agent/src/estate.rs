//! Pure: the pods of another plugin chain that live on cbr0, and how they become ours.
//!
//! host-local keeps a file for each address, libcni one for each ADD with its answer: together they say
//! whose an address is and which host link leads there. An answer of CNI 0.2 or older, as those that
//! kubelet's own kubenet got, names no link: then whoever answers at the address tells by its port.
//! A lease whose link is gone is dead; one of which nobody tells is held as long as there are ports of
//! which nobody knows whose they are.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;

use common::attachment::{Attachment, AttachmentId, Pod};
use common::{Prefix, names};
use net::Mac;
use net::link::{Kind, Link};
use serde_json::Value;

use crate::ports;

mod look;
mod take;

pub use look::Look;
pub(crate) use take::{forget_mac, kept_mac};

/// What the other chain has left.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Estate {
    pub leases: BTreeMap<IpAddr, AttachmentId>,
    /// What was answered to ADDs.
    pub answers: BTreeMap<AttachmentId, Answer>,
    /// Which addresses host-local has given last, one for each range of each network.
    pub last: Vec<IpAddr>,
    /// Who answers at addresses of [`Estate::unclear`].
    pub stations: BTreeMap<IpAddr, Station>,
}

/// Somebody on the bridge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Station {
    pub mac: Mac,
    /// The index of the link that leads there.
    pub port: u32,
}

/// Answers of CNI 0.2 and older name none.
static NO_INTERFACES: Vec<Value> = Vec::new();

/// What an ADD was answered.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answer {
    /// Links that it made on the machine, and maybe the bridge; none where the answer names none.
    pub host_links: Vec<String>,
    /// The container end's.
    pub mac: String,
    pub pod: Option<Pod>,
}

/// What is ours already.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Owned {
    pub recorded: BTreeSet<AttachmentId>,
    pub held: BTreeSet<IpAddr>,
}

/// One change of whose something is; safe to repeat.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// The pod at this link is ours from now on.
    Adopt { record: Box<Attachment>, link: u32 },
    /// Nobody is given the address, because somebody may have it.
    Hold { address: IpAddr, id: AttachmentId },
    /// Nobody has it any more.
    LetGo(IpAddr),
}

/// What is to become of the `estate` on a machine with these `links`, whose cbr0 is in these `networks`.
pub fn plan(estate: &Estate, links: &[Link], networks: &[Prefix], owned: &Owned) -> Vec<Step> {
    let bridge = links.iter().find(|link| link.name == names::BRIDGE && link.kind == Kind::Bridge);
    let strangers = links.iter().filter(|link| {
        let is_ours = ports::owner(link).is_some_and(|id| owned.recorded.contains(&id));
        let is_port = bridge.is_some_and(|bridge| link.master == Some(bridge.index));
        link.kind == Kind::Veth && is_port && !is_ours
    });
    let mut strangers = strangers.collect::<Vec<_>>();
    let mut steps = Vec::new();
    let mut unclear = BTreeMap::new();
    for (id, addresses) in by_owner(&estate.leases) {
        if owned.recorded.contains(id) {
            continue;
        }
        let answer = estate.answers.get(id).cloned().unwrap_or_default();
        let station = addresses.iter().find_map(|address| estate.stations.get(address));
        let its = |link: &&Link| {
            let named = answer.host_links.iter().any(|name| link.is_called(name));
            named || station.is_some_and(|station| station.port == link.index)
        };
        if let Some(position) = strangers.iter().position(its) {
            let link = strangers.swap_remove(position).index;
            let record = Box::new(answer.record(id, addresses, station));
            steps.push(Step::Adopt { record, link });
        } else if answer.host_links.is_empty() {
            unclear.extend(addresses.into_iter().map(|address| (address, id)));
        }
    }
    let is_here = |address: &IpAddr| networks.iter().any(|network| network.contains(*address));
    unclear.retain(|address, _| !strangers.is_empty() && is_here(address));
    let adopted = |address: &IpAddr| steps.iter().any(|step| step.gives(*address));
    let gone = owned.held.iter().filter(|a| !unclear.contains_key(*a) && !adopted(a));
    let gone = gone.copied().map(Step::LetGo).collect::<Vec<_>>();
    steps.extend(gone);
    let new = unclear.into_iter().filter(|(address, _)| !owned.held.contains(address));
    steps.extend(new.map(|(address, id)| Step::Hold { address, id: id.clone() }));
    steps
}

impl Estate {
    /// Addresses of which only who answers there can tell whose they are.
    pub fn unclear(&self, owned: &Owned) -> Vec<IpAddr> {
        let named = |id| self.answers.get(id).is_some_and(|answer| !answer.host_links.is_empty());
        let unclear = self.leases.iter().filter(|(_, id)| !owned.recorded.contains(*id));
        unclear.filter(|(_, id)| !named(*id)).map(|(&address, _)| address).collect()
    }
}

fn by_owner(leases: &BTreeMap<IpAddr, AttachmentId>) -> BTreeMap<&AttachmentId, Vec<IpAddr>> {
    let mut owners = BTreeMap::<_, Vec<_>>::new();
    for (&address, id) in leases {
        owners.entry(id).or_default().push(address);
    }
    owners
}

impl Step {
    /// Whether an attachment has `address` by it, also one that was held.
    fn gives(&self, address: IpAddr) -> bool {
        matches!(self, Self::Adopt { record, .. } if record.addresses.contains(&address))
    }
}

impl Answer {
    fn record(
        &self,
        id: &AttachmentId,
        addresses: Vec<IpAddr>,
        station: Option<&Station>,
    ) -> Attachment {
        let mac = station.filter(|_| self.mac.is_empty()).map(|station| station.mac.to_string());
        Attachment {
            container_id: id.container_id().to_owned(),
            ifname: id.ifname().to_owned(),
            bridge: names::BRIDGE.to_owned(),
            host_link: id.host_link(),
            mac: mac.unwrap_or_else(|| self.mac.clone()),
            addresses,
            network: names::PLUGIN.to_owned(),
            pod: self.pod.clone(),
            ..Attachment::default()
        }
    }

    /// From what libcni keeps of an ADD (`cachedInfo` in libcni/api.go), or kept before 0.8: the bare
    /// answer.
    pub fn parse(text: &str) -> Option<Self> {
        let kept = serde_json::from_str::<Value>(text).ok()?;
        let result = kept.get("result").unwrap_or(&kept);
        let is_old = ["ip4", "ip6"].iter().any(|family| result[family].is_object());
        let interfaces = result["interfaces"].as_array().or(is_old.then_some(&NO_INTERFACES))?;
        let is_outside =
            |interface: &&Value| interface["sandbox"].as_str().is_none_or(str::is_empty);
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let inside = interfaces.iter().find(|interface| !is_outside(interface));
        let host_links = interfaces.iter().filter(is_outside).map(|link| text(&link["name"]));
        let argument = |key: &str| {
            let mut pairs = kept["cniArgs"].as_array().into_iter().flatten();
            pairs.find(|pair| pair[0] == key).map(|pair| text(&pair[1]))
        };
        let pod = |namespace, name| {
            let uid = argument("K8S_POD_UID").unwrap_or_default();
            Pod { namespace, name, uid }
        };
        Some(Self {
            host_links: host_links.collect(),
            mac: inside.map(|inside| text(&inside["mac"])).unwrap_or_default(),
            pod: argument("K8S_POD_NAMESPACE")
                .zip(argument("K8S_POD_NAME"))
                .map(|(a, b)| pod(a, b)),
        })
    }
}

/// Whose a lease of host-local is, by its text; before 0.7 that names no interface.
pub fn lessee(text: &str) -> Option<AttachmentId> {
    let mut lines = text.trim().lines();
    let container = lines.next()?.trim();
    AttachmentId::new(container, lines.next().unwrap_or("eth0").trim()).ok()
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Adopt { record, .. } => {
                let pod = record.pod.as_ref().map(|pod| format!(" of pod {pod}"));
                let id = format!("{}@{}", record.container_id, record.ifname);
                write!(f, "take over attachment {id}{}", pod.unwrap_or_default())
            }
            Self::Hold { address, id } => write!(
                f,
                "hold {address}: host-local has leased it to {id}, and ports of {} are left of which \
                 nobody knows whose they are",
                names::BRIDGE
            ),
            Self::LetGo(address) => write!(f, "hold {address} no longer"),
        }
    }
}

#[cfg(test)]
mod tests;
