//! What /metrics tells: kube-controller-manager's names where it has one, `kubenet_` elsewhere.
//!
//! What the allocator counts is copied here after each round and read when somebody scrapes.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use common::names;
use parking_lot::Mutex;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;

use crate::allocator::Allocator;
use crate::pool::Usage;
use crate::tally::{BUCKETS, Tally};

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
}

/// The allocator as it was after its last round; empty while this process has none.
#[derive(Debug, Default)]
struct State {
    sets: Vec<Set>,
    waiting: usize,
    odd: BTreeMap<&'static str, usize>,
}

/// One range.
#[derive(Debug)]
struct Set {
    usage: Usage,
    tally: Tally,
}

impl Metrics {
    /// All of them at zero, and where they are read. `lease` is the name that leaders hold.
    pub fn new(lease: &str) -> (Self, Registry) {
        // From 1 ms to half a minute; a PATCH takes a few milliseconds.
        let seconds = || Histogram::new(exponential_buckets(0.001, 2.0, 16));
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
        };
        let mut registry = Registry::default();
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
    }

    /// This process has no allocator any more.
    pub fn forget(&self) {
        *self.state.lock() = State::default();
        self.depth.set(0);
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

/// Reads the allocator's state when somebody asks.
#[derive(Debug)]
struct Scrape(Arc<Mutex<State>>);

type Labels = Vec<(&'static str, String)>;

impl Collector for Scrape {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let state = self.0.lock();
        encode_sets(&mut encoder, &state.sets)?;
        encode_pools(&mut encoder, &state.sets)?;
        let help = "[STABLE] Nodes that wait for a free block";
        let mut pending =
            encoder.encode_descriptor("kubenet_nodes_pending", help, None, MetricType::Gauge)?;
        pending.encode_gauge(&state.waiting)?;
        let help = "[STABLE] podCIDRs that this program would not have given, by reason";
        let mut odd =
            encoder.encode_descriptor("kubenet_odd_podcidrs", help, None, MetricType::Gauge)?;
        for (&reason, count) in &state.odd {
            odd.encode_family(&[("reason", reason)])?.encode_gauge(count)?;
        }
        Ok(())
    }
}

/// kube-controller-manager's metrics of each set of blocks, the misspelt one with its spelling.
fn encode_sets(encoder: &mut DescriptorEncoder<'_>, sets: &[Set]) -> fmt::Result {
    let labels = |set: &Set| vec![("clusterCIDR", set.usage.range.cidr().to_string())];
    let mut counter = |name: &str, help: &str, value: fn(&Set) -> u128| {
        family(encoder, (name, help, MetricType::Counter), sets, labels, |mut metric, set| {
            let value = u64::try_from(value(set)).unwrap_or(u64::MAX);
            metric.encode_counter::<NoLabelSet, _, u64>(&value, None)
        })
    };
    counter(
        "node_ipam_controller_cidrset_cidrs_allocations",
        "[ALPHA] Counter measuring total number of CIDR allocations",
        |set| set.tally.allocations,
    )?;
    counter(
        "node_ipam_controller_cidrset_cidrs_releases",
        "[ALPHA] Counter measuring total number of CIDR releases",
        |set| set.tally.releases,
    )?;
    let mut gauge = |name: &str, help: &str, value: fn(&Set) -> f64| {
        family(encoder, (name, help, MetricType::Gauge), sets, labels, |mut metric, set| {
            metric.encode_gauge(&value(set))
        })
    };
    let help = "[ALPHA] Share of the blocks that are held, from 0 to 1";
    gauge("node_ipam_controller_cidrset_usage_cidrs", help, |set| {
        number(set.usage.used) / number(set.usage.blocks)
    })?;
    for name in ["node_ipam_controller_cirdset_max_cidrs", "node_ipam_controller_cidrset_max_cidrs"]
    {
        gauge(name, "[ALPHA] Maximum number of CIDRs that can be allocated", |set| {
            number(set.usage.blocks)
        })?;
    }
    let tries = (
        "node_ipam_controller_cidrset_allocation_tries_per_request",
        "[ALPHA] Held blocks that were skipped to find a free one",
        MetricType::Histogram,
    );
    family(encoder, tries, sets, labels, |mut metric, set| {
        let tries = &set.tally.tries;
        let within = tries.buckets.iter().sum::<u64>();
        let bounds = BUCKETS.iter().map(|&bound| number(bound.into())).chain([f64::INFINITY]);
        let counts = tries.buckets.iter().copied().chain([tries.count - within]);
        let buckets = bounds.zip(counts).collect::<Vec<_>>();
        metric.encode_histogram::<NoLabelSet>(number(tries.sum), tries.count, &buckets, None)
    })
}

fn encode_pools(encoder: &mut DescriptorEncoder<'_>, sets: &[Set]) -> fmt::Result {
    let labels = |set: &Set| {
        let cidr = set.usage.range.cidr();
        vec![("pool", cidr.to_string()), ("family", cidr.family().to_string())]
    };
    let metrics = [
        (
            "kubenet_pool_capacity_cidrs",
            "Blocks of the pool",
            (|set| set.usage.blocks) as fn(&Set) -> u128,
        ),
        ("kubenet_pool_allocated_cidrs", "Blocks that Nodes hold", |set| {
            set.usage.used.saturating_sub(set.usage.reserved)
        }),
        ("kubenet_pool_reserved_cidrs", "Blocks that no Node gets, for Services", |set| {
            set.usage.reserved
        }),
    ];
    for (name, help, value) in metrics {
        let help = format!("[STABLE] {help}");
        let metric = (name, help.as_str(), MetricType::Gauge);
        family(encoder, metric, sets, labels, |mut metric, set| {
            metric.encode_gauge(&number(value(set)))
        })?;
    }
    Ok(())
}

/// One line for each of `sets`, under the same name.
fn family(
    encoder: &mut DescriptorEncoder<'_>,
    (name, help, kind): (&str, &str, MetricType),
    sets: &[Set],
    labels: impl Fn(&Set) -> Labels,
    encode: impl Fn(MetricEncoder<'_>, &Set) -> fmt::Result,
) -> fmt::Result {
    let mut family = encoder.encode_descriptor(name, help, None, kind)?;
    sets.iter().try_for_each(|set| encode(family.encode_family(&labels(set))?, set))
}

#[expect(clippy::cast_precision_loss, reason = "Prometheus has no other numbers")]
const fn number(count: u128) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use common::Prefix;
    use common::node::NodeView;
    use prometheus_client::encoding::prometheus_text;

    use super::*;
    use crate::pools::Pools;
    use crate::range::Range;

    fn node(name: &str, cidr: &str) -> Arc<NodeView> {
        Arc::new(NodeView {
            name: name.to_owned(),
            uid: name.to_owned(),
            created: 0,
            terminating: false,
            pod_cidrs: [cidr.to_owned()].into_iter().filter(|text| !text.is_empty()).collect(),
            labels: BTreeMap::new(),
            internal_ips: Vec::new(),
            network_unavailable: None,
        })
    }

    fn scrape(registry: &Registry) -> String {
        let mut text = String::new();
        prometheus_text::encode(&mut text, registry).unwrap();
        text
    }

    #[test]
    fn names_and_labels_are_those_of_kube_controller_manager() {
        let (metrics, registry) = Metrics::new("kubenet-controller");
        let cidr = Prefix::parse_masking("10.0.0.0/22").unwrap();
        let services = [Prefix::parse_masking("10.0.0.0/24").unwrap()];
        let pools = Pools::new(&[Range::new(cidr, 24).unwrap()], &services);
        let mut allocator = Allocator::new(pools);
        let nodes = [node("a", ""), node("b", "192.168.0.0/24"), node("c", ""), node("d", "x")];
        allocator.round(&[], &nodes);
        allocator.round(&[Arc::clone(&nodes[0])], &[node("e", ""), node("f", ""), node("g", "")]);
        metrics.show(&allocator);
        let text = scrape(&registry);
        let set = r#"{clusterCIDR="10.0.0.0/22"}"#;
        for line in [
            format!("node_ipam_controller_cidrset_cidrs_allocations_total{set} 5"),
            format!("node_ipam_controller_cidrset_cidrs_releases_total{set} 1"),
            format!("node_ipam_controller_cidrset_usage_cidrs{set} 1.0"),
            format!("node_ipam_controller_cirdset_max_cidrs{set} 4.0"),
            format!("node_ipam_controller_cidrset_max_cidrs{set} 4.0"),
            format!("node_ipam_controller_cidrset_allocation_tries_per_request_sum{set} 2.0"),
            format!("node_ipam_controller_cidrset_allocation_tries_per_request_count{set} 4"),
            r#"kubenet_pool_reserved_cidrs{pool="10.0.0.0/22",family="IPv4"} 1.0"#.to_owned(),
            r#"kubenet_pool_allocated_cidrs{pool="10.0.0.0/22",family="IPv4"} 3.0"#.to_owned(),
            "kubenet_nodes_pending 1".to_owned(),
            r#"kubenet_odd_podcidrs{reason="CIDRMalformed"} 1"#.to_owned(),
            r#"kubenet_odd_podcidrs{reason="CIDROutOfRange"} 1"#.to_owned(),
            r#"workqueue_depth{name="cidrallocator_node"} 0"#.to_owned(),
            r#"leader_election_master_status{name="kubenet-controller"} 0"#.to_owned(),
        ] {
            assert!(text.lines().any(|found| found == line), "no {line} in\n{text}");
        }
        for bucket in ["1", "5", "25", "125", "625", "+Inf"] {
            let name = "node_ipam_controller_cidrset_allocation_tries_per_request_bucket";
            assert!(
                text.contains(&format!(r#"{name}{{clusterCIDR="10.0.0.0/22",le="{bucket}"}} 4"#)),
                "{text}"
            );
        }
    }

    #[test]
    fn who_stands_by_tells_nothing_of_pools() {
        let (metrics, registry) = Metrics::new("l");
        assert!(!scrape(&registry).contains("clusterCIDR"));
        metrics.leading.set(1);
        assert!(scrape(&registry).contains("kubenet_leader_state 1\n"));
    }
}
