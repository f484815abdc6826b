//! The reference plugins as a machine's pod network: bridge and host-local, with portmap for host ports.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};
use common::names;
use serde_json::{Value, json};

use crate::lab::Lab;
use crate::place::Place;
use crate::reference;
use crate::traces::Traces;
use crate::wait::eventually;

/// What the chain is made of; `loopback` is for containerd, which wants it for every pod.
pub const PLUGINS: [&str; 4] = ["main/bridge", "main/loopback", "ipam/host-local", "meta/portmap"];

const PATIENCE: Duration = Duration::from_secs(10);

/// Brings the plugins to the machine whose place it is.
pub fn install(traces: &Traces, place: &Place) -> Result<()> {
    let plugins = reference::plugins(traces, &PLUGINS)?;
    let bin = place.path(names::CNI_BIN_DIR);
    for plugin in programs() {
        // Not into a file that may be running.
        let new = bin.join(format!("{plugin}.new"));
        fs::copy(plugins.join(plugin), &new)?;
        fs::rename(new, bin.join(plugin))?;
    }
    Ok(())
}

/// Takes away what they are and what they left, bridges apart, beside an agent in mode kubenet.
pub fn remove(place: &Place) -> Result<()> {
    for entry in place.path(names::CNI_CONF_DIR).read_dir()? {
        let entry = entry?;
        if entry.file_name() != names::CONFLIST {
            fs::remove_file(entry.path())?;
        }
    }
    let bin = place.path(names::CNI_BIN_DIR);
    programs().try_for_each(|plugin| fs::remove_file(bin.join(plugin)))?;
    // The agent brings its own.
    eventually("there is a loopback plugin", PATIENCE, || {
        Ok(bin.join(names::LOOPBACK_PLUGIN).exists().then_some(()))
    })?;
    let leases = place.path("/var/lib/cni/networks");
    if leases.exists() {
        fs::remove_dir_all(leases)?;
    }
    // Of portmap.
    let tables =
        ["ip nat", "ip6 nat"].map(|table| format!("table {table}\ndelete table {table}\n"));
    place.feed(&["nft", "-f", "-"], &tables.concat())
}

fn programs() -> impl Iterator<Item = &'static str> {
    PLUGINS.iter().filter_map(|plugin| plugin.rsplit('/').next())
}

/// The plugin that attaches pods to the bridge of that name, with addresses of these podCIDRs.
pub fn bridge(name: &str, cidrs: &[String]) -> Value {
    let ranges = cidrs.iter().map(|cidr| json!([{ "subnet": cidr }])).collect::<Value>();
    let routes = json!([{ "dst": "0.0.0.0/0" }, { "dst": "::/0" }]);
    json!({
        "type": "bridge", "bridge": name, "isGateway": true, "hairpinMode": true,
        "ipam": { "type": "host-local", "ranges": ranges, "routes": routes },
    })
}

/// The whole chain, as a .conflist has it.
pub fn conflist(bridge: &Value) -> Value {
    let portmap = json!({ "type": "portmap", "capabilities": { "portMappings": true } });
    json!({ "cniVersion": "1.0.0", "name": "reference", "plugins": [bridge, portmap] })
}

/// The first plugin alone, as a .conf or .json has it.
pub fn conf(bridge: &Value) -> Value {
    let mut conf = bridge.clone();
    conf["cniVersion"] = "1.0.0".into();
    conf["name"] = "reference".into();
    conf
}

/// The file of that name in the machine's folder of configurations.
pub fn file(place: &Place, name: &str) -> PathBuf {
    place.path(names::CNI_CONF_DIR).join(name)
}

/// The podCIDRs of the Node of that name.
pub fn pod_cidrs(lab: &Lab, node: &str) -> Result<Vec<String>> {
    let cidrs = lab.control_plane.api.observer.look(|cluster| {
        let node = &cluster.nodes.get(node)?.object;
        node.spec.as_ref()?.pod_cidrs.clone()
    });
    cidrs.with_context(|| format!("{node} has no podCIDRs"))
}
