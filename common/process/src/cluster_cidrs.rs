//! ClusterCIDR of networking.x-k8s.io/v1, the type of kubernetes-sigs/node-ipam-controller with a
//! status: what an object says, the definition for the API server, and the watch.
//!
//! The definition refuses what can't be used. What is read may all the same be anything that another
//! definition of the same type let through, so each field is taken as it is written.

#![expect(unreachable_pub, reason = "KubeSchema derives from copies of the types in functions")]

use futures::stream::Stream;
use kube::api::Api;
use kube::core::CustomResourceExt;
use kube::runtime::watcher::Event;
use kube::{Client, CustomResource, KubeSchema};
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Serialize};

use crate::contact::Contact;
use crate::watch::Watched;

/// Kept on an object while Nodes hold blocks of it; node-ipam-controller's.
pub const FINALIZER: &str = "networking.x-k8s.io/cluster-cidr-finalizer";

/// The least bits of a Node's own addresses, node-ipam-controller's: 16 addresses.
pub const LEAST_HOST_BITS: i32 = 4;

/// Addresses that Nodes get their podCIDRs from.
#[derive(
    CustomResource, KubeSchema, Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize,
)]
#[kube(
    group = "networking.x-k8s.io",
    version = "v1",
    kind = "ClusterCIDR",
    root = "ClusterCidr",
    plural = "clustercidrs",
    shortname = "cc",
    status = "ClusterCidrStatus",
    derive = "Default",
    derive = "PartialEq",
    doc = "Addresses that Nodes get their podCIDRs from.",
    printcolumn = r#"{"name": "IPv4", "type": "string", "jsonPath": ".spec.ipv4"}"#,
    printcolumn = r#"{"name": "IPv6", "type": "string", "jsonPath": ".spec.ipv6"}"#,
    printcolumn = r#"{"name": "HostBits", "type": "integer", "jsonPath": ".spec.perNodeHostBits"}"#,
    printcolumn = r#"{"name": "Nodes", "type": "integer", "jsonPath": ".status.nodes"}"#,
    printcolumn = r#"{"name": "Ready", "type": "string", "jsonPath": ".status.conditions[?(@.type==\"Ready\")].status"}"#,
    printcolumn = r#"{"name": "Exhausted", "type": "string", "jsonPath": ".status.conditions[?(@.type==\"Exhausted\")].status"}"#,
    printcolumn = r#"{"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"}"#
)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("self.ipv4 != '' || self.ipv6 != ''")
        .message("A CIDR must be specified for ipv4 or ipv6."),
    validation = Rule::new(
        "has(self.nodeSelector) == has(oldSelf.nodeSelector) && \
         (!has(self.nodeSelector) || self.nodeSelector == oldSelf.nodeSelector)"
    ).message("NodeSelector cannot be changed."),
    validation = Rule::new(
        "!isCIDR(self.ipv4) || self.perNodeHostBits <= 32 - cidr(self.ipv4).prefixLength()"
    ).message("PerNodeHostBits must leave at least one block of IPv4."),
    validation = Rule::new(
        "!isCIDR(self.ipv6) || self.perNodeHostBits <= 128 - cidr(self.ipv6).prefixLength()"
    ).message("PerNodeHostBits must leave at least one block of IPv6.")
)]
pub struct ClusterCidrSpec {
    /// Nodes that get blocks of it. Without one it is for all Nodes that no other ClusterCIDR with
    /// a free block selects.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema_of::<NodeSelector>")]
    pub node_selector: Option<NodeSelector>,

    /// Bits of an address that differ within a Node's block: with 8, it is an IPv4 /24 and an IPv6
    /// /120.
    #[schemars(range(min = 4, max = 128))]
    #[x_kube(validation = Rule::new("self == oldSelf").message("PerNodeHostBits cannot be changed."))]
    pub per_node_host_bits: i32,

    /// IPv4 addresses, as in 10.1.0.0/16; empty for none.
    #[serde(default)]
    #[schemars(length(max = 18))]
    #[x_kube(
        validation = Rule::new("self == '' || (isCIDR(self) && cidr(self).ip().family() == 4)")
            .message("IPv4 must be a valid IPv4 CIDR."),
        validation = Rule::new("self == oldSelf").message("IPv4 cannot be changed.")
    )]
    pub ipv4: String,

    /// IPv6 addresses, as in `fd00:10::/64`; empty for none.
    #[serde(default)]
    #[schemars(length(max = 43))]
    #[x_kube(
        validation = Rule::new("self == '' || (isCIDR(self) && cidr(self).ip().family() == 6)")
            .message("IPv6 must be a valid IPv6 CIDR."),
        validation = Rule::new("self == oldSelf").message("IPv6 cannot be changed.")
    )]
    pub ipv6: String,
}

/// Which Nodes: those that meet at least one of its terms.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("required" = ["nodeSelectorTerms"]))]
pub struct NodeSelector {
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(min = 1, max = 32), extend("x-kubernetes-list-type" = "atomic"))]
    pub node_selector_terms: Vec<NodeSelectorTerm>,
}

/// Requirements that a Node must meet all of; no Node meets a term without any.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new(
    "self.matchFields.all(f, f.key == 'metadata.name' && f.operator in ['In', 'NotIn'] && size(f.values) == 1)"
).message("matchFields may be about metadata.name alone: In or NotIn, and one name."))]
pub struct NodeSelectorTerm {
    /// What the Node's labels must be.
    #[serde(default)]
    #[schemars(length(max = 32), extend("x-kubernetes-list-type" = "atomic"))]
    pub match_expressions: Vec<NodeSelectorRequirement>,

    /// What the Node's name must be.
    #[serde(default)]
    #[schemars(length(max = 32), extend("x-kubernetes-list-type" = "atomic"))]
    pub match_fields: Vec<NodeSelectorRequirement>,
}

/// What one label or field must be.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, KubeSchema)]
#[x_kube(validation = Rule::new(
    "self.operator in ['In', 'NotIn'] ? size(self.values) > 0 : \
     size(self.values) == (self.operator in ['Gt', 'Lt'] ? 1 : 0)"
).message("In and NotIn want values, Gt and Lt one number, Exists and DoesNotExist none."))]
pub struct NodeSelectorRequirement {
    #[schemars(
        length(max = 317),
        regex(
            pattern = r"^([a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$"
        )
    )]
    pub key: String,

    #[schemars(extend("enum" = ["In", "NotIn", "Exists", "DoesNotExist", "Gt", "Lt"]))]
    pub operator: String,

    #[serde(default)]
    #[schemars(
        length(max = 256),
        inner(length(max = 253)),
        extend("x-kubernetes-list-type" = "atomic")
    )]
    pub values: Vec<String>,
}

/// What became of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
pub struct ClusterCidrStatus {
    /// Nodes whose podCIDRs are of its addresses.
    #[serde(default)]
    pub nodes: i64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema_of::<Blocks>")]
    pub ipv4: Option<Blocks>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema_of::<Blocks>")]
    pub ipv6: Option<Blocks>,
    /// Ready: it gives blocks. Exhausted: it has none left to give.
    #[serde(default)]
    #[schemars(extend(
        "x-kubernetes-list-type" = "map",
        "x-kubernetes-list-map-keys" = ["type"]
    ))]
    pub conditions: Vec<Condition>,
}

/// Blocks of one family; 9223372036854775807 stands for all numbers that are larger.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
pub struct Blocks {
    pub total: i64,
    /// Nobody holds them, also none of another pool that has the same addresses.
    pub free: i64,
    /// No Node gets them, as Services have addresses of them.
    pub reserved: i64,
}

/// As metav1.Condition has it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Condition {
    #[serde(rename = "type")]
    pub kind: String,
    /// True, False or Unknown.
    pub status: String,
    pub reason: String,
    pub message: String,
    /// When the status became what it is, as in RFC 3339.
    #[schemars(extend("format" = "date-time"))]
    pub last_transition_time: String,
    /// The metadata.generation that it is about.
    #[serde(default)]
    pub observed_generation: i64,
}

impl Watched for ClusterCidr {}

/// All ClusterCIDRs, and then each change of them, for ever: none while the API server does not know
/// them.
pub fn watch(client: Client, contact: Contact) -> impl Stream<Item = Event<ClusterCidr>> + Send {
    crate::watch::watch_if_served(Api::all(client), contact)
}

/// The definition that makes the API server know ClusterCIDRs, as YAML or JSON may have it.
pub fn definition() -> impl Serialize {
    ClusterCidr::crd()
}

/// An optional field's schema is its value's: it may be absent, but not null.
fn schema_of<T: JsonSchema>(generator: &mut SchemaGenerator) -> Schema {
    generator.subschema_for::<T>()
}

#[cfg(test)]
mod tests;
