//! Pure: what a container runtime finds on this machine: the network configuration and the plugin.
//!
//! The configuration is the last thing to be written, because a runtime that sees it starts pods.

use std::fmt;
use std::path::Path;

use common::conflist::{Capabilities, Conflist, PluginConfig, Range};
use common::names;
use serde_json::Value;

use crate::segment::Segment;
use crate::state;

/// The names by which the plugin is installed. `loopback` first: what equals the plugin that is
/// installed is known to be ours, which can't be seen any more once that is replaced.
pub const PLUGINS: [&str; 2] = [names::LOOPBACK_PLUGIN, names::PLUGIN];

/// A plugin's file in the runtime's folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Installed {
    Missing,
    /// The very program that this agent brings.
    Current,
    /// Of ours, from another version; or by our name, whatever it is.
    Outdated,
    /// Somebody else's, which is left alone.
    Foreign,
}

/// One change for the runtime's eyes; safe to repeat.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    InstallPlugin(&'static str),
    WriteConflist(String),
}

/// The configuration as text.
pub fn render(ranges: &[Range], segment: Segment, state_dir: &Path) -> String {
    let list = Conflist {
        cni_version: "1.0.0".to_owned(),
        cni_versions: ["0.3.1", "0.4.0", "1.0.0", "1.1.0"].map(str::to_owned).to_vec(),
        name: names::PLUGIN.to_owned(),
        plugins: vec![PluginConfig {
            plugin: names::PLUGIN.to_owned(),
            capabilities: Capabilities {
                port_mappings: true,
                bandwidth: true,
                ips: true,
                ip_ranges: true,
                mac: true,
                dns: true,
            },
            bridge: names::BRIDGE.to_owned(),
            mtu: Some(segment.device),
            route_mtu: segment.routes(),
            hairpin: state::HAIRPIN,
            ranges: ranges.to_vec(),
            state_dir: state_dir.display().to_string(),
        }],
    };
    format!("{:#}\n", serde_json::json!(list))
}

/// Plugins that are to be installed.
pub fn plan_plugins(installed: &[(&'static str, Installed)]) -> Vec<Step> {
    let wanted = installed.iter().filter(|(_, installed)| match installed {
        Installed::Missing | Installed::Outdated => true,
        Installed::Current | Installed::Foreign => false,
    });
    wanted.map(|&(name, _)| Step::InstallPlugin(name)).collect()
}

/// The configuration, if it differs.
pub fn plan_conflist(desired: &str, now: Option<&str>) -> Option<Step> {
    (now != Some(desired)).then(|| Step::WriteConflist(desired.to_owned()))
}

/// Whether `now` sends pods to other ranges than `ranges`: it has to go before the bridge changes.
pub fn names_other_ranges(now: Option<&str>, ranges: &[Range]) -> bool {
    let list = now.and_then(|text| serde_json::from_str::<Conflist>(text).ok());
    list.is_some_and(|list| list.plugins.iter().any(|plugin| plugin.ranges != ranges))
}

/// Whether a runtime takes the file `name` with this `text` rather than ours: the first by name that
/// makes sense, as libcni (`ConfFiles` in libcni/api.go) and containerd read the folder.
pub fn takes_precedence(name: &str, text: &str) -> bool {
    let Some((_, extension @ ("conf" | "conflist" | "json"))) = name.rsplit_once('.') else {
        return false;
    };
    let Ok(config) = serde_json::from_str::<Value>(text) else { return false };
    let usable = match extension {
        "conflist" => config["plugins"].as_array().is_some_and(|plugins| !plugins.is_empty()),
        _ => config["type"].is_string(),
    };
    name < names::CONFLIST && usable
}

impl Step {
    /// What is repaired by it, in one word.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::InstallPlugin(_) => "plugin",
            Self::WriteConflist(_) => "conflist",
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::InstallPlugin(name) => write!(f, "install plugin {name}"),
            Self::WriteConflist(_) => write!(f, "write {}", names::CONFLIST),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{golden, range};

    fn rendered(ranges: &[&str]) -> String {
        let ranges = ranges.iter().map(|text| range(text)).collect::<Vec<_>>();
        render(&ranges, Segment::of(1500, []), Path::new("/run/kubenet"))
    }

    #[test]
    fn the_conflist_reads_as_it_should() {
        golden("10-kubenet.conflist", &rendered(&["10.244.1.0/24", "fd00:0:0:1::/64"]));
    }

    #[test]
    fn only_another_conflist_is_written() {
        let text = rendered(&["10.244.1.0/24"]);
        assert_eq!(plan_conflist(&text, Some(&text)), None);
        assert_eq!(plan_conflist(&text, None), Some(Step::WriteConflist(text.clone())));
        assert!(plan_conflist(&text, Some("{}")).is_some());
    }

    #[test]
    fn ranges_that_moved_are_seen() {
        let text = rendered(&["10.244.1.0/24"]);
        assert!(!names_other_ranges(Some(&text), &[range("10.244.1.0/24")]));
        assert!(names_other_ranges(Some(&text), &[range("10.244.2.0/24")]));
        assert!(!names_other_ranges(None, &[range("10.244.2.0/24")]));
        assert!(!names_other_ranges(Some("no JSON"), &[range("10.244.2.0/24")]));
    }

    #[test]
    fn the_first_config_by_name_that_makes_sense_is_the_runtimes() {
        let list = r#"{"name": "n", "plugins": [{"type": "bridge"}]}"#;
        let single = r#"{"name": "n", "type": "bridge"}"#;
        let check =
            |name, text, expected| assert_eq!(takes_precedence(name, text), expected, "{name}");
        check("05-other.conflist", list, true);
        check("05-other.conf", single, true);
        check("05-other.json", single, true);
        check("10-kubenet.conf", single, true);
        check("20-other.conflist", list, false);
        check("10-kubenet.conflist", list, false);
        check("05-other.conflist.bak", list, false);
        check("05-other.conflist", r#"{"name": "n", "plugins": []}"#, false);
        check("05-other.conflist", "no JSON", false);
        check("05-other.conf", list, false);
    }

    #[test]
    fn somebody_elses_loopback_stays() {
        use Installed::{Current, Foreign, Missing, Outdated};
        let check = |loopback, kubenet, expected: &[&'static str]| {
            let steps = plan_plugins(&[("loopback", loopback), ("kubenet", kubenet)]);
            let expected = expected.iter().map(|name| Step::InstallPlugin(name));
            assert_eq!(steps, expected.collect::<Vec<_>>());
        };
        check(Missing, Missing, &["loopback", "kubenet"]);
        check(Outdated, Outdated, &["loopback", "kubenet"]);
        check(Foreign, Outdated, &["kubenet"]);
        check(Current, Current, &[]);
    }
}
