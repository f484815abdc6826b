//! One allocator, and what becomes of Nodes that come and go one by one.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use common::Prefix;
use e2e::api_server::ApiServer;
use e2e::fake;
use e2e::node_ipam::{NodeIpam, Programs, Running, metric};
use e2e::wait::eventually;
use k8s_openapi::api::core::v1::{Event, Node};
use kube::api::{DeleteParams, ListParams};
use kube::{Api, Client, ResourceExt};

use crate::script::{Action, Cluster, Given};

/// Until all is as it should be after a step; a Node that waits is tried again later and later.
const PATIENCE: Duration = Duration::from_mins(1);

/// Between two looks.
const PAUSE: Duration = Duration::from_millis(5);

/// An allocator at work on a cluster that has no Nodes at first; it ends with this.
pub(crate) struct Play<'a> {
    api: &'a ApiServer,
    programs: Programs,
    which: NodeIpam,
    cluster: Cluster,
    process: Running,
}

impl<'a> Play<'a> {
    pub(crate) fn begin(
        api: &'a ApiServer,
        programs: Programs,
        which: NodeIpam,
        cluster: &Cluster,
    ) -> Result<Self> {
        api.delete_fakes()?;
        let process = programs.start(which, &api.place, &cluster.flags())?;
        Ok(Self { api, programs, which, cluster: cluster.clone(), process })
    }

    /// Does it, and returns what all Nodes have once nothing is left to be done.
    pub(crate) fn step(&mut self, action: &Action) -> Result<Given> {
        match action {
            Action::Create { name, cidrs } => self.create(name, cidrs)?,
            Action::Delete { name } => self.delete(name)?,
            Action::Restart { without } => self.restart(without.as_deref())?,
            Action::Skip => {}
        }
        self.settled()
    }

    pub(crate) fn create(&self, name: &str, cidrs: &[Prefix]) -> Result<()> {
        let cidrs = cidrs.iter().map(ToString::to_string).collect::<Vec<_>>();
        let cidrs = cidrs.iter().map(String::as_str).collect::<Vec<_>>();
        self.api.observer.create_nodes(vec![fake::node(name, &[], &cidrs)])
    }

    /// Nodes without podCIDRs come, one after the other.
    pub(crate) fn create_all(&self, names: impl Iterator<Item = String>) -> Result<()> {
        let nodes = names.map(|name| fake::node(&name, &[], &[]));
        self.api.observer.create_nodes(nodes.collect())
    }

    pub(crate) fn delete(&self, name: &str) -> Result<()> {
        self.api.observer.ask(|client| async move {
            Api::<Node>::all(client).delete(name, &DeleteParams::default()).await?;
            Ok(())
        })
    }

    pub(crate) fn restart(&mut self, without: Option<&str>) -> Result<()> {
        self.process.kill()?;
        if let Some(name) = without {
            self.delete(name)?;
        }
        let place = &self.api.place;
        self.process = self.programs.start(self.which, place, &self.cluster.flags())?;
        Ok(())
    }

    pub(crate) fn api(&self) -> &ApiServer {
        self.api
    }

    pub(crate) fn is_running(&mut self) -> bool {
        self.process.is_running()
    }

    /// What the watch has told of it; none before it has podCIDRs.
    pub(crate) fn pod_cidrs_of(&self, name: &str) -> Option<String> {
        self.api.observer.look(|cluster| {
            let spec = cluster.nodes.get(name)?.object.spec.as_ref()?;
            Some(spec.pod_cidrs.as_ref()?.join(", "))
        })
    }

    pub(crate) fn wait_until_it_knows_that_it_waits(&self, name: &str) -> Result<()> {
        eventually(&format!("{name} knows that it waits"), PATIENCE, || {
            let knows = self.api.observer.ask(|client| async move {
                let node = Api::<Node>::all(client.clone()).get(name).await?;
                knows_that_it_waits(&client, &node).await
            });
            Ok(knows?.then_some(()))
        })
    }

    /// How many blocks of each range are used as it counts them.
    pub(crate) fn used(&self) -> Result<Vec<usize>> {
        let (which, cluster) = (self.which, &self.cluster);
        self.api.observer.ask(|_| async move {
            let text = scrape(&which.client()?).await?;
            counted(&text, cluster)
        })
    }

    /// What it has counted since its start, of each range.
    pub(crate) fn counters(&self) -> Result<Vec<String>> {
        let (which, cluster) = (self.which, &self.cluster);
        self.api.observer.ask(|_| async move {
            let text = scrape(&which.client()?).await?;
            Ok(cluster.ranges.iter().map(|(cidr, _)| counters(&text, *cidr)).collect())
        })
    }

    /// Waits until each Node has podCIDRs or knows that there are none, and all are accounted for.
    pub(crate) fn settled(&mut self) -> Result<Given> {
        let deadline = Instant::now() + PATIENCE;
        let (which, cluster) = (self.which, &self.cluster);
        let settled = self.api.observer.ask(|client| async move {
            let metrics = which.client()?;
            loop {
                let why = match look(&client, &metrics, cluster).await? {
                    Ok(given) => return Ok(given),
                    Err(why) => why,
                };
                if Instant::now() > deadline {
                    bail!("{why}: for {} s", PATIENCE.as_secs());
                }
                tokio::time::sleep(PAUSE).await;
            }
        });
        ensure!(self.process.is_running(), "it has ended: see {}", self.process.log.display());
        settled.with_context(|| self.which.name())
    }
}

/// What Nodes have, or why that is not the end yet.
async fn look(
    client: &Client,
    metrics: &Client,
    cluster: &Cluster,
) -> Result<Result<Given, String>> {
    let nodes = Api::<Node>::all(client.clone()).list(&ListParams::default()).await?;
    let given = nodes.iter().map(|node| Ok((node.name_any(), pod_cidrs(node)?)));
    let given = given.collect::<Result<Given>>()?;
    let room = cluster.free(&given).iter().all(|free| !free.is_empty());
    for node in nodes.iter().filter(|node| given[&node.name_any()].is_empty()) {
        let name = node.name_any();
        if room {
            return Ok(Err(format!("{name} has no podCIDRs")));
        }
        if !knows_that_it_waits(client, node).await? {
            return Ok(Err(format!("{name} does not know that it waits")));
        }
    }
    let Ok(text) = scrape(metrics).await else { return Ok(Err("no metrics".to_owned())) };
    let (used, counted) = (cluster.used(&given), counted(&text, cluster)?);
    if used != counted {
        return Ok(Err(format!("{used:?} blocks are used, {counted:?} are counted")));
    }
    Ok(Ok(given))
}

async fn scrape(metrics: &Client) -> Result<String> {
    Ok(metrics.request_text(http::Request::get("/metrics").body(vec![])?).await?)
}

/// The blocks of each range that `metrics` call used: a share of all of them.
fn counted(metrics: &str, cluster: &Cluster) -> Result<Vec<usize>> {
    let counted = |(cidr, _): &(Prefix, u8)| {
        let label = format!("clusterCIDR=\"{cidr}\"");
        let value = |name| metric(metrics, name, &label).unwrap_or(0.0);
        let share = value("node_ipam_controller_cidrset_usage_cidrs");
        let all = value("node_ipam_controller_cirdset_max_cidrs");
        Ok(format!("{:.0}", share * all).parse()?)
    };
    cluster.ranges.iter().map(counted).collect()
}

/// Blocks taken, blocks given back, and how many were looked at for how many Nodes.
fn counters(metrics: &str, cidr: Prefix) -> String {
    let label = format!("clusterCIDR=\"{cidr}\"");
    let names = [
        "cidrs_allocations_total",
        "cidrs_releases_total",
        "allocation_tries_per_request_sum",
        "allocation_tries_per_request_count",
    ];
    let values = names.map(|name| {
        let full = format!("node_ipam_controller_cidrset_{name}");
        // What never happened need not be there.
        format!("{name} {}", metric(metrics, &full, &label).unwrap_or(0.0))
    });
    format!("{cidr}: {}", values.join(", "))
}

async fn knows_that_it_waits(client: &Client, node: &Node) -> Result<bool> {
    let uid = node.uid().unwrap_or_default();
    let fields = format!("involvedObject.uid={uid},reason=CIDRNotAvailable");
    let events = Api::<Event>::default_namespaced(client.clone());
    let events = events.list(&ListParams::default().fields(&fields)).await?;
    Ok(!events.items.is_empty())
}

pub(crate) fn pod_cidrs(node: &Node) -> Result<Vec<Prefix>> {
    let cidrs = node.spec.iter().flat_map(|spec| spec.pod_cidrs.iter().flatten());
    cidrs.map(|text| Ok(text.parse()?)).collect()
}
