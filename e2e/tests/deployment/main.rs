//! kubenet as its users install it, on a lab that begins without any network: image, chart, Helm.
//!
//! See [`e2e::claims`]; each claim begins without a release.

mod install;
mod manifests;
mod removal;
mod render;
mod static_pod;
mod upgrade;

#[path = "../chart/cases.rs"]
#[expect(
    dead_code,
    reason = "what a case wants of the text is looked at where it is rendered alone"
)]
mod cases;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result};
use e2e::api_server;
use e2e::artifacts::source;
use e2e::claims::{self, Claim};
use e2e::footprint::{self, Footprint};
use e2e::helm::{self, Helm, REPOSITORY};
use e2e::lab::Lab;
use e2e::machine::Machine;
use e2e::place::Process;
use e2e::runtime::Containerd;
use e2e::traces::Traces;
use nix::sys::signal::Signal;
use serde_json::{Value, json};

/// What all claims call their release.
const RELEASE: &str = "kubenet";

/// The label of all that the chart makes.
const PART_OF: &str = "app.kubernetes.io/part-of=kubenet";

const PATIENCE: Duration = Duration::from_mins(1);

/// The lab, and what is installed on it.
struct World {
    lab: Lab,
    helm: Helm,
    /// An archive of the new image.
    image: PathBuf,
    /// The lab before anything was installed.
    clean: Footprint,
    /// One kube-proxy on each machine, once Services are wanted.
    proxies: Vec<Process>,
}

const CLAIMS: &[Claim<World>] = &[
    ("the_api_server_takes_all_that_the_chart_makes", render::dry_run),
    ("helm_install_alone_makes_every_node_ready_without_kube_proxy", install::alone),
    ("one_machine_has_room_for_one_controller", install::on_one_machine),
    ("uninstalling_leaves_nothing_on_machines_and_in_the_api", removal::without_a_trace),
    ("helm_test_passes", install::helm_test),
    (
        "uninstalling_names_a_machine_that_says_nothing_and_goes_on",
        removal::beside_a_silent_machine,
    ),
    (
        "uninstalling_keeps_what_living_pods_need_and_names_them_unless_it_is_forced",
        removal::beside_living_pods,
    ),
    ("kubectl_apply_installs_checks_and_removes", manifests::applied),
    (
        "kubectl_apply_with_a_cluster_cidr_installs_checks_and_removes",
        manifests::with_a_cluster_cidr,
    ),
    ("static_pods_install_and_remove_without_an_api_server", static_pod::there_and_back),
    ("an_upgrade_and_the_way_back_lose_no_connection_and_no_datagram", upgrade::there_and_back),
];

fn main() -> ExitCode {
    claims::prove(CLAIMS, World::open)
}

impl World {
    fn open(traces: &Traces) -> Result<Self> {
        let helm = Helm::find(traces)?;
        let images = helm::images(traces)?;
        let [_, image] = images.clone();
        let lab = Lab::bare(traces, [Containerd::Installed, Containerd::Built])?;
        for machine in &lab.machines {
            images.iter().try_for_each(|image| machine.import(image))?;
        }
        // What the lab gives processes would stand in a release's way.
        let rights = source().join("e2e/manifests/rbac.yaml").display().to_string();
        lab.control_plane.api.kubectl(&["delete", "-f", &rights])?;
        let observer = &lab.control_plane.api.observer;
        observer.wait("all Nodes are there", PATIENCE, |cluster| {
            lab.machines
                .iter()
                .all(|machine| cluster.nodes.contains_key(machine.name()))
                .then_some(())
        })?;
        let clean = Footprint::of(&lab)?;
        Ok(Self { lab, helm, image, clean, proxies: Vec::new() })
    }

    fn helm(&self, arguments: &[&str]) -> Result<String> {
        self.helm.run(&self.lab.control_plane.api, arguments)
    }

    /// `helm install` or `upgrade` of the chart with the image `tag` and these `--set`, to its end.
    fn put(&self, verb: &str, tag: &str, values: &[&str]) -> Result<String> {
        self.put_chart(&source().join("charts/kubenet"), verb, tag, values)
    }

    fn put_chart(&self, chart: &Path, verb: &str, tag: &str, values: &[&str]) -> Result<String> {
        let chart = chart.display().to_string();
        let file = source().join("e2e/manifests/values.yaml").display().to_string();
        let repository = format!("image.repository={REPOSITORY}");
        let (tag, host) =
            (format!("image.tag={tag}"), format!("apiServer.host={}", api_server::host()));
        let mut arguments =
            vec![verb, RELEASE, &chart, "--values", &file, "--wait", "--timeout=1m"];
        let given = [&[&*repository, &*tag, &*host][..], values].concat();
        arguments.extend(given.into_iter().flat_map(|value| ["--set", value]));
        self.helm(&arguments).with_context(|| self.trouble())
    }

    /// What the pods of the release say, for whom a command of helm has failed.
    fn trouble(&self) -> String {
        let say = |arguments: &[&str]| {
            let said = self.lab.control_plane.api.kubectl(arguments);
            said.unwrap_or_else(|error| format!("{error:#}"))
        };
        let pods = ["-n", helm::NAMESPACE, "get", "pods", "-o", "wide", "--selector", PART_OF];
        let logs = ["-n", helm::NAMESPACE, "logs", "--tail=15", "--prefix", "--selector", PART_OF];
        let (pods, logs) = (say(&pods), say(&logs));
        format!("{pods}\n{logs}")
    }

    /// Takes away what a claim has installed, however far it came.
    fn without_release(&self) -> Result<()> {
        if self.helm(&["list", "--short"])?.contains(RELEASE) {
            let uninstall = ["uninstall", RELEASE, "--wait", "--timeout=1m"];
            self.helm(&uninstall)
                .or_else(|_| self.helm(&[&uninstall[..], &["--no-hooks"]].concat()))?;
        }
        let applied = ["delete", footprint::KINDS, "--all-namespaces", "--selector", PART_OF];
        self.lab.control_plane.api.kubectl(&applied)?;
        self.lab.machines.iter().try_for_each(|machine| machine.clean_up(&["--force"]).map(drop))
    }

    /// Services work from now on.
    fn with_proxies(&mut self) -> Result<()> {
        if self.proxies.is_empty() {
            let proxies = self.lab.machines.iter().map(Machine::start_proxy);
            self.proxies = proxies.collect::<Result<_>>()?;
        }
        Ok(())
    }

    /// Makes all Nodes anew, without podCIDRs. Their kubelets go on; kube-proxy, which ends when its
    /// Node's podCIDRs change, is started again.
    fn forget_pod_cidrs(&mut self) -> Result<()> {
        for mut proxy in self.proxies.drain(..) {
            if proxy.is_running() {
                proxy.end(Signal::SIGTERM)?;
            }
        }
        for machine in &self.lab.machines {
            let node = self.delete_node(machine.name())?;
            self.lab.control_plane.api.apply(&node)?;
        }
        self.with_proxies()
    }

    /// Deletes a Node; returns it as its kubelet, which registers only when it starts, would make it.
    fn delete_node(&self, name: &str) -> Result<String> {
        let api = &self.lab.control_plane.api;
        let old = api.kubectl(&["get", "node", name, "-o", "json"])?;
        let labels = &serde_json::from_str::<Value>(&old)?["metadata"]["labels"];
        let metadata = json!({"name": name, "labels": labels});
        api.kubectl(&["delete", "node", name])?;
        Ok(json!({"apiVersion": "v1", "kind": "Node", "metadata": metadata}).to_string())
    }
}
