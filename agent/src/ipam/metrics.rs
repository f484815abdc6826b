//! Addresses and attachments of this machine, counted when somebody scrapes.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use cni::Usage;
use common::Family;
use common::conflist::Conflist;
use jiff::Timestamp;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Registry;
use tracing::debug;

use super::look;
use super::report::{Report, State};
use crate::machine::Paths;
use crate::reaper::Reclaimed;

/// Where to look.
#[derive(Debug)]
struct Scrape {
    state: PathBuf,
    conflist: PathBuf,
}

/// Registers them; `reclaimed` counts along.
pub fn register(registry: &mut Registry, paths: &Paths, reclaimed: &Reclaimed) {
    let text = "[STABLE] Attachments that were removed, by kind: \
                deleted (a DEL had left the rest) or dead (nobody had called DEL)";
    registry.register("kubenet_ipam_gc_reclaimed", text, reclaimed.clone());
    let scrape = Scrape { state: paths.state.clone(), conflist: paths.conflist() };
    registry.register_collector(Box::new(scrape));
}

impl Collector for Scrape {
    /// What can't be read is left out: a gap says more than a wrong number.
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        match self.usage() {
            Ok(usage) => encode_usage(&mut encoder, &usage)?,
            Err(error) => debug!("cannot count addresses: {error:#}"),
        }
        match attachments(&self.state) {
            Ok(counts) => encode_attachments(&mut encoder, &counts)?,
            Err(error) => debug!("cannot count attachments: {error:#}"),
        }
        Ok(())
    }
}

impl Scrape {
    /// Of the ranges that the conflist gives addresses of.
    fn usage(&self) -> anyhow::Result<Vec<Usage>> {
        let text = net::file::read(&self.conflist)?.unwrap_or_default();
        let list = serde_json::from_slice::<Conflist>(&text).ok();
        let plugins = list.iter().flat_map(|list| &list.plugins);
        let ranges = plugins.flat_map(|plugin| plugin.ranges.clone()).collect::<Vec<_>>();
        Ok(cni::usage(&self.state, &ranges)?)
    }
}

fn attachments(state: &Path) -> anyhow::Result<BTreeMap<&'static str, u32>> {
    let report = Report::of(&look::at_links_and_files(state)?, Timestamp::now());
    let states = [State::Live, State::Changing, State::Dying, State::Dead];
    let mut counts = states.map(|state| (state.word(), 0)).into_iter().collect::<BTreeMap<_, _>>();
    for held in report.attachments {
        *counts.entry(held.state.word()).or_default() += 1;
    }
    Ok(counts)
}

fn encode_usage(encoder: &mut DescriptorEncoder<'_>, usage: &[Usage]) -> fmt::Result {
    let help = "[STABLE] Addresses for pods, by range and state: used, cooldown (released a moment ago) \
                or free";
    let name = "kubenet_ipam_addresses";
    let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
    for Usage { subnet, used, resting, free } in usage {
        let family = match subnet.family() {
            Family::V4 => "ipv4",
            Family::V6 => "ipv6",
        };
        for (state, count) in [("used", used), ("cooldown", resting), ("free", free)] {
            let range = subnet.to_string();
            let labels = [("range", range.as_str()), ("family", family), ("state", state)];
            // The largest pool has 2^32 addresses.
            let count = i64::try_from(*count).unwrap_or(i64::MAX);
            metric.encode_family(&labels)?.encode_gauge(&count)?;
        }
    }
    Ok(())
}

fn encode_attachments(
    encoder: &mut DescriptorEncoder<'_>,
    counts: &BTreeMap<&'static str, u32>,
) -> fmt::Result {
    let help = "[STABLE] Pods' interfaces by state: live, changing (ADD or DEL is at it), dying (DEL has \
                left the rest) or dead (its network namespace is gone)";
    let name = "kubenet_ipam_attachments";
    let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
    for (&state, count) in counts {
        metric.encode_family(&[("state", state)])?.encode_gauge(count)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::lab::Lab;

    #[track_caller]
    fn check(lab: &Lab, registry: &Registry, lines: &[&str]) {
        let mut text = String::new();
        lab.inside(|| prometheus_client::encoding::text::encode(&mut text, registry).unwrap());
        for line in lines {
            assert!(text.lines().any(|l| l == format!("kubenet_ipam_{line}")), "{line} in {text}");
        }
    }

    #[test]
    fn each_address_and_attachment_is_counted_once() {
        let lab = Lab::new();
        let mut machine = lab.machine();
        lab.converge(&mut machine);
        let mut registry = Registry::default();
        register(&mut registry, &machine.paths, &machine.reaper.reclaimed);
        let pods = ["c1", "c2", "c3"].map(|id| lab.add(id));
        lab.del("c1");
        let of = |state: &str, count: u32| {
            format!(
                "addresses{{range=\"10.244.1.0/24\",family=\"ipv4\",state=\"{state}\"}} {count}"
            )
        };
        let v6 = "addresses{range=\"fd00:0:0:1::/64\",family=\"ipv6\",state=\"used\"} 2";
        check(&lab, &registry, &[&of("used", 2), &of("cooldown", 1), &of("free", 250), v6]);
        check(&lab, &registry, &["attachments{state=\"live\"} 2", "attachments{state=\"dead\"} 0"]);
        // The namespaces go, and nobody calls DEL.
        let links = machine.netlink.links().unwrap().len();
        drop(pods);
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(30);
        while machine.netlink.links().unwrap().len() > links - 2 {
            assert!(std::time::Instant::now() < deadline, "the links outlive their namespaces");
            std::thread::yield_now();
        }
        check(&lab, &registry, &["attachments{state=\"dead\"} 2"]);
        lab.round(&mut machine);
        check(
            &lab,
            &registry,
            &["attachments{state=\"dead\"} 0", &of("used", 0), &of("cooldown", 3)],
        );
        check(&lab, &registry, &["gc_reclaimed_total{kind=\"dead\"} 2"]);
        check(&lab, &registry, &["gc_reclaimed_total{kind=\"deleted\"} 0"]);
    }
}
