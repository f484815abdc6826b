//! Waits until machines are cleaned up, and takes away what kubenet has in the API.

use std::fmt::Debug;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use common::names;
use k8s_openapi::api::apps::v1::{DaemonSet, Deployment};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams};
use kube::{Client, Resource, ResourceExt};
use process::cidr_claims::CidrClaim;
use process::client;
use process::cluster_cidrs::{ClusterCidr, FINALIZER};
use serde::de::DeserializeOwned;
use serde_json::json;
use tokio::time::{Instant, sleep};

use super::Machines;

/// Between two looks.
const PAUSE: Duration = Duration::from_millis(200);

/// How long the programs may take to end.
const ENDING: Duration = Duration::from_secs(30);

/// Waits until the pods of a DaemonSet have cleaned their machines up, ends agents and controllers, and takes
/// away Lease, claims, finalizers and conditions of Nodes
#[derive(Clone, Debug, clap::Args)]
pub struct Flags {
    /// Kubeconfig of the API server; without it, the service account of the Pod
    #[arg(long, value_name = "FILE")]
    kubeconfig: Option<PathBuf>,

    /// Namespace of what is installed
    #[arg(long)]
    namespace: String,

    /// Its label app.kubernetes.io/instance, with which its names begin
    #[arg(long, default_value = "kubenet")]
    instance: String,

    /// Seconds until a machine that says nothing is left as it is
    #[arg(long, default_value_t = 60)]
    timeout: u64,
}

/// The cluster, and what of it is kubenet's.
struct Installed {
    client: Client,
    namespace: String,
    instance: String,
}

/// Says of each machine by name what became of it, and of what was taken away in the API.
///
/// # Errors
/// What the API server refuses; any call may be repeated.
pub async fn run(flags: Flags) -> anyhow::Result<()> {
    let client = client::connect(flags.kubeconfig.as_deref(), names::CONTROLLER).await?;
    let Flags { namespace, instance, timeout, .. } = flags;
    let installed = Installed { client, namespace, instance };
    let machines = installed.machines(Duration::from_secs(timeout)).await?;
    say(&machines.to_string());
    installed.end_programs(&machines).await?;
    delete(&installed.namespaced::<Lease>(), names::CONTROLLER).await?;
    installed.give_up_claims().await?;
    installed.release_cluster_cidrs().await?;
    installed.forget_conditions().await?;
    say("nothing of kubenet is left in the API but what was installed\n");
    Ok(())
}

#[expect(clippy::print_stdout, reason = "its words are what a person who uninstalls gets to see")]
fn say(text: &str) {
    print!("{text}");
}

impl Installed {
    fn namespaced<K>(&self) -> Api<K>
    where
        K: Resource<Scope = k8s_openapi::NamespaceResourceScope>,
        K::DynamicType: Default,
    {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    async fn pods(&self, components: &str) -> anyhow::Result<Vec<Pod>> {
        let selector = format!(
            "app.kubernetes.io/instance={},app.kubernetes.io/component in ({components})",
            self.instance
        );
        let parameters = ListParams::default().labels(&selector);
        let pods = self.namespaced::<Pod>().list(&parameters).await;
        Ok(pods.with_context(|| format!("cannot list pods of {components}"))?.items)
    }

    /// Waits for all machines, for as long as `patience`.
    async fn machines(&self, patience: Duration) -> anyhow::Result<Machines> {
        let name = format!("{}-cleanup", self.instance);
        let deadline = Instant::now() + patience;
        loop {
            let set = self.namespaced::<DaemonSet>().get(&name).await;
            let set = set.with_context(|| format!("cannot get DaemonSet {name}"))?;
            let machines = Machines::new(&set, &self.pods("cleanup").await?);
            if machines.have_answered() || Instant::now() > deadline {
                return Ok(machines);
            }
            sleep(PAUSE).await;
        }
    }

    /// They would write again what is taken away next.
    async fn end_programs(&self, machines: &Machines) -> anyhow::Result<()> {
        let name = |program: &str| format!("{}-{program}", self.instance);
        delete(&self.namespaced::<Deployment>(), &name("controller")).await?;
        delete(&self.namespaced::<DaemonSet>(), &name("agent")).await?;
        let deadline = Instant::now() + ENDING;
        loop {
            let pods = self.pods("agent, controller").await?;
            let left = pods.iter().filter(|pod| {
                let node = pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref());
                node.is_some_and(|node| !machines.is_silent(node))
            });
            let left = left.map(ResourceExt::name_any).collect::<Vec<_>>();
            if left.is_empty() {
                return Ok(());
            }
            if Instant::now() > deadline {
                anyhow::bail!("these pods do not end: {}", left.join(", "));
            }
            sleep(PAUSE).await;
        }
    }

    async fn give_up_claims(&self) -> anyhow::Result<()> {
        let claims = Api::<CidrClaim>::all(self.client.clone());
        for claim in all(&claims).await? {
            delete(&claims, &claim.name_any()).await?;
        }
        Ok(())
    }

    async fn release_cluster_cidrs(&self) -> anyhow::Result<()> {
        let api = Api::<ClusterCidr>::all(self.client.clone());
        for object in all(&api).await? {
            let mut finalizers = object.finalizers().to_vec();
            finalizers.retain(|finalizer| finalizer != FINALIZER);
            if finalizers.len() < object.finalizers().len() {
                let name = object.name_any();
                let version = object.metadata.resource_version;
                let patch = json!({
                    "metadata": {"resourceVersion": version, "finalizers": finalizers},
                });
                let patched = api.patch(&name, &parameters(), &Patch::Merge(patch)).await;
                patched.with_context(|| format!("cannot let go of ClusterCIDR {name}"))?;
            }
        }
        Ok(())
    }

    /// The condition `NetworkUnavailable` of Nodes to whose status an agent has written.
    async fn forget_conditions(&self) -> anyhow::Result<()> {
        let api = Api::<Node>::all(self.client.clone());
        for node in all(&api).await? {
            let writers = node.managed_fields().iter().filter_map(|field| field.manager.as_ref());
            let conditions =
                node.status.iter().flat_map(|status| status.conditions.iter().flatten());
            let has = conditions.map(|condition| &condition.type_).any(|kind| kind == CONDITION);
            if has && writers.into_iter().any(|writer| writer == names::AGENT) {
                let name = node.name_any();
                let patch = json!({
                    "metadata": {"uid": node.metadata.uid},
                    "status": {"conditions": [{"$patch": "delete", "type": CONDITION}]},
                });
                let patched =
                    api.patch_status(&name, &parameters(), &Patch::Strategic(patch)).await;
                patched.with_context(|| format!("cannot change the status of {name}"))?;
            }
        }
        Ok(())
    }
}

/// The condition that agents keep.
const CONDITION: &str = "NetworkUnavailable";

fn parameters() -> PatchParams {
    PatchParams { field_manager: Some(names::CONTROLLER.to_owned()), ..PatchParams::default() }
}

/// All objects of a kind; none where the API server does not know it.
async fn all<K: Clone + Debug + DeserializeOwned>(api: &Api<K>) -> anyhow::Result<Vec<K>> {
    match api.list(&ListParams::default()).await {
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(Vec::new()),
        listed => Ok(listed.context("cannot list objects")?.items),
    }
}

/// Deletes `name`, if it is there.
async fn delete<K: Clone + Debug + DeserializeOwned>(
    api: &Api<K>,
    name: &str,
) -> anyhow::Result<()> {
    match api.delete(name, &DeleteParams::background()).await {
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
        deleted => deleted.map(drop).with_context(|| format!("cannot delete {name}")),
    }
}
