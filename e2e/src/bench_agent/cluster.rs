//! Nodes as kubelets register them, and what happens to them; and what becomes of that on a machine.

use std::ops::Range;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use futures::{StreamExt, TryStreamExt, stream};
use k8s_openapi::api::core::v1::Node;
use k8s_openapi::jiff::Timestamp;
use kube::api::{Api, DeleteParams, Patch, PatchParams, PostParams};
use net::events::Events;
use serde_json::{Value, json};

use crate::api_server::ApiServer;
use crate::fake;
use crate::place::Place;

/// Pod addresses of the cluster.
pub(super) const CIDRS: &str = "10.0.0.0/8,fd00:10:244::/56";

/// The Nodes' addresses are on link.
pub(super) const UPLINK: &str = "address add 172.31.255.254/16 dev eth0";

/// Requests of ours under way at once.
const CONNECTIONS: usize = 20;

/// How often a Node is added, moved and deleted, and how far apart that is.
const ROUNDS: usize = 40;
const APART: Duration = Duration::from_millis(100);

/// After the last one, so that what is still done for it counts to no heartbeat.
const REST: Duration = Duration::from_secs(3);

/// Until a change is a route.
const PATIENCE: Duration = Duration::from_secs(10);

/// Between two looks for one.
const GLANCE: Duration = Duration::from_micros(500);

/// From the beginning of a request to its route, one after the other.
#[derive(Clone, Debug, Default)]
pub(super) struct Changes {
    pub(super) added: Vec<Duration>,
    pub(super) moved: Vec<Duration>,
    pub(super) deleted: Vec<Duration>,
}

/// Nodes with these numbers from 0 on.
pub(super) struct Cluster<'a> {
    api: &'a ApiServer,
}

impl<'a> Cluster<'a> {
    pub(super) fn new(api: &'a ApiServer) -> Self {
        Self { api }
    }

    /// Until there are so many Nodes.
    pub(super) fn grow(&self, size: usize) -> Result<()> {
        let known = self.api.observer.look(|cluster| cluster.nodes.len() - 1);
        self.create(known..size)?;
        self.api.observer.wait("all Nodes are there", PATIENCE, |cluster| {
            (cluster.nodes.len() == size + 1).then_some(())
        })
    }

    fn create(&self, numbers: Range<usize>) -> Result<()> {
        self.api.observer.ask(|client| async move {
            let nodes = Api::<Node>::all(client);
            let one = |number| {
                let nodes = nodes.clone();
                async move { create(&nodes, number).await }
            };
            let work = stream::iter(numbers).map(one);
            work.buffer_unordered(CONNECTIONS).try_collect::<()>().await
        })
    }

    /// A Node comes, moves and goes, again and again.
    pub(super) fn changes(&self, place: &Place, number: usize) -> Result<Changes> {
        let (stop, stopped) = channel::<()>();
        let (tell, told) = channel();
        thread::scope(|scope| {
            let watch = scope.spawn(move || place.netns.run(move || routes(&tell, &stopped))?);
            let changes = self.api.observer.ask(|client| async move {
                let nodes = Api::<Node>::all(client);
                let mut changes = Changes::default();
                for _ in 0..ROUNDS {
                    changes.added.push(timed(&told, create(&nodes, number)).await?);
                    let address = address(number + 20_000);
                    changes.moved.push(timed(&told, readdress(&nodes, number, &address)).await?);
                    changes.deleted.push(timed(&told, delete(&nodes, number)).await?);
                }
                tokio::time::sleep(REST).await;
                Ok(changes)
            });
            drop(stop);
            watch.join().ok().context("the watch of routes panicked")??;
            changes
        })
    }

    /// Heartbeats as kubelets send them: `rate` a second, so long.
    pub(super) fn beat(&self, size: usize, time: Duration, rate: u32) -> Result<()> {
        self.api.observer.ask(|client| async move {
            let nodes = Api::<Node>::all(client);
            let mut tick = tokio::time::interval(Duration::from_secs(1) / rate);
            let end = Instant::now() + time;
            let mut number = 0;
            while Instant::now() < end {
                tick.tick().await;
                let status = json!({"status": {"conditions": conditions()}});
                let patch = Patch::Strategic(status);
                nodes.patch_status(&name(number), &PatchParams::default(), &patch).await?;
                number = (number + 1) % size;
            }
            Ok(())
        })
    }
}

/// Tells of each change of a route, until there is nobody to `stop` it any more.
fn routes(tell: &Sender<Instant>, stop: &Receiver<()>) -> Result<()> {
    let mut events = Events::of_routing()?;
    while stop.try_recv() != Err(std::sync::mpsc::TryRecvError::Disconnected) {
        match events.next() {
            Ok(_) => tell.send(Instant::now())?,
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                thread::park_timeout(GLANCE);
            }
            Err(error) => Err(error)?,
        }
    }
    Ok(())
}

/// From the beginning of `request` to the first change of a route.
async fn timed(
    routes: &Receiver<Instant>,
    request: impl Future<Output = Result<()>>,
) -> Result<Duration> {
    tokio::time::sleep(APART).await;
    while routes.try_recv().is_ok() {}
    let start = Instant::now();
    request.await?;
    let seen = routes.recv_timeout(PATIENCE).context("a change that became no route")?;
    Ok(seen.duration_since(start))
}

async fn create(nodes: &Api<Node>, number: usize) -> Result<()> {
    nodes.create(&PostParams::default(), &node(number)?).await?;
    Ok(())
}

/// As whoever gives a Node another address: the InternalIP, and what flannel goes by.
async fn readdress(nodes: &Api<Node>, number: usize, address: &str) -> Result<()> {
    let name = name(number);
    let addresses = json!([{"type": "InternalIP", "address": address}]);
    let change = json!({
        "metadata": {"annotations": {"flannel.alpha.coreos.com/public-ip": address}},
        "status": {"addresses": addresses},
    });
    nodes.patch_status(&name, &PatchParams::default(), &Patch::Strategic(change)).await?;
    Ok(())
}

async fn delete(nodes: &Api<Node>, number: usize) -> Result<()> {
    nodes.delete(&name(number), &DeleteParams::default()).await?;
    Ok(())
}

fn name(number: usize) -> String {
    format!("node-{number:05}")
}

fn address(number: usize) -> String {
    format!("172.31.{}.{}", number / 250, number % 250 + 1)
}

/// About 5 kB, as a kubelet registers it.
fn node(number: usize) -> Result<Node> {
    let (name, address) = (name(number), address(number));
    let cidr = format!("10.{}.{}.0/24", number / 256, number % 256);
    let images = (0..10).map(|image| {
        let digest = format!("{image:x}{number:x}").repeat(64);
        let name = format!("registry.example.com/team-{image}/some-service");
        let names = [format!("{name}@sha256:{}", &digest[..64]), format!("{name}:v1.{image}.0")];
        json!({"names": names, "sizeBytes": 40_000_000 + number})
    });
    let node = json!({
        "metadata": {
            "name": name,
            "labels": {
                fake::LABEL: "", "kubernetes.io/hostname": name, "kubernetes.io/os": "linux",
                "kubernetes.io/arch": "amd64", "topology.kubernetes.io/zone": "zone-a",
            },
            "annotations": {
                "flannel.alpha.coreos.com/backend-data": "null",
                "flannel.alpha.coreos.com/backend-type": "host-gw",
                "flannel.alpha.coreos.com/kube-subnet-manager": "true",
                "flannel.alpha.coreos.com/public-ip": address,
                "node.alpha.kubernetes.io/ttl": "0",
            },
        },
        "spec": {"podCIDR": cidr, "podCIDRs": [cidr]},
        "status": {
            "addresses": [
                {"type": "InternalIP", "address": address}, {"type": "Hostname", "address": name},
            ],
            "capacity": {"cpu": "8", "memory": "32Gi", "pods": "110"},
            "allocatable": {"cpu": "8", "memory": "31Gi", "pods": "110"},
            "conditions": conditions(),
            "images": images.collect::<Vec<_>>(),
        },
    });
    Ok(serde_json::from_value(node)?)
}

fn conditions() -> Value {
    let now = Timestamp::now();
    let kinds = [
        ("MemoryPressure", "False", "KubeletHasSufficientMemory"),
        ("DiskPressure", "False", "KubeletHasNoDiskPressure"),
        ("PIDPressure", "False", "KubeletHasSufficientPID"),
        ("Ready", "True", "KubeletReady"),
    ];
    let conditions = kinds.map(|(kind, status, reason)| {
        json!({
            "type": kind, "status": status, "reason": reason, "message": "kubelet says so",
            "lastHeartbeatTime": format!("{now:.0}"), "lastTransitionTime": "2026-01-01T00:00:00Z",
        })
    });
    json!(conditions)
}
