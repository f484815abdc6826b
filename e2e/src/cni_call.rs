//! One call of the plugin in a place, as a container runtime makes it, with what the agent wrote.

use std::fs;
use std::path::Path;

use anyhow::Result;
use common::names;
use serde_json::Value;

use crate::place::Place;
use crate::program::converse;

/// `verb` for the pod whose network namespace is /run/netns/`pod`; `asked` is the runtimeConfig.
pub fn call(place: &Place, verb: &str, pod: &str, asked: Option<Value>) -> Result<String> {
    let list = place.path(names::CNI_CONF_DIR).join(names::CONFLIST);
    let list = serde_json::from_slice::<Value>(&fs::read(list)?)?;
    let mut config = list["plugins"][0].clone();
    for key in ["cniVersion", "name"] {
        config[key] = list[key].clone();
    }
    if let Some(asked) = asked {
        config["runtimeConfig"] = asked;
    }
    let mut plugin = place.command(Path::new(names::CNI_BIN_DIR).join(names::PLUGIN));
    plugin.env("CNI_COMMAND", verb).env("CNI_CONTAINERID", pod).env("CNI_IFNAME", "eth0");
    plugin.env("CNI_NETNS", format!("/run/netns/{pod}")).env("CNI_PATH", names::CNI_BIN_DIR);
    converse(&mut plugin, &config.to_string())
}
