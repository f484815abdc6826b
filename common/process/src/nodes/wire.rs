//! A Node as the API sends it, in JSON or protobuf, cut down to what kubenet reads: the rest of each message
//! is skipped while it is parsed, so memory does not grow with labels, managedFields, images.
//!
//! In protobuf the numbers of fields are those of `generated.proto` in k8s.io/api/core/v1.

mod metadata;

use std::borrow::Cow;

use common::node::{Condition, NodeView};
use k8s_openapi::ClusterResourceScope;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Resource;
use prost::Message;
use serde::{Deserialize, Deserializer};

/// Part of a v1 Node. It can be read and watched, never written: a write would drop the rest.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Node {
    #[serde(deserialize_with = "metadata::read")]
    metadata: ObjectMeta,
    #[serde(default)]
    spec: Spec,
    #[serde(default)]
    status: Status,
}

/// The same in protobuf.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct NodeMessage {
    #[prost(message, optional, tag = "1")]
    metadata: Option<metadata::Message>,
    #[prost(message, optional, tag = "2")]
    spec: Option<Spec>,
    #[prost(message, optional, tag = "3")]
    status: Option<Status>,
}

#[derive(Clone, PartialEq, Deserialize, Message)]
struct Spec {
    #[serde(rename = "podCIDR")]
    #[prost(string, optional, tag = "1")]
    pod_cidr: Option<String>,
    #[serde(rename = "podCIDRs", default, deserialize_with = "or_none")]
    #[prost(string, repeated, tag = "7")]
    pod_cidrs: Vec<String>,
}

#[derive(Clone, PartialEq, Deserialize, Message)]
struct Status {
    #[serde(default, deserialize_with = "or_none")]
    #[prost(message, repeated, tag = "4")]
    conditions: Vec<NodeCondition>,
    #[serde(default, deserialize_with = "or_none")]
    #[prost(message, repeated, tag = "5")]
    addresses: Vec<Address>,
}

#[derive(Clone, PartialEq, Deserialize, Message)]
struct NodeCondition {
    #[serde(rename = "type")]
    #[prost(string, tag = "1")]
    kind: String,
    #[prost(string, tag = "2")]
    status: String,
    #[prost(string, optional, tag = "5")]
    reason: Option<String>,
    #[prost(string, optional, tag = "6")]
    message: Option<String>,
}

#[derive(Clone, PartialEq, Deserialize, Message)]
struct Address {
    #[serde(rename = "type")]
    #[prost(string, tag = "1")]
    kind: String,
    #[prost(string, tag = "2")]
    address: String,
}

impl Node {
    /// The field manager that wrote `spec.podCIDRs`.
    pub fn pod_cidrs_manager(&self) -> Option<&str> {
        self.metadata.managed_fields.as_ref()?.first()?.manager.as_deref()
    }

    /// Whether it has podCIDRs.
    pub fn has_pod_cidrs(&self) -> bool {
        !self.spec.pod_cidrs.is_empty()
    }
}

/// What is null is as good as absent.
fn or_none<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    deserializer: D,
) -> Result<Vec<T>, D::Error> {
    Ok(Option::<Vec<T>>::deserialize(deserializer)?.unwrap_or_default())
}

impl From<NodeMessage> for Node {
    fn from(NodeMessage { metadata, spec, status }: NodeMessage) -> Self {
        Self {
            metadata: metadata.unwrap_or_default().into(),
            spec: spec.unwrap_or_default(),
            status: status.unwrap_or_default(),
        }
    }
}

impl Resource for Node {
    type DynamicType = ();
    type Scope = ClusterResourceScope;

    fn kind((): &()) -> Cow<'_, str> {
        "Node".into()
    }

    fn group((): &()) -> Cow<'_, str> {
        "".into()
    }

    fn version((): &()) -> Cow<'_, str> {
        "v1".into()
    }

    fn plural((): &()) -> Cow<'_, str> {
        "nodes".into()
    }

    fn meta(&self) -> &ObjectMeta {
        &self.metadata
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}

impl From<Node> for NodeView {
    /// Addresses that are none are left out, and labels once they have decided all they can;
    /// podCIDRs stay as written, for they must be named.
    fn from(node: Node) -> Self {
        let Node { metadata, spec, status } = node;
        let listed = spec.pod_cidrs;
        let pod_cidrs =
            if listed.is_empty() { spec.pod_cidr.into_iter().collect() } else { listed };
        let pod_cidrs = pod_cidrs.into_iter().filter(|cidr| !cidr.is_empty()).collect::<Vec<_>>();
        let labels = metadata.labels.filter(|_| pod_cidrs.is_empty());
        let addresses = status.addresses.into_iter();
        let internal = addresses.filter(|address| address.kind == "InternalIP");
        let mut conditions = status.conditions.into_iter();
        Self {
            name: metadata.name.unwrap_or_default(),
            uid: metadata.uid.unwrap_or_default(),
            created: metadata.creation_timestamp.map_or(0, |time| time.0.as_second()),
            terminating: metadata.deletion_timestamp.is_some(),
            pod_cidrs,
            labels: labels.unwrap_or_default(),
            internal_ips: internal.filter_map(|address| address.address.parse().ok()).collect(),
            network_unavailable: conditions
                .find(|condition| condition.kind == "NetworkUnavailable")
                .map(Condition::from),
        }
    }
}

impl From<NodeCondition> for Condition {
    fn from(condition: NodeCondition) -> Self {
        Self {
            status: condition.status,
            reason: condition.reason.unwrap_or_default(),
            message: condition.message.unwrap_or_default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn view(json: Value) -> NodeView {
        serde_json::from_value::<Node>(json).unwrap().into()
    }

    #[test]
    fn reads_what_it_knows_and_skips_the_rest() {
        let node = view(json!({
            "kind": "Node", "apiVersion": "v1",
            "metadata": {
                "name": "n1", "uid": "u1", "resourceVersion": "7",
                "creationTimestamp": "1970-01-01T00:01:40Z", "labels": {"a": "b"},
                "managedFields": [{"manager": "kubelet"}],
            },
            "spec": {"podCIDR": "10.0.0.0/24", "podCIDRs": ["10.0.0.0/24", "fd00::/64"]},
            "status": {
                "addresses": [
                    {"type": "Hostname", "address": "n1"},
                    {"type": "InternalIP", "address": "192.0.2.1"},
                    {"type": "InternalIP", "address": "not an address"},
                    {"type": "InternalIP", "address": "2001:db8::1"},
                ],
                "conditions": [
                    {"type": "Ready", "status": "True"},
                    {"type": "NetworkUnavailable", "status": "True", "reason": "NoRoute"},
                ],
                "images": [{"names": ["x"]}],
            },
        }));
        assert_eq!((node.name.as_str(), node.uid.as_str(), node.created), ("n1", "u1", 100));
        assert_eq!(node.pod_cidrs, ["10.0.0.0/24", "fd00::/64"]);
        let addresses = node.internal_ips.iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(addresses, ["192.0.2.1", "2001:db8::1"]);
        let condition = node.network_unavailable.unwrap();
        assert_eq!((condition.status.as_str(), condition.reason.as_str()), ("True", "NoRoute"));
        assert!(!node.terminating);
    }

    #[test]
    fn labels_count_until_there_are_podcidrs() {
        let labelled = |cidrs: &[&str]| {
            view(json!({
                "metadata": {"name": "n1", "uid": "u1", "labels": {"rack": "r7"}},
                "spec": {"podCIDRs": cidrs},
            }))
        };
        assert_eq!(labelled(&[]).labels["rack"], "r7");
        assert!(labelled(&["10.0.0.0/24"]).labels.is_empty());
    }

    #[test]
    fn it_tells_who_wrote_the_podcidrs() {
        let node = |manager: &str, field: &str| {
            serde_json::from_value::<Node>(json!({
                "metadata": {"name": "n1", "managedFields": [
                    {"manager": "kubelet", "fieldsV1": {"f:status": {"f:images": {}}}},
                    {"manager": "old", "operation": "Update"},
                    {"manager": manager, "fieldsV1": {"f:spec": {"f:podCIDR": {}, field: {".": {}}}}},
                ]},
                "spec": {"podCIDRs": ["10.0.0.0/24"]},
            }))
        };
        let node = |manager, field| node(manager, field).unwrap();
        let foreign = node("kube-controller-manager", "f:podCIDRs");
        assert!(foreign.has_pod_cidrs());
        assert_eq!(foreign.pod_cidrs_manager(), Some("kube-controller-manager"));
        assert_eq!(node("kubelet", "f:taints").pod_cidrs_manager(), None);
    }

    #[test]
    fn a_new_node_has_next_to_nothing() {
        let node = view(json!({"metadata": {"name": "n1", "uid": "u1"}, "spec": {}}));
        assert!(node.pod_cidrs.is_empty() && node.internal_ips.is_empty());
        assert_eq!(node.network_unavailable, None);
    }

    #[test]
    fn null_is_absent() {
        let node = view(json!({
            "metadata": {"name": "n1", "uid": "u1", "deletionTimestamp": "2026-01-01T00:00:00Z"},
            "spec": {"podCIDRs": null, "podCIDR": ""},
            "status": {"addresses": null, "conditions": null},
        }));
        assert!(node.pod_cidrs.is_empty() && node.terminating);
    }
}
