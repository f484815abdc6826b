//! What this machine has to do with a cluster: the Nodes that it knows, and what it says and hears of
//! them; nothing where the flags say it all.

use std::fs;
use std::future::pending;
use std::path::Path;

use common::names;
use jiff::Timestamp;
use kube::Client;
use process::client::{self, ClientError};
use process::contact::Contact;
use tokio::sync::mpsc::Receiver;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tracing::info;

use crate::events::{self, Note};
use crate::machine::Paths;
use crate::nodes::{self, Latest};
use crate::ranges::{self, Ranges};
use crate::settings::Source;
use crate::status;
use crate::unready::Verdict;
use crate::wakers::Cluster;

/// The Nodes at the start, and if they are of an earlier one, since when.
pub struct Known {
    pub nodes: Latest,
    pub since: Option<Timestamp>,
    pub ranges: Ranges,
}

impl Known {
    /// What the flags say, or what an earlier start has kept.
    pub fn new(source: &Source, node: &str, paths: &Paths) -> Self {
        match source {
            Source::Flags(pod_cidrs) => {
                info!(?pod_cidrs, "this machine is alone: no API server is asked or told");
                let nodes = Some(nodes::alone(node, pod_cidrs));
                Self { nodes, since: None, ranges: Ranges::default() }
            }
            Source::Cluster => {
                let file = paths.nodes();
                let kept = nodes::kept(&file);
                if let Some(kept) = &kept {
                    info!(nodes = kept.len(), "going on with the Nodes that were known last");
                }
                let since = kept.is_some().then(|| modified(&file)).flatten();
                Self { nodes: kept, since, ranges: ranges::kept(&paths.state) }
            }
        }
    }
}

/// A client of the API server; none where nobody is asked.
pub async fn client(
    source: &Source,
    kubeconfig: Option<&Path>,
) -> Result<Option<Client>, ClientError> {
    match source {
        Source::Flags(_) => Ok(None),
        Source::Cluster => client::connect(kubeconfig, names::AGENT).await.map(Some),
    }
}

/// What is said to the API server, and heard from it.
pub struct ApiServer {
    pub client: Client,
    /// What the watch of Nodes tells of it.
    pub contact: Contact,
    /// This machine's.
    pub node: String,
    /// [`crate::state::Config::keeps_condition`].
    pub keeps_condition: bool,
    pub latest: watch::Sender<Latest>,
    pub ranges: watch::Sender<Ranges>,
    pub verdicts: watch::Receiver<Option<Verdict>>,
    pub queue: Receiver<Note>,
}

/// For ever, also where nobody is asked.
pub async fn follow(api_server: Option<ApiServer>) -> anyhow::Result<()> {
    let Some(api_server) = api_server else { return pending().await };
    let ApiServer { client, contact, node, keeps_condition, latest, ranges, verdicts, queue } =
        api_server;
    let nodes = latest.subscribe();
    // A task of its own: else each of its many events would wake all that waits here and elsewhere.
    let mut watch = JoinSet::new();
    watch.spawn(nodes::follow(client.clone(), contact.clone(), node.clone(), latest));
    tokio::select! {
        _ = watch.join_next() => anyhow::bail!("the watch of Nodes ended"),
        () = ranges::follow(client.clone(), &contact, &ranges) => anyhow::bail!("the watches of ranges ended"),
        () = events::publish(client.clone(), &node, nodes.clone(), queue) => {
            anyhow::bail!("nobody publishes Events");
        }
        () = report(client, &node, keeps_condition, verdicts, nodes) => anyhow::bail!("nobody reports"),
    }
}

async fn report(
    client: Client,
    node: &str,
    keeps_condition: bool,
    verdicts: watch::Receiver<Option<Verdict>>,
    nodes: watch::Receiver<Latest>,
) {
    if keeps_condition {
        status::follow(client, node, verdicts, nodes).await;
    } else {
        pending::<()>().await;
    }
}

/// Keeps what is known of the `cluster` in the agent's files for ever, if there is one.
pub async fn keep(files: Option<Paths>, cluster: Cluster) {
    let Some(paths) = files else { return pending().await };
    let file = paths.nodes();
    tokio::select! {
        () = nodes::keep(&file, cluster.nodes) => {}
        () = ranges::keep(&paths.state, cluster.ranges) => {}
    }
}

fn modified(path: &Path) -> Option<Timestamp> {
    fs::metadata(path).ok()?.modified().ok()?.try_into().ok()
}
