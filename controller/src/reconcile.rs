//! From what the watch tells to what is written: one task that owns the allocator and the queue of
//! PATCHes, so that nothing is locked; only the PATCHes themselves run beside it.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use common::node::NodeView;
use futures::stream::{Stream, StreamExt};
use k8s_openapi::api::core::v1::Node;
use kube::api::{Api, Resource, ResourceExt};
use kube::runtime::watcher::Event;
use process::cluster_cidrs::ClusterCidr;
use process::nodes::{self, Nodes};
use process::ready::Readiness;
use process::telemetry::Chain;
use tokio::task::{JoinError, JoinSet};
use tracing::{debug, error, info, warn};

use crate::allocator::{Allocator, Decision, Verdict};
use crate::cluster_cidrs::ClusterCidrs;
use crate::collapse::collapse;
use crate::events::{self, Events};
use crate::foreign::Foreign;
use crate::leader::Term;
use crate::metrics::Metrics;
use crate::patch::{self, Reply};
use crate::queue::{Assignment, End, Queue};

/// The readiness check that all Nodes are known.
pub const LISTED: &str = "nodes";

/// The readiness check that all ClusterCIDRs are known, or that there can be none.
pub const POOLS: &str = "clustercidrs";

/// PATCHes under way at once. A server on two cores took 5000 Nodes no faster from 48, and a quarter
/// slower from 12.
const IN_FLIGHT: usize = 24;

/// Events of the watch that are looked at together.
const BATCH: usize = 1024;

/// Failures of one PATCH after which an Event tells of it, as with kube-controller-manager.
const FAILURES_BEFORE_EVENT: u32 = 3;

/// After this long a Node that still waits for a block is named again, in the same Event.
const REMINDER: Duration = Duration::from_mins(5);

type Sent = (Assignment, Reply, Duration);

/// Where a reconciler tells and writes what it decides.
pub struct Outlets {
    pub api: Api<Node>,
    /// Until a PATCH without an answer is given up.
    pub patience: Duration,
    /// Until when PATCHes may be sent.
    pub term: Term,
    pub events: Events,
    pub metrics: Metrics,
    pub readiness: Readiness,
}

/// Gives each Node of the cluster its podCIDRs.
pub struct Reconciler {
    nodes: Nodes,
    cluster_cidrs: ClusterCidrs,
    allocator: Allocator,
    queue: Queue,
    sent: JoinSet<Sent>,
    /// Since when each Node is known to have no podCIDRs, by UID.
    lacking: HashMap<String, Instant>,
    foreign: Foreign,
    outlets: Outlets,
}

impl Reconciler {
    pub fn new(allocator: Allocator, outlets: Outlets) -> Self {
        let cluster_cidrs = ClusterCidrs::new(outlets.api.clone().into_client());
        let (nodes, queue) = (Nodes::default(), Queue::new(IN_FLIGHT));
        let (sent, lacking, foreign) = (JoinSet::new(), HashMap::new(), Foreign::default());
        Self { nodes, cluster_cidrs, allocator, queue, sent, lacking, foreign, outlets }
    }

    /// Follows both watches, which should never end, until `stop` resolves; then no PATCH is under
    /// way. That of Nodes begins once all ClusterCIDRs are known.
    ///
    /// Where it is dropped before, so are the PATCHes.
    pub async fn run(
        mut self,
        nodes: impl Stream<Item = Event<nodes::Node>>,
        cluster_cidrs: impl Stream<Item = Event<ClusterCidr>>,
        stop: impl Future<Output = ()>,
    ) {
        let mut batches = std::pin::pin!(nodes.ready_chunks(BATCH));
        let mut cluster_cidrs = std::pin::pin!(cluster_cidrs);
        let mut stop = std::pin::pin!(stop);
        tokio::select! {
            () = self.cluster_cidrs.list(&mut cluster_cidrs) => {}
            () = &mut stop => return,
        }
        self.follow_pools(Instant::now());
        self.outlets.readiness.pass(POOLS);
        let mut reminder = tokio::time::interval(REMINDER);
        reminder.reset();
        loop {
            let now = Instant::now();
            let held = self.hold_until(now);
            self.outlets.metrics.foreign.set(held.is_some().into());
            if held.is_none() {
                self.send(now);
            }
            if self.outlets.term.lasts(now) {
                self.cluster_cidrs.review(&self.allocator, now);
            }
            let due = held.or_else(|| self.queue.wakes_at());
            let due = due.into_iter().chain(self.cluster_cidrs.wakes_at()).min();
            tokio::select! {
                batch = batches.next() => match batch {
                    Some(batch) => self.learn(batch, Instant::now()),
                    None => break,
                },
                Some(event) = cluster_cidrs.next() => {
                    self.cluster_cidrs.learn(event);
                    self.follow_pools(Instant::now());
                }
                Some(ended) = self.sent.join_next() => self.conclude(ended),
                Some(()) = self.cluster_cidrs.answered() => {}
                () = tokio::time::sleep_until(due.unwrap_or(now).into()), if due.is_some() => {}
                _ = reminder.tick() => self.remind(),
                () = &mut stop => break,
            }
        }
        while let Some(ended) = self.sent.join_next().await {
            self.conclude(ended);
        }
    }

    /// Gives of the pools that the ClusterCIDRs are now.
    fn follow_pools(&mut self, now: Instant) {
        if let Some(plans) = self.cluster_cidrs.changed_plans(&self.outlets.events) {
            let verdicts = self.allocator.follow(plans);
            self.carry_out(verdicts);
            self.log_usage();
        }
        self.cluster_cidrs.review_soon(now);
    }

    fn learn(&mut self, batch: Vec<Event<nodes::Node>>, now: Instant) {
        let first = self.nodes.known().is_none();
        let mut changes = Vec::new();
        for event in batch {
            self.watch_others(&event, now);
            changes.extend(self.nodes.apply(event));
        }
        let (gone, applied) = collapse(changes);
        for node in applied.iter().filter(|node| node.pod_cidrs.is_empty()) {
            self.lacking.entry(node.uid.clone()).or_insert(now);
        }
        let verdicts = self.allocator.round(&gone, &applied);
        let settled = applied.iter().filter(|node| !node.pod_cidrs.is_empty());
        for node in settled.clone() {
            // The watch may be faster than the PATCH's answer.
            self.has_them(&node.uid, now);
        }
        for node in gone.iter().chain(settled) {
            self.queue.remove(&node.uid);
            self.lacking.remove(&node.uid);
        }
        self.carry_out(verdicts);
        if !(gone.is_empty() && applied.is_empty()) {
            self.cluster_cidrs.review_soon(now);
        }
        if let (true, Some(known)) = (first, self.nodes.known()) {
            self.outlets.readiness.pass(LISTED);
            let (nodes, waiting) = (known.len(), self.allocator.waiting().len());
            info!(nodes, waiting, "listed all Nodes");
            self.log_usage();
        }
    }

    fn log_usage(&self) {
        for usage in self.allocator.pools().usage() {
            info!("{usage}");
        }
    }

    /// Notes who else gives podCIDRs to Nodes that had none.
    fn watch_others(&mut self, event: &Event<nodes::Node>, now: Instant) {
        let Event::Apply(new) = event else { return };
        let old = self.nodes.known().and_then(|known| known.get(&new.name_any()));
        let old = old.filter(|old| Some(&old.uid) == new.meta().uid.as_ref());
        let (Some(old), Some(manager)) = (old, new.pod_cidrs_manager()) else { return };
        if !old.pod_cidrs.is_empty() || !new.has_pod_cidrs() {
            return;
        }
        if self.foreign.wrote(manager, &old.uid, now) {
            let reason = events::FOREIGN_ALLOCATOR;
            let text = format!(
                "{manager} gives podCIDRs to Nodes as well; kubenet gives none before a Node has \
                 waited for a minute: switch one of them off"
            );
            warn!(node = %old.name, reason, "{text}");
            self.outlets.events.warn(old, reason, text);
        }
    }

    /// Until when another allocator is left alone.
    fn hold_until(&mut self, now: Instant) -> Option<Instant> {
        self.foreign.allocator()?;
        let wanted = self.lacking.iter().filter(|(uid, _)| self.queue.wants(uid));
        let waits = wanted.map(|(_, &since)| since).min();
        self.foreign.hold_until(waits, now)
    }

    fn carry_out(&mut self, verdicts: Vec<Verdict>) {
        for Verdict { node, decision } in verdicts {
            match decision {
                Decision::Assign(cidrs) => {
                    let NodeView { name, uid, .. } = node.as_ref();
                    debug!(node = %name, ?cidrs, "chose podCIDRs");
                    self.queue.put(Assignment { node: name.clone(), uid: uid.clone(), cidrs });
                }
                Decision::Wait(exhausted) => self.outlets.events.no_block(&node, &exhausted),
                Decision::Odd(oddity) => self.outlets.events.odd(&node, &oddity),
            }
        }
        self.outlets.metrics.show(&self.allocator);
    }

    /// Names the Nodes that wait once more: an Event is forgotten after an hour.
    fn remind(&self) {
        for node in self.allocator.waiting() {
            if let Err(exhausted) = self.allocator.pools().next_free(node) {
                self.outlets.events.no_block(node, &exhausted);
            }
        }
    }

    fn send(&mut self, now: Instant) {
        while self.outlets.term.lasts(Instant::now())
            && let Some(assignment) = self.queue.next(now)
        {
            let (api, patience) = (self.outlets.api.clone(), self.outlets.patience);
            self.outlets.metrics.sent.inc();
            self.sent.spawn(async move {
                let reply = patch::send(&api, &assignment, patience).await;
                (assignment, reply, now.elapsed())
            });
        }
        self.outlets.metrics.depth.set(self.queue.len().try_into().unwrap_or(i64::MAX));
    }

    /// The Node of `uid` has podCIDRs from `now` on.
    fn has_them(&mut self, uid: &str, now: Instant) {
        if let Some(since) = self.lacking.remove(uid) {
            let took = now.saturating_duration_since(since);
            self.outlets.metrics.allocation.observe(took.as_secs_f64());
        }
    }

    fn conclude(&mut self, ended: Result<Sent, JoinError>) {
        let (assignment, reply, took) = match ended {
            Ok(sent) => sent,
            Err(panic) => {
                error!(error = %Chain(&panic), "a PATCH's task broke down");
                return;
            }
        };
        let now = Instant::now();
        let Assignment { node, uid, cidrs } = &assignment;
        self.outlets.metrics.answer.observe(took.as_secs_f64());
        let (end, trouble) = match &reply {
            Reply::Assigned => {
                info!(%node, ?cidrs, "assigned podCIDRs");
                self.has_them(uid, now);
                (End::Done, None)
            }
            Reply::Overtaken(error) => {
                info!(%node, ?cidrs, error = %Chain(error), "Node takes no podCIDRs of ours");
                self.outlets.metrics.conflicts.inc();
                (End::Done, None)
            }
            Reply::Failed(error) => (End::Failed, Some(error)),
            Reply::Unavailable { error, patience } => (End::Unavailable(*patience), Some(error)),
        };
        let failures = self.queue.ended(uid, end, now);
        let Some(error) = trouble else { return };
        self.outlets.metrics.sent_again.inc();
        let reason = events::ASSIGNMENT_FAILED;
        warn!(%node, reason, ?cidrs, error = %Chain(error), "cannot assign podCIDRs; trying again");
        if failures == FAILURES_BEFORE_EVENT && end == End::Failed {
            self.outlets.events.unassigned(node, uid, reason, Chain(error));
        }
    }
}
