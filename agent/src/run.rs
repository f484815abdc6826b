//! Wires the agent: one lock, one client, the loops, and the signal that ends them.

use std::fs::{self, File, TryLockError};
use std::io;
use std::path::Path;
use std::time::Duration;

use anyhow::Context;
use common::names;
use jiff::Timestamp;
use kube::Client;
use process::{client, serve, shutdown};
use prometheus_client::registry::Registry;
use tokio::sync::{Notify, watch};
use tracing::{info, warn};

use crate::machine::Machine;
use crate::nodes::Latest;
use crate::pools::Ranges;
use crate::reaper::Door;
use crate::report::{Metrics, Report};
use crate::settings::Settings;
use crate::sync::Worker;
use crate::wakers::Cluster;
use crate::{events, health, nodes, pools, status, sync};

/// How often to look whether the other agent is gone.
const LOCK_RETRY: Duration = Duration::from_millis(200);

/// Runs until a signal asks to end; the machine stays as it is then, and pods go on.
///
/// # Errors
/// What an operator has to mend: a kubeconfig that can't be used, a folder that can't be written.
/// An absent API server, Node or podCIDR is waited for.
pub async fn run(settings: Settings) -> anyhow::Result<()> {
    let Settings { shared, config, paths, addresses } = settings;
    info!(?config, ?paths, version = common::version(), "starting");
    let signalled = shutdown::signalled().context("cannot catch signals")?;
    tokio::pin!(signalled);
    let (nodes_file, state) = (paths.nodes(), paths.state.clone());
    fs::create_dir_all(&state).with_context(|| format!("cannot create {}", state.display()))?;
    let path = paths.agent_lock();
    let lock = tokio::select! {
        lock = lock(&path) => lock?,
        signal = &mut signalled => {
            info!(signal, "ending");
            return Ok(());
        }
    };

    let socket = paths.agent_socket();
    let door =
        Door::open(&socket).with_context(|| format!("cannot listen at {}", socket.display()))?;
    let knocked = Notify::new();

    let client = client::connect(shared.kubeconfig.as_deref(), names::AGENT).await?;
    let (node, routing) = (config.node.clone(), config.routing);
    let (pools, ranges) = watch::channel(pools::kept(&state));
    let worker = Worker::new(Machine::open(paths)?, config, lock);
    let mut registry = Registry::default();
    let (events, queue) = events::queue();
    let mut report = Report::new(Metrics::new(&mut registry), events);
    let readiness = health::checks();
    let (kept, since) = known_last(&nodes_file);
    let (latest, nodes) = watch::channel(kept);
    let (judge, verdicts) = watch::channel(None);
    let cluster = Cluster { nodes: nodes.clone(), ranges };
    let kept = cluster.clone();
    let work = async {
        let door = door;
        tokio::select! {
            ended = sync::run(worker, cluster, judge, &mut report, &knocked) => ended?,
            () = door.answer(&knocked) => anyhow::bail!("nobody answers DELs"),
            () = keep(&nodes_file, &state, kept) => anyhow::bail!("nobody keeps what is known"),
        }
        // A DEL does it all itself from now on.
        drop(door);
        info!("told to clean up: the machine is not touched any more");
        std::future::pending::<anyhow::Result<()>>().await
    };
    tokio::select! {
        signal = signalled => info!(signal, "ending; the machine stays as it is"),
        ended = work => ended?,
        () = follow(client.clone(), &node, &latest, &pools) => anyhow::bail!("a watch ended"),
        () = events::publish(client.clone(), &node, nodes.clone(), queue) => {
            anyhow::bail!("nobody publishes Events");
        }
        () = health::follow(&readiness, since, verdicts.clone(), nodes.clone()) => {
            anyhow::bail!("nobody knows whether the network is ready");
        }
        () = serve::serve(addresses, readiness.clone(), registry) => {
            anyhow::bail!("nobody answers HTTP");
        }
        () = status::follow(client, &node, routing, verdicts, nodes.clone()) => anyhow::bail!("nobody reports"),
    }
    Ok(())
}

/// Publishes what the API server tells of the cluster.
async fn follow(
    client: Client,
    node: &str,
    nodes: &watch::Sender<Latest>,
    ranges: &watch::Sender<Ranges>,
) {
    tokio::select! {
        () = nodes::follow(client.clone(), node, nodes) => {}
        () = pools::follow(client, ranges) => {}
    }
}

/// Keeps what was published for the next start.
async fn keep(nodes_file: &Path, state: &Path, Cluster { nodes, ranges }: Cluster) {
    tokio::select! {
        () = nodes::keep(nodes_file, nodes) => {}
        () = pools::keep(state, ranges) => {}
    }
}

/// The Nodes of an earlier start, and when that heard of them.
fn known_last(path: &Path) -> (Latest, Option<Timestamp>) {
    let Some(kept) = nodes::kept(path) else { return (None, None) };
    info!(nodes = kept.len(), "going on with the Nodes that were known last");
    let modified = || fs::metadata(path).ok()?.modified().ok()?.try_into().ok();
    (Some(kept), modified())
}

/// Makes this the machine's one agent, as long as the file is open.
async fn lock(path: &Path) -> anyhow::Result<File> {
    let cannot = || format!("cannot lock {}", path.display());
    let file = File::options().create(true).append(true).open(path).with_context(cannot)?;
    let mut attempts = 0_u64;
    while !taken(&file).with_context(cannot)? {
        attempts += 1;
        // The first time it may be a plugin that looks whether there is an agent.
        if attempts == 2 {
            warn!(path = %path.display(), "another agent runs on this machine; waiting for its end");
        }
        tokio::time::sleep(LOCK_RETRY).await;
    }
    Ok(file)
}

fn taken(file: &File) -> io::Result<bool> {
    match file.try_lock() {
        Ok(()) => Ok(true),
        Err(TryLockError::WouldBlock) => Ok(false),
        Err(TryLockError::Error(error)) => Err(error),
    }
}
