//! The Nodes of the cluster, kept up to date: a watch of the API server to the latest values.

use std::sync::Arc;

use futures::StreamExt;
use kube::Client;
use tokio::sync::watch;

use crate::state::Nodes;

/// The latest Nodes; none until the first full list has arrived.
pub type Latest = Option<Arc<Nodes>>;

/// Events that are taken together if they have arrived together.
const CHUNK: usize = 1024;

/// Follows the API server for ever and publishes each change that matters to us.
///
/// An absent API server is waited for; heartbeats and the like publish nothing.
pub async fn follow(client: Client, latest: watch::Sender<Latest>) {
    let mut nodes = process::nodes::Nodes::default();
    let mut chunks = std::pin::pin!(process::nodes::watch(client).ready_chunks(CHUNK));
    while let Some(events) = chunks.next().await {
        let mut changed = false;
        for event in events {
            changed |= !nodes.apply(event).is_empty();
        }
        // An empty first list changes nothing, but says that there are no Nodes.
        if changed || (latest.borrow().is_none() && nodes.known().is_some()) {
            latest.send_replace(nodes.known().cloned().map(Arc::new));
        }
    }
}
