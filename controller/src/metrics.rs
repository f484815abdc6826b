//! What /metrics tells: kube-controller-manager's names where it has one, `kubenet_` elsewhere.
//!
//! What the allocator counts is copied here after each round and read when somebody scrapes.

mod scrape;

use std::collections::BTreeMap;
use std::sync::Arc;

use common::names;
use parking_lot::Mutex;
use process::contact::Contact;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;

use self::scrape::{Scrape, Set, State};
use nodeipam::allocator::Allocator;

/// The name of kube-controller-manager's work queue and of its controller.
const QUEUE: &str = "cidrallocator_node";
const CONTROLLER: &str = "nodeipam";

/// What is counted and measured; clones are the same.
#[derive(Clone, Debug)]
pub struct Metrics {
    state: Arc<Mutex<State>>,
    /// From the moment that a Node without podCIDRs is seen until it has them.
    pub allocation: Histogram,
    /// Nodes that took no podCIDRs of ours, as they had others by then, or were gone.
    pub conflicts: Counter,
    pub sent: Counter,
    pub sent_again: Counter,
    pub answer: Histogram,
    pub depth: Gauge,
    /// 1 while this process may allocate.
    pub leading: Gauge,
    pub transitions: Counter,
    /// 1 while another allocator is left alone.
    pub foreign: Gauge,
    /// Claims that were not as they had been seen, or that somebody else was faster with.
    pub claim_conflicts: Counter,
    /// What the watches tell of the API server.
    pub contact: Contact,
    claims: Gauge,
    claims_kept: Gauge,
}

impl Metrics {
    /// All of them at zero, and where they are read. `lease` is the name that leaders hold.
    pub fn new(lease: &str) -> (Self, Registry) {
        // From 1 ms to half a minute; a PATCH takes a few milliseconds.
        let seconds = || Histogram::new(exponential_buckets(0.001, 2.0, 16));
        let mut registry = Registry::default();
        let metrics = Self {
            state: Arc::default(),
            allocation: seconds(),
            conflicts: Counter::default(),
            sent: Counter::default(),
            sent_again: Counter::default(),
            answer: seconds(),
            depth: Gauge::default(),
            leading: Gauge::default(),
            transitions: Counter::default(),
            foreign: Gauge::default(),
            claim_conflicts: Counter::default(),
            contact: Contact::counted(&mut registry),
            claims: Gauge::default(),
            claims_kept: Gauge::default(),
        };
        metrics.register(&mut registry, lease);
        registry.register_collector(Box::new(Scrape(Arc::clone(&metrics.state))));
        (metrics, registry)
    }

    /// What the next scrape tells of `allocator`.
    pub fn show(&self, allocator: &Allocator) {
        let mut odd = BTreeMap::new();
        for oddity in allocator.oddities() {
            *odd.entry(oddity.reason()).or_default() += 1;
        }
        let (pools, waiting) = (allocator.pools(), allocator.waiting().len());
        let sets = pools.usage().zip(pools.tallies().cloned());
        let sets = sets.map(|(usage, tally)| Set { usage, tally }).collect();
        *self.state.lock() = State { sets, waiting, odd };
        let ledger = allocator.ledger();
        let number = |count: usize| count.try_into().unwrap_or(i64::MAX);
        self.claims.set(number(ledger.len()));
        self.claims_kept.set(number(ledger.left().len()));
    }

    /// This process has no allocator any more.
    pub fn forget(&self) {
        *self.state.lock() = State::default();
        for gauge in [&self.depth, &self.claims, &self.claims_kept] {
            gauge.set(0);
        }
    }

    fn register(&self, registry: &mut Registry, lease: &str) {
        registry.register(
            "kubenet_cidr_allocation_duration_seconds",
            "[STABLE] From a Node without podCIDRs being seen until it has them",
            self.allocation.clone(),
        );
        registry.register(
            "kubenet_allocation_conflicts",
            "[STABLE] PATCHes that a Node did not take, as it had podCIDRs by then or was gone",
            self.conflicts.clone(),
        );
        registry.register(
            "kubenet_leader_state",
            "[STABLE] 1 while this process allocates, 0 while it stands by",
            self.leading.clone(),
        );
        registry.register(
            "kubenet_leader_transitions",
            "[STABLE] How often this process began to allocate",
            self.transitions.clone(),
        );
        registry.register(
            "kubenet_foreign_allocator",
            "[STABLE] 1 while somebody else gives Nodes their podCIDRs, and this program none",
            self.foreign.clone(),
        );
        self.register_claims(registry);
        let build = Gauge::<i64>::default();
        build.set(1);
        labelled(registry, &[("version", common::version())]).register(
            "kubenet_build_info",
            "[STABLE] Version of this program",
            build,
        );
        labelled(registry, &[("name", lease)]).register(
            "leader_election_master_status",
            "[ALPHA] 1 while this process holds the lease of this name",
            self.leading.clone(),
        );
        let controller = [("name", CONTROLLER), ("manager", names::CONTROLLER)];
        labelled(registry, &controller).register(
            "running_managed_controllers",
            "[ALPHA] 1 while the controller runs in this process",
            self.leading.clone(),
        );
        self.register_queue(labelled(registry, &[("name", QUEUE)]));
    }

    fn register_claims(&self, registry: &mut Registry) {
        registry.register(
            "kubenet_claims",
            "[STABLE] CIDRClaims; with --fence=claims one for each block that a Node has",
            self.claims.clone(),
        );
        registry.register(
            "kubenet_claims_kept_nodes",
            "[STABLE] Nodes that are gone and whose claims are kept for --release-delay",
            self.claims_kept.clone(),
        );
        registry.register(
            "kubenet_claim_conflicts",
            "[STABLE] Requests about CIDRClaims that the API server refused, as others were faster",
            self.claim_conflicts.clone(),
        );
    }

    fn register_queue(&self, queue: &mut Registry) {
        queue.register("workqueue_adds", "[ALPHA] PATCHes sent", self.sent.clone());
        queue.register(
            "workqueue_retries",
            "[ALPHA] PATCHes that have to be sent again",
            self.sent_again.clone(),
        );
        queue.register(
            "workqueue_depth",
            "[ALPHA] Nodes whose PATCH has no good answer yet",
            self.depth.clone(),
        );
        queue.register(
            "workqueue_work_duration_seconds",
            "[ALPHA] From a PATCH being sent until it is answered",
            self.answer.clone(),
        );
    }
}

fn labelled<'a>(registry: &'a mut Registry, labels: &[(&'static str, &str)]) -> &'a mut Registry {
    let owned = labels.iter().map(|&(key, value)| (key.into(), value.to_owned().into()));
    registry.sub_registry_with_labels(owned.collect::<Vec<_>>().into_iter())
}

#[cfg(test)]
mod tests;
