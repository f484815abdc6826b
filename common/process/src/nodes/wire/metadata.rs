//! The metadata of a Node, of which JSON and protobuf have little in common.
//!
//! In protobuf the numbers of fields are those of `generated.proto` in k8s.io/apimachinery/pkg/apis/meta/v1.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{self, ManagedFieldsEntry, ObjectMeta};
use k8s_openapi::jiff::Timestamp;
use prost::bytes::Bytes;
use serde::de::IgnoredAny;
use serde::{Deserialize, Deserializer};

/// From JSON.
pub(super) fn read<'de, D: Deserializer<'de>>(deserializer: D) -> Result<ObjectMeta, D::Error> {
    Metadata::deserialize(deserializer).map(ObjectMeta::from)
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Metadata {
    name: Option<String>,
    uid: Option<String>,
    resource_version: Option<String>,
    creation_timestamp: Option<v1::Time>,
    deletion_timestamp: Option<v1::Time>,
    labels: Option<BTreeMap<String, String>>,
    #[serde(default, deserialize_with = "super::or_none")]
    managed_fields: Vec<ManagedFields>,
}

/// Who wrote which fields last, as far as it is about podCIDRs.
#[derive(Deserialize)]
struct ManagedFields {
    manager: Option<String>,
    #[serde(rename = "fieldsV1")]
    fields: Option<Fields>,
}

#[derive(Deserialize)]
struct Fields {
    #[serde(rename = "f:spec")]
    spec: Option<SpecFields>,
}

#[derive(Deserialize)]
struct SpecFields {
    #[serde(rename = "f:podCIDRs")]
    pod_cidrs: Option<IgnoredAny>,
}

impl ManagedFields {
    /// The manager, if it wrote the podCIDRs.
    fn of_pod_cidrs(self) -> Option<ManagedFieldsEntry> {
        self.fields?.spec?.pod_cidrs?;
        Some(ManagedFieldsEntry { manager: self.manager, ..ManagedFieldsEntry::default() })
    }
}

/// In protobuf, where a text that is absent comes as an empty one.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Message {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "5")]
    uid: String,
    #[prost(string, tag = "6")]
    resource_version: String,
    #[prost(message, optional, tag = "8")]
    creation_timestamp: Option<Time>,
    #[prost(message, optional, tag = "9")]
    deletion_timestamp: Option<Time>,
    #[prost(btree_map = "string, string", tag = "11")]
    labels: BTreeMap<String, String>,
    #[prost(message, repeated, tag = "17")]
    managed_fields: Vec<Manager>,
}

#[derive(Clone, Copy, PartialEq, prost::Message)]
struct Time {
    #[prost(int64, tag = "1")]
    seconds: i64,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Manager {
    #[prost(string, tag = "1")]
    manager: String,
    #[prost(message, optional, tag = "7")]
    fields: Option<FieldsV1>,
}

/// JSON.
#[derive(Clone, PartialEq, prost::Message)]
struct FieldsV1 {
    #[prost(bytes = "bytes", tag = "1")]
    raw: Bytes,
}

impl From<Metadata> for ObjectMeta {
    fn from(metadata: Metadata) -> Self {
        let managers = metadata.managed_fields.into_iter();
        let managers = managers.filter_map(ManagedFields::of_pod_cidrs).collect::<Vec<_>>();
        Self {
            name: metadata.name,
            uid: metadata.uid,
            resource_version: metadata.resource_version,
            creation_timestamp: metadata.creation_timestamp,
            deletion_timestamp: metadata.deletion_timestamp,
            labels: metadata.labels,
            managed_fields: (!managers.is_empty()).then_some(managers),
            ..Self::default()
        }
    }
}

impl From<Message> for ObjectMeta {
    fn from(message: Message) -> Self {
        Metadata::from(message).into()
    }
}

impl From<Message> for Metadata {
    fn from(metadata: Message) -> Self {
        let text = |text: String| Some(text).filter(|text| !text.is_empty());
        let managers = metadata.managed_fields.into_iter();
        Self {
            name: text(metadata.name),
            uid: text(metadata.uid),
            resource_version: text(metadata.resource_version),
            creation_timestamp: metadata.creation_timestamp.and_then(Time::read),
            deletion_timestamp: metadata.deletion_timestamp.and_then(Time::read),
            labels: Some(metadata.labels),
            managed_fields: managers.map(ManagedFields::from).collect(),
        }
    }
}

impl Time {
    fn read(self) -> Option<v1::Time> {
        Timestamp::from_second(self.seconds).ok().map(v1::Time)
    }
}

impl From<Manager> for ManagedFields {
    fn from(Manager { manager, fields }: Manager) -> Self {
        let fields = fields.and_then(|fields| serde_json::from_slice(&fields.raw).ok());
        Self { manager: Some(manager), fields }
    }
}
