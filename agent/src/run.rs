//! Wires the agent: one lock, one client, the loops, and the signal that ends them.

use std::path::Path;

use anyhow::Context;
use process::contact::Contact;
use process::{serve, shutdown};
use prometheus_client::registry::Registry;
use tokio::sync::{Notify, watch};
use tracing::info;

use crate::cluster::{ApiServer, Known};
use crate::lock::AgentLock;
use crate::machine::{Machine, Paths};
use crate::mode::{Mode, Runtime};
use crate::reaper::Door;
use crate::report::{Metrics, Report};
use crate::settings::Settings;
use crate::sync::Worker;
use crate::{cluster, conntrack, events, health, ipam, sync, wakers};

/// Runs until a signal asks to end; the machine stays as it is then, and pods go on.
///
/// # Errors
/// What an operator has to mend: a kubeconfig that can't be used, a folder that can't be written.
/// An absent API server, Node or podCIDR is waited for.
pub async fn run(settings: Settings) -> anyhow::Result<()> {
    let Settings { shared, config, source, paths, addresses } = settings;
    info!(?config, ?paths, version = common::version(), "starting");
    let signalled = shutdown::signalled().context("cannot catch signals")?;
    tokio::pin!(signalled);
    let lock = tokio::select! {
        lock = AgentLock::take(&paths) => lock?,
        signal = &mut signalled => {
            info!(signal, "ending");
            return Ok(());
        }
    };

    let (door, knocked) = (door(&paths.agent_socket())?, Notify::new());
    let known = Known::new(&source, &config.node, &paths);
    let client = cluster::client(&source, shared.kubeconfig.as_deref()).await?;
    let (latest, nodes) = watch::channel(known.nodes);
    let (extend, ranges) = watch::channel(known.ranges);
    let (judge, verdicts) = watch::channel(None);
    let (events, queue) = events::queue();
    let mut registry = Registry::default();
    let contact = Contact::counted(&mut registry);
    let outage = contact.outage();
    let readiness = health::checks();
    let mut report = Report::new(Metrics::new(&mut registry), events, readiness.clone());
    let files = client.is_some().then(|| paths.clone());
    let api_server = client.map(|client| ApiServer {
        client,
        contact,
        node: config.node.clone(),
        keeps_condition: config.keeps_condition(),
        latest,
        ranges: extend,
        verdicts: verdicts.clone(),
        queue,
    });
    let worker = Worker::new(machine(paths, &config.mode, &mut registry)?, config, lock);
    let cluster = wakers::Cluster { nodes: nodes.clone(), ranges };
    let kept = cluster.clone();
    let work = async {
        let mut door = door;
        tokio::select! {
            ended = sync::run(worker, cluster, judge, &mut report, &knocked) => ended?,
            () = door.answer(&knocked) => anyhow::bail!("nobody answers DELs"),
            () = cluster::keep(files, kept) => anyhow::bail!("nobody keeps what is known"),
        }
        // A DEL does it all itself from now on.
        drop(door);
        info!("told to clean up: the machine is not touched any more");
        std::future::pending::<anyhow::Result<()>>().await
    };
    tokio::select! {
        signal = signalled => info!(signal, "ending; the machine stays as it is"),
        ended = work => ended?,
        ended = cluster::follow(api_server) => ended?,
        never = health::follow(&readiness, known.since, verdicts, nodes.clone(), outage) => match never {},
        () = serve::serve(addresses, readiness.clone(), registry) => {
            anyhow::bail!("nobody answers HTTP");
        }
    }
    Ok(())
}

/// The machine; where its pods' addresses are ours, they are counted.
fn machine(paths: Paths, mode: &Mode, registry: &mut Registry) -> anyhow::Result<Machine> {
    conntrack::register(registry, &paths.sysctl);
    let machine = Machine::open(paths)?;
    if mode.runtime == Runtime::Kubenet {
        ipam::register(registry, &machine.paths, &machine.reaper.reclaimed);
    }
    Ok(machine)
}

fn door(socket: &Path) -> anyhow::Result<Door> {
    Door::open(socket).with_context(|| format!("cannot listen at {}", socket.display()))
}
