//! The manifests for kubectl and for a kubelet, as docs/install.md and docs/uninstall.md have them.

use std::fs;

use anyhow::{Context, Result, ensure};
use e2e::artifacts::source;
use e2e::footprint::Footprint;
use e2e::helm::{NAMESPACE, NEW, REPOSITORY};
use e2e::network;
use e2e::say::say;

use crate::{World, removal};

/// The text of the manifest `name`, with the lab's image.
pub(crate) fn text(name: &str) -> Result<String> {
    let text = fs::read_to_string(source().join("manifests").join(name))?;
    let pulled = text.replace("image: kubenet:0.1.0", &format!("image: {REPOSITORY}:{NEW}"));
    Ok(pulled.replace("imagePullPolicy: IfNotPresent", "imagePullPolicy: Never"))
}

/// A file of the manifest `name` as `change` makes it of its text.
fn file(world: &World, name: &str, change: impl Fn(String) -> String) -> Result<String> {
    let path = world.lab.traces.folder().join(name);
    fs::write(&path, change(text(name)?))?;
    Ok(path.display().to_string())
}

/// With the ranges that the lab's Nodes have already.
pub(crate) fn applied(world: &mut World) -> Result<()> {
    world.without_release()?;
    world.with_proxies()?;
    let cidrs = format!("--cluster-cidr={}", network::CLUSTER_CIDRS);
    let ranged = |text: String| text.replace("--cluster-cidr=10.244.0.0/16", &cidrs);
    let install = file(world, "kubenet.yaml", ranged)?;
    let before = Footprint::of(&world.lab)?;
    there_and_back(world, &install)?;
    removal::nothing_is_left(world, &before)
}

/// On Nodes that have no ranges yet; those of the flags are of one family.
pub(crate) fn with_a_cluster_cidr(world: &mut World) -> Result<()> {
    world.without_release()?;
    world.forget_pod_cidrs()?;
    let same = |text: String| text;
    let crds = file(world, "kubenet-crds.yaml", same)?;
    let install = file(world, "kubenet-clustercidr.yaml", same)?;
    let before = Footprint::of(&world.lab)?;
    let kubectl = |arguments: &[&str]| world.lab.control_plane.api.kubectl(arguments);
    kubectl(&["apply", "-f", &crds])?;
    kubectl(&["wait", "--for=condition=Established", "-f", &crds])?;
    there_and_back(world, &install)?;
    let cidrs = "jsonpath={range .items[*]}{.spec.podCIDRs}{end}";
    let cidrs = kubectl(&["get", "nodes", "-o", cidrs])?;
    let given = cidrs.matches("/24").count() + cidrs.matches("/120").count();
    ensure!(given == 2 * world.lab.machines.len(), "podCIDRs {cidrs}");
    kubectl(&["delete", "-f", &crds])?;
    removal::nothing_is_left(world, &before)?;
    // The next claim's come from its flags.
    world.forget_pod_cidrs()
}

/// The commands of docs/install.md, docs/checks.md and docs/uninstall.md.
fn there_and_back(world: &World, install: &str) -> Result<()> {
    let same = |text: String| text;
    let check = file(world, "kubenet-check.yaml", same)?;
    let cleanup = file(world, "kubenet-cleanup.yaml", same)?;
    let kubectl = |arguments: &[&str]| {
        let all = [&["--namespace", NAMESPACE][..], arguments].concat();
        world.lab.control_plane.api.kubectl(&all).with_context(|| world.trouble())
    };
    kubectl(&["apply", "-f", install])?;
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
    kubectl(&["delete", "-f", &cleanup, "-f", install, "--ignore-not-found", "--wait"])?;
    Ok(())
}
