//! Pure: what is known of each attachment, and what is wrong.
//!
//! An attachment lives as long as its host link, and that as long as the network namespace: so a lease
//! without a host link is dead, and a namespace that only a forgotten mount keeps holds an address for
//! ever.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::path::PathBuf;

use common::alias::{pod_of_alias, read_alias};
use common::attachment::{Attachment, AttachmentId};
use jiff::{SignedDuration, Timestamp};
use net::holders::Holders;
use net::link::{Kind, Link};
use serde::Serialize;

/// Files and kernel, as they were read.
#[derive(Clone, Debug, Default)]
pub(super) struct Seen {
    pub(super) claims: BTreeMap<AttachmentId, Claim>,
    /// Each lease with whose it says that it is.
    pub(super) leases: BTreeMap<IpAddr, Option<AttachmentId>>,
    pub(super) records: Vec<Attachment>,
    /// What is wrong with files that make no sense.
    pub(super) unreadable: Vec<String>,
    /// Attachments that are being removed.
    pub(super) dying: BTreeSet<AttachmentId>,
    pub(super) links: Vec<Link>,
    pub(super) holders: Holders,
}

/// An attachment's own file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Claim {
    pub(super) since: Timestamp,
    /// Whether an ADD or DEL of it is in flight.
    pub(super) locked: bool,
}

/// All of it, as it is printed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Report {
    pub(super) attachments: Vec<Held>,
    pub(super) findings: Vec<String>,
}

/// What one interface of one container holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Held {
    pub(super) addresses: Vec<IpAddr>,
    pub(super) container: String,
    pub(super) ifname: String,
    /// `NAMESPACE/NAME`, where the runtime has said it.
    pub(super) pod: Option<String>,
    pub(super) since: Option<Timestamp>,
    pub(super) state: State,
    /// The host end, if it is there.
    pub(super) host_link: Option<String>,
    pub(super) namespace: Namespace,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum State {
    Live,
    /// An ADD or DEL is in flight.
    Changing,
    /// DEL is done; the agent is about to remove the rest.
    Dying,
    /// It has no host link any more.
    Dead,
}

impl State {
    pub(super) const fn word(self) -> &'static str {
        match self {
            Self::Live => "live",
            Self::Changing => "changing",
            Self::Dying => "dying",
            Self::Dead => "dead",
        }
    }
}

/// What keeps an attachment's network namespace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Namespace {
    Process(u32),
    /// No process that can be seen is in it; it is mounted here.
    Mount(PathBuf),
    /// It lives, because the host link does; what keeps it can't be seen from here.
    Unseen,
    Gone,
}

/// Between its ADD and its first process a container's namespace is a mount and nothing else.
const START_LIMIT: SignedDuration = SignedDuration::from_mins(1);

impl Report {
    pub(super) fn of(seen: &Seen, now: Timestamp) -> Self {
        let records = seen.records.iter().filter_map(|record| Some((record.id().ok()?, record)));
        let records = records.collect::<BTreeMap<_, _>>();
        let alive = seen.links.iter().filter(|link| link.kind == Kind::Veth);
        let alive = alive.filter_map(|link| Some((read_alias(link.alias.as_deref()?)?, link)));
        let links = alive.map(|((id, _), link)| (id, link)).collect::<BTreeMap<_, _>>();
        let ids = seen.claims.keys().chain(records.keys()).chain(links.keys());
        let ids = ids.chain(seen.leases.values().flatten()).collect::<BTreeSet<_>>();
        let mut report = Self { attachments: Vec::new(), findings: seen.unreadable.clone() };
        for id in ids {
            let (record, link) = (records.get(id).copied(), links.get(id).copied());
            let held = seen.held(id, record, link);
            report.findings.extend(seen.findings(id, record, &held, now));
            report.attachments.push(held);
        }
        report.findings.extend(seen.stray_limiters(&links));
        let unowned = seen.leases.iter().filter(|(_, owner)| owner.is_none());
        let finding = |(ip, _)| format!("the lease of {ip} does not say whose it is");
        report.findings.extend(unowned.map(finding));
        report.attachments.sort_by(|a, b| a.addresses.cmp(&b.addresses));
        report
    }
}

impl Seen {
    fn held(&self, id: &AttachmentId, record: Option<&Attachment>, link: Option<&Link>) -> Held {
        let leased = self.leases.iter().filter(|(_, owner)| owner.as_ref() == Some(id));
        let claim = self.claims.get(id);
        let recorded = record.and_then(|record| record.pod.clone());
        let pod = recorded.or_else(|| pod_of_alias(link?.alias.as_deref()?));
        Held {
            addresses: leased.map(|(address, _)| *address).collect(),
            container: id.container_id().to_owned(),
            ifname: id.ifname().to_owned(),
            pod: pod.map(|pod| pod.to_string()),
            since: claim.map(|claim| claim.since),
            state: match link {
                _ if claim.is_some_and(|claim| claim.locked) => State::Changing,
                _ if self.dying.contains(id) => State::Dying,
                Some(_) => State::Live,
                None => State::Dead,
            },
            host_link: link.map(|link| link.name.clone()),
            namespace: link.map_or(Namespace::Gone, |_| self.namespace(record)),
        }
    }

    fn namespace(&self, record: Option<&Attachment>) -> Namespace {
        let Some(record) = record else { return Namespace::Unseen };
        let Holders { processes, mounts, .. } = &self.holders;
        match (processes.get(&record.netns_inode), mounts.get(&record.netns_inode)) {
            (Some(&pid), _) => Namespace::Process(pid),
            (None, Some(path)) => Namespace::Mount(path.clone()),
            (None, None) => Namespace::Unseen,
        }
    }

    /// What is wrong with an attachment that nobody is at work on.
    fn findings(
        &self,
        id: &AttachmentId,
        record: Option<&Attachment>,
        held: &Held,
        now: Timestamp,
    ) -> Vec<String> {
        if matches!(held.state, State::Changing | State::Dying) {
            return Vec::new();
        }
        let addresses = listed(&held.addresses);
        if held.state == State::Dead {
            let since = held.since.map(|since| format!(" since {since:.0}")).unwrap_or_default();
            return vec![format!(
                "{id} holds {addresses}{since}, and its host link is gone: the agent, or the \
                 runtime's next GC, frees it"
            )];
        }
        let mut findings = Vec::new();
        let young = held.since.is_some_and(|since| now.duration_since(since) < START_LIMIT);
        if let Namespace::Mount(path) = &held.namespace
            && self.holders.sees_all_processes
            && !young
        {
            let path = path.display();
            findings.push(format!(
                "the network namespace of {id} has no process, and is kept by a mount at {path}: \
                 umount {path} frees {addresses}, if the pod is gone"
            ));
        }
        let Some(record) = record else {
            findings.push(format!("{id} lives and has no record: its host ports are unknown"));
            return findings;
        };
        let unleased = record.addresses.iter().filter(|ip| !held.addresses.contains(ip));
        findings.extend(unleased.map(|ip| match self.leases.get(ip) {
            Some(Some(other)) => format!("{ip} of {id}, which lives, is leased to {other}"),
            _ => format!("{ip} of {id}, which lives, is leased to nobody"),
        }));
        let unrecorded = held.addresses.iter().filter(|ip| !record.addresses.contains(ip));
        findings.extend(unrecorded.map(|ip| format!("{id} holds {ip} and does not use it")));
        findings
    }

    /// Links that limit what the pod of a host link sends that is gone.
    fn stray_limiters(&self, alive: &BTreeMap<AttachmentId, &Link>) -> Vec<String> {
        let limiters = self.links.iter().filter(|link| link.kind == Kind::Ifb);
        let owned = limiters.filter_map(|link| Some((link, read_alias(link.alias.as_deref()?)?.0)));
        let stray = owned.filter(|(_, id)| {
            let locked = self.claims.get(id).is_some_and(|claim| claim.locked);
            !alive.contains_key(id) && !locked && !self.dying.contains(id)
        });
        stray.map(|(link, id)| format!("{} limits {id}, which is gone", link.name)).collect()
    }
}

/// `10.244.1.5 and fd00::5`, or `no address`.
fn listed(addresses: &[IpAddr]) -> String {
    if addresses.is_empty() {
        return "no address".to_owned();
    }
    addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(" and ")
}

#[cfg(test)]
mod tests;
