//! Pure: what a container runtime finds on this machine: the network configuration and the plugin.
//!
//! The configuration is the last thing to be written, because a runtime that sees it starts pods.

use std::fmt;
use std::path::{Path, PathBuf};

use common::conflist::{Capabilities, Conflist, ExecConfig, PluginConfig, Range};
use common::names;
use serde::Serialize;

use crate::mode::{ExecPlugin, Runtime};
use crate::others;
use crate::segment::Segment;

/// What the container runtime should find of ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offer {
    /// Names under which the plugin is installed.
    pub plugins: &'static [&'static str],
    pub conflist: String,
    /// A program that is told of each start of the agent, before any pod.
    pub init: Option<PathBuf>,
}

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
    /// Runs this program, which speaks kubelet's exec protocol.
    Init(PathBuf),
    WriteConflist(String),
    /// Another network's, which a runtime takes rather than ours, gets a name that it does not read.
    Disable(String),
}

impl Offer {
    /// Pods on cbr0.
    pub fn kubenet(ranges: &[Range], segment: Segment, hairpin: bool, state_dir: &Path) -> Self {
        let plugin = PluginConfig {
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
            hairpin,
            ranges: ranges.to_vec(),
            state_dir: state_dir.display().to_string(),
        };
        let plugins = Runtime::Kubenet.plugins();
        Self { plugins, conflist: render(names::PLUGIN, plugin), init: None }
    }

    /// Pods that `plugin` wires.
    pub fn exec(plugin: &ExecPlugin, state_dir: &Path) -> Self {
        let config = ExecConfig {
            plugin: names::EXEC_PLUGIN.to_owned(),
            program: plugin.program.display().to_string(),
            state_dir: state_dir.display().to_string(),
        };
        Self {
            plugins: Runtime::Exec(plugin.clone()).plugins(),
            conflist: render(names::EXEC_PLUGIN, config),
            init: Some(plugin.program.clone()),
        }
    }

    /// Plugins that are to be installed, and whether one is to be told of the start.
    pub fn plan_plugins(
        &self,
        installed: &[(&'static str, Installed)],
        initialised: bool,
    ) -> Vec<Step> {
        let wanted = installed.iter().filter(|(name, installed)| match installed {
            Installed::Missing | Installed::Outdated => self.plugins.contains(name),
            Installed::Current | Installed::Foreign => false,
        });
        let install = wanted.map(|&(name, _)| Step::InstallPlugin(name));
        let init = self.init.iter().filter(|_| !initialised).cloned().map(Step::Init);
        install.chain(init).collect()
    }

    /// The configuration, if it differs from `now`.
    pub fn plan_conflist(&self, now: Option<&str>) -> Option<Step> {
        (now != Some(&self.conflist)).then(|| Step::WriteConflist(self.conflist.clone()))
    }
}

fn render(name: &str, plugin: impl Serialize) -> String {
    let list = Conflist {
        cni_version: "1.0.0".to_owned(),
        cni_versions: ["0.3.1", "0.4.0", "1.0.0", "1.1.0"].map(str::to_owned).to_vec(),
        name: name.to_owned(),
        plugins: vec![plugin],
    };
    format!("{:#}\n", serde_json::json!(list))
}

/// Whether `now` sends pods to other ranges than `ranges`: it has to go before the bridge changes.
pub fn names_other_ranges(now: Option<&str>, ranges: &[Range]) -> bool {
    let list = now.and_then(|text| serde_json::from_str::<Conflist>(text).ok());
    list.is_some_and(|list| list.plugins.iter().any(|plugin| plugin.ranges != ranges))
}

/// Whether a runtime takes the file `name` with this `text` rather than ours: the first by name that
/// makes sense.
pub fn takes_precedence(name: &str, text: &str) -> bool {
    name < names::CONFLIST
        && others::plugins(name, text).is_ok()
        && !others::delegates_to_ours(text)
}

impl Step {
    /// What is repaired by it, in one word.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::InstallPlugin(_) => "plugin",
            Self::Init(_) => "init",
            Self::WriteConflist(_) => "conflist",
            Self::Disable(_) => "other conflist",
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::InstallPlugin(name) => write!(f, "install plugin {name}"),
            Self::Init(program) => write!(f, "run {} init", program.display()),
            Self::WriteConflist(_) => write!(f, "write {}", names::CONFLIST),
            Self::Disable(name) => write!(f, "rename {name} to {name}{}", names::DISABLED_SUFFIX),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{golden, range};

    fn rendered(ranges: &[&str]) -> String {
        let ranges = ranges.iter().map(|text| range(text)).collect::<Vec<_>>();
        Offer::kubenet(&ranges, Segment::of(1500, []), true, Path::new("/run/kubenet")).conflist
    }

    #[test]
    fn the_conflist_reads_as_it_should() {
        golden("10-kubenet.conflist", &rendered(&["10.244.1.0/24", "fd00:0:0:1::/64"]));
        golden("exec.conflist", &exec().conflist);
    }

    fn exec() -> Offer {
        let plugin = ExecPlugin { name: "a/sdn".to_owned(), program: "/exec/a~sdn/sdn".into() };
        Offer::exec(&plugin, Path::new("/run/kubenet"))
    }

    #[test]
    fn an_exec_plugin_is_told_of_the_start_before_any_pod() {
        let installed = [("loopback", Installed::Current), ("kubenet-exec", Installed::Missing)];
        let texts = |initialised| {
            let steps = exec().plan_plugins(&installed, initialised);
            steps.iter().map(Step::to_string).collect::<Vec<_>>()
        };
        assert_eq!(texts(false), ["install plugin kubenet-exec", "run /exec/a~sdn/sdn init"]);
        assert_eq!(texts(true), ["install plugin kubenet-exec"]);
    }

    #[test]
    fn only_another_conflist_is_written() {
        let offer = exec();
        assert_eq!(offer.plan_conflist(Some(&offer.conflist)), None);
        let written = Step::WriteConflist(offer.conflist.clone());
        assert_eq!(offer.plan_conflist(None), Some(written));
        assert!(offer.plan_conflist(Some("{}")).is_some());
    }

    #[test]
    fn ranges_that_moved_are_seen() {
        let text = rendered(&["10.244.1.0/24"]);
        assert!(!names_other_ranges(Some(&text), &[range("10.244.1.0/24")]));
        assert!(names_other_ranges(Some(&text), &[range("10.244.2.0/24")]));
        assert!(!names_other_ranges(None, &[range("10.244.2.0/24")]));
        assert!(!names_other_ranges(Some("no JSON"), &[range("10.244.2.0/24")]));
        assert!(names_other_ranges(Some(&exec().conflist), &[range("10.244.2.0/24")]));
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
        // As Multus writes it by itself, thin and thick.
        let thin = r#"{"type": "multus", "delegates": [{"name": "kubenet", "plugins": []}]}"#;
        check("00-multus.conf", thin, false);
        let thick = r#"{"type": "multus-shim", "clusterNetwork": "/host/etc/cni/net.d/10-kubenet.conflist"}"#;
        check("00-multus.conf", thick, false);
        check("00-multus.conf", r#"{"type": "multus", "delegates": [{"name": "other"}]}"#, true);
        check("00-multus.conf", r#"{"type": "multus-shim", "clusterNetwork": "other"}"#, true);
    }

    #[test]
    fn somebody_elses_loopback_stays() {
        use Installed::{Current, Foreign, Missing, Outdated};
        let check = |loopback, kubenet, expected: &[&'static str]| {
            let offer = Offer::kubenet(&[], Segment::of(1500, []), true, Path::new("/run/kubenet"));
            let steps = offer.plan_plugins(&[("loopback", loopback), ("kubenet", kubenet)], false);
            let expected = expected.iter().map(|name| Step::InstallPlugin(name));
            assert_eq!(steps, expected.collect::<Vec<_>>());
        };
        check(Missing, Missing, &["loopback", "kubenet"]);
        check(Outdated, Outdated, &["loopback", "kubenet"]);
        check(Foreign, Outdated, &["kubenet"]);
        check(Current, Current, &[]);
    }
}
