//! The program from its settings to its end: client, leadership, watch, Events, HTTP, signals.

use std::io::Write;
use std::time::Duration;

use anyhow::Context;
use common::names;
use futures::{FutureExt, StreamExt, stream};
use kube::{Api, Client};
use process::contact::Contact;
use process::nodes::Nodes;
use process::ready::Readiness;
use process::{cidr_claims, client, cluster_cidrs, nodes, serve, shutdown};
use tracing::{info, warn};

use crate::cluster_cidrs::ClusterCidrs;
use crate::dry_run::Table;
use crate::events;
use crate::leader::{Leader, Term};
use crate::metrics::Metrics;
use crate::reconcile::{CLAIMS, LISTED, Outlets, POOLS, Reconciler};
use crate::settings::{Election, Fence, Settings};
use nodeipam::allocator::Allocator;
use nodeipam::pools::Pools;
use nodeipam::registrar::Registrar;

/// The readiness check that it is known who leads.
const ELECTED: &str = "leader-election";

/// Why a kind of object is not known.
const NOT_LISTED: &str = "not listed yet";

/// Until a PATCH without an answer is given up, where nobody waits to take over; a webhook may take
/// ten seconds of it.
const PATIENCE: Duration = Duration::from_secs(15);

/// Runs until a signal asks it to end.
pub async fn run(settings: Settings) -> anyhow::Result<()> {
    let signal = shutdown::signalled().context("cannot catch signals")?;
    let Settings { shared, serve: addresses, dry_run, election, fence, ranges } = settings;
    let pools = Pools::new(&ranges.cluster, &ranges.services);
    let client = client::connect(shared.kubeconfig.as_deref(), names::CONTROLLER).await?;
    if dry_run {
        return show(client, Allocator::new(pools)).await;
    }
    info!(version = common::version(), ?ranges, "starting");
    let lease = election.as_ref().map_or(names::CONTROLLER, |election| &election.name);
    let (metrics, registry) = Metrics::new(lease);
    let readiness = Readiness::new(&[(LISTED, NOT_LISTED), (POOLS, NOT_LISTED)]);
    if fence.is_some() {
        readiness.fail(CLAIMS, NOT_LISTED);
    }
    let answers = serve::serve(addresses, readiness.clone(), registry);
    let work = Work { client, pools, fence, metrics, readiness };
    let stop = async {
        let signal = signal.await;
        info!(signal, "ending");
    };
    let stop = stop.shared();
    let worked = async {
        match election {
            Some(election) => Box::pin(work.while_leading(&election, stop)).await,
            None => Box::pin(work.allocate(Term::for_ever(), PATIENCE, stop)).await,
        }
    };
    tokio::select! {
        () = worked => Ok(()),
        () = answers => anyhow::bail!("the HTTP server ended"),
    }
}

/// What each term begins with; nothing else outlives a term.
struct Work {
    client: Client,
    pools: Pools,
    fence: Option<Fence>,
    metrics: Metrics,
    readiness: Readiness,
}

impl Work {
    /// Allocates whenever this process leads, until `stop` resolves.
    async fn while_leading(&self, election: &Election, stop: impl Future<Output = ()> + Clone) {
        let leases = Api::namespaced(self.client.clone(), &election.namespace);
        let mut leader = Leader::new(leases, election);
        let patience = election.terms.longest_write().min(PATIENCE);
        loop {
            self.readiness.fail(ELECTED, "nothing known of the lease yet");
            let standing_by = |leader: Result<&str, &str>| {
                // Who stands by is ready to take over; it lists the Nodes then.
                self.readiness.pass(LISTED);
                self.readiness.pass(POOLS);
                self.readiness.pass(CLAIMS);
                match leader {
                    Ok(_) => self.readiness.pass(ELECTED),
                    Err(why) => self.readiness.fail(ELECTED, why),
                }
            };
            tokio::select! {
                () = leader.acquire(standing_by) => {}
                () = stop.clone() => return,
            }
            self.readiness.pass(ELECTED);
            self.readiness.fail(LISTED, NOT_LISTED);
            self.readiness.fail(POOLS, NOT_LISTED);
            if self.fence.is_some() {
                self.readiness.fail(CLAIMS, NOT_LISTED);
            }
            let term = leader.term();
            let lost = tokio::select! {
                () = self.allocate(term, patience, stop.clone()) => None,
                lost = leader.renew() => Some(lost),
            };
            let Some(lost) = lost else { return leader.release().await };
            warn!("leading no more: {lost}");
        }
    }

    /// Gives podCIDRs out until `stop` resolves: what it knows begins with its first list.
    ///
    /// Dropped before, it ends all PATCHes that are under way.
    async fn allocate(&self, term: Term, patience: Duration, stop: impl Future<Output = ()>) {
        let _leading = Leading::begin(&self.metrics);
        let (events, publisher) = events::channel(self.client.clone());
        let outlets = Outlets {
            api: Api::all(self.client.clone()),
            patience,
            term,
            events,
            metrics: self.metrics.clone(),
            readiness: self.readiness.clone(),
        };
        let contact = || self.metrics.contact.of_another();
        let nodes = nodes::watch(self.client.clone(), contact());
        let cluster_cidrs = cluster_cidrs::watch(self.client.clone(), contact());
        let allocator = Allocator::new(self.pools.clone());
        let (registrar, claims) = match &self.fence {
            None => (Registrar::open(allocator), stream::pending().left_stream()),
            Some(fence) => {
                let claims = cidr_claims::watch(self.client.clone(), contact()).right_stream();
                (Registrar::fenced(allocator, fence.release_delay), claims)
            }
        };
        let reconciler = Reconciler::new(registrar, outlets);
        tokio::select! {
            () = reconciler.run(nodes, cluster_cidrs, claims, stop) => {}
            () = publisher => {}
        }
    }
}

/// Says in the metrics that this process leads, as long as it lives.
struct Leading<'a>(&'a Metrics);

impl<'a> Leading<'a> {
    fn begin(metrics: &'a Metrics) -> Self {
        metrics.leading.set(1);
        metrics.transitions.inc();
        Self(metrics)
    }
}

impl Drop for Leading<'_> {
    fn drop(&mut self) {
        self.0.leading.set(0);
        self.0.forget();
    }
}

/// Prints what would be assigned to the Nodes as they are now.
async fn show(client: Client, mut allocator: Allocator) -> anyhow::Result<()> {
    let mut cluster_cidrs = ClusterCidrs::new(client.clone());
    let contact = Contact::default();
    let watch = cluster_cidrs::watch(client.clone(), contact.of_another());
    cluster_cidrs.list(&mut std::pin::pin!(watch)).await;
    let (plans, invalid) = cluster_cidrs.plans();
    for (name, mistakes) in invalid {
        warn!(clustercidr = %name, ?mistakes, "cannot be used");
    }
    allocator.follow(plans);
    let mut nodes = Nodes::default();
    let mut watch = std::pin::pin!(nodes::watch(client, contact));
    while nodes.known().is_none() {
        let event = watch.next().await.context("the list of Nodes ended")?;
        nodes.apply(event);
    }
    let all = nodes.known().into_iter().flat_map(|nodes| nodes.values().cloned());
    let table = Table::new(allocator, &all.collect::<Vec<_>>());
    write!(std::io::stdout(), "{table}").context("cannot print the table")
}
