//! Who follows the Nodes: kubenet's agent, or flannel with its backend host-gw.

use std::fs;
use std::path::PathBuf;

use anyhow::Result;

use crate::place::Process;
use crate::program::output;
use crate::solo::{self, Solo};

const CONFIG: &str = r#"{"Network": "10.0.0.0/8", "Backend": {"Type": "host-gw"}}"#;

/// One of them, by its program.
#[derive(Clone, Debug)]
pub(super) enum Contender {
    Kubenet,
    Flannel(PathBuf),
}

impl Contender {
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Kubenet => "kubenet-agent",
            Self::Flannel(_) => "flannel",
        }
    }

    pub(super) fn start(&self, solo: &Solo) -> Result<Process> {
        match self {
            Self::Kubenet => solo.place.start(self.name(), &mut solo.command(&[])),
            Self::Flannel(program) => {
                let config = solo.traces.folder().join("net-conf.json");
                fs::write(&config, CONFIG)?;
                // It ends in a panic where its Node has no annotation yet.
                let annotation = "flannel.alpha.coreos.com/backend-type=host-gw";
                solo.api.kubectl(&["annotate", "node", solo::NAME, "--overwrite", annotation])?;
                let mut flannel = solo.place.command(program);
                flannel.env("NODE_NAME", solo::NAME);
                flannel.args(["-kube-subnet-mgr", "-iface=eth0", "-kubeconfig-file"]);
                flannel.arg(&solo.api.admin).arg("-net-config-path").arg(config);
                solo.place.start(self.name(), &mut flannel)
            }
        }
    }
}

/// Leaves nothing of an earlier start on the machine.
pub(super) fn forget(solo: &Solo) -> Result<()> {
    let mut cleanup = solo.place.command(&solo.artifacts.agent);
    output(cleanup.args(["cleanup", "--force"]).arg("--plugin").arg(&solo.artifacts.plugin))?;
    for routes in [["proto", "boot"], ["proto", "107"]] {
        // Flannel leaves its own; the machine's are the kernel's.
        solo.place.output(&[&["ip", "route", "flush"][..], &routes].concat())?;
    }
    let state = solo.place.path("/run/kubenet");
    if state.exists() {
        fs::remove_dir_all(state)?;
    }
    Ok(())
}
