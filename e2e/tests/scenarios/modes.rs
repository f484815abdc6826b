//! Each other mode of the agent with real pods: one machine leaves kubenet for it, and comes back.

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use common::names;
use e2e::checks;
use e2e::lab::Lab;
use e2e::machine::Machine;
use e2e::wait::eventually;
use e2e::{api, chain, report, workload};
use net::sysctl::Sysctl;
use nix::sys::signal::Signal;
use probe::PORT;
use probe::dial::{Protocol, dial};
use serde_json::{Value, json};

use crate::World;

/// The machine that leaves: its containerd asks for STATUS.
const MACHINE: usize = 1;

const PATIENCE: Duration = Duration::from_mins(1);

const ONCE: Duration = Duration::from_secs(1);

/// The bridge of another plugin.
const OTHER_BRIDGE: &str = "cni0";

/// Behind ours, so that ours counts wherever it is.
const CONFLIST: &str = "20-reference.conflist";

/// The old protocol's plugin, which finds its pod's namespace in the environment. Of the two addresses
/// that it gives, `status` says the second.
const PLUGIN: &str = r#"#!/bin/sh
set -e
PATH=/usr/sbin:/usr/bin:/sbin:/bin
echo "$*" >>/run/sdn.calls
case $1 in
init) ;;
setup)
    ip link add exec0 type veth peer name peer0
    ip link set peer0 netns "$CNI_NETNS" name "$CNI_IFNAME"
    nsenter --net="$CNI_NETNS" ip link set "$CNI_IFNAME" up
    nsenter --net="$CNI_NETNS" ip address add 10.20.30.30/24 dev "$CNI_IFNAME"
    nsenter --net="$CNI_NETNS" ip address add 10.20.30.40/24 dev "$CNI_IFNAME"
    ip link set exec0 up
    ip address add 10.20.30.1/24 dev exec0
    ;;
teardown) ip link delete exec0 2>/dev/null || true ;;
status) echo '{"apiVersion":"v1beta1","kind":"PodNetworkStatus","ip":"10.20.30.40"}' ;;
esac
"#;

pub(crate) fn noop(world: &mut World) -> Result<()> {
    let list = chain::conflist(&bridge(&world.lab, OTHER_BRIDGE)?);
    away(world, &[(CONFLIST, &list)], in_noop)
}

fn in_noop(world: &mut World) -> Result<()> {
    let machine = &mut world.lab.machines[MACHINE];
    let bridged = ["iptables", "ip6tables"].map(|name| format!("net/bridge/bridge-nf-call-{name}"));
    let settings = |machine: &Machine| -> Result<Vec<String>> {
        let read = || bridged.iter().map(|key| Ok(Sysctl::default().read(key)?)).collect();
        machine.place.netns.run(read)?
    };
    let write = || bridged.iter().try_for_each(|key| Sysctl::default().write(key, "0").map(drop));
    machine.place.netns.run(write)??;
    start(machine, &["--network-plugin=noop"])?;
    ensure!(settings(machine)? == ["1", "1"], "bridged packets are not shown to kube-proxy");
    renew(world)?;
    at_home(world)
}

pub(crate) fn cni(world: &mut World) -> Result<()> {
    let later = json!({ "cniVersion": "1.0.0", "name": "later", "type": "nowhere" });
    away(world, &[("30-later.conf", &later)], in_cni)
}

fn in_cni(world: &mut World) -> Result<()> {
    let conf = chain::conf(&bridge(&world.lab, OTHER_BRIDGE)?);
    world.lab.machines[MACHINE].start_agent_with(&["--network-plugin=cni"])?;
    for name in ["20-first.conf", "20-first.json"] {
        let machine = &world.lab.machines[MACHINE];
        let first = chain::file(&machine.place, name);
        says(machine, "30-later.conf names plugins that are in none of /opt/cni/bin: nowhere")?;
        fs::write(&first, conf.to_string())?;
        says(machine, "[+]network ok")?;
        renew(world)?;
        at_home(world).with_context(|| name)?;
        fs::remove_file(first)?;
    }
    let machine = &world.lab.machines[MACHINE];
    let ours = chain::file(&machine.place, names::CONFLIST);
    ensure!(!ours.exists(), "{} is written", ours.display());
    Ok(())
}

/// Waits until the agent's readiness says `text`.
fn says(machine: &Machine, text: &str) -> Result<()> {
    eventually(&format!("/readyz says {text:?}"), PATIENCE, || {
        Ok(machine.readiness()?.contains(text).then_some(()))
    })
}

pub(crate) fn exec(world: &mut World) -> Result<()> {
    away(world, &[], in_exec)
}

fn in_exec(world: &mut World) -> Result<()> {
    let machine = &mut world.lab.machines[MACHINE];
    let folder = machine.place.path("/opt/exec/sdn");
    fs::create_dir_all(&folder)?;
    fs::write(folder.join("sdn"), PLUGIN)?;
    fs::set_permissions(folder.join("sdn"), fs::Permissions::from_mode(0o755))?;
    start(machine, &["--network-plugin=exec", "--network-plugin-dir=/opt/exec"])?;
    let api = &world.lab.control_plane.api;
    let machine = &world.lab.machines[MACHINE];
    api.apply(&include_str!("../../manifests/wired.yaml").replace("MACHINE", machine.name()))?;
    let address = api.observer.wait("wired is Ready", PATIENCE, |cluster| {
        let pod = cluster.pods.get("default/wired")?;
        pod.at(api::READY)?;
        pod.object.status.as_ref()?.pod_ip.clone()
    })?;
    ensure!(address == "10.20.30.40", "its address is {address}");
    let server = SocketAddr::new(address.parse()?, PORT);
    let answer = machine.place.netns.run(|| dial(Protocol::Tcp, server, ONCE))??;
    ensure!(answer.name == "wired", "{} answers at {server}", answer.name);
    api.kubectl(&["delete", "pod", "wired"])?;
    let calls = machine.place.path("/run/sdn.calls");
    eventually("teardown is called", PATIENCE, || {
        Ok(fs::read_to_string(&calls)?.contains("\nteardown default wired ").then_some(()))
    })?;
    ensure!(fs::read_to_string(&calls)?.matches("init").count() == 1, "init is called twice");
    fs::remove_file(&calls)?;
    fs::remove_dir_all(machine.place.path("/opt/exec"))?;
    Ok(())
}

pub(crate) fn configure_cbr0(world: &mut World) -> Result<()> {
    let list = chain::conflist(&bridge(&world.lab, names::BRIDGE)?);
    away(world, &[(CONFLIST, &list)], in_cni_with_cbr0)
}

fn in_cni_with_cbr0(world: &mut World) -> Result<()> {
    start(&mut world.lab.machines[MACHINE], &["--network-plugin=cni", "--configure-cbr0"])?;
    renew(world)?;
    report::all_pass(&checks::run(&world.lab, &world.deployed)?)?;
    let kept = world.lab.machines[MACHINE].clean_up(&[]);
    let said = kept.err().map(|error| error.to_string()).unwrap_or_default();
    ensure!(said.contains("of cbr0\n"), "cleanup names no pod of another plugin: {said}");
    at_home(world).context("after a cleanup that kept what pods need")
}

/// The bridge plugin's configuration for that machine.
fn bridge(lab: &Lab, name: &str) -> Result<Value> {
    Ok(chain::bridge(name, &chain::pod_cidrs(lab, lab.machines[MACHINE].name())?))
}

/// Takes kubenet from the machine, where the reference plugins and these configurations are then,
/// and brings it back after `visit`, whatever came of that.
fn away(
    world: &mut World,
    configs: &[(&str, &Value)],
    visit: impl FnOnce(&mut World) -> Result<()>,
) -> Result<()> {
    let World { lab, .. } = world;
    chain::install(&lab.traces, &lab.machines[MACHINE].place)?;
    let machine = &mut lab.machines[MACHINE];
    for (name, config) in configs {
        fs::write(chain::file(&machine.place, name), config.to_string())?;
    }
    leave(machine)?;
    let visited = visit(world);
    let back = back(world).context("kubenet does not come back");
    visited.and(back)
}

/// Ends the agent and takes away what it made, from living pods too.
fn leave(machine: &mut Machine) -> Result<()> {
    machine.agent.take().context("no agent runs")?.end(Signal::SIGTERM)?;
    machine.clean_up(&["--force"]).map(drop)
}

fn agent(machine: &mut Machine) -> Result<&mut e2e::place::Process> {
    machine.agent.as_mut().context("no agent runs")
}

fn start(machine: &mut Machine, flags: &[&str]) -> Result<()> {
    machine.start_agent_with(flags)?;
    agent(machine)?.wait_for_log("network ready")
}

/// Has the machine's pods attached anew.
fn renew(world: &mut World) -> Result<()> {
    world.deployed[MACHINE] = workload::renew(&world.lab, &world.lab.machines[MACHINE])?;
    Ok(())
}

/// The machine's pods reach each other, by kube-proxy too.
fn at_home(world: &World) -> Result<()> {
    report::all_pass(&checks::at_home(&world.lab, &world.deployed, MACHINE))
}

/// Brings kubenet back, and takes away what the reference plugins have left.
fn back(world: &mut World) -> Result<()> {
    let machine = &mut world.lab.machines[MACHINE];
    leave(machine)?;
    // The bridge plugin never takes its bridge away.
    if machine.place.output(&["ip", "-brief", "link"])?.contains(OTHER_BRIDGE) {
        machine.place.ip(&format!("link delete {OTHER_BRIDGE}"))?;
    }
    start(machine, &[])?;
    chain::remove(&machine.place)?;
    renew(world)
}
