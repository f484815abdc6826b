//! kubenet as its users install it: its image, and Helm.

use std::path::PathBuf;

use anyhow::Result;

use crate::api_server::ApiServer;
use crate::artifacts;
use crate::kubernetes;
use crate::program::{command, run, words};
use crate::traces::Traces;

/// Where the chart's objects go.
pub const NAMESPACE: &str = "kube-system";

/// The name of the image, without its tag.
pub const REPOSITORY: &str = "kubenet.test/kubenet";

/// Tags of the two images.
pub const NEW: &str = "new";
pub const OLD: &str = "old";

/// The commit whose programs are the old image: before host ports on 127.0.0.1, rates that count no
/// link headers, the fence.
pub const OLD_COMMIT: &str = "93a6f15";

/// Archives of both images.
pub fn images(traces: &Traces) -> Result<[PathBuf; 2]> {
    Ok([image(traces, OLD, OLD_COMMIT)?, image(traces, NEW, "")?])
}

/// Builds the image of the programs as they were at the commit `tree`, or as they are where it is
/// empty; returns an archive that `ctr images import` takes.
///
/// The Dockerfile is today's, and cargo optimizes little: what is shown is how it is deployed.
fn image(traces: &Traces, tag: &str, tree: &str) -> Result<PathBuf> {
    let folder = artifacts::target().join("image");
    let archive = folder.join(format!("{tag}.tar"));
    let mut build = command(artifacts::source().join("e2e/kind/image.sh"));
    build.env("W", &folder).env("OUT", &archive).env("IMAGE", format!("{REPOSITORY}:{tag}"));
    build.env("TREE", tree).env("QUICK", "1").env_remove("OCI");
    run(traces, &format!("image {tag} by the Dockerfile"), &format!("image-{tag}"), &mut build)?;
    Ok(archive)
}

/// Helm, of the version that we pin.
#[derive(Clone, Debug)]
pub struct Helm {
    program: PathBuf,
    /// Instead of the user's home.
    home: PathBuf,
}

impl Helm {
    /// Finds it, or builds it once.
    pub fn find(traces: &Traces) -> Result<Self> {
        let home = traces.folder().join("helm");
        Ok(Self { program: kubernetes::tool(traces, "helm")?, home })
    }

    /// What it says in the cluster of `api`, the logs of hooks included.
    ///
    /// # Errors
    /// What it says to stderr, if it fails.
    pub fn run(&self, api: &ApiServer, arguments: &[&str]) -> Result<String> {
        let mut helm = api.place.command(&self.program);
        helm.env("HOME", &self.home).env("HELM_NO_PLUGINS", "1");
        helm.arg("--kubeconfig").arg(&api.admin).args(["--namespace", NAMESPACE]);
        words(helm.args(arguments))
    }
}
