//! Finds the serving pods and their Services through the API, once all pods are Ready.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use k8s_openapi::api::apps::v1::DaemonSet;
use k8s_openapi::api::core::v1::{Pod, Service};
use kube::api::{Api, ListParams};
use kube::{Client, ResourceExt};
use tokio::time::{Instant, sleep};

use crate::settings::Run;
use crate::view::{Addresses, Machine, Server, View, addresses};

/// Between two looks.
const PAUSE: Duration = Duration::from_millis(500);

/// The three pods of each machine, by the last part of their component's name.
const ROLES: [&str; 3] = ["client", "server", "machine"];

/// The serving pods by machine.
type Found = BTreeMap<String, Vec<Server>>;

/// Waits until every machine has its three pods, and looks up what leads to them.
pub(crate) async fn find(client: &Client, run: &Run) -> Result<View> {
    let namespace = run.namespace.clone().unwrap_or_else(|| client.default_namespace().to_owned());
    let deadline = Instant::now() + run.patience;
    let found = loop {
        match pods(client, &namespace, run).await? {
            Ok(found) => break found,
            Err(missing) if Instant::now() > deadline => bail!("{missing}"),
            Err(_) => sleep(PAUSE).await,
        }
    };
    let services = Api::<Service>::namespaced(client.clone(), &namespace);
    let service = |kind: &'static str| {
        let (services, name) = (services.clone(), format!("{}-check{kind}", run.instance));
        async move {
            let service = services.get(&name).await.with_context(|| format!("Service {name}"))?;
            anyhow::Ok(cluster_ips(&service))
        }
    };
    let machines = found.into_iter().filter_map(|(name, servers)| {
        let [client, server, host] = servers.try_into().ok()?;
        Some(Machine { name, client, server, host })
    });
    Ok(View {
        machines: machines.collect(),
        service: service("").await?,
        local_service: service("-local").await?,
        host_port: run.host_port,
        outside: run.outside.clone(),
    })
}

/// The pods of all roles, or what is still missing.
async fn pods(client: &Client, namespace: &str, run: &Run) -> Result<Result<Found, String>> {
    let mut found = Found::new();
    for role in ROLES {
        let name = format!("{}-check-{role}", run.instance);
        let sets = Api::<DaemonSet>::namespaced(client.clone(), namespace);
        let set = sets.get(&name).await.with_context(|| format!("DaemonSet {name}"))?;
        let selector = format!(
            "app.kubernetes.io/instance={},app.kubernetes.io/component=check-{role}",
            run.instance
        );
        let pods = Api::<Pod>::namespaced(client.clone(), namespace);
        let pods = pods.list(&ListParams::default().labels(&selector)).await?;
        let wanted = wanted(&set);
        let port = if role == "machine" { run.machine_port } else { probe::PORT };
        let ready = pods.items.iter().filter(|pod| is_ready(pod));
        let ready = ready.filter_map(|pod| Some((node(pod)?, server(pod, port)?)));
        let ready = ready.collect::<Vec<_>>();
        if wanted == Some(0) || wanted != Some(ready.len()) {
            return Ok(Err(missing(&name, wanted, &pods.items)));
        }
        for (node, server) in ready {
            found.entry(node).or_default().push(server);
        }
    }
    Ok(Ok(found))
}

/// How many pods there are to be, once the DaemonSet controller has seen the object.
fn wanted(set: &DaemonSet) -> Option<usize> {
    let status = set.status.as_ref()?;
    let seen = status.observed_generation == set.metadata.generation;
    seen.then(|| usize::try_from(status.desired_number_scheduled).ok()).flatten()
}

fn missing(set: &str, wanted: Option<usize>, pods: &[Pod]) -> String {
    let Some(wanted) = wanted else { return format!("no controller has seen DaemonSet {set}") };
    let waiting = pods.iter().filter(|pod| !is_ready(pod)).filter_map(node);
    let waiting = waiting.collect::<Vec<_>>().join(", ");
    let ready = pods.iter().filter(|pod| is_ready(pod)).count();
    format!("DaemonSet {set} is Ready on {ready} of {wanted} machines; not on: {waiting}")
}

fn is_ready(pod: &Pod) -> bool {
    let conditions = pod.status.iter().flat_map(|status| status.conditions.iter().flatten());
    let mut ready = conditions.filter(|c| c.type_ == "Ready" && c.status == "True");
    pod.metadata.deletion_timestamp.is_none() && ready.next().is_some()
}

fn node(pod: &Pod) -> Option<String> {
    pod.spec.as_ref()?.node_name.clone()
}

fn server(pod: &Pod, port: u16) -> Option<Server> {
    let ips = pod.status.as_ref()?.pod_ips.as_ref()?;
    let addresses = addresses(ips.iter().map(|ip| ip.ip.as_str()));
    Some(Server { name: pod.name_any(), addresses, port })
}

fn cluster_ips(service: &Service) -> Addresses {
    let ips = service.spec.iter().flat_map(|spec| spec.cluster_ips.iter().flatten());
    addresses(ips.map(String::as_str))
}
