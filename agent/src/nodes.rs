//! The Nodes of the cluster, kept up to date: a watch of the API server to the latest values.
//!
//! What was known last is kept in a file, so that an agent that starts while the API server is away
//! goes on with it.

use std::collections::BTreeMap;
use std::io::{self, BufWriter, Write};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use common::Prefix;
use common::node::NodeView;
use futures::StreamExt;
use kube::Client;
use process::contact::Contact;
use process::nodes::Change;
use serde::Serializer;
use tokio::sync::watch;
use tracing::warn;

use crate::state::Nodes;

/// The latest Nodes; none until the first full list has arrived.
pub type Latest = Option<Nodes>;

/// Events that are taken together if they have arrived together.
const CHUNK: usize = 128;

/// Changes that come within this time are kept together.
const KEEP_AFTER: Duration = Duration::from_secs(1);

/// What is kept is the cluster's: for everybody of this machine to read.
const READABLE: u32 = 0o644;

/// Follows the API server for ever and tells of each change that matters to the Node `own`.
///
/// An absent API server is waited for, and `contact` told; of heartbeats and the like nothing is told.
pub async fn follow(client: Client, contact: Contact, own: String, latest: watch::Sender<Latest>) {
    let mut nodes = process::nodes::Nodes::default();
    let mut listed = false;
    let mut chunks = std::pin::pin!(process::nodes::watch(client, contact).ready_chunks(CHUNK));
    while let Some(events) = chunks.next().await {
        let changes = events.into_iter().flat_map(|event| nodes.apply(event)).collect::<Vec<_>>();
        // In place: a copy of thousands for each change would take longer than what is made of it.
        latest.send_if_modified(|latest| match (latest, nodes.known()) {
            (Some(latest), Some(_)) if listed => {
                let mut news = false;
                for change in &changes {
                    news |= take(latest, change, &own);
                }
                news
            }
            // What was known before may be from a file: the first list is news, whatever is in it.
            (latest, Some(list)) => {
                *latest = Some(list.clone());
                true
            }
            (_, None) => false,
        });
        listed = nodes.known().is_some();
    }
}

/// The Nodes that were kept at `path`; none if there are none, or none that can be read.
pub fn kept(path: &Path) -> Latest {
    let text = match net::file::read(path) {
        Ok(text) => text?,
        Err(error) => {
            warn!(path = %path.display(), %error, "cannot read the last known Nodes");
            return None;
        }
    };
    let kept = serde_json::from_slice::<Vec<NodeView>>(&text);
    let kept = kept.inspect_err(|error| warn!(%error, "the last known Nodes make no sense"));
    let nodes = kept.ok()?.into_iter().map(|node| (node.name.clone(), Arc::new(node)));
    Some(nodes.collect())
}

/// The Node `name` with these podCIDRs, and no other.
pub fn alone(name: &str, pod_cidrs: &[Prefix]) -> Nodes {
    let node = NodeView {
        name: name.to_owned(),
        uid: String::new(),
        created: 0,
        terminating: false,
        pod_cidrs: pod_cidrs.iter().map(Prefix::to_string).collect(),
        labels: BTreeMap::new(),
        internal_ips: Vec::new(),
        network_unavailable: None,
    };
    Nodes::from([(name.to_owned(), Arc::new(node))])
}

/// Keeps what is published at `path`, for ever.
pub async fn keep(path: &Path, mut nodes: watch::Receiver<Latest>) {
    while nodes.changed().await.is_ok() {
        tokio::time::sleep(KEEP_AFTER).await;
        let Some(latest) = nodes.borrow_and_update().clone() else { continue };
        let file = path.to_owned();
        // On a thread that may block: news of a large cluster are not to wait for a text of megabytes.
        let written = tokio::task::spawn_blocking(move || write(&file, &latest)).await;
        if let Err(error) = written.unwrap_or_else(|broken| Err(broken.into())) {
            warn!(path = %path.display(), %error, "cannot keep the Nodes");
        }
    }
}

fn write(path: &Path, nodes: &Nodes) -> io::Result<()> {
    net::file::put(path, READABLE, |file| {
        let mut text = BufWriter::new(file);
        serde_json::Serializer::new(&mut text).collect_seq(nodes.values().map(Arc::as_ref))?;
        text.flush()
    })
}

/// Makes the change, and says whether it matters.
///
/// A peer's condition is its own affair: in a large cluster they change all the time.
fn take(nodes: &mut Nodes, change: &Change, own: &str) -> bool {
    let node = match change {
        Change::Applied(node) => node,
        Change::Gone(node) => {
            nodes.remove(&node.name);
            return true;
        }
    };
    let bare = |node: &NodeView| NodeView { network_unavailable: None, ..node.clone() };
    let before = nodes.insert(node.name.clone(), Arc::clone(node));
    node.name == own || before.is_none_or(|before| bare(&before) != bare(node))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use common::node::Condition;

    use super::*;
    use crate::testing::node;

    #[tokio::test(start_paused = true)]
    async fn what_was_known_last_is_known_after_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("nodes.json");
        assert_eq!(kept(&path), None);
        let (latest, nodes) = watch::channel(None);
        let known = Nodes::from([("b".to_owned(), node("b 2 10.244.2.0/24 192.0.2.2").into())]);
        let scenario = async {
            latest.send_replace(Some(known.clone()));
            tokio::time::sleep(2 * KEEP_AFTER).await;
        };
        tokio::select! {
            () = keep(&path, nodes) => panic!("it ended"),
            () = scenario => {}
        }
        assert_eq!(kept(&path), Some(known));
        fs::write(&path, "half a li").unwrap();
        assert_eq!(kept(&path), None);
    }

    #[test]
    fn a_peers_condition_wakes_nobody() {
        let condition = |text: &str| {
            let condition = Condition {
                status: "True".to_owned(),
                reason: "Any".to_owned(),
                message: String::new(),
            };
            Change::Applied(NodeView { network_unavailable: Some(condition), ..node(text) }.into())
        };
        let texts = ["me 1 10.244.1.0/24", "b 2 10.244.2.0/24"];
        let before =
            texts.map(|text| (text.split(' ').next().unwrap().to_owned(), node(text).into()));
        let matters = |change: &Change| take(&mut before.clone().into(), change, "me");
        assert!(matters(&condition("me 1 10.244.1.0/24")));
        assert!(!matters(&condition("b 2 10.244.2.0/24")));
        assert!(matters(&condition("b 2 10.244.3.0/24")));
        assert!(matters(&condition("c 3 10.244.3.0/24")));
        assert!(matters(&Change::Gone(node("b 2 10.244.2.0/24").into())));
    }
}
