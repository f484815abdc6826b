//! The pods and Services that checks run between, and where they turned out to be.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use anyhow::{Context, Result};
use common::{Family, PerFamily};
use k8s_openapi::api::core::v1::{Pod, Service};
use kube::api::{Api, ListParams};
use probe::dial::{Protocol, dial};

use crate::api::{self, Cluster};
use crate::lab::Lab;
use crate::machine::Machine;
use crate::wait::eventually;

/// The port of the echo Services.
pub const SERVICE_PORT: u16 = 80;

/// The port of the DaemonSet on each machine.
pub const HOST_PORT: u16 = 8081;

const PATIENCE: Duration = Duration::from_mins(1);
const ONCE: Duration = Duration::from_secs(1);

/// A pod of the lab.
#[derive(Clone, Debug)]
pub struct Server {
    pub name: String,
    pub addresses: PerFamily<IpAddr>,
}

/// What runs on one machine.
#[derive(Clone, Debug)]
pub struct Deployed {
    /// A pod of the DaemonSet, which has a host port.
    pub web: Server,
    /// The only endpoint of its Service.
    pub echo: Server,
    /// That Service's addresses.
    pub service: PerFamily<IpAddr>,
}

/// Applies the DaemonSet and a Service for each machine, and waits until all of them answer.
pub fn deploy(lab: &Lab) -> Result<Vec<Deployed>> {
    let echo = include_str!("../manifests/echo.yaml");
    let mut manifest = include_str!("../manifests/web.yaml").to_owned();
    for machine in &lab.machines {
        manifest.push_str("---\n");
        manifest.push_str(&echo.replace("MACHINE", machine.name()));
    }
    lab.control_plane.api.apply(&manifest)?;
    let deployed = lab.machines.iter().map(|machine| running(lab, machine));
    let deployed = deployed.collect::<Result<Vec<_>>>()?;
    for machine in &lab.machines {
        deployed.iter().try_for_each(|deployed| wait_for_service(machine, deployed))?;
    }
    Ok(deployed)
}

/// Replaces what runs on `machine`, and waits until it answers there.
pub fn renew(lab: &Lab, machine: &Machine) -> Result<Deployed> {
    let api = &lab.control_plane.api;
    let old = api.observer.look(|cluster| pods_on(cluster, machine.name()));
    let field = format!("--field-selector=spec.nodeName={}", machine.name());
    api.kubectl(&["delete", "pods", &field])?;
    api.observer.wait("the old pods are gone", PATIENCE, |cluster| {
        let is_gone = |server: &Server| !cluster.pods.contains_key(&key(server));
        old.iter().all(|(web, echo)| is_gone(web) && is_gone(echo)).then_some(())
    })?;
    let deployed = running(lab, machine)?;
    wait_for_service(machine, &deployed)?;
    Ok(deployed)
}

/// Waits for the pods of a machine.
fn running(lab: &Lab, machine: &Machine) -> Result<Deployed> {
    let (name, observer) = (machine.name(), &lab.control_plane.api.observer);
    let what = format!("the pods on {name} are Ready");
    let (web, echo) = observer.wait(&what, PATIENCE, |cluster| pods_on(cluster, name))?;
    let service = observer.ask(async |client| {
        let list = Api::<Service>::default_namespaced(client).list(&ListParams::default()).await?;
        cluster_ips(&list.items, name)
    })?;
    Ok(Deployed { web, echo, service })
}

fn key(server: &Server) -> String {
    format!("default/{}", server.name)
}

/// The Ready pods of both kinds on a machine.
fn pods_on(cluster: &Cluster, machine: &str) -> Option<(Server, Server)> {
    let find = |app: &str| {
        let mut pods = cluster.pods.values().filter(|pod| pod.at(api::READY).is_some());
        let server = pods.find_map(|pod| {
            let labels = pod.object.metadata.labels.as_ref()?;
            let node = pod.object.spec.as_ref()?.node_name.as_deref()?;
            (labels.get("app")? == app && node == machine).then(|| server(&pod.object))
        });
        server.flatten()
    };
    Some((find("web")?, find(&format!("echo-{machine}"))?))
}

fn server(pod: &Pod) -> Option<Server> {
    let ips = pod.status.as_ref()?.pod_ips.as_ref()?;
    let ips = ips.iter().filter_map(|ip| ip.ip.parse().ok()).collect::<Vec<_>>();
    Some(Server { name: pod.metadata.name.clone()?, addresses: per_family(&ips)? })
}

fn cluster_ips(services: &[Service], machine: &str) -> Result<PerFamily<IpAddr>> {
    let name = format!("echo-{machine}");
    let service = services.iter().find(|s| s.metadata.name.as_ref() == Some(&name));
    let ips = service.and_then(|service| service.spec.as_ref()?.cluster_ips.as_ref());
    let ips = ips.into_iter().flatten().filter_map(|ip| ip.parse().ok()).collect::<Vec<_>>();
    per_family(&ips).with_context(|| format!("Service {name} has not both families: {ips:?}"))
}

fn per_family(addresses: &[IpAddr]) -> Option<PerFamily<IpAddr>> {
    let find = |family| addresses.iter().copied().find(|address| Family::from(*address) == family);
    Some(PerFamily { v4: find(Family::V4)?, v6: find(Family::V6)? })
}

/// kube-proxy learns of an endpoint a moment after the pod is Ready, and a deleted pod that had no
/// grace outlives its object: checks begin when the new one answers.
fn wait_for_service(machine: &Machine, deployed: &Deployed) -> Result<()> {
    let echo = &deployed.echo.name;
    for (_, address) in deployed.service.iter() {
        let server = SocketAddr::new(*address, SERVICE_PORT);
        let what = format!("kube-proxy of {} brings who asks {server} to {echo}", machine.name());
        eventually(&what, PATIENCE, || {
            let answer = machine.place.netns.run(|| dial(Protocol::Tcp, server, ONCE))?;
            Ok(answer.is_ok_and(|answer| answer.name == *echo).then_some(()))
        })?;
    }
    Ok(())
}
