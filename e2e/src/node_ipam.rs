//! The two programs that can give Nodes their podCIDRs, started side by side with the same flags.

use std::ops::{Deref, DerefMut};
use std::path::{Path, PathBuf};

use anyhow::Result;
use clap::ValueEnum;
use kube::{Client, Config};

use crate::api_server::{Alone, ApiServer};
use crate::artifacts::Artifacts;
use crate::kubernetes::Kubernetes;
use crate::network::Switch;
use crate::pki::Pki;
use crate::place::{Place, Process};
use crate::program::output;
use crate::traces::Traces;

/// Which of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum NodeIpam {
    Kubenet,
    /// kube-controller-manager, with no other of its controllers.
    Kubernetes,
}

/// An API server without Nodes, and the programs to start beside it.
#[derive(Debug)]
pub struct World {
    pub api: ApiServer,
    pub programs: Programs,
    /// What the API server's place is plugged into.
    _switch: Switch,
}

/// A started program; it is killed with this.
#[derive(Debug)]
pub struct Running(Process);

/// Where the programs and their kubeconfigs are.
#[derive(Clone, Debug)]
pub struct Programs {
    kubenet: PathBuf,
    kubernetes: PathBuf,
    /// With the rights that the chart gives.
    pub kubeconfig: PathBuf,
    admin: PathBuf,
}

impl World {
    pub fn new(traces: &Traces) -> Result<Self> {
        let Alone { api, artifacts, kubernetes, pki, switch } = Alone::start(traces)?;
        let programs = Programs::find(&artifacts, &kubernetes, &pki, &api)?;
        Ok(Self { api, programs, _switch: switch })
    }

    /// Starts one of the programs with `flags`, which are the same for both.
    pub fn start(&self, which: NodeIpam, flags: &[&str]) -> Result<Running> {
        let flags = flags.iter().map(|flag| (*flag).to_owned()).collect::<Vec<_>>();
        self.programs.start(which, &self.api.place, &flags)
    }
}

impl Deref for Running {
    type Target = Process;

    fn deref(&self) -> &Process {
        &self.0
    }
}

impl DerefMut for Running {
    fn deref_mut(&mut self) -> &mut Process {
        &mut self.0
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if self.0.is_running() {
            // Whoever comes next says so if it did not end.
            let _ = self.0.kill();
        }
    }
}

impl Programs {
    /// Writes a kubeconfig for kubenet's; kube-controller-manager is an admin.
    fn find(
        artifacts: &Artifacts,
        kubernetes: &Kubernetes,
        pki: &Pki,
        api: &ApiServer,
    ) -> Result<Self> {
        Ok(Self {
            kubenet: artifacts.controller.clone(),
            kubernetes: kubernetes.program("kube-controller-manager")?.to_owned(),
            kubeconfig: pki.kubeconfig("kubenet-controller", "kubenet-controller", "")?,
            admin: api.admin.clone(),
        })
    }

    /// The same, where kubenet's asks the API server by `kubeconfig`.
    #[must_use]
    pub fn with_kubeconfig(&self, kubeconfig: &Path) -> Self {
        Self { kubeconfig: kubeconfig.to_owned(), ..self.clone() }
    }

    /// What kubenet's prints until its end.
    pub fn output(&self, place: &Place, flags: &[&str]) -> Result<String> {
        let mut command = place.command(&self.kubenet);
        output(command.arg("--kubeconfig").arg(&self.kubeconfig).args(flags))
    }

    /// Starts one of them in `place` with `flags`, which are the same for both.
    pub fn start(&self, which: NodeIpam, place: &Place, flags: &[String]) -> Result<Running> {
        let (name, mut command) = match which {
            NodeIpam::Kubenet => {
                let mut command = place.command(&self.kubenet);
                command.arg("--kubeconfig").arg(&self.kubeconfig);
                ("kubenet-controller", command)
            }
            NodeIpam::Kubernetes => {
                let mut command = place.command(&self.kubernetes);
                command.arg("--kubeconfig").arg(&self.admin);
                command.args(["--controllers=node-ipam-controller", "--bind-address=127.0.0.1"]);
                command.arg("--authorization-always-allow-paths=/metrics");
                ("kube-controller-manager", command)
            }
        };
        command.args(["--allocate-node-cidrs=true", "--leader-elect=false"]);
        place.start(name, command.args(flags)).map(Running)
    }
}

impl NodeIpam {
    /// A client of its HTTP server, for /metrics; to be made in its network.
    pub fn client(self) -> Result<Client> {
        let url = match self {
            Self::Kubenet => format!("http://127.0.0.1:{}", common::names::CONTROLLER_PORT),
            Self::Kubernetes => "https://127.0.0.1:10257".to_owned(),
        };
        let mut config = Config::new(url.parse()?);
        // It has made its certificate itself.
        config.accept_invalid_certs = true;
        Ok(Client::try_from(config)?)
    }

    /// What it is called.
    pub fn name(self) -> &'static str {
        match self {
            Self::Kubenet => "kubenet-controller",
            Self::Kubernetes => "kube-controller-manager",
        }
    }
}

/// The value of the metric `name` with the label `label`, as in `clusterCIDR="10.0.0.0/8"`, in what
/// /metrics answers.
pub fn metric(text: &str, name: &str, label: &str) -> Option<f64> {
    let lines = text.lines().filter_map(|line| line.strip_prefix(name)?.strip_prefix('{'));
    let value = lines.filter_map(|line| line.split_once("} "));
    let (_, value) = value.into_iter().find(|(labels, _)| labels.contains(label))?;
    value.split(' ').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_metric_is_found_by_its_name_and_label() {
        let text = "# TYPE a gauge\na_b{x=\"1\"} 5\na{x=\"1\",y=\"2\"} 0.25\na{x=\"2\"} 7\n";
        assert_eq!(metric(text, "a", "x=\"1\""), Some(0.25));
        assert_eq!(metric(text, "a", "x=\"2\""), Some(7.0));
        assert_eq!(metric(text, "b", "x=\"2\""), None);
    }
}
