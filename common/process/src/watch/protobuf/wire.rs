//! Messages that are the same for all kinds, cut down to what a watch reads of them.

use std::collections::BTreeMap;

use kube::core::response::{StatusCause, StatusDetails, StatusSummary};
use kube::core::{self, TypeMeta};
use prost::Message;
use prost::bytes::Bytes;

/// `meta.v1.WatchEvent`.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Event {
    #[prost(string, tag = "1")]
    pub(super) kind: String,
    #[prost(message, optional, tag = "2")]
    pub(super) object: Option<RawExtension>,
}

/// `runtime.RawExtension`: an object in its envelope.
#[derive(Clone, PartialEq, Message)]
pub(super) struct RawExtension {
    #[prost(bytes = "bytes", tag = "1")]
    pub(super) raw: Bytes,
}

/// `runtime.Unknown`: the envelope without what it begins with.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Unknown {
    #[prost(bytes = "bytes", tag = "2")]
    pub(super) raw: Bytes,
}

/// An object of any kind.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Bookmark {
    #[prost(message, optional, tag = "1")]
    metadata: Option<BookmarkMeta>,
}

/// `meta.v1.ObjectMeta`.
#[derive(Clone, PartialEq, Message)]
struct BookmarkMeta {
    #[prost(string, tag = "6")]
    resource_version: String,
    #[prost(btree_map = "string, string", tag = "12")]
    annotations: BTreeMap<String, String>,
}

/// `meta.v1.Status`, of a failure.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Status {
    #[prost(string, tag = "3")]
    message: String,
    #[prost(string, tag = "4")]
    reason: String,
    #[prost(message, optional, tag = "5")]
    details: Option<Details>,
    #[prost(int32, tag = "6")]
    code: i32,
}

/// `meta.v1.StatusDetails`.
#[derive(Clone, PartialEq, Message)]
struct Details {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "2")]
    group: String,
    #[prost(string, tag = "3")]
    kind: String,
    #[prost(message, repeated, tag = "4")]
    causes: Vec<Cause>,
    #[prost(int32, tag = "5")]
    retry_after_seconds: i32,
    #[prost(string, tag = "6")]
    uid: String,
}

/// `meta.v1.StatusCause`.
#[derive(Clone, PartialEq, Message)]
struct Cause {
    #[prost(string, tag = "1")]
    reason: String,
    #[prost(string, tag = "2")]
    message: String,
    #[prost(string, tag = "3")]
    field: String,
}

impl From<Bookmark> for core::watch::Bookmark {
    fn from(bookmark: Bookmark) -> Self {
        let BookmarkMeta { resource_version, annotations } = bookmark.metadata.unwrap_or_default();
        let metadata = core::watch::BookmarkMeta { resource_version, annotations };
        Self { types: TypeMeta::default(), metadata }
    }
}

impl From<Status> for core::Status {
    fn from(Status { message, reason, details, code }: Status) -> Self {
        Self {
            status: Some(StatusSummary::Failure),
            code: code.try_into().unwrap_or_default(),
            message,
            reason,
            details: details.map(StatusDetails::from),
            metadata: None,
        }
    }
}

impl From<Details> for StatusDetails {
    fn from(details: Details) -> Self {
        let Details { name, group, kind, causes, retry_after_seconds, uid } = details;
        let causes = causes.into_iter().map(StatusCause::from).collect();
        let retry_after_seconds = retry_after_seconds.try_into().unwrap_or_default();
        Self { name, group, kind, uid, causes, retry_after_seconds }
    }
}

impl From<Cause> for StatusCause {
    fn from(Cause { reason, message, field }: Cause) -> Self {
        Self { reason, message, field }
    }
}
