//! The program from its settings to its end: client, watch, Events, signals.
//!
//! It is meant to run once in a cluster; when two run, leadership will be decided here, around
//! [`allocate`].

use anyhow::Context;
use common::names;
use kube::{Api, Client};
use process::{client, nodes, shutdown};
use tracing::info;

use crate::allocator::Allocator;
use crate::events;
use crate::pool::Pool;
use crate::reconcile::Reconciler;
use crate::settings::Settings;

/// Runs until a signal asks it to end.
pub async fn run(settings: Settings) -> anyhow::Result<()> {
    let signal = shutdown::signalled().context("cannot catch signals")?;
    let version = common::version();
    let Settings { shared, ranges, services } = settings;
    info!(version, ?ranges, ?services, "starting");
    let pool = Pool::new(&ranges, &services).context("cannot cut the cluster CIDRs")?;
    let client = client::connect(shared.kubeconfig.as_deref(), names::CONTROLLER).await?;
    tokio::select! {
        () = allocate(client, pool) => anyhow::bail!("the watch of Nodes ended"),
        name = signal => {
            info!(signal = name, "ending");
            Ok(())
        }
    }
}

/// Gives podCIDRs out for as long as it is polled: what it knows begins with its first list.
async fn allocate(client: Client, pool: Pool) {
    let (events, publisher) = events::channel(client.clone());
    let reconciler = Reconciler::new(Allocator::new(pool), Api::all(client.clone()), events);
    tokio::join!(reconciler.run(nodes::watch(client)), publisher);
}
