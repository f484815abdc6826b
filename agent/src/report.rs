//! What the loop tells the outside of each round: metrics, and Events of what an operator should know.
//!
//! The log has the same words, and the condition is `status`'s.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use common::names;
use process::ready::Readiness;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};
use tracing::warn;

use crate::events::{Events, Note};
use crate::health;
use crate::round::{Made, Round};
use crate::unready::{Unready, Verdict};

/// The same kind of repair makes one Event in this time; the counter has them all.
const ONE_EVENT: Duration = Duration::from_mins(5);

/// Of many complaints that are new at once, how many become Events.
const NOTED: usize = 5;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Kind {
    kind: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Reason {
    reason: &'static str,
}

/// The loop's own metrics, shared with the registry that they are read from.
#[derive(Clone, Debug)]
pub struct Metrics {
    repairs: Family<Kind, Counter>,
    quarrel: Gauge,
    ready: Gauge,
    unready: Family<Reason, Gauge>,
    complaints: Gauge,
    duration: Histogram,
}

/// One round, as the loop sees it from outside.
#[derive(Clone, Copy, Debug)]
pub struct Turn {
    pub now: Instant,
    pub took: Duration,
    /// What was changed is the cluster's doing, or a start's.
    pub excused: bool,
    /// Somebody undoes what the loop does.
    pub quarrel: bool,
}

/// What was reported so far.
#[derive(Debug)]
pub struct Report {
    metrics: Metrics,
    events: Events,
    readiness: Readiness,
    verdict: Option<Verdict>,
    complaints: BTreeSet<String>,
    noted: BTreeMap<&'static str, Instant>,
    quarrel: bool,
}

impl Metrics {
    /// Registers them in `registry`.
    pub fn new(registry: &mut Registry) -> Self {
        let duration = Histogram::new(exponential_buckets(0.001, 2.0, 14));
        let metrics = Self {
            repairs: Family::default(),
            quarrel: Gauge::default(),
            ready: Gauge::default(),
            unready: Family::default(),
            complaints: Gauge::default(),
            duration,
        };
        let build = Gauge::<i64>::default();
        build.set(1);
        let version = [("version".into(), common::version().into())].into_iter();
        registry.sub_registry_with_labels(version).register(
            "kubenet_build_info",
            "[STABLE] Version of this program",
            build,
        );
        let text = "Changes that put right what somebody else had changed on this machine";
        registry.register("kubenet_agent_drift_repaired", text, metrics.repairs.clone());
        let text = "Whether somebody undoes what is repaired, so that repairs have slowed down";
        registry.register("kubenet_agent_repair_loop", text, metrics.quarrel.clone());
        let text = "Whether pods can be started on this machine";
        registry.register("kubenet_agent_network_ready", text, metrics.ready.clone());
        let text = "Why they can't: 1 for the reason of the condition NetworkUnavailable";
        registry.register("kubenet_agent_network_unready", text, metrics.unready.clone());
        let text = "What is wrong without keeping pods from starting, as Nodes that get no route";
        registry.register("kubenet_agent_complaints", text, metrics.complaints.clone());
        let text = "Time that a look at the machine took, with the changes that it led to";
        let (name, histogram) = ("kubenet_agent_sync_duration", metrics.duration.clone());
        registry.register_with_unit(name, text, Unit::Seconds, histogram);
        metrics
    }
}

impl Report {
    pub fn new(metrics: Metrics, events: Events, readiness: Readiness) -> Self {
        Self {
            metrics,
            events,
            readiness,
            verdict: None,
            complaints: BTreeSet::new(),
            noted: BTreeMap::new(),
            quarrel: false,
        }
    }

    /// After each round of the loop.
    pub fn round(&mut self, round: &Round, turn: &Turn) {
        self.metrics.duration.observe(turn.took.as_secs_f64());
        if !turn.excused {
            round.made.iter().for_each(|made| self.repaired(made, turn.now));
        }
        self.quarrel(round, turn.quarrel);
        self.verdict(&round.verdict);
        self.complaints(&round.complaints);
    }

    fn repaired(&mut self, made: &Made, now: Instant) {
        let Made { kind, text } = made;
        self.metrics.repairs.get_or_create(&Kind { kind }).inc();
        if self.noted.get(kind).is_none_or(|&last| now.duration_since(last) >= ONE_EVENT) {
            self.noted.insert(kind, now);
            self.events.leave(Note::warning("Repaired", format!("somebody changed it: {text}")));
        }
    }

    fn quarrel(&mut self, round: &Round, quarrel: bool) {
        if quarrel && !self.quarrel {
            let what = round.made.first().map_or("this machine", |made| made.text.as_str());
            let text = format!(
                "somebody undoes what {} repairs, again and again: {what}; repairs slow down",
                names::AGENT
            );
            warn!("{text}");
            self.events.leave(Note::warning("RepairLoop", text));
        }
        self.metrics.quarrel.set(quarrel.into());
        self.quarrel = quarrel;
    }

    fn verdict(&mut self, verdict: &Verdict) {
        if self.verdict.as_ref() == Some(verdict) {
            return;
        }
        let reason = |unready: &Unready| Reason { reason: unready.code() };
        if let Some(Err(before)) = &self.verdict {
            self.metrics.unready.remove(&reason(before));
        }
        self.metrics.ready.set(verdict.is_ok().into());
        match verdict {
            Ok(()) => self.events.leave(Note::normal("NetworkReady", "pods can be started".into())),
            Err(unready) => {
                self.metrics.unready.get_or_create(&reason(unready)).set(1);
                self.events.leave(Note::warning(unready.code(), unready.to_string()));
            }
        }
        self.verdict = Some(verdict.clone());
    }

    fn complaints(&mut self, complaints: &BTreeSet<String>) {
        let new = complaints.difference(&self.complaints).take(NOTED);
        new.for_each(|text| self.events.leave(Note::warning("NetworkDegraded", text.clone())));
        self.metrics.complaints.set(i64::try_from(complaints.len()).unwrap_or(i64::MAX));
        health::complain(&self.readiness, complaints);
        self.complaints.clone_from(complaints);
    }
}

#[cfg(test)]
mod tests {
    use std::iter;

    use super::*;
    use crate::events;

    fn round(made: &[&'static str], complaints: &[&str], verdict: Verdict) -> Round {
        let made = made.iter().map(|kind| Made { kind, text: format!("set {kind}") });
        Round {
            verdict,
            changed: made.len() > 0,
            made: made.collect(),
            complaints: complaints.iter().map(|&text| text.to_owned()).collect(),
            told: false,
            settings: BTreeMap::new(),
            watched: Vec::new(),
        }
    }

    #[test]
    fn each_repair_counts_and_each_kind_makes_one_event() {
        let (events, mut notes) = events::queue();
        let mut registry = Registry::default();
        let mut report = Report::new(Metrics::new(&mut registry), events, health::checks());
        let now = Instant::now();
        let turn = Turn { now, took: Duration::ZERO, excused: false, quarrel: false };
        let excused = Turn { excused: true, ..turn };
        report.round(&round(&["bridge"], &[], Ok(())), &excused);
        for _ in 0..3 {
            report.round(&round(&["route", "mtu"], &["odd"], Ok(())), &turn);
        }
        let quarrel = Turn { quarrel: true, ..turn };
        report.round(&round(&["mtu"], &[], Err(Unready::NoUplink)), &quarrel);
        let reasons = iter::from_fn(|| notes.try_recv().ok()).map(|note| note.reason);
        let expected = [
            "NetworkReady",
            "Repaired",
            "Repaired",
            "NetworkDegraded",
            "RepairLoop",
            "UplinkMissing",
        ];
        assert_eq!(reasons.collect::<Vec<_>>(), expected);
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
        for line in [
            "kubenet_agent_drift_repaired_total{kind=\"mtu\"} 4",
            "kubenet_agent_drift_repaired_total{kind=\"route\"} 3",
            "kubenet_agent_network_ready 0",
            "kubenet_agent_network_unready{reason=\"UplinkMissing\"} 1",
            "kubenet_agent_repair_loop 1",
            &format!("kubenet_build_info{{version=\"{}\"}} 1", common::version()),
        ] {
            assert!(text.contains(line), "{line} in {text}");
        }
        assert!(!text.contains("kind=\"bridge\""), "{text}");
    }
}
