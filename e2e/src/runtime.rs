//! Which containerd a machine runs: the one that is installed, or one that is built.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::place::Place;
use crate::program::{command, output};
use crate::traces::Traces;
use crate::{host, image, reference};

/// Where it listens, as on a machine of its own; /run is the machine's.
pub(crate) const SOCKET: &str = "/run/containerd/containerd.sock";

/// Where a machine's containerd comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Containerd {
    /// The host has it: 1.6 on Debian 12.
    Installed,
    /// Of the version in e2e/containerd/go.mod.
    Built,
}

/// A containerd and what comes with it.
#[derive(Clone, Debug)]
pub struct Runtime {
    containerd: PathBuf,
    ctr: PathBuf,
    /// Before the host's own, where its shim is.
    folder: Option<PathBuf>,
}

impl Containerd {
    /// Finds it, or builds it once.
    pub(crate) fn find(self, traces: &Traces) -> Result<Runtime> {
        match self {
            Self::Installed => {
                let find = |name: &str| host::find(name).with_context(|| format!("no {name}"));
                Ok(Runtime { containerd: find("containerd")?, ctr: find("ctr")?, folder: None })
            }
            Self::Built => {
                let folder = reference::containerd(traces)?;
                let (containerd, ctr) = (folder.join("containerd"), folder.join("ctr"));
                Ok(Runtime { containerd, ctr, folder: Some(folder) })
            }
        }
    }
}

impl Runtime {
    /// containerd in `place`, without its configuration.
    pub(crate) fn daemon(&self, place: &Place) -> Command {
        let mut daemon = place.command(&self.containerd);
        if let Some(folder) = &self.folder {
            let path = std::env::var("PATH").unwrap_or_default();
            daemon.env("PATH", format!("{}:{path}", folder.display()));
        }
        daemon
    }

    /// Its client in `place`, for what kubelets see.
    pub(crate) fn client(&self, place: &Place) -> Command {
        let mut client = place.command(&self.ctr);
        client.args(["--address", SOCKET, "--namespace", "k8s.io"]);
        client
    }

    /// containerd 2 renamed its plugins, and reads the old names only in an old file.
    pub(crate) fn config(&self) -> Result<String> {
        let version = output(command(&self.containerd).arg("--version"))?;
        let is_old = version.contains(" 1.") || version.contains(" v1.");
        Ok(if is_old { old_config() } else { new_config() })
    }
}

/// Without `AppArmor`, which would need a profile loaded into the host; without a negative
/// `oom_score_adj`, for which a container that runs the lab may lack `CAP_SYS_RESOURCE`.
fn old_config() -> String {
    let image = image::NAME;
    format!(
        "version = 2
[grpc]
  address = \"{SOCKET}\"
[plugins.'io.containerd.grpc.v1.cri']
  sandbox_image = \"{image}\"
  disable_apparmor = true
  restrict_oom_score_adj = true
"
    )
}

fn new_config() -> String {
    let image = image::NAME;
    format!(
        "version = 3
[grpc]
  address = \"{SOCKET}\"
[plugins.'io.containerd.cri.v1.images'.pinned_images]
  sandbox = \"{image}\"
[plugins.'io.containerd.cri.v1.runtime']
  disable_apparmor = true
  restrict_oom_score_adj = true
"
    )
}

/// What a machine's containerd remembers of its calls of CNI (`cniCacheV1` of libcni), of all pods.
///
/// # Errors
/// If it is not to be read.
pub fn calls(place: &Place) -> Result<Vec<serde_json::Value>> {
    let results = format!("/proc/{}/root/var/lib/cni/results", place.init);
    let mut calls = Vec::new();
    for entry in Path::new(&results).read_dir().with_context(|| results.clone())? {
        // One that has ended meanwhile is gone.
        let Ok(text) = std::fs::read(entry?.path()) else { continue };
        calls.extend(serde_json::from_slice(&text).ok());
    }
    Ok(calls)
}
