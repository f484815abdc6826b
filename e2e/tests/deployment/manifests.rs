//! The manifests for kubectl, as docs/install.md and docs/uninstall.md have them.

use std::fs;

use anyhow::{Context, Result, ensure};
use e2e::artifacts::source;
use e2e::footprint::Footprint;
use e2e::helm::{NAMESPACE, NEW, REPOSITORY};
use e2e::network;
use e2e::say::say;

use crate::{World, removal};

/// The manifest `name`, with the lab's image and the ranges that its Nodes have already.
fn manifest(world: &World, name: &str) -> Result<String> {
    let text = fs::read_to_string(source().join("manifests").join(name))?;
    let pulled = text.replace("image: kubenet:0.1.0", &format!("image: {REPOSITORY}:{NEW}"));
    ensure!(pulled != text, "{name} names another image");
    let path = world.lab.traces.folder().join(name);
    let cidrs = format!("--cluster-cidr={}", network::CLUSTER_CIDRS);
    let ranged = pulled.replace("--cluster-cidr=10.244.0.0/16", &cidrs);
    fs::write(&path, ranged.replace("imagePullPolicy: IfNotPresent", "imagePullPolicy: Never"))?;
    Ok(path.display().to_string())
}

pub(crate) fn applied(world: &mut World) -> Result<()> {
    world.without_release()?;
    world.with_proxies()?;
    let before = Footprint::of(&world.lab)?;
    let api = &world.lab.control_plane.api;
    let kubectl = |arguments: &[&str]| {
        let all = [&["--namespace", NAMESPACE][..], arguments].concat();
        api.kubectl(&all).with_context(|| world.trouble())
    };
    let [install, check, cleanup] = ["kubenet.yaml", "kubenet-check.yaml", "kubenet-cleanup.yaml"]
        .map(|name| manifest(world, name));
    let (install, check, cleanup) = (install?, check?, cleanup?);
    kubectl(&["apply", "-f", &install])?;
    kubectl(&["rollout", "status", "daemonset/kubenet-agent", "--timeout=60s"])?;
    world.lab.wait_for_nodes()?;
    kubectl(&["apply", "-f", &check])?;
    let succeeded = "--for=jsonpath={.status.phase}=Succeeded";
    kubectl(&["wait", succeeded, "pod/kubenet-check", "--timeout=150s"])?;
    let said = kubectl(&["logs", "pod/kubenet-check"])?;
    say(format_args!("  {}", said.lines().last().unwrap_or_default()));
    kubectl(&["delete", "-f", &check, "--wait"])?;
    kubectl(&["apply", "-f", &cleanup])?;
    kubectl(&["wait", "--for=condition=complete", "job/kubenet-cleanup", "--timeout=90s"])?;
    kubectl(&["delete", "-f", &cleanup, "-f", &install, "--ignore-not-found", "--wait"])?;
    removal::nothing_is_left(world, &before)
}
