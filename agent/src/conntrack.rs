//! Connections that the kernel follows, and how many it can, counted when somebody scrapes: beyond that
//! number it drops what begins anew.

use std::fmt;
use std::path::Path;

use net::sysctl::Sysctl;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Registry;

/// Of each metric its name, what it says, and where the kernel tells it.
const METRICS: [(&str, &str, &str); 2] = [
    (
        "kubenet_conntrack_entries",
        "[STABLE] Connections that the kernel follows",
        "net/netfilter/nf_conntrack_count",
    ),
    (
        "kubenet_conntrack_limit",
        "[STABLE] How many it can follow",
        "net/netfilter/nf_conntrack_max",
    ),
];

#[derive(Debug)]
struct Scrape(Sysctl);

/// Registers them; kernel settings are under `sysctl`.
pub fn register(registry: &mut Registry, sysctl: &Path) {
    registry.register_collector(Box::new(Scrape(Sysctl::at(sysctl))));
}

impl Collector for Scrape {
    /// A kernel that follows none has neither.
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        for (name, text, key) in METRICS {
            let value = self.0.read(key).ok().and_then(|value| value.parse::<i64>().ok());
            let Some(value) = value else { continue };
            let mut metric = encoder.encode_descriptor(name, text, None, MetricType::Gauge)?;
            metric.encode_gauge(&value)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn they_are_what_the_kernel_says() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("net/netfilter");
        let mut registry = Registry::default();
        register(&mut registry, root.path());
        let said = || {
            let mut text = String::new();
            prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
            text.lines()
                .filter(|line| !line.starts_with('#'))
                .map(str::to_owned)
                .collect::<Vec<_>>()
        };
        assert_eq!(said(), [""; 0]);
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("nf_conntrack_count"), "12\n").unwrap();
        fs::write(folder.join("nf_conntrack_max"), "65536\n").unwrap();
        assert_eq!(said(), ["kubenet_conntrack_entries 12", "kubenet_conntrack_limit 65536"]);
    }
}
