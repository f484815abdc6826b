//! What pods reach under their own addresses by the operator's file, which is followed live.
//!
//! The file is that of ip-masq-agent: an operator's `ConfigMap` goes on. What it said last stays in force,
//! also over a restart, while it makes no sense.

use std::fmt::Display;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use common::{Prefix, names};
use process::telemetry::Chain;
use serde::Deserialize;
use serde::de::IgnoredAny;
use tracing::warn;

/// Neither is masqueraded unless the file says so.
const LINK_LOCAL: [&str; 2] = ["169.254.0.0/16", "fe80::/10"];

/// What is kept is no secret.
const READABLE: u32 = 0o644;

/// Destinations that are not masqueraded.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Exceptions {
    pub cidrs: Vec<Prefix>,
    /// Why the file does not count, or not as it is now.
    pub complaint: Option<String>,
}

/// ip-masq-agent's `MasqConfig` (`cmd/ip-masq-agent/ip-masq-agent.go`), JSON or YAML.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Config {
    #[serde(rename = "nonMasqueradeCIDRs", default)]
    cidrs: Vec<String>,
    #[serde(default)]
    masq_link_local: bool,
    #[serde(rename = "masqLinkLocalIPv6", default)]
    masq_link_local_ipv6: bool,
    /// How often it would be read: it is read when it changes.
    #[serde(rename = "resyncInterval", default)]
    _resync_interval: Option<IgnoredAny>,
}

/// Where they are read, and what was read last.
#[derive(Debug)]
pub struct Source {
    file: Option<PathBuf>,
    /// A copy of what made sense last.
    kept: PathBuf,
    good: Option<Vec<u8>>,
}

impl Source {
    /// No `file` says nothing for ever.
    pub fn new(file: Option<PathBuf>, state: &Path) -> Self {
        Self { file, kept: state.join(names::EXCEPTIONS_FILE), good: None }
    }

    /// What the file says now; one that is missing says nothing.
    pub fn look(&mut self) -> Exceptions {
        let Some(file) = &self.file else { return Exceptions::default() };
        // Kubelet shows each file of a volume through links.
        match fs::read(file) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Exceptions::default(),
            Ok(text) => match parse(&text) {
                Ok(cidrs) => {
                    self.keep(text);
                    Exceptions { cidrs, complaint: None }
                }
                Err(error) => self.last(error),
            },
            Err(error) => self.last(error),
        }
    }

    fn last(&self, error: impl Display) -> Exceptions {
        let kept = self.good.clone().or_else(|| net::file::read(&self.kept).ok()?);
        let cidrs = kept.and_then(|text| parse(&text).ok());
        let file = self.file.as_deref().unwrap_or(Path::new("")).display();
        let instead =
            if cidrs.is_some() { "what it said before stays" } else { "it counts for nothing" };
        let complaint = Some(format!("non-masquerade file {file}: {error}; {instead}"));
        Exceptions { cidrs: cidrs.unwrap_or_default(), complaint }
    }

    fn keep(&mut self, text: Vec<u8>) {
        if self.good.as_ref() == Some(&text) {
            return;
        }
        if let Err(error) = net::file::replace(&self.kept, &text, READABLE) {
            warn!(path = %self.kept.display(), %error, "cannot keep what is not masqueraded");
        }
        self.good = Some(text);
    }
}

/// What such a file says.
fn parse(text: &[u8]) -> Result<Vec<Prefix>, String> {
    let text = std::str::from_utf8(text).map_err(|error| error.to_string())?;
    let config = match text.trim() {
        "" => Config::default(),
        text => serde_saphyr::from_str::<Config>(text).map_err(|error| one_line(&error))?,
    };
    let masqueraded = [config.masq_link_local, config.masq_link_local_ipv6];
    let link_local =
        LINK_LOCAL.into_iter().zip(masqueraded).filter(|(_, masqueraded)| !masqueraded);
    let texts = config.cidrs.iter().map(String::as_str).chain(link_local.map(|(cidr, _)| cidr));
    let prefix =
        |text| Prefix::parse_masking(text).map_err(|error| format!("{text:?}: {}", Chain(&error)));
    texts.map(prefix).collect()
}

/// YAML's complaints show the text around, which is for a terminal.
fn one_line(error: &impl Display) -> String {
    error.to_string().lines().next().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: Result<&[&str], &str>) {
        match (parse(text.as_bytes()), expected) {
            (Ok(cidrs), Ok(expected)) => {
                let cidrs = cidrs.iter().map(Prefix::to_string).collect::<Vec<_>>();
                assert_eq!(cidrs, expected, "{text}");
            }
            (Err(error), Err(expected)) => assert!(error.contains(expected), "{text}: {error}"),
            (parsed, _) => panic!("{text}: {parsed:?}"),
        }
    }

    #[test]
    fn the_file_of_ip_masq_agent_is_taken_as_json_and_as_yaml() {
        let yaml = "nonMasqueradeCIDRs:\n  - 10.0.0.0/8\n  - fd00::/8\nmasqLinkLocal: true\n\
                    masqLinkLocalIPv6: true\nresyncInterval: 60s\n";
        check(yaml, Ok(&["10.0.0.0/8", "fd00::/8"]));
        let json = r#"{"nonMasqueradeCIDRs": ["10.1.2.3/8"], "masqLinkLocalIPv6": true}"#;
        check(json, Ok(&["10.0.0.0/8", "169.254.0.0/16"]));
        check("resyncInterval: 1m", Ok(&["169.254.0.0/16", "fe80::/10"]));
        check("", Ok(&["169.254.0.0/16", "fe80::/10"]));
    }

    #[test]
    fn a_file_that_makes_no_sense_says_what_does_not() {
        check("nonMasqueradeCIDRs: [10.0.0.0/40]", Err("10.0.0.0/40"));
        check("nonMasqueradeCIDR: [10.0.0.0/8]", Err("nonMasqueradeCIDR"));
        check("nonMasqueradeCIDRs: 10.0.0.0/8", Err(""));
        check("{", Err(""));
    }

    #[test]
    fn the_last_good_file_stays_also_over_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("config");
        let source = || Source::new(Some(file.clone()), folder.path());
        let mut running = source();
        assert_eq!(running.look(), Exceptions::default());
        fs::write(&file, "nonMasqueradeCIDRs: [").unwrap();
        let complaint = running.look().complaint.unwrap();
        assert!(complaint.ends_with("; it counts for nothing"), "{complaint}");
        let good =
            "{nonMasqueradeCIDRs: [10.0.0.0/8], masqLinkLocal: true, masqLinkLocalIPv6: true}";
        fs::write(&file, good).unwrap();
        let known = running.look();
        assert_eq!(
            known,
            Exceptions { cidrs: vec!["10.0.0.0/8".parse().unwrap()], complaint: None }
        );
        fs::write(&file, "nonMasqueradeCIDRs: [").unwrap();
        for mut source in [running, source()] {
            let Exceptions { cidrs, complaint } = source.look();
            assert_eq!(cidrs, known.cidrs);
            assert!(complaint.unwrap().ends_with("; what it said before stays"));
        }
        fs::remove_file(&file).unwrap();
        assert_eq!(source().look(), Exceptions::default());
    }
}
