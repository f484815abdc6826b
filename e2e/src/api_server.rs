//! etcd and the API server in one place: all of a cluster that a controller needs.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use kube::ResourceExt;
use parking_lot::Mutex;

use crate::api::Observer;
use crate::artifacts::{self, Artifacts};
use crate::fake;
use crate::host;
use crate::kubernetes::Kubernetes;
use crate::network::{self, Switch};
use crate::pki::Pki;
use crate::place::{Place, Process};
use crate::program::output;
use crate::traces::Traces;

/// Its number on the switch.
pub const NUMBER: u8 = 1;

const PATIENCE: Duration = Duration::from_mins(1);

/// Where etcd has its data: a tmpfs, which ends with the place.
const DATA: &str = "/var/lib/etcd";

/// An API server with what it needs and what talks to it.
#[derive(Debug)]
pub struct ApiServer {
    /// Before the place, so that it lets go of its network first.
    pub observer: Observer,
    pub place: Place,
    pub admin: PathBuf,
    process: Mutex<Process>,
    program: PathBuf,
    arguments: Vec<OsString>,
    kubectl: PathBuf,
    /// Where kubectl keeps what it discovered, instead of the user's home.
    cache: PathBuf,
}

/// A new API server on a switch of its own, and what programs beside it are started from.
pub struct Alone {
    pub api: ApiServer,
    pub artifacts: Artifacts,
    pub kubernetes: Kubernetes,
    pub pki: Pki,
    pub switch: Switch,
}

/// The host of the API server.
pub fn host() -> String {
    network::addresses(NUMBER).v4.to_string()
}

/// The URL of the API server.
pub fn url() -> String {
    format!("https://{}:{}", host(), network::API_PORT)
}

impl Alone {
    /// Builds what there is to build, and starts the API server.
    pub fn start(traces: &Traces) -> Result<Self> {
        host::prepare(traces)?;
        let kubernetes = Kubernetes::find_or_build(traces)?;
        let artifacts = artifacts::build(traces)?;
        let pki = Pki::new(&traces.folder().join("pki"), &url())?;
        let switch = Switch::open(traces, &artifacts.probe)?;
        let api = ApiServer::start(traces, &switch, &pki, &kubernetes, &artifacts.probe)?;
        Ok(Self { api, artifacts, kubernetes, pki, switch })
    }
}

impl ApiServer {
    /// Starts etcd and the API server, gives kubenet's programs their rights, and waits until it is
    /// ready.
    pub fn start(
        traces: &Traces,
        switch: &Switch,
        pki: &Pki,
        kubernetes: &Kubernetes,
        probe: &Path,
    ) -> Result<Self> {
        let place = Place::open(traces, "control-plane", probe)?;
        switch.plug(&place, NUMBER)?;
        let address = network::addresses(NUMBER).v4.to_string();
        let names = [&address, "127.0.0.1", network::KUBERNETES_SERVICE, "kubernetes.default"];
        pki.certificate("apiserver", "kube-apiserver", "", &names)?;
        let admin = pki.kubeconfig("admin", "admin", "system:masters")?;
        start_etcd(&place, kubernetes.program("etcd")?)?;
        let program = kubernetes.program("kube-apiserver")?.to_owned();
        let arguments = arguments(pki);
        let process = start(&place, &program, &arguments)?;
        let kubectl = kubernetes.program("kubectl")?.to_owned();
        wait_until_ready(&place, &admin, &kubectl)?;
        let observer = Observer::start(place.init, &admin)?;
        let cache = traces.folder().join("kubectl-cache");
        let process = Mutex::new(process);
        let this = Self { observer, place, admin, process, program, arguments, kubectl, cache };
        this.apply(include_str!("../manifests/rbac.yaml"))?;
        Ok(this)
    }

    /// Kills it, and starts it again on what etcd has; it is not ready yet.
    pub fn restart(&self) -> Result<()> {
        let mut process = self.process.lock();
        process.kill()?;
        *process = start(&self.place, &self.program, &self.arguments)?;
        Ok(())
    }

    /// Waits until it answers.
    pub fn wait_until_ready(&self) -> Result<()> {
        wait_until_ready(&self.place, &self.admin, &self.kubectl)
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
        // The watch tells of Nodes in their order: whoever has seen the last one has seen all.
        let last = "last-fake";
        self.observer.create_nodes(vec![fake::node(last, &[], &[])])?;
        self.observer.wait("the last Node without a machine is seen", PATIENCE, |cluster| {
            cluster.nodes.contains_key(last).then_some(())
        })?;
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

fn start_etcd(place: &Place, program: &Path) -> Result<()> {
    let mut etcd = place.command(program);
    etcd.arg(format!("--data-dir={DATA}")).args(["--unsafe-no-fsync", "--log-level=warn"]);
    etcd.args(["--listen-client-urls=http://127.0.0.1:2379"]);
    etcd.args(["--advertise-client-urls=http://127.0.0.1:2379"]);
    etcd.args(["--listen-peer-urls=http://127.0.0.1:2380"]);
    place.start("etcd", &mut etcd).map(drop)
}

fn arguments(pki: &Pki) -> Vec<OsString> {
    let address = network::addresses(NUMBER).v4;
    let mut arguments = [
        "--etcd-servers=http://127.0.0.1:2379",
        "--authorization-mode=Node,RBAC",
        &format!("--service-cluster-ip-range={}", network::SERVICE_CIDRS),
        &format!("--advertise-address={address}"),
        &format!("--secure-port={}", network::API_PORT),
        "--enable-admission-plugins=NodeRestriction",
        "--allow-privileged",
        "--kubelet-preferred-address-types=InternalIP",
        "--service-account-issuer=https://kubernetes.default",
        "--cert-dir=/run/kubernetes",
    ]
    .map(OsString::from)
    .to_vec();
    for (flag, file) in [
        ("--tls-cert-file", "apiserver.crt"),
        ("--tls-private-key-file", "apiserver.key"),
        ("--client-ca-file", "ca.crt"),
        ("--service-account-key-file", "sa.pub"),
        ("--service-account-signing-key-file", "sa.key"),
        ("--kubelet-client-certificate", "admin.crt"),
        ("--kubelet-client-key", "admin.key"),
    ] {
        arguments.extend([flag.into(), pki.path(file).into()]);
    }
    arguments
}

fn start(place: &Place, program: &Path, arguments: &[OsString]) -> Result<Process> {
    let mut server = place.command(program);
    place.start("kube-apiserver", server.args(arguments))
}

fn wait_until_ready(place: &Place, admin: &Path, kubectl: &Path) -> Result<()> {
    let mut ready = place.command(kubectl);
    ready.arg("--kubeconfig").arg(admin).args(["get", "--raw", "/readyz"]);
    let what = "the API server is ready";
    let look = || Ok(output(&mut ready).ok());
    crate::wait::eventually(what, PATIENCE, look).map(drop).context("see kube-apiserver's log")
}
