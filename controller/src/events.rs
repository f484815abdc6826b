//! Events on Nodes and ClusterCIDRs: what an operator should know, published one after the other beside the work.
//!
//! An Event that can't be published is lost; the log has the same words.

use std::fmt::Display;
use std::time::Duration;

use common::names;
use common::node::NodeView;
use k8s_openapi::api::core::v1::ObjectReference;
use kube::Client;
use kube::runtime::events::{Event, EventType, Recorder, Reporter};
use process::telemetry::Chain;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tracing::{debug, warn};

use nodeipam::oddity::Oddity;
use nodeipam::pools::Exhausted;

/// No block is free for the Node; kube-controller-manager's word.
pub const NOT_AVAILABLE: &str = "CIDRNotAvailable";

/// The Node's podCIDRs can't be written; kube-controller-manager's word.
pub const ASSIGNMENT_FAILED: &str = "CIDRAssignmentFailed";

/// Somebody else gives Nodes their podCIDRs.
pub const FOREIGN_ALLOCATOR: &str = "ForeignAllocatorDetected";

/// What the Events say was being done.
const ACTION: &str = "AssignPodCIDRs";

/// Until one Event is published or given up.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Where Events are left for publishing.
#[derive(Clone, Debug)]
pub struct Events(UnboundedSender<Note>);

/// An Event to be.
#[derive(Debug)]
struct Note {
    regarding: ObjectReference,
    kind: EventType,
    reason: &'static str,
    text: String,
}

/// Events left for the second half, which publishes them for ever.
pub fn channel(client: Client) -> (Events, impl Future<Output = ()>) {
    let (sender, receiver) = unbounded_channel();
    (Events(sender), publish(client, receiver))
}

impl Events {
    /// Says that `node` has no podCIDRs, in the words of kube-controller-manager and then why.
    pub fn unassigned(&self, node: &str, uid: &str, reason: &'static str, why: impl Display) {
        let text = format!("Node {node} status is now: {reason}: {why}");
        let regarding = reference(node, uid);
        self.leave(Note { regarding, kind: EventType::Normal, reason, text });
    }

    /// Says that no block is free for `node`, here and in the log.
    pub fn no_block(&self, node: &NodeView, exhausted: &Exhausted) {
        warn!(node = %node.name, reason = NOT_AVAILABLE, "{exhausted}");
        self.unassigned(&node.name, &node.uid, NOT_AVAILABLE, exhausted);
    }

    /// Warns of podCIDRs of `node` that somebody else gave it, here and in the log.
    pub fn odd(&self, node: &NodeView, oddity: &Oddity) {
        let reason = oddity.reason();
        warn!(node = %node.name, reason, "{oddity}");
        self.warn(node, reason, oddity);
    }

    /// Warns of something about `node`.
    pub fn warn(&self, node: &NodeView, reason: &'static str, text: impl Display) {
        self.warn_of(reference(&node.name, &node.uid), reason, text);
    }

    /// Warns of something odd about the object `regarding`.
    pub fn warn_of(&self, regarding: ObjectReference, reason: &'static str, text: impl Display) {
        let text = text.to_string();
        self.leave(Note { regarding, kind: EventType::Warning, reason, text });
    }

    fn leave(&self, note: Note) {
        // Only at the end of the program does nobody listen.
        let _ = self.0.send(note);
    }
}

async fn publish(client: Client, mut notes: UnboundedReceiver<Note>) {
    let recorder = Recorder::new(client, Reporter::from(names::CONTROLLER));
    while let Some(note) = notes.recv().await {
        let (event, object) = event(note);
        match tokio::time::timeout(TIMEOUT, recorder.publish(&event, &object)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => debug!(object = ?object.name, error = %Chain(&error), "Event lost"),
            Err(_) => debug!(object = ?object.name, "Event lost: no answer"),
        }
    }
}

/// The Node of `name` and `uid`.
fn reference(name: &str, uid: &str) -> ObjectReference {
    ObjectReference {
        api_version: Some("v1".to_owned()),
        kind: Some("Node".to_owned()),
        name: Some(name.to_owned()),
        uid: Some(uid.to_owned()),
        ..ObjectReference::default()
    }
}

fn event(note: Note) -> (Event, ObjectReference) {
    let event = Event {
        type_: note.kind,
        reason: note.reason.to_owned(),
        note: Some(note.text),
        action: ACTION.to_owned(),
        secondary: None,
    };
    (event, note.regarding)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_about_this_very_node_and_says_why() {
        let (sender, mut notes) = unbounded_channel();
        Events(sender).unassigned("n1", "u1", NOT_AVAILABLE, "all 256 are taken");
        let (event, node) = event(notes.try_recv().unwrap());
        assert_eq!((node.name.as_deref(), node.uid.as_deref()), (Some("n1"), Some("u1")));
        let text = "Node n1 status is now: CIDRNotAvailable: all 256 are taken";
        assert_eq!(event.note.as_deref(), Some(text));
        assert_eq!((event.reason.as_str(), event.type_), (NOT_AVAILABLE, EventType::Normal));
    }
}
