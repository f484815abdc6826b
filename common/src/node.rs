//! What kubenet knows of a Node: the few fields that decisions are made from.

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::Family;

/// A Node as decisions see it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeView {
    pub name: String,
    /// `metadata.uid`; another Node of the same name has another one.
    pub uid: String,
    /// `metadata.creationTimestamp`, seconds since the epoch: of two Nodes the lesser is the older.
    pub created: i64,
    /// Whether `metadata.deletionTimestamp` is set: a finalizer keeps it, and pods may still run on it.
    pub terminating: bool,
    /// `spec.podCIDRs` as they were written, which need not be CIDRs; empty until they are assigned.
    pub pod_cidrs: Vec<String>,
    /// `metadata.labels` of a Node without podCIDRs: they decide which it gets, and nothing later.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// `status.addresses` of type InternalIP, in the Node's order.
    pub internal_ips: Vec<IpAddr>,
    /// The Node's condition NetworkUnavailable.
    pub network_unavailable: Option<Condition>,
}

/// A Node's condition, without its times.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Condition {
    /// `True`, `False` or `Unknown`.
    pub status: String,
    pub reason: String,
    pub message: String,
}

impl NodeView {
    /// Its first InternalIP of `family`, which is how its peers reach it.
    pub fn internal_ip(&self, family: Family) -> Option<IpAddr> {
        self.internal_ips.iter().copied().find(|&ip| Family::from(ip) == family)
    }
}
