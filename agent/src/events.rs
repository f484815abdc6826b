//! Events on this machine's own Node, published one after the other beside the work.
//!
//! An Event that can't be published is lost, above all while the API server is away; the log has the
//! same words.

use std::time::Duration;

use common::names;
use common::node::NodeView;
use k8s_openapi::api::core::v1::ObjectReference;
use kube::Client;
use kube::runtime::events::{Event, EventType, Recorder, Reporter};
use process::telemetry::Chain;
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio::sync::watch;
use tracing::debug;

use crate::nodes::Latest;

/// What the Events say was being done.
const ACTION: &str = "ConfigureNetwork";

/// Until one Event is published or given up.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Events that wait; more are lost.
const QUEUE: usize = 64;

/// Of a note, in bytes (`NoteLengthLimit` in pkg/apis/core/validation/events.go).
const LONGEST_NOTE: usize = 1024;

/// Where Events are left for publishing.
#[derive(Clone, Debug)]
pub struct Events(Sender<Note>);

/// An Event to be.
#[derive(Debug)]
pub struct Note {
    pub reason: &'static str,
    pub text: String,
    warning: bool,
}

/// Events left for whoever publishes them.
pub fn queue() -> (Events, Receiver<Note>) {
    let (sender, receiver) = channel(QUEUE);
    (Events(sender), receiver)
}

impl Note {
    pub const fn normal(reason: &'static str, text: String) -> Self {
        Self { reason, text, warning: false }
    }

    pub const fn warning(reason: &'static str, text: String) -> Self {
        Self { reason, text, warning: true }
    }
}

impl Events {
    pub fn leave(&self, note: Note) {
        if let Err(error) = self.0.try_send(note) {
            debug!(%error, "Event lost");
        }
    }
}

/// Publishes what is left in `queue` as Events on the Node `name` for ever; before it is known they are lost.
pub async fn publish(
    client: Client,
    name: &str,
    nodes: watch::Receiver<Latest>,
    mut queue: Receiver<Note>,
) {
    let recorder = Recorder::new(client, Reporter::from(names::AGENT));
    while let Some(note) = queue.recv().await {
        let own = nodes.borrow().as_ref().and_then(|nodes| nodes.get(name).cloned());
        let Some(own) = own else { continue };
        let (event, node) = (event(note), reference(&own));
        let published = recorder.publish(&event, &node);
        match tokio::time::timeout(TIMEOUT, published).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => debug!(error = %Chain(&error), "Event lost"),
            Err(_) => debug!("Event lost: no answer"),
        }
    }
}

fn event(mut note: Note) -> Event {
    note.text.truncate(note.text.floor_char_boundary(LONGEST_NOTE));
    Event {
        type_: if note.warning { EventType::Warning } else { EventType::Normal },
        reason: note.reason.to_owned(),
        note: Some(note.text),
        action: ACTION.to_owned(),
        secondary: None,
    }
}

fn reference(node: &NodeView) -> ObjectReference {
    ObjectReference {
        api_version: Some("v1".to_owned()),
        kind: Some("Node".to_owned()),
        name: Some(node.name.clone()),
        uid: Some(node.uid.clone()),
        ..ObjectReference::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_note_is_cut_to_what_the_api_server_takes() {
        let event = event(Note::warning("Any", "é".repeat(1000)));
        assert_eq!(event.note.unwrap().len(), 1024);
        assert_eq!(event.type_, EventType::Warning);
    }
}
