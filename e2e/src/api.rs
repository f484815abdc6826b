//! What the API server shows of Nodes and Pods, and when it first did.
//!
//! One watch by a thread in the cluster's network; waiting is for a state, never for a time.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow};
use futures::{FutureExt, StreamExt, select};
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::api::{Api, Patch, PatchParams, PostParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Client, Config, ResourceExt};
use net::Netns;
use parking_lot::{Condvar, Mutex};
use serde_json::json;
use tokio::sync::oneshot;

use crate::say::say;

/// All Nodes by name, and all Pods by `namespace/name`.
#[derive(Debug, Default)]
pub struct Cluster {
    pub nodes: BTreeMap<String, Seen<Node>>,
    pub pods: BTreeMap<String, Seen<Pod>>,
}

/// An object as it is, and when it first showed a milestone.
#[derive(Debug)]
pub struct Seen<T> {
    pub object: T,
    pub created: Instant,
    milestones: BTreeMap<&'static str, Instant>,
}

/// A Node has its podCIDRs.
pub const POD_CIDRS: &str = "podCIDRs";
/// A Node's condition NetworkUnavailable is False.
pub const NETWORK: &str = "NetworkUnavailable=False";
/// A Node's or a Pod's condition Ready is True.
pub const READY: &str = "Ready";

impl<T> Seen<T> {
    /// When `milestone` was first seen, if it was.
    pub fn at(&self, milestone: &str) -> Option<Instant> {
        self.milestones.get(milestone).copied()
    }
}

/// The watch; it ends with this.
#[derive(Debug)]
pub struct Observer {
    shared: Arc<Shared>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
    kubeconfig: PathBuf,
    place: u32,
}

#[derive(Debug, Default)]
struct Shared {
    cluster: Mutex<Cluster>,
    changed: Condvar,
}

impl Observer {
    /// Watches from inside the network of the process `place`.
    pub fn start(place: u32, kubeconfig: &Path) -> Result<Self> {
        let shared = Arc::new(Shared::default());
        let (stop, stopped) = oneshot::channel();
        let (watched, path) = (shared.clone(), kubeconfig.to_owned());
        let netns = netns(place)?;
        let watch = move || {
            block_on(async {
                let client = connect(&path).await?;
                select! {
                    () = watch_all(client, &watched).fuse() => {}
                    _ = stopped.fuse() => {}
                }
                Ok(())
            })
        };
        let thread = std::thread::spawn(move || {
            let result = netns.run(watch).map_err(anyhow::Error::from).flatten();
            if let Err(error) = result {
                say(format_args!("cannot watch the cluster: {error:#}"));
            }
        });
        let (stop, thread) = (Some(stop), Some(thread));
        Ok(Self { shared, stop, thread, kubeconfig: kubeconfig.to_owned(), place })
    }

    /// Waits until `look` finds something in the cluster.
    ///
    /// # Errors
    /// That `what` was not seen within `patience`.
    pub fn wait<T>(
        &self,
        what: &str,
        patience: Duration,
        mut look: impl FnMut(&Cluster) -> Option<T>,
    ) -> Result<T> {
        let deadline = Instant::now() + patience;
        let mut cluster = self.shared.cluster.lock();
        loop {
            if let Some(found) = look(&cluster) {
                return Ok(found);
            }
            if self.shared.changed.wait_until(&mut cluster, deadline).timed_out() {
                return Err(anyhow!("{what}: not within {} s", patience.as_secs()));
            }
        }
    }

    /// Looks at the cluster as it is.
    pub fn look<T>(&self, look: impl FnOnce(&Cluster) -> T) -> T {
        look(&self.shared.cluster.lock())
    }

    /// Does something with the API, in the cluster's network.
    pub fn ask<T: Send, F: Future<Output = Result<T>>>(
        &self,
        ask: impl FnOnce(Client) -> F + Send,
    ) -> Result<T> {
        let work = || block_on(async { ask(connect(&self.kubeconfig).await?).await });
        netns(self.place)?.run(work)?
    }

    /// Creates `nodes` as a kubelet would, one after the other.
    pub fn create_nodes(&self, nodes: Vec<Node>) -> Result<()> {
        self.ask(|client| async move {
            let api = Api::<Node>::all(client);
            for node in nodes {
                api.create(&PostParams::default(), &node).await?;
                if let Some(status) = &node.status {
                    let patch = Patch::Merge(json!({"status": status}));
                    api.patch_status(&node.name_any(), &PatchParams::default(), &patch).await?;
                }
            }
            Ok(())
        })
    }
}

impl Drop for Observer {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // It has said itself what went wrong.
            let _ = thread.join();
        }
    }
}

/// The network of a process.
pub(crate) fn netns(process: u32) -> Result<Netns> {
    Ok(Netns::open(Path::new(&format!("/proc/{process}/ns/net")))?)
}

/// Waits for `future` on this thread.
pub(crate) fn block_on<T>(future: impl Future<Output = Result<T>>) -> Result<T> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(future)
}

/// A client as `kubeconfig` says.
pub async fn connect(kubeconfig: &Path) -> Result<Client> {
    let kubeconfig = Kubeconfig::read_from(kubeconfig)?;
    let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?;
    Ok(Client::try_from(config)?)
}

async fn watch_all(client: Client, shared: &Shared) {
    let nodes = watcher(Api::<Node>::all(client.clone()), watcher::Config::default());
    let nodes = nodes.for_each(async |event| {
        shared.note(event, |cluster| &mut cluster.nodes, node_milestones);
    });
    let pods = watcher(Api::<Pod>::all(client), watcher::Config::default());
    let pods = pods.for_each(async |event| {
        shared.note(event, |cluster| &mut cluster.pods, pod_milestones);
    });
    futures::join!(nodes, pods);
}

impl Shared {
    /// Errors are the API server's while it starts; the watch tries again by itself.
    fn note<T: kube::Resource>(
        &self,
        event: Result<Event<T>, watcher::Error>,
        kind: impl Fn(&mut Cluster) -> &mut BTreeMap<String, Seen<T>>,
        milestones: fn(&T) -> Vec<&'static str>,
    ) {
        let Ok(event) = event else { return };
        let now = Instant::now();
        let mut cluster = self.cluster.lock();
        let known = kind(&mut cluster);
        match event {
            Event::Init => known.clear(),
            Event::InitDone => {}
            Event::Delete(object) => {
                known.remove(&key(&object));
            }
            Event::Apply(object) | Event::InitApply(object) => {
                let reached = milestones(&object);
                let before = known.remove(&key(&object));
                // A successor of the same name starts anew.
                let before = before.filter(|before| before.object.uid() == object.uid());
                let created = before.as_ref().map_or(now, |before| before.created);
                let mut times = before.map(|before| before.milestones).unwrap_or_default();
                for milestone in reached {
                    times.entry(milestone).or_insert(now);
                }
                known.insert(key(&object), Seen { object, created, milestones: times });
            }
        }
        drop(cluster);
        self.changed.notify_all();
    }
}

fn key(object: &impl kube::Resource) -> String {
    let name = object.name_any();
    object.namespace().map_or_else(|| name.clone(), |namespace| format!("{namespace}/{name}"))
}

fn node_milestones(node: &Node) -> Vec<&'static str> {
    let assigned = node.spec.as_ref().and_then(|spec| spec.pod_cidrs.as_ref());
    let conditions = node.status.iter().flat_map(|status| status.conditions.iter().flatten());
    let mut reached = Vec::new();
    reached.extend(assigned.is_some_and(|cidrs| !cidrs.is_empty()).then_some(POD_CIDRS));
    for condition in conditions {
        match (condition.type_.as_str(), condition.status.as_str()) {
            ("NetworkUnavailable", "False") => reached.push(NETWORK),
            ("Ready", "True") => reached.push(READY),
            _ => {}
        }
    }
    reached
}

fn pod_milestones(pod: &Pod) -> Vec<&'static str> {
    let conditions = pod.status.iter().flat_map(|status| status.conditions.iter().flatten());
    let ready =
        |c: &k8s_openapi::api::core::v1::PodCondition| (c.type_ == "Ready") && c.status == "True";
    conditions.filter(|condition| ready(condition)).map(|_| READY).collect()
}
