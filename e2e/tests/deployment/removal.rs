//! What is left when the chart is uninstalled.

use std::time::Instant;

use anyhow::{Result, bail, ensure};
use e2e::footprint::Footprint;
use e2e::helm::NEW;
use e2e::say::say;
use e2e::wait::eventually;
use e2e::workload;

use crate::{PART_OF, PATIENCE, RELEASE, World};

/// A pool, which gets our finalizer.
const POOL: &str = "apiVersion: networking.x-k8s.io/v1
kind: ClusterCIDR
metadata: {name: spare}
spec: {perNodeHostBits: 8, ipv4: 10.99.0.0/16}
";

/// The fence leaves claims, a ClusterCIDR has our finalizer, and all that a machine shows is compared.
pub(crate) fn without_a_trace(world: &mut World) -> Result<()> {
    world.without_release()?;
    world.put("install", NEW, &["controller.fence=claims"])?;
    world.lab.wait_for_nodes()?;
    let api = &world.lab.control_plane.api;
    api.apply(POOL)?;
    let finalizers = ["get", "clustercidr/spare", "-o", "jsonpath={.metadata.finalizers}"];
    let claims = ["get", "cidrclaims", "-o", "name"];
    eventually("the controller keeps the pool and claims blocks", PATIENCE, || {
        let kept = api.kubectl(&finalizers)?.contains("finalizer");
        Ok((kept && !api.kubectl(&claims)?.is_empty()).then_some(()))
    })?;
    let start = Instant::now();
    let said = world.helm(&["uninstall", RELEASE, "--wait", "--timeout=2m"])?;
    say(format_args!("  helm uninstall {:.1} s", start.elapsed().as_secs_f64()));
    for machine in &world.lab.machines {
        let line = format!("{}: nothing of kubenet is left", machine.name());
        ensure!(said.contains(&line), "{said}");
    }
    let left = [api.kubectl(&finalizers)?, api.kubectl(&claims)?].concat();
    ensure!(left.is_empty(), "still there: {left}");
    api.kubectl(&["delete", "clustercidr/spare"])?;
    nothing_is_left(world, &world.clean)
}

/// With `before`, what there is now; what ends a moment later is waited for.
pub(crate) fn nothing_is_left(world: &World, before: &Footprint) -> Result<()> {
    let mut difference = Vec::new();
    let same = eventually("nothing is left", PATIENCE, || {
        difference = before.difference(&Footprint::of(&world.lab)?);
        Ok(difference.is_empty().then_some(()))
    });
    same.map_err(|error| error.context(difference.join("\n")))
}

/// Nothing comes from the second machine; when it is heard of again, another installation takes away
/// what the first one left there.
pub(crate) fn beside_a_silent_machine(world: &mut World) -> Result<()> {
    world.without_release()?;
    world.put("install", NEW, &["uninstall.timeout=10"])?;
    world.lab.wait_for_nodes()?;
    let [first, second] = &*world.lab.machines else { bail!("not two machines") };
    let api = &world.lab.control_plane.api;
    let node = format!("node/{}", second.name());
    second.fall_silent()?;
    let known = api.kubectl(&["wait", "--for=condition=Ready=Unknown", &node, "--timeout=90s"]);
    let said = known.and_then(|_| world.helm(&["uninstall", RELEASE, "--wait", "--timeout=1m"]));
    second.speak_again()?;
    let said = said.map_err(|error| error.context(world.trouble()))?;
    let clean = format!("{}: nothing of kubenet is left", first.name());
    let silent = format!("{}: is silent, and was not cleaned up", second.name());
    ensure!(said.contains(&clean) && said.contains(&silent), "{said}");
    eventually("the pods of the silent machine are gone", PATIENCE, || {
        let pods = api.kubectl(&["get", "pods", "-A", "-o", "name", "--selector", PART_OF])?;
        Ok(pods.is_empty().then_some(()))
    })?;
    world.put("install", NEW, &[])?;
    world.helm(&["uninstall", RELEASE, "--wait", "--timeout=1m"])?;
    nothing_is_left(world, &world.clean)
}

/// Two pods on each machine: first they keep cbr0; another installation, for which they are nothing
/// new, goes away with it.
pub(crate) fn beside_living_pods(world: &mut World) -> Result<()> {
    world.without_release()?;
    world.with_proxies()?;
    let cbr0 = |world: &World| {
        let shown =
            |place: &e2e::place::Place| place.output(&["ip", "link", "show", "cbr0"]).is_ok();
        world.lab.machines.iter().filter(|machine| shown(&machine.place)).count()
    };
    for (force, left) in [("uninstall.force=false", 2), ("uninstall.force=true", 0)] {
        world.put("install", NEW, &[force])?;
        world.lab.wait_for_nodes()?;
        let deployed = workload::deploy(&world.lab)?;
        let said = world.helm(&["uninstall", RELEASE, "--wait", "--timeout=2m"])?;
        let is_named = deployed.iter().all(|pods| {
            said.contains(&format!("pod default/{}", pods.web.name))
                && said.contains(&format!("pod default/{}", pods.echo.name))
        });
        ensure!(is_named != (left == 0) && cbr0(world) == left, "{force}: {said}");
    }
    world.lab.control_plane.api.kubectl(&[
        "delete",
        "daemonset,deployment,service",
        "--all",
        "--cascade=foreground",
    ])?;
    Ok(())
}
