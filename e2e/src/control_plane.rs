//! The API server with controller manager and scheduler, and kubenet's controller beside them.

use std::path::PathBuf;

use anyhow::Result;

use crate::api_server::ApiServer;
use crate::artifacts::Artifacts;
use crate::kubernetes::Kubernetes;
use crate::network::{self, Switch};
use crate::pki::Pki;
use crate::place::Process;
use crate::traces::Traces;

/// A running control plane.
#[derive(Debug)]
pub struct ControlPlane {
    pub api: ApiServer,
    /// None before it is started, and while a scenario has it stopped.
    pub controller: Option<Process>,
    controller_kubeconfig: PathBuf,
    controller_program: PathBuf,
}

impl ControlPlane {
    /// Starts all but kubenet's controller, and waits until the API server is ready.
    pub fn start(
        traces: &Traces,
        switch: &Switch,
        pki: &Pki,
        kubernetes: &Kubernetes,
        artifacts: &Artifacts,
    ) -> Result<Self> {
        let api = ApiServer::start(traces, switch, pki, kubernetes, &artifacts.probe)?;
        let controller_kubeconfig =
            pki.kubeconfig("kubenet-controller", "kubenet-controller", "")?;
        let controller_program = artifacts.controller.clone();
        let this = Self { api, controller: None, controller_kubeconfig, controller_program };
        this.start_controllers(pki, kubernetes)?;
        Ok(this)
    }

    fn start_controllers(&self, pki: &Pki, kubernetes: &Kubernetes) -> Result<()> {
        let place = &self.api.place;
        let user = "system:kube-controller-manager";
        let kubeconfig = pki.kubeconfig("kube-controller-manager", user, "")?;
        let mut manager = place.command(kubernetes.program("kube-controller-manager")?);
        manager.arg("--kubeconfig").arg(kubeconfig);
        // Node IPAM is ours here.
        manager.args(["--allocate-node-cidrs=false", "--leader-elect=false"]);
        // Kubelets renew their Leases each 10 s; by default a silent one is waited for 50 s.
        manager.arg("--node-monitor-grace-period=30s");
        manager.args(["--bind-address=127.0.0.1", "--use-service-account-credentials=true"]);
        manager.arg("--service-account-private-key-file").arg(pki.path("sa.key"));
        manager.arg("--root-ca-file").arg(pki.path("ca.crt"));
        place.start("kube-controller-manager", &mut manager)?;
        let kubeconfig = pki.kubeconfig("kube-scheduler", "system:kube-scheduler", "")?;
        let mut scheduler = place.command(kubernetes.program("kube-scheduler")?);
        scheduler.arg("--kubeconfig").arg(kubeconfig);
        scheduler.args(["--leader-elect=false", "--bind-address=127.0.0.1"]);
        place.start("kube-scheduler", &mut scheduler)?;
        Ok(())
    }

    /// Starts kubenet's controller.
    pub fn start_controller(&mut self) -> Result<()> {
        let mut controller = self.api.place.command(&self.controller_program);
        controller.arg("--kubeconfig").arg(&self.controller_kubeconfig);
        controller.args(["--cluster-cidr", network::CLUSTER_CIDRS]);
        controller.args(["--service-cluster-ip-range", network::SERVICE_CIDRS]);
        self.controller = Some(self.api.place.start("kubenet-controller", &mut controller)?);
        Ok(())
    }
}
