//! The Nodes of the cluster, kept up to date: a watch of the API server to the latest values.

use std::sync::Arc;

use common::node::NodeView;
use futures::StreamExt;
use kube::Client;
use process::nodes::Change;
use tokio::sync::watch;

use crate::state::Nodes;

/// The latest Nodes; none until the first full list has arrived.
pub type Latest = Option<Arc<Nodes>>;

/// Events that are taken together if they have arrived together.
const CHUNK: usize = 1024;

/// Follows the API server for ever and publishes each change that matters to the Node `own`.
///
/// An absent API server is waited for; heartbeats and the like publish nothing.
pub async fn follow(client: Client, own: &str, latest: watch::Sender<Latest>) {
    let mut nodes = process::nodes::Nodes::default();
    let mut chunks = std::pin::pin!(process::nodes::watch(client).ready_chunks(CHUNK));
    while let Some(events) = chunks.next().await {
        let changes = events.into_iter().flat_map(|event| nodes.apply(event)).collect::<Vec<_>>();
        let news = match latest.borrow().as_deref() {
            Some(before) => changes.iter().any(|change| matters(change, own, before)),
            // An empty first list changes nothing, but says that there are no Nodes.
            None => nodes.known().is_some(),
        };
        if news {
            latest.send_replace(nodes.known().cloned().map(Arc::new));
        }
    }
}

/// A peer's condition is its own affair: in a large cluster they change all the time.
fn matters(change: &Change, own: &str, before: &Nodes) -> bool {
    let Change::Applied(node) = change else { return true };
    let bare = |node: &NodeView| NodeView { network_unavailable: None, ..node.clone() };
    node.name == own || before.get(&node.name).is_none_or(|before| bare(before) != bare(node))
}

#[cfg(test)]
mod tests {
    use common::node::Condition;

    use super::*;
    use crate::testing::node;

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
        let matters = |change: &Change| matters(change, "me", &before.clone().into());
        assert!(matters(&condition("me 1 10.244.1.0/24")));
        assert!(!matters(&condition("b 2 10.244.2.0/24")));
        assert!(matters(&condition("b 2 10.244.3.0/24")));
        assert!(matters(&condition("c 3 10.244.3.0/24")));
        assert!(matters(&Change::Gone(node("b 2 10.244.2.0/24").into())));
    }
}
