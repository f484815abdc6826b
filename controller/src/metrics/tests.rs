//! What somebody who scrapes sees.

use std::collections::BTreeMap;

use common::Prefix;
use common::node::NodeView;
use prometheus_client::encoding::prometheus_text;

use super::*;
use nodeipam::pool::{Origin, Plan};
use nodeipam::pools::Pools;
use nodeipam::range::Range;

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
        r#"kubenet_pool_reserved_cidrs{pool="10.0.0.0/22",family="IPv4",name=""} 1.0"#.to_owned(),
        r#"kubenet_pool_allocated_cidrs{pool="10.0.0.0/22",family="IPv4",name=""} 3.0"#.to_owned(),
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
fn a_cluster_cidr_has_the_names_and_labels_of_node_ipam_controller() {
    let (metrics, registry) = Metrics::new("l");
    let cidr = Prefix::parse_masking("10.0.0.0/22").unwrap();
    let pools = Pools::new(&[Range::new(cidr, 24).unwrap()], &[]);
    let mut allocator = Allocator::new(pools);
    let ranges = [("10.1.0.0/22", 24), ("fd00::/64", 120)];
    let ranges = ranges.map(|(cidr, mask)| Range::new(cidr.parse().unwrap(), mask).unwrap());
    let origin = Origin::ClusterCidr("blue".into());
    allocator.follow(vec![Plan { origin, ranges: ranges.to_vec(), selector: None, closed: false }]);
    allocator.round(&[], &[node("a", ""), node("b", "")]);
    metrics.show(&allocator);
    let text = scrape(&registry);
    let name = "node_ipam_controller_multicidrset";
    let set = r#"{clusterCIDR="10.1.0.0/22",clusterCIDRName="blue"}"#;
    for line in [
        format!("{name}_cidrs_allocations_total{set} 2"),
        format!("{name}_cidrs_releases_total{set} 0"),
        format!("{name}_usage_cidrs{set} 0.5"),
        format!("{name}_max_cidrs{set} 4.0"),
        format!("{name}_allocation_tries_per_request_count{set} 2"),
        r#"kubenet_pool_allocated_cidrs{pool="fd00::/64",family="IPv6",name="blue"} 2.0"#.into(),
        r#"kubenet_pool_allocated_cidrs{pool="10.0.0.0/22",family="IPv4",name=""} 0.0"#.into(),
    ] {
        assert!(text.lines().any(|found| found == line), "no {line} in\n{text}");
    }
}

#[test]
fn who_stands_by_tells_nothing_of_pools() {
    let (metrics, registry) = Metrics::new("l");
    assert!(!scrape(&registry).contains("clusterCIDR"));
    metrics.leading.set(1);
    assert!(scrape(&registry).contains("kubenet_leader_state 1\n"));
}
