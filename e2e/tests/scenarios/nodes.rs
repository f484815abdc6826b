//! Who gets which podCIDR, and which routes follow.

use std::collections::BTreeSet;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use e2e::api::{self, Cluster};
use e2e::fake;
use e2e::lab::Lab;
use e2e::network;
use e2e::wait::eventually;
use k8s_openapi::api::core::v1::Node;
use nix::sys::signal::Signal;

use crate::World;

const PATIENCE: Duration = Duration::from_secs(30);

/// Number on the switch of a Node that is none.
const NOBODY: u8 = 50;

/// Blocks in each cluster CIDR: /24 of /16, and /64 of /56.
const BLOCKS: usize = 256;

pub(crate) fn foreign_pod_cidrs(world: &mut World) -> Result<()> {
    let lab = &world.lab;
    let observer = &lab.control_plane.api.observer;
    let within = ["10.244.2.0/24", "fd00:10:244:2::/64"];
    let outside = ["10.99.0.0/24"];
    observer.create_nodes(vec![nobody("within", &within), fake::node("outside", &[], &outside)])?;
    wait_for_routes(lab, &within, Routes::There)?;
    let names = (0..10).map(|number| format!("later-{number}")).collect::<Vec<_>>();
    observer.create_nodes(names.iter().map(|name| fake::node(name, &[], &[])).collect())?;
    let given = pod_cidrs_of(lab, &names)?;
    for cidr in within.iter().chain(&outside) {
        ensure!(!given.iter().flatten().any(|g| g == cidr), "{cidr} was given to somebody else");
    }
    ensure!(pod_cidrs_of(lab, &["within".to_owned()])? == [within], "a podCIDR was changed");
    wait_for_event(lab, "outside", "CIDROutOfRange")?;
    lab.control_plane.api.delete_fakes()?;
    wait_for_routes(lab, &within, Routes::Gone)
}

pub(crate) fn deleted(world: &mut World) -> Result<()> {
    let lab = &world.lab;
    let observer = &lab.control_plane.api.observer;
    observer.create_nodes(vec![nobody("short-lived", &[])])?;
    let freed = pod_cidrs_of(lab, &["short-lived".to_owned()])?.concat();
    wait_for_routes(lab, &freed, Routes::There)?;
    lab.control_plane.api.kubectl(&["delete", "node", "short-lived"])?;
    wait_for_routes(lab, &freed, Routes::Gone)?;
    // With all others given, its block must be among those that were given again.
    let names = (0..BLOCKS - lab.machines.len()).map(|number| format!("filler-{number}"));
    let names = names.collect::<Vec<_>>();
    observer.create_nodes(names.iter().map(|name| fake::node(name, &[], &[])).collect())?;
    let given = pod_cidrs_of(lab, &names)?.concat();
    let given_again = freed.iter().all(|cidr| given.contains(cidr));
    ensure!(given_again, "{freed:?} of a deleted Node were given to nobody");
    no_cidr_twice(lab)?;
    // Now none is left: the next Node gets what the next deleted one had.
    observer.create_nodes(vec![fake::node("waiting", &[], &[])])?;
    let last = pod_cidrs_of(lab, &names[..1])?.concat();
    wait_for_event(lab, "waiting", "CIDRNotAvailable")?;
    let waiting = observer.look(|cluster| assigned(cluster, &["waiting".to_owned()]) == 0);
    ensure!(waiting, "a Node got podCIDRs where none was left");
    lab.control_plane.api.kubectl(&["delete", "node", &names[0]])?;
    let waited = pod_cidrs_of(lab, &["waiting".to_owned()])?.concat();
    ensure!(waited == last, "the waiting Node got {waited:?}, not {last:?}");
    lab.control_plane.api.delete_fakes()
}

pub(crate) fn controller_killed(world: &mut World) -> Result<()> {
    let control_plane = &mut world.lab.control_plane;
    let names = (0..200).map(|number| format!("burst-{number}")).collect::<Vec<_>>();
    let nodes = names.iter().map(|name| fake::node(name, &[], &[])).collect::<Vec<_>>();
    let controller = control_plane.controller.take().context("no controller runs")?;
    let observer = &control_plane.api.observer;
    thread::scope(|scope| {
        let creation = scope.spawn(|| observer.create_nodes(nodes));
        observer.wait("a third of the Nodes have podCIDRs", PATIENCE, |cluster| {
            (assigned(cluster, &names) > names.len() / 3).then_some(())
        })?;
        controller.end(Signal::SIGKILL)?;
        creation.join().ok().context("creating Nodes panicked")?
    })?;
    let before = observer.look(|cluster| assigned(cluster, &names));
    ensure!(before < names.len(), "the controller was done before it was killed");
    control_plane.start_controller()?;
    pod_cidrs_of(&world.lab, &names)?;
    no_cidr_twice(&world.lab)?;
    world.lab.control_plane.api.delete_fakes()
}

/// A Node at an address on the link where nobody is.
fn nobody(name: &str, pod_cidrs: &[&str]) -> Node {
    let addresses = network::addresses(NOBODY);
    fake::node(name, &[addresses.v4, addresses.v6], pod_cidrs)
}

/// Waits until an Event of this `reason` is about `node`.
fn wait_for_event(lab: &Lab, node: &str, reason: &str) -> Result<()> {
    let about = format!("involvedObject.name={node}");
    eventually(&format!("an Event says {reason} of {node}"), PATIENCE, || {
        let events =
            lab.control_plane.api.kubectl(&["get", "events", "--field-selector", &about])?;
        Ok(events.contains(reason).then_some(()))
    })
}

fn assigned(cluster: &Cluster, names: &[String]) -> usize {
    let assigned = |name: &&String| {
        cluster.nodes.get(*name).is_some_and(|node| node.at(api::POD_CIDRS).is_some())
    };
    names.iter().filter(assigned).count()
}

/// Waits until each of the Nodes has podCIDRs, and returns them.
fn pod_cidrs_of(lab: &Lab, names: &[String]) -> Result<Vec<Vec<String>>> {
    lab.control_plane.api.observer.wait("Nodes have podCIDRs", PATIENCE, |cluster| {
        let find = |name| cluster.nodes.get(name)?.object.spec.as_ref()?.pod_cidrs.clone();
        names.iter().map(find).collect()
    })
}

fn no_cidr_twice(lab: &Lab) -> Result<()> {
    lab.control_plane.api.observer.look(|cluster| {
        let mut seen = BTreeSet::new();
        let specs = cluster.nodes.values().filter_map(|node| node.object.spec.as_ref());
        for cidr in specs.flat_map(|spec| spec.pod_cidrs.iter().flatten()) {
            ensure!(seen.insert(cidr), "{cidr} was given twice");
        }
        ensure!(seen.len() >= 200, "only {} podCIDRs were seen", seen.len());
        Ok(())
    })
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Routes {
    There,
    Gone,
}

/// Waits until every machine has, or no longer has, our routes to `cidrs`.
fn wait_for_routes<T: AsRef<str>>(lab: &Lab, cidrs: &[T], wanted: Routes) -> Result<()> {
    for machine in &lab.machines {
        for cidr in cidrs.iter().map(AsRef::as_ref) {
            let family = if cidr.contains(':') { "-6" } else { "-4" };
            let show = ["ip", family, "route", "show", cidr, "proto", "107"];
            let state = if wanted == Routes::There { "there" } else { "gone" };
            eventually(&format!("route to {cidr} is {state}"), PATIENCE, || {
                let there = !machine.place.output(&show)?.trim().is_empty();
                Ok((there == (wanted == Routes::There)).then_some(()))
            })?;
        }
    }
    Ok(())
}
