//! An installation, and whether it works.

use anyhow::{Context, Result, ensure};
use e2e::api;
use e2e::helm::NEW;
use e2e::say::say;

use crate::{PART_OF, RELEASE, World};

/// Nodes have no podCIDRs, there is no kube-proxy, and nothing was prepared.
pub(crate) fn alone(world: &mut World) -> Result<()> {
    world.without_release()?;
    let observer = &world.lab.control_plane.api.observer;
    let ready = observer.look(|cluster| {
        cluster.nodes.values().filter(|node| node.at(api::READY).is_some()).count()
    });
    ensure!(world.proxies.is_empty() && ready == 0, "{ready} Nodes were Ready before");
    let start = std::time::Instant::now();
    world.put("install", NEW, &[])?;
    let waited = start.elapsed();
    world.lab.wait_for_nodes()?;
    let (waited, all) = (waited.as_secs_f64(), start.elapsed().as_secs_f64());
    say(format_args!("  helm install --wait {waited:.1} s, every Node Ready after {all:.1} s"));
    Ok(())
}

/// The second machine's Node is not there; Helm waits for all that there is to be.
pub(crate) fn on_one_machine(world: &mut World) -> Result<()> {
    world.without_release()?;
    let second = world.lab.machines.get(1).context("no second machine")?.name();
    let node = world.delete_node(second)?;
    let installed = world.put("install", NEW, &["controller.replicas=1"]);
    let api = &world.lab.control_plane.api;
    let pods = api.kubectl(&["get", "pods", "-A", "-o", "name", "--selector", PART_OF]);
    api.apply(&node)?;
    installed?;
    let pods = pods?;
    let count = |program: &str| pods.matches(&format!("/kubenet-{program}-")).count();
    ensure!([count("controller"), count("agent")] == [1, 1], "{pods}");
    Ok(())
}

/// What a user asks who wants to know whether pods reach what they should.
pub(crate) fn helm_test(world: &mut World) -> Result<()> {
    world.without_release()?;
    world.with_proxies()?;
    world.put("install", NEW, &[])?;
    let said = world.helm(&["test", RELEASE, "--logs", "--timeout=2m"]);
    let said = said.map_err(|error| error.context(world.trouble()))?;
    let verdict = said.lines().rfind(|line| line.contains("reached"));
    say(format_args!("  {}", verdict.unwrap_or_default()));
    ensure!(said.contains("Phase:          Succeeded") && verdict.is_some(), "{said}");
    Ok(())
}
