//! Nodes without a machine: for what only the controller and the peers' routes have to do with.

use std::net::IpAddr;

use k8s_openapi::api::core::v1::{Node, NodeAddress, NodeSpec, NodeStatus, Taint};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

/// The label of all of them.
pub const LABEL: &str = "kubenet.test/fake";

/// A Node that no pod is put on, with `addresses` as its InternalIP and, already, `pod_cidrs`.
pub fn node(name: &str, addresses: &[IpAddr], pod_cidrs: &[&str]) -> Node {
    let addresses = addresses.iter().map(|address| NodeAddress {
        type_: "InternalIP".to_owned(),
        address: address.to_string(),
    });
    let addresses = addresses.collect::<Vec<_>>();
    let taint =
        Taint { key: LABEL.to_owned(), effect: "NoSchedule".to_owned(), ..Taint::default() };
    let pod_cidrs = pod_cidrs.iter().map(|cidr| (*cidr).to_owned()).collect::<Vec<_>>();
    Node {
        metadata: ObjectMeta {
            name: Some(name.to_owned()),
            labels: Some([(LABEL.to_owned(), String::new())].into()),
            ..ObjectMeta::default()
        },
        spec: Some(NodeSpec {
            pod_cidr: pod_cidrs.first().cloned(),
            pod_cidrs: (!pod_cidrs.is_empty()).then_some(pod_cidrs),
            taints: Some(vec![taint]),
            ..NodeSpec::default()
        }),
        status: (!addresses.is_empty())
            .then(|| NodeStatus { addresses: Some(addresses), ..NodeStatus::default() }),
    }
}
