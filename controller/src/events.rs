//! Events on Nodes: what an operator should know, published one after the other beside the work.
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
use tracing::debug;

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
    name: String,
    uid: String,
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
        self.leave(Note {
            name: node.into(),
            uid: uid.into(),
            kind: EventType::Normal,
            reason,
            text,
        });
    }

    /// Warns of something odd about `node`.
    pub fn warn(&self, node: &NodeView, reason: &'static str, text: impl Display) {
        let NodeView { name, uid, .. } = node.clone();
        let kind = EventType::Warning;
        self.leave(Note { name, uid, kind, reason, text: text.to_string() });
    }

    fn leave(&self, note: Note) {
        // Only at the end of the program does nobody listen.
        let _ = self.0.send(note);
    }
}

async fn publish(client: Client, mut notes: UnboundedReceiver<Note>) {
    let recorder = Recorder::new(client, Reporter::from(names::CONTROLLER));
    while let Some(note) = notes.recv().await {
        let (event, node) = event(note);
        match tokio::time::timeout(TIMEOUT, recorder.publish(&event, &node)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => debug!(node = ?node.name, error = %Chain(&error), "Event lost"),
            Err(_) => debug!(node = ?node.name, "Event lost: no answer"),
        }
    }
}

fn event(note: Note) -> (Event, ObjectReference) {
    let regarding = ObjectReference {
        api_version: Some("v1".to_owned()),
        kind: Some("Node".to_owned()),
        name: Some(note.name),
        uid: Some(note.uid),
        ..ObjectReference::default()
    };
    let event = Event {
        type_: note.kind,
        reason: note.reason.to_owned(),
        note: Some(note.text),
        action: ACTION.to_owned(),
        secondary: None,
    };
    (event, regarding)
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
