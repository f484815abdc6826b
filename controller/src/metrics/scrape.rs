//! The allocator as it was after its last round, written out when somebody scrapes.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use parking_lot::Mutex;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;

use nodeipam::pool::{Origin, Usage};
use nodeipam::tally::{BUCKETS, Tally};

/// The allocator as it was after its last round; empty while this process has none.
#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) sets: Vec<Set>,
    pub(super) waiting: usize,
    pub(super) odd: BTreeMap<&'static str, usize>,
}

/// One range.
#[derive(Debug)]
pub(super) struct Set {
    pub(super) usage: Usage,
    pub(super) tally: Tally,
}

/// Reads the allocator's state when somebody asks.
#[derive(Debug)]
pub(super) struct Scrape(pub(super) Arc<Mutex<State>>);

type Labels = Vec<(&'static str, String)>;

impl Collector for Scrape {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let state = self.0.lock();
        let sets = state.sets.iter().collect::<Vec<_>>();
        let (flags, others) =
            sets.iter().partition::<Vec<_>, _>(|set| set.usage.origin == Origin::Flags);
        encode_sets(&mut encoder, &OF_FLAGS, &flags)?;
        encode_sets(&mut encoder, &OF_CLUSTER_CIDRS, &others)?;
        encode_pools(&mut encoder, &sets)?;
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

/// Metrics of sets of blocks, named as by those who gave them out before.
struct Names {
    prefix: &'static str,
    /// Their names of the size, misspelt ones too.
    size: &'static [&'static str],
    labels: fn(&Set) -> Labels,
}

/// kube-controller-manager's, of the flags' ranges.
const OF_FLAGS: Names = Names {
    prefix: "node_ipam_controller_cidrset",
    size: &["node_ipam_controller_cirdset_max_cidrs", "node_ipam_controller_cidrset_max_cidrs"],
    labels: |set| vec![("clusterCIDR", set.usage.range.cidr().to_string())],
};

/// node-ipam-controller's, of the ranges of ClusterCIDRs.
const OF_CLUSTER_CIDRS: Names = Names {
    prefix: "node_ipam_controller_multicidrset",
    size: &["node_ipam_controller_multicidrset_max_cidrs"],
    labels: |set| {
        let cidr = set.usage.range.cidr().to_string();
        vec![("clusterCIDR", cidr), ("clusterCIDRName", set.usage.origin.name().to_owned())]
    },
};

fn encode_sets(
    encoder: &mut DescriptorEncoder<'_>,
    Names { prefix, size, labels }: &Names,
    sets: &[&Set],
) -> fmt::Result {
    let mut counter = |name: &str, help: &str, value: fn(&Set) -> u128| {
        let name = format!("{prefix}_{name}");
        family(encoder, (&name, help, MetricType::Counter), sets, labels, |mut metric, set| {
            let value = u64::try_from(value(set)).unwrap_or(u64::MAX);
            metric.encode_counter::<NoLabelSet, _, u64>(&value, None)
        })
    };
    counter(
        "cidrs_allocations",
        "[ALPHA] Counter measuring total number of CIDR allocations",
        |set| set.tally.allocations,
    )?;
    counter("cidrs_releases", "[ALPHA] Counter measuring total number of CIDR releases", |set| {
        set.tally.releases
    })?;
    let mut gauge = |name: &str, help: &str, value: fn(&Set) -> f64| {
        family(encoder, (name, help, MetricType::Gauge), sets, labels, |mut metric, set| {
            metric.encode_gauge(&value(set))
        })
    };
    let help = "[ALPHA] Share of the blocks that are held, from 0 to 1";
    gauge(&format!("{prefix}_usage_cidrs"), help, |set| {
        number(set.usage.used) / number(set.usage.blocks)
    })?;
    for name in *size {
        gauge(name, "[ALPHA] Maximum number of CIDRs that can be allocated", |set| {
            number(set.usage.blocks)
        })?;
    }
    let name = format!("{prefix}_allocation_tries_per_request");
    let tries = (
        name.as_str(),
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

fn encode_pools(encoder: &mut DescriptorEncoder<'_>, sets: &[&Set]) -> fmt::Result {
    let labels = |set: &Set| {
        let cidr = set.usage.range.cidr();
        let name = set.usage.origin.name().to_owned();
        vec![("pool", cidr.to_string()), ("family", cidr.family().to_string()), ("name", name)]
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
    sets: &[&Set],
    labels: impl Fn(&Set) -> Labels,
    encode: impl Fn(MetricEncoder<'_>, &Set) -> fmt::Result,
) -> fmt::Result {
    let mut family = encoder.encode_descriptor(name, help, None, kind)?;
    sets.iter().try_for_each(|&set| encode(family.encode_family(&labels(set))?, set))
}

#[expect(clippy::cast_precision_loss, reason = "Prometheus has no other numbers")]
const fn number(count: u128) -> f64 {
    count as f64
}
