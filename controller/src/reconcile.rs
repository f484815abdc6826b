//! From what the watches tell to what is written: one task that owns the registrar and the queue of
//! requests, so that nothing is locked; only the requests themselves run beside it.

mod conclude;
mod others;

use std::collections::HashMap;
use std::time::{Duration, Instant};

use futures::stream::{Stream, StreamExt};
use k8s_openapi::api::core::v1::Node;
use kube::api::Api;
use kube::runtime::watcher::Event;
use process::cidr_claims::CidrClaim;
use process::cluster_cidrs::ClusterCidr;
use process::nodes::{self, Nodes};
use process::ready::Readiness;
use tokio::task::JoinSet;
use tracing::{debug, info};

use crate::claims::{Listing, News};
use crate::cluster_cidrs::ClusterCidrs;
use crate::collapse::collapse;
use crate::events::Events;
use crate::foreign::Foreign;
use crate::leader::Term;
use crate::metrics::Metrics;
use crate::queue::Queue;
use crate::requests::{self, Ended};
use nodeipam::allocator::{Decision, Verdict};
use nodeipam::registrar::{Registrar, Subject, Work};

/// The readiness check that all Nodes are known.
pub const LISTED: &str = "nodes";

/// The readiness check that all ClusterCIDRs are known, or that there can be none.
pub const POOLS: &str = "clustercidrs";

/// The readiness check that all claims are known, where there are some.
pub const CLAIMS: &str = "cidrclaims";

/// Requests under way at once. A server on two cores took 5000 Nodes no faster from 48, and a quarter
/// slower from 12.
const IN_FLIGHT: usize = 24;

/// Events of the watch that are looked at together.
const BATCH: usize = 1024;

/// Failures for one Node after which an Event tells of it, as with kube-controller-manager.
const FAILURES_BEFORE_EVENT: u32 = 3;

/// After this long a Node that still waits for a block is named again, in the same Event.
const REMINDER: Duration = Duration::from_mins(5);

/// Where a reconciler tells and writes what it decides.
pub struct Outlets {
    pub api: Api<Node>,
    /// Until a request without an answer is given up.
    pub patience: Duration,
    /// Until when requests may be sent.
    pub term: Term,
    pub events: Events,
    pub metrics: Metrics,
    pub readiness: Readiness,
}

/// Gives each Node of the cluster its podCIDRs.
pub struct Reconciler {
    nodes: Nodes,
    cluster_cidrs: ClusterCidrs,
    claims: Listing,
    registrar: Registrar,
    queue: Queue<Subject>,
    sent: JoinSet<Ended>,
    /// Since when each Node is known to have no podCIDRs, by UID.
    lacking: HashMap<String, Instant>,
    foreign: Foreign,
    outlets: Outlets,
}

impl Reconciler {
    pub fn new(registrar: Registrar, outlets: Outlets) -> Self {
        let cluster_cidrs = ClusterCidrs::new(outlets.api.clone().into_client());
        Self {
            nodes: Nodes::default(),
            cluster_cidrs,
            claims: Listing::default(),
            registrar,
            queue: Queue::new(IN_FLIGHT),
            sent: JoinSet::new(),
            lacking: HashMap::new(),
            foreign: Foreign::default(),
            outlets,
        }
    }

    /// Follows the watches, which should never end, until `stop` resolves; then no request is under
    /// way. That of Nodes begins once all ClusterCIDRs are known, and then all claims.
    ///
    /// Where it is dropped before, so are the requests.
    pub async fn run(
        mut self,
        nodes: impl Stream<Item = Event<nodes::Node>>,
        cluster_cidrs: impl Stream<Item = Event<ClusterCidr>>,
        claims: impl Stream<Item = Event<CidrClaim>>,
        stop: impl Future<Output = ()>,
    ) {
        let mut batches = std::pin::pin!(nodes.ready_chunks(BATCH));
        let mut cluster_cidrs = std::pin::pin!(cluster_cidrs);
        let mut claims = std::pin::pin!(claims.ready_chunks(BATCH));
        let mut stop = std::pin::pin!(stop);
        tokio::select! {
            () = self.cluster_cidrs.list(&mut cluster_cidrs) => {}
            () = &mut stop => return,
        }
        self.follow_pools(Instant::now());
        self.outlets.readiness.pass(POOLS);
        // A holder of a claim that a later list of Nodes does not show is gone.
        while self.registrar.lacks_claims() {
            tokio::select! {
                Some(batch) = claims.next() => self.learn_claims(batch, Instant::now()),
                () = &mut stop => return,
            }
        }
        self.outlets.readiness.pass(CLAIMS);
        let mut reminder = tokio::time::interval(REMINDER);
        reminder.reset();
        loop {
            let now = Instant::now();
            if self.registrar.wakes_at().is_some_and(|due| due <= now) {
                let work = self.registrar.tick(now);
                self.carry_out(work);
            }
            let held = self.hold_until(now);
            self.outlets.metrics.foreign.set(held.is_some().into());
            if held.is_none() {
                self.send(now);
            }
            if self.outlets.term.lasts(now) {
                self.cluster_cidrs.review(self.registrar.allocator(), now);
            }
            let due = held.or_else(|| self.queue.wakes_at());
            let due = due.into_iter().chain(self.cluster_cidrs.wakes_at());
            let due = due.chain(self.registrar.wakes_at()).min();
            tokio::select! {
                batch = batches.next() => match batch {
                    Some(batch) => self.learn(batch, Instant::now()),
                    None => break,
                },
                Some(event) = cluster_cidrs.next() => {
                    self.cluster_cidrs.learn(event);
                    self.follow_pools(Instant::now());
                }
                Some(batch) = claims.next() => self.learn_claims(batch, Instant::now()),
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
            let work = self.registrar.follow(plans, now);
            self.carry_out(work);
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
        let work = match self.nodes.known() {
            Some(_) => self.registrar.nodes(&gone, &applied, now),
            None => Work::default(),
        };
        let settled = applied.iter().filter(|node| !node.pod_cidrs.is_empty());
        for node in settled.clone() {
            // The watch may be faster than the PATCH's answer.
            self.has_them(&node.uid, now);
        }
        for node in gone.iter().chain(settled) {
            self.queue.remove(&Subject::Node(node.uid.clone()));
            self.lacking.remove(&node.uid);
        }
        self.carry_out(work);
        if !(gone.is_empty() && applied.is_empty()) {
            self.cluster_cidrs.review_soon(now);
        }
        if let (true, Some(known)) = (first, self.nodes.known()) {
            self.outlets.readiness.pass(LISTED);
            let (nodes, waiting) = (known.len(), self.registrar.allocator().waiting().len());
            info!(nodes, waiting, "listed all Nodes");
            self.log_usage();
        }
    }

    fn learn_claims(&mut self, batch: Vec<Event<CidrClaim>>, now: Instant) {
        let mut sights = Vec::new();
        for event in batch {
            match self.claims.take(event) {
                Some(News::Sight(sight)) => sights.push(sight),
                Some(News::Listed(all)) => {
                    info!(claims = all.len(), "listed all claims");
                    sights.clear();
                    let work = self.registrar.claims_listed(all, now);
                    self.carry_out(work);
                }
                None => {}
            }
        }
        let work = self.registrar.claims(sights, now);
        self.carry_out(work);
    }

    fn log_usage(&self) {
        for usage in self.registrar.allocator().pools().usage() {
            info!("{usage}");
        }
    }

    fn carry_out(&mut self, Work { verdicts, subjects }: Work) {
        for Verdict { node, decision } in verdicts {
            match decision {
                Decision::Assign(cidrs) => debug!(node = %node.name, ?cidrs, "chose podCIDRs"),
                Decision::Wait(exhausted) => self.outlets.events.no_block(&node, &exhausted),
                Decision::Odd(oddity) => self.outlets.events.odd(&node, &oddity),
            }
        }
        for subject in subjects {
            self.queue.put(subject);
        }
        self.outlets.metrics.show(self.registrar.allocator());
    }

    /// Names the Nodes that wait once more: an Event is forgotten after an hour.
    fn remind(&self) {
        let allocator = self.registrar.allocator();
        for node in allocator.waiting() {
            if let Err(exhausted) = allocator.pools().next_free(node, &[]) {
                self.outlets.events.no_block(node, &exhausted);
            }
        }
    }

    fn send(&mut self, now: Instant) {
        while self.outlets.term.lasts(Instant::now())
            && let Some(subject) = self.queue.next(now)
        {
            let Some(command) = self.registrar.command(&subject, now) else {
                self.queue.spared(&subject);
                continue;
            };
            let (api, patience) = (self.outlets.api.clone(), self.outlets.patience);
            self.outlets.metrics.sent.inc();
            self.sent.spawn(requests::send(api, subject, command, patience));
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
}

#[cfg(test)]
mod tests;
