//! What reaches the plugin through kubelet and each containerd.

use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use common::attachment::Attachment;
use common::names;
use e2e::api;
use e2e::lab::Lab;
use e2e::machine::Machine;
use e2e::network;
use e2e::runtime::calls;
use e2e::wait::eventually;
use probe::dial::{Protocol, dial};
use serde_json::{Value, json};

use crate::World;

const PATIENCE: Duration = Duration::from_mins(1);

const ONCE: Duration = Duration::from_secs(1);

/// The host port of the manifest's pods.
const HOST_PORT: u16 = 8090;

/// What containerd says of itself, and which version of CNI it chooses.
const RUNTIMES: [(&str, &str); 2] = [("containerd://1.", "1.0.0"), ("containerd://2.1.", "1.1.0")];

/// A pod on each machine has its host port, its limits and its resolver's settings by the capabilities
/// of CNI, and leaves nothing.
pub(crate) fn pods_that_ask(world: &mut World) -> Result<()> {
    let World { lab, .. } = world;
    for (machine, (runtime, cni)) in lab.machines.iter().zip(RUNTIMES) {
        let found = runtime_of(lab, machine);
        let found = found.with_context(|| format!("{} has no runtime", machine.name()))?;
        ensure!(found.starts_with(runtime), "{} has {found}", machine.name());
        ask(lab, machine, cni).with_context(|| found)?;
    }
    Ok(())
}

fn runtime_of(lab: &Lab, machine: &Machine) -> Option<String> {
    lab.control_plane.api.observer.look(|cluster| {
        let node = &cluster.nodes.get(machine.name())?.object;
        Some(node.status.as_ref()?.node_info.as_ref()?.container_runtime_version.clone())
    })
}

fn ask(lab: &Lab, machine: &Machine, cni: &str) -> Result<()> {
    let api = &lab.control_plane.api;
    let name = format!("asking-{}", machine.name());
    api.apply(&include_str!("../../manifests/asking.yaml").replace("MACHINE", machine.name()))?;
    api.observer.wait(&format!("{name} is Ready"), PATIENCE, |cluster| {
        cluster.pods.get(&format!("default/{name}"))?.at(api::READY)
    })?;
    let calls = calls(&machine.place)?;
    // There is one for `lo` as well.
    let is_its = |call: &&Value| {
        call["networkName"] == names::PLUGIN && call["cniArgs"].to_string().contains(&name)
    };
    let call = calls.iter().find(is_its).with_context(|| format!("no call for {name}"))?;
    ensure!(call["result"]["cniVersion"] == cni, "{call:#}");
    let asked = &call["capabilityArgs"];
    let dns = json!({
        "servers": ["10.96.0.10"], "searches": ["kubenet.test"], "options": ["ndots:2"],
    });
    ensure!(in_small_letters(&asked["dns"]) == dns, "{asked:#}");
    let record = record(machine, &name)?.with_context(|| format!("{name} has no record"))?;
    let limits = record.bandwidth;
    let ports = record.host_ports.iter().map(|port| port.host_port).collect::<Vec<_>>();
    ensure!(ports == [HOST_PORT], "{record:?}");
    ensure!(limits.ingress.is_some() && limits.egress.is_some(), "{record:?}");
    for (_, &address) in network::addresses(machine.number).iter() {
        let server = SocketAddr::new(address, HOST_PORT);
        eventually(&format!("{name} answers at {server}"), PATIENCE, || {
            Ok(lab.outside.netns.run(|| dial(Protocol::Tcp, server, ONCE).ok())?)
        })?;
    }
    api.kubectl(&["delete", "pod", &name])?;
    eventually(&format!("{name} leaves nothing"), PATIENCE, || {
        Ok(self::record(machine, &name)?.is_none().then_some(()))
    })
}

/// go-cni writes its fields as Go has them.
fn in_small_letters(dns: &Value) -> Value {
    let fields = dns.as_object().into_iter().flatten();
    fields.map(|(name, value)| (name.to_lowercase(), value.clone())).collect()
}

/// The record of a pod, or its tombstone.
fn record(machine: &Machine, pod: &str) -> Result<Option<Attachment>> {
    for folder in ["attachments", "tombstones"] {
        let init = machine.place.init;
        let folder = PathBuf::from(format!("/proc/{init}/root/run/kubenet/{folder}"));
        for entry in folder.read_dir().with_context(|| folder.display().to_string())? {
            // One that has ended meanwhile is gone.
            let Ok(text) = fs::read(entry?.path()) else { continue };
            let record = serde_json::from_slice::<Attachment>(&text)?;
            if record.pod.as_ref().is_some_and(|its| its.name == pod) {
                return Ok(Some(record));
            }
        }
    }
    Ok(None)
}
