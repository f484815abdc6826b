//! etcd, API server, controller manager, scheduler and kubenet's controller, in one place.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use kube::ResourceExt;

use crate::api::Observer;
use crate::artifacts::Artifacts;
use crate::fake;
use crate::kubernetes::Kubernetes;
use crate::network::{self, Switch};
use crate::pki::Pki;
use crate::place::{Place, Process};
use crate::program::output;
use crate::traces::Traces;

/// Its number on the switch.
pub const NUMBER: u8 = 1;

const PATIENCE: Duration = Duration::from_mins(1);

/// A running control plane.
#[derive(Debug)]
pub struct ControlPlane {
    /// Before the place, so that it lets go of its network first.
    pub observer: Observer,
    pub place: Place,
    pub admin: PathBuf,
    /// None while a scenario has it stopped.
    pub controller: Option<Process>,
    controller_kubeconfig: PathBuf,
    controller_program: PathBuf,
    kubectl: PathBuf,
    /// Where kubectl keeps what it discovered, instead of the user's home.
    cache: PathBuf,
}

/// The URL of the API server.
pub fn url() -> String {
    format!("https://{}:{}", network::addresses(NUMBER).v4, network::API_PORT)
}

impl ControlPlane {
    /// Starts all of it, and waits until the API server is ready.
    pub fn start(
        traces: &Traces,
        switch: &Switch,
        pki: &Pki,
        kubernetes: &Kubernetes,
        artifacts: &Artifacts,
    ) -> Result<Self> {
        let place = Place::open(traces, "control-plane", &artifacts.probe)?;
        switch.plug(&place, NUMBER)?;
        let address = network::addresses(NUMBER).v4.to_string();
        let names = [&address, "127.0.0.1", network::KUBERNETES_SERVICE, "kubernetes.default"];
        pki.certificate("apiserver", "kube-apiserver", "", &names)?;
        let admin = pki.kubeconfig("admin", "admin", "system:masters")?;
        let controller_kubeconfig =
            pki.kubeconfig("kubenet-controller", "kubenet-controller", "")?;
        start_etcd(&place, kubernetes)?;
        start_api_server(&place, pki, kubernetes)?;
        wait_until_ready(&place, &admin, kubernetes)?;
        let observer = Observer::start(place.init, &admin)?;
        let mut this = Self {
            observer,
            place,
            admin,
            controller: None,
            controller_kubeconfig,
            controller_program: artifacts.controller.clone(),
            kubectl: kubernetes.program("kubectl")?.to_owned(),
            cache: traces.folder().join("kubectl-cache"),
        };
        this.apply(include_str!("../manifests/rbac.yaml"))?;
        this.start_controllers(pki, kubernetes)?;
        this.start_controller()?;
        Ok(this)
    }

    fn start_controllers(&self, pki: &Pki, kubernetes: &Kubernetes) -> Result<()> {
        let user = "system:kube-controller-manager";
        let kubeconfig = pki.kubeconfig("kube-controller-manager", user, "")?;
        let mut manager = self.place.command(kubernetes.program("kube-controller-manager")?);
        manager.arg("--kubeconfig").arg(kubeconfig);
        // Node IPAM is ours here.
        manager.args(["--allocate-node-cidrs=false", "--leader-elect=false"]);
        manager.args(["--bind-address=127.0.0.1", "--use-service-account-credentials=true"]);
        manager.arg("--service-account-private-key-file").arg(pki.path("sa.key"));
        manager.arg("--root-ca-file").arg(pki.path("ca.crt"));
        self.place.start("kube-controller-manager", &mut manager)?;
        let kubeconfig = pki.kubeconfig("kube-scheduler", "system:kube-scheduler", "")?;
        let mut scheduler = self.place.command(kubernetes.program("kube-scheduler")?);
        scheduler.arg("--kubeconfig").arg(kubeconfig);
        scheduler.args(["--leader-elect=false", "--bind-address=127.0.0.1"]);
        self.place.start("kube-scheduler", &mut scheduler)?;
        Ok(())
    }

    /// Starts kubenet's controller.
    pub fn start_controller(&mut self) -> Result<()> {
        let mut controller = self.place.command(&self.controller_program);
        controller.arg("--kubeconfig").arg(&self.controller_kubeconfig);
        controller.args(["--cluster-cidr", network::CLUSTER_CIDRS]);
        controller.args(["--service-cluster-ip-range", network::SERVICE_CIDRS]);
        self.controller = Some(self.place.start("kubenet-controller", &mut controller)?);
        Ok(())
    }

    /// `kubectl apply` of a manifest.
    pub fn apply(&self, manifest: &str) -> Result<()> {
        let path = self.cache.with_file_name("manifest.yaml");
        std::fs::write(&path, manifest)?;
        self.kubectl(&["apply", "-f", &path.display().to_string()]).map(drop)
    }

    /// What kubectl answers.
    pub fn kubectl(&self, arguments: &[&str]) -> Result<String> {
        let mut kubectl = self.place.command(&self.kubectl);
        kubectl.arg("--kubeconfig").arg(&self.admin).arg("--cache-dir").arg(&self.cache);
        output(kubectl.args(arguments))
    }

    /// Deletes all Nodes that have no machine, and waits until they are gone.
    pub fn delete_fakes(&self) -> Result<()> {
        self.kubectl(&["delete", "nodes", "--selector", fake::LABEL, "--wait=false"])?;
        self.observer.wait("Nodes without a machine are gone", PATIENCE, |cluster| {
            let fake =
                |name: &String| cluster.nodes[name].object.labels().contains_key(fake::LABEL);
            (!cluster.nodes.keys().any(fake)).then_some(())
        })
    }

    /// What a person types to use the cluster from the host.
    pub fn kubectl_for_people(&self) -> String {
        format!(
            "nsenter --net=/proc/{}/ns/net {} --kubeconfig {} --cache-dir {}",
            self.place.init,
            self.kubectl.display(),
            self.admin.display(),
            self.cache.display()
        )
    }
}

fn start_etcd(place: &Place, kubernetes: &Kubernetes) -> Result<()> {
    let mut etcd = place.command(kubernetes.program("etcd")?);
    // Its data is on a tmpfs and ends with the place.
    etcd.args(["--data-dir=/var/lib/etcd", "--unsafe-no-fsync", "--log-level=warn"]);
    etcd.args(["--listen-client-urls=http://127.0.0.1:2379"]);
    etcd.args(["--advertise-client-urls=http://127.0.0.1:2379"]);
    etcd.args(["--listen-peer-urls=http://127.0.0.1:2380"]);
    place.start("etcd", &mut etcd).map(drop)
}

fn start_api_server(place: &Place, pki: &Pki, kubernetes: &Kubernetes) -> Result<()> {
    let address = network::addresses(NUMBER).v4;
    let mut server = place.command(kubernetes.program("kube-apiserver")?);
    server.args(["--etcd-servers=http://127.0.0.1:2379", "--authorization-mode=Node,RBAC"]);
    server.arg(format!("--service-cluster-ip-range={}", network::SERVICE_CIDRS));
    server.arg(format!("--advertise-address={address}"));
    server.arg(format!("--secure-port={}", network::API_PORT));
    server.arg("--enable-admission-plugins=NodeRestriction");
    server.args(["--allow-privileged", "--kubelet-preferred-address-types=InternalIP"]);
    server.arg("--service-account-issuer=https://kubernetes.default");
    for (flag, file) in [
        ("--tls-cert-file", "apiserver.crt"),
        ("--tls-private-key-file", "apiserver.key"),
        ("--client-ca-file", "ca.crt"),
        ("--service-account-key-file", "sa.pub"),
        ("--service-account-signing-key-file", "sa.key"),
        ("--kubelet-client-certificate", "admin.crt"),
        ("--kubelet-client-key", "admin.key"),
    ] {
        server.arg(flag).arg(pki.path(file));
    }
    server.arg("--cert-dir=/run/kubernetes");
    place.start("kube-apiserver", &mut server).map(drop)
}

fn wait_until_ready(place: &Place, admin: &Path, kubernetes: &Kubernetes) -> Result<()> {
    let mut ready = place.command(kubernetes.program("kubectl")?);
    ready.arg("--kubeconfig").arg(admin).args(["get", "--raw", "/readyz"]);
    let what = "the API server is ready";
    let look = || Ok(output(&mut ready).ok());
    crate::wait::eventually(what, PATIENCE, look).map(drop).context("see kube-apiserver's log")
}
