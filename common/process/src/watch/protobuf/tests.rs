//! `nodes.watch` is what an API server (1.37) sent of a Node that came, got podCIDRs, was reported ready, and
//! went once its finalizer had gone; `nodes.watch.json` is what it sent of the same as JSON.

use common::node::NodeView;
use futures::{FutureExt, stream};
use kube::ResourceExt;
use kube::core::watch::BookmarkMeta;
use proptest::prelude::*;
use prost::Message;

use super::*;
use crate::nodes::{Node, NodeMessage};
use crate::telemetry::Chain;

const WATCHED: &[u8] = include_bytes!("../../testdata/nodes.watch");
const AS_JSON: &str = include_str!("../../testdata/nodes.watch.json");

/// A Status, which refuses the watch to somebody.
const FORBIDDEN: &[u8] = include_bytes!("../../testdata/forbidden.status");

/// All that is made of an event, as a text.
fn text(event: WatchEvent<Node>) -> String {
    let (kind, node) = match event {
        WatchEvent::Added(node) => ("added", node),
        WatchEvent::Modified(node) => ("modified", node),
        WatchEvent::Deleted(node) => ("deleted", node),
        WatchEvent::Bookmark(bookmark) => {
            let BookmarkMeta { resource_version, annotations } = bookmark.metadata;
            return format!("bookmark {resource_version} {annotations:?}");
        }
        WatchEvent::Error(status) => return format!("error {} {}", status.code, status.message),
    };
    let (version, manager) = (node.resource_version(), node.pod_cidrs_manager().map(str::to_owned));
    format!("{kind} {version:?} {manager:?} {:?}", NodeView::from(node))
}

/// What becomes of `chunks`, to the end of the watch.
fn read_all(chunks: Vec<io::Result<Bytes>>) -> Vec<Result<String, String>> {
    let events = read::<Node, NodeMessage>(stream::iter(chunks));
    let said = |event: kube::Result<_>| event.map(text).map_err(|error| Chain(&error).to_string());
    events.map(said).collect().now_or_never().unwrap()
}

/// An event about an object in its envelope.
fn frame(kind: &str, object: &'static [u8]) -> Bytes {
    let object = Some(wire::RawExtension { raw: Bytes::from_static(object) });
    wire::Event { kind: kind.to_owned(), object }.encode_to_vec().into()
}

fn refused(answer: &'static [u8]) -> String {
    let Status { code, message, .. } = refusal(&Bytes::from_static(answer), 403);
    format!("{code} {message}")
}

#[test]
fn an_event_says_the_same_in_json() {
    let json = AS_JSON.lines().map(|line| Ok(text(serde_json::from_str(line).unwrap())));
    let json = json.collect::<Vec<_>>();
    assert!(json.iter().flatten().any(|text: &String| text.contains("kube-controller-manager")));
    for size in [1, 7, 1000, WATCHED.len()] {
        let chunks = WATCHED.chunks(size).map(|chunk| Ok(Bytes::from_static(chunk)));
        assert_eq!(read_all(chunks.collect()), json);
    }
}

#[test]
fn a_refusal_is_read_however_it_is_written() {
    let forbidden = "403 nodes is forbidden: User \"somebody\" cannot watch resource \"nodes\" in API group \
                     \"\" at the cluster scope";
    assert_eq!(refused(FORBIDDEN), forbidden);
    assert_eq!(refused(br#"{"kind": "Status", "message": "wait"}"#), "403 wait");
    assert_eq!(refused(br#"{"error": "wait"}"#), "403 {\"error\": \"wait\"}");
    assert_eq!(refused(b"go away\n"), "403 go away");
    assert_eq!(refused(b"k8s\0\xff"), "403 k8s\0\u{fffd}");
    let status: Status = object::<wire::Status>(&Bytes::from_static(FORBIDDEN)).unwrap().into();
    assert_eq!(
        (status.reason.as_str(), status.details.unwrap().kind.as_str()),
        ("Forbidden", "nodes")
    );
}

#[test]
fn an_error_is_an_event() {
    let event = event::<Node, NodeMessage>(frame("ERROR", FORBIDDEN)).unwrap();
    assert!(text(event).starts_with("error 403 nodes is forbidden"));
}

#[test]
fn what_is_no_event_is_named() {
    let error = |frame| event::<Node, NodeMessage>(frame).unwrap_err().to_string();
    assert_eq!(error(frame("MOVED", FORBIDDEN)), "an event is of the unknown type \"MOVED\"");
    assert_eq!(error(frame("ADDED", b"{}")), "an object is not in an envelope");
    assert!(error(Bytes::from_static(b"\xff")).contains("failed to decode Protobuf message"));
    let html = read_all(vec![Ok(Bytes::from_static(b"<html>"))]);
    assert!(html[0].as_ref().unwrap_err().contains("frame size too big"), "{html:?}");
}

#[test]
fn a_connection_that_is_closed_ends_the_watch() {
    let (first, rest) = WATCHED.split_at(451);
    let lost = |kind| broken(kube::Error::Service(Box::new(io::Error::from(kind))));
    let closed = lost(io::ErrorKind::UnexpectedEof);
    assert_eq!(read_all(vec![Ok(Bytes::from_static(first)), Err(closed)]).len(), 1);
    assert_eq!(read_all(vec![Ok(Bytes::from_static(first))]).len(), 1);
    // What was broken off, or can't be read, is no end.
    let half = read_all(vec![Ok(Bytes::from_static(first)), Ok(Bytes::from_static(&rest[..9]))]);
    assert!(half[1].as_ref().unwrap_err().contains("bytes remaining on stream"), "{half:?}");
    assert!(read_all(vec![Err(lost(io::ErrorKind::ConnectionReset))])[0].is_err());
}

proptest! {
    #[test]
    fn any_bytes_are_an_event_or_an_error(at in 0..WATCHED.len(), bytes in any::<[u8; 3]>()) {
        let mut watched = WATCHED.to_vec();
        for (place, byte) in watched.iter_mut().skip(at).zip(bytes) {
            *place = byte;
        }
        read_all(vec![Ok(watched.into())]);
    }
}
