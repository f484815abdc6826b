//! Pure: what a container runtime finds of somebody else: the configuration that it takes, and whether
//! the plugins that it names are there.
//!
//! The folder is read as libcni does (`ConfFiles` in libcni/api.go): by name, and the first that makes
//! sense counts. One whose plugins are missing is not passed over, because the runtime takes it.

use std::collections::BTreeSet;

use common::names;
use serde_json::Value;

use crate::unready::Unready;

/// The runtime's folders.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Others {
    /// The folder of configurations.
    pub conf: String,
    /// Its files, by name.
    pub files: Vec<ConfigFile>,
    /// The folders of plugins, with commas.
    pub bins: String,
    /// Programs in them.
    pub programs: BTreeSet<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigFile {
    pub name: String,
    pub text: String,
}

/// Why a runtime takes no notice of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Senseless {
    #[error("its name ends neither in .conf, .conflist nor .json")]
    Extension,
    #[error("it is no JSON")]
    NoJson,
    #[error("it names no plugin")]
    NoPlugin,
    #[error("a plugin in it has no type")]
    NoType,
}

impl Others {
    /// # Errors
    /// What keeps pods from starting.
    pub fn check(&self) -> Result<(), Unready> {
        let first = self.files.iter().find_map(|file| {
            plugins(&file.name, &file.text).ok().map(|plugins| (&file.name, plugins))
        });
        let Some((config, plugins)) = first else {
            return Err(Unready::NoConfig(self.conf.clone()));
        };
        let missing = plugins.into_iter().filter(|plugin| !self.programs.contains(plugin));
        let missing = missing.collect::<BTreeSet<_>>();
        if missing.is_empty() {
            return Ok(());
        }
        Err(Unready::PluginsMissing {
            config: format!("{}/{config}", self.conf),
            plugins: missing.into_iter().collect::<Vec<_>>().join(", "),
            folders: self.bins.clone(),
        })
    }

    /// Files that look like configurations and are none, with what is wrong.
    pub fn skipped(&self) -> impl Iterator<Item = String> {
        self.files.iter().filter_map(|ConfigFile { name, text }| match plugins(name, text) {
            Ok(_) | Err(Senseless::Extension) => None,
            Err(why) => Some(format!("{}/{name} is no network configuration: {why}", self.conf)),
        })
    }
}

/// Whether the configuration is that of Multus, and our network is the one that it gives every pod.
pub fn delegates_to_ours(text: &str) -> bool {
    let Ok(config) = serde_json::from_str::<Value>(text) else { return false };
    let delegates = config["delegates"].as_array().into_iter().flatten();
    let mut delegates = delegates.map(|delegate| &delegate["name"]);
    let network = config["clusterNetwork"].as_str().unwrap_or_default();
    let file = network.rsplit('/').next().unwrap_or_default();
    matches!(config["type"].as_str(), Some("multus" | "multus-shim"))
        && (delegates.any(|name| *name == names::PLUGIN)
            || file == names::PLUGIN
            || file == names::CONFLIST)
}

/// The plugins that the file `name` with this `text` names, for interfaces and for addresses.
pub fn plugins(name: &str, text: &str) -> Result<Vec<String>, Senseless> {
    let Some((_, extension @ ("conf" | "conflist" | "json"))) = name.rsplit_once('.') else {
        return Err(Senseless::Extension);
    };
    let config = serde_json::from_str::<Value>(text).map_err(|_| Senseless::NoJson)?;
    let plugins = match extension {
        "conflist" => config["plugins"].as_array().cloned().unwrap_or_default(),
        _ => vec![config],
    };
    if plugins.is_empty() {
        return Err(Senseless::NoPlugin);
    }
    let mut names = Vec::new();
    for plugin in &plugins {
        names.push(plugin["type"].as_str().ok_or(Senseless::NoType)?.to_owned());
        names.extend(plugin["ipam"]["type"].as_str().map(str::to_owned));
    }
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIST: &str =
        r#"{"name": "n", "plugins": [{"type": "bridge", "ipam": {"type": "host-local"}}]}"#;
    const SINGLE: &str = r#"{"name": "n", "type": "macvlan"}"#;

    fn others(files: &[(&str, &str)], programs: &[&str]) -> Others {
        let file =
            |&(name, text): &(&str, &str)| ConfigFile { name: name.into(), text: text.into() };
        Others {
            conf: "/etc/cni/net.d".into(),
            files: files.iter().map(file).collect(),
            bins: "/opt/cni/bin, /usr/lib/cni".into(),
            programs: programs.iter().map(|&name| name.to_owned()).collect(),
        }
    }

    #[track_caller]
    fn check(files: &[(&str, &str)], programs: &[&str], expected: &str) {
        let checked = others(files, programs).check();
        assert_eq!(checked.err().map(|e| e.to_string()).unwrap_or_default(), expected);
    }

    #[test]
    fn the_first_config_counts_and_needs_its_plugins() {
        let all = ["bridge", "host-local", "macvlan"];
        check(&[("10-a.conflist", LIST)], &all, "");
        check(&[("10-a.conf", SINGLE)], &all, "");
        check(&[("10-a.json", SINGLE), ("20-b.conflist", LIST)], &["macvlan"], "");
        check(
            &[("10-a.conflist", LIST), ("20-b.conf", SINGLE)],
            &["macvlan"],
            "/etc/cni/net.d/10-a.conflist names plugins that are in none of /opt/cni/bin, \
             /usr/lib/cni: bridge, host-local",
        );
    }

    #[test]
    fn without_a_config_no_pod_starts() {
        let none = "no network configuration in /etc/cni/net.d: install the pod network whose plugins \
                    --network-plugin=cni waits for";
        check(&[], &["bridge"], none);
        check(&[("10-a.conflist.bak", LIST)], &["bridge", "host-local"], none);
        check(&[("10-a.conflist", "{}")], &[], none);
    }

    #[test]
    fn a_config_that_makes_no_sense_is_passed_over_and_named() {
        let files = [
            ("00-half.conf", "{\"type"),
            ("01-none.conflist", r#"{"plugins": []}"#),
            ("02-list.conf", LIST),
            ("03-readme.txt", ""),
            ("10-a.conf", SINGLE),
        ];
        check(&files, &["macvlan"], "");
        let skipped = others(&files, &[]).skipped().collect::<Vec<_>>();
        let expected = [
            "00-half.conf is no network configuration: it is no JSON",
            "01-none.conflist is no network configuration: it names no plugin",
            "02-list.conf is no network configuration: a plugin in it has no type",
        ];
        assert_eq!(skipped, expected.map(|text| format!("/etc/cni/net.d/{text}")));
    }
}
