//! Pods of a machine without an API server: files in its kubelet's staticPodPath.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};
use common::{Family, PerFamily};
use k8s_openapi::List;
use k8s_openapi::api::core::v1::Pod;
use probe::http::fetch;

use crate::machine::{Machine, READ_ONLY_PORT, STATIC_PODS};
use crate::wait::eventually;
use crate::workload::Server;

/// A kubelet that missed the kernel's word looks at the folder every 20 s (`fileCheckFrequency`).
const PATIENCE: Duration = Duration::from_mins(1);
const ONCE: Duration = Duration::from_secs(2);

impl Machine {
    /// Has the kubelet run the pod that `manifest` describes.
    pub fn put(&self, name: &str, manifest: &str) -> Result<()> {
        // Under a name that the kubelet passes over, until it is whole.
        let new = self.place.path(&format!("{STATIC_PODS}/.{name}"));
        fs::write(&new, manifest)?;
        fs::rename(new, self.manifest(name)).map_err(Into::into)
    }

    /// Takes the file away, and waits until the kubelet knows no pod `name` any more.
    pub fn take(&self, name: &str) -> Result<()> {
        fs::remove_file(self.manifest(name))?;
        self.until(name, "is gone", |pod| pod.is_none().then_some(()))
    }

    fn manifest(&self, name: &str) -> PathBuf {
        self.place.path(&format!("{STATIC_PODS}/{name}.yaml"))
    }

    /// Waits until the condition `kind` of the pod `name` holds.
    pub fn wait_for_pod(&self, name: &str, kind: &str) -> Result<Server> {
        self.until(name, &format!("is {kind}"), |pod| {
            let pod = pod?;
            let mut conditions =
                pod.status.iter().flat_map(|status| status.conditions.iter().flatten());
            let holds =
                conditions.any(|condition| condition.type_ == kind && condition.status == "True");
            holds.then(|| server(&pod)).flatten()
        })
    }

    fn until<T>(
        &self,
        name: &str,
        what: &str,
        find: impl Fn(Option<Pod>) -> Option<T>,
    ) -> Result<T> {
        eventually(&format!("pod {name} of {} {what}", self.name()), PATIENCE, || {
            Ok(self.static_pods().ok().and_then(|pods| find(named(pods, name))))
        })
    }

    fn static_pods(&self) -> Result<Vec<Pod>> {
        let at = SocketAddr::from((Ipv4Addr::LOCALHOST, READ_ONLY_PORT));
        let text = self.place.netns.run(|| fetch(at, "/pods", ONCE))??;
        let list =
            serde_json::from_str::<List<Pod>>(&text).context("the kubelet's list of pods")?;
        Ok(list.items)
    }
}

/// A kubelet puts its own name behind that of a static pod.
fn named(pods: Vec<Pod>, name: &str) -> Option<Pod> {
    pods.into_iter().find(|pod| {
        let full = pod.metadata.name.as_deref().unwrap_or_default();
        full.rsplit_once('-').is_some_and(|(first, _)| first == name)
    })
}

/// The pod by its hostname and addresses; without those where it has its machine's network.
fn server(pod: &Pod) -> Option<Server> {
    let ips = pod.status.as_ref()?.pod_ips.iter().flatten();
    let ips = ips.filter_map(|ip| ip.ip.parse().ok()).collect::<Vec<IpAddr>>();
    let find = |family| ips.iter().copied().find(|ip| Family::from(*ip) == family);
    let unspecified = PerFamily { v4: Ipv4Addr::UNSPECIFIED.into(), v6: IpAddr::from([0_u16; 8]) };
    let addresses = PerFamily::from_fn(|family| find(family).unwrap_or(unspecified[family]));
    Some(Server { name: pod.metadata.name.clone()?, addresses })
}
