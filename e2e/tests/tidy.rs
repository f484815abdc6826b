//! The house rules that no lint knows: file length, module docs, crate edges, purity, names.
//!
//! A rule that is broken is one line that names the place and says what to do.

#![expect(clippy::unwrap_used, reason = "all of this file is a test")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

/// What each crate of ours may import of the others, in its own code.
const EDGES: &[(&str, &[&str])] = &[
    ("common", &[]),
    ("process", &["common"]),
    ("net", &["common"]),
    ("cni", &["common", "net"]),
    ("agent", &["cni", "common", "net", "process"]),
    ("nodeipam", &["common"]),
    ("controller", &["common", "nodeipam", "process"]),
    ("probe", &[]),
    ("check", &["common", "probe", "process"]),
    ("e2e", &["common", "net", "probe"]),
];

/// What the plugin, which is started for every pod, must never link.
const TOO_HEAVY_FOR_THE_PLUGIN: &[&str] = &["kube-client", "tokio", "clap", "tracing-subscriber"];

/// Words of an impure file, and what stands in their stead in a pure one.
const IMPURE: &[(&str, &str)] = &[
    ("tokio::", "a pure file does not wait"),
    ("kube::", "a pure file knows no API server"),
    ("k8s_openapi::", "wire types are converted at the edge"),
    ("tracing::", "a pure file returns what there is to say"),
    ("std::fs", "a pure file reads values, not files"),
    ("std::env", "settings are read once, in settings.rs"),
    ("std::process", "only net starts programs"),
    ("SystemTime", "a pure file takes `now` as an argument"),
    ("Instant::now", "a pure file takes `now` as an argument"),
    ("Netlink", "only observe.rs and apply.rs talk to the kernel"),
];

/// Names that say nothing, or claim what a level-triggered loop does anyway.
const BANNED_FUNCTIONS: &[&str] = &["ensure_", "handle_", "process_", "do_", "get_"];
const BANNED_WORDS: &[&str] = &["manager", "helper", "util", "misc"];

const LINES: usize = 300;
const LINES_WITH_TESTS: usize = 400;

struct Source {
    path: String,
    text: String,
}

impl Source {
    /// The lines above the test module.
    fn production(&self) -> &str {
        self.text.split("\n#[cfg(test)]").next().unwrap_or_default()
    }

    fn is_test(&self) -> bool {
        self.path.contains("/tests/") || self.path.ends_with("/tests.rs")
    }
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

#[expect(
    clippy::disallowed_methods,
    reason = "a test asks git and cargo, nothing at run time does"
)]
fn output(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).current_dir(root()).output().unwrap();
    assert!(output.status.success(), "{program}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// Tracked and new files, without what git ignores.
fn files() -> Vec<String> {
    let list = output("git", &["ls-files", "--cached", "--others", "--exclude-standard"]);
    list.lines().filter(|path| root().join(path).is_file()).map(str::to_owned).collect()
}

fn sources() -> Vec<Source> {
    let paths = files()
        .into_iter()
        .filter(|path| Path::new(path).extension().is_some_and(|end| end == "rs"));
    let read =
        |path: String| Source { text: fs::read_to_string(root().join(&path)).unwrap(), path };
    let sources = paths.map(read).collect::<Vec<_>>();
    assert!(sources.len() > 20, "found only {} Rust files", sources.len());
    sources
}

#[track_caller]
fn none(broken: &[String]) {
    assert!(broken.is_empty(), "{} places:\n{}", broken.len(), broken.join("\n"));
}

#[test]
fn no_file_is_long() {
    let mut broken = Vec::new();
    for source in sources() {
        let (lines, production) =
            (source.text.lines().count(), source.production().lines().count());
        if lines > LINES_WITH_TESTS || (production > LINES && !source.is_test()) {
            broken.push(format!("{}: {production} lines, {lines} with tests", source.path));
        }
    }
    none(&broken);
}

#[test]
fn each_file_says_what_it_owns() {
    let silent = sources().into_iter().filter(|source| {
        source.text.lines().take_while(|line| line.starts_with("//!")).count() == 0
    });
    none(&silent.map(|source| format!("{}: no //! at its top", source.path)).collect::<Vec<_>>());
}

#[test]
fn pure_files_stay_pure() {
    let mut pure = 0;
    let mut broken = Vec::new();
    for source in sources() {
        if !source.text.starts_with("//!") || !header(&source.text).contains("Pure:") {
            continue;
        }
        pure += 1;
        for (number, line) in source.production().lines().enumerate() {
            let code = line.split("//").next().unwrap_or_default();
            for (word, instead) in IMPURE.iter().filter(|(word, _)| code.contains(word)) {
                broken.push(format!("{}:{}: {word}: {instead}", source.path, number + 1));
            }
        }
    }
    assert!(pure >= 10, "only {pure} files say `Pure:` in their header");
    none(&broken);
}

fn header(text: &str) -> String {
    text.lines().take_while(|line| line.starts_with("//!")).collect::<Vec<_>>().join("\n")
}

#[test]
fn names_say_something() {
    let mut broken = Vec::new();
    for source in sources() {
        let stem = Path::new(&source.path).file_stem().unwrap().to_string_lossy().into_owned();
        if BANNED_WORDS.iter().any(|word| stem.contains(word)) {
            broken.push(format!("{}: name the file for what it owns", source.path));
        }
        for (number, line) in source.production().lines().enumerate() {
            let Some((_, name)) = line.split_once("fn ") else { continue };
            let bad = BANNED_FUNCTIONS.iter().any(|start| name.starts_with(start))
                || name.split('(').next().unwrap().ends_with("_inner");
            if bad && !line.trim_start().starts_with("//") {
                broken.push(format!("{}:{}: {}", source.path, number + 1, line.trim()));
            }
        }
    }
    none(&broken);
}

#[test]
fn a_todo_names_its_issue() {
    let marks = [["TO", "DO"].concat(), ["FIX", "ME"].concat(), ["X", "XX"].concat()];
    let mut broken = Vec::new();
    for source in sources() {
        for (number, line) in source.text.lines().enumerate() {
            let marked = line.split_once("//").is_some_and(|(_, comment)| {
                marks.iter().any(|mark| comment.contains(mark)) && !comment.contains('#')
            });
            if marked {
                broken.push(format!("{}:{}: {}", source.path, number + 1, line.trim()));
            }
        }
    }
    none(&broken);
}

fn metadata() -> Value {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    serde_json::from_str(&output(&cargo, &["metadata", "--format-version", "1"])).unwrap()
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap_or_default()
}

#[test]
fn crates_depend_only_on_whom_they_may() {
    let metadata = metadata();
    let allowed = EDGES.iter().copied().collect::<BTreeMap<_, _>>();
    let members = metadata["packages"].as_array().unwrap().iter();
    let mut seen = BTreeSet::new();
    let mut broken = Vec::new();
    for package in members.filter(|package| package["source"].is_null()) {
        let name = text(package, "name");
        seen.insert(name.to_owned());
        let Some(allowed) = allowed.get(name) else {
            broken.push(format!("{name}: is in no list of edges"));
            continue;
        };
        let dependencies = package["dependencies"].as_array().unwrap().iter();
        for dependency in dependencies.filter(|d| d["kind"].is_null() && !d["path"].is_null()) {
            if !allowed.contains(&text(dependency, "name")) {
                broken.push(format!("{name} may not use {}", text(dependency, "name")));
            }
        }
    }
    assert_eq!(seen.len(), EDGES.len(), "{seen:?}");
    none(&broken);
}

#[test]
fn the_plugin_stays_light() {
    let metadata = metadata();
    let nodes = metadata["resolve"]["nodes"].as_array().unwrap();
    let names = metadata["packages"].as_array().unwrap().iter();
    let names = names.map(|p| (text(p, "id"), text(p, "name"))).collect::<BTreeMap<_, _>>();
    let edges = nodes.iter().map(|node| (text(node, "id"), node)).collect::<BTreeMap<_, _>>();
    let start = names.iter().find(|(_, name)| **name == "cni").map(|(id, _)| *id).unwrap();
    let (mut reached, mut queue) = (BTreeSet::from([start]), vec![start]);
    while let Some(id) = queue.pop() {
        let dependencies = edges[id]["deps"].as_array().unwrap().iter().filter(|dependency| {
            dependency["dep_kinds"].as_array().unwrap().iter().any(|kind| kind["kind"].is_null())
        });
        queue.extend(dependencies.map(|d| text(d, "pkg")).filter(|id| reached.insert(*id)));
    }
    assert!(reached.len() > 5, "cni reaches only {reached:?}");
    let heavy = reached.iter().map(|id| names[id]).filter(|n| TOO_HEAVY_FOR_THE_PLUGIN.contains(n));
    none(&heavy.map(|name| format!("cni reaches {name}")).collect::<Vec<_>>());
}

/// Documents whose tables name a test for each row, in a last column that is headed `test`.
const PROVEN: [&str; 3] = ["docs/cni.md", "docs/modes.md", "docs/parity.md"];

#[test]
fn a_test_that_a_document_names_exists() {
    let sources = sources();
    // A function, or a claim of those that have no harness: `("NAME", function)`.
    let known = |name: &str| {
        let (function, claim) = (format!("fn {name}("), format!("\"{name}\","));
        sources.iter().any(|source| source.text.contains(&function) || source.text.contains(&claim))
    };
    let (mut named, mut broken) = (0, Vec::new());
    for document in PROVEN {
        let text = fs::read_to_string(root().join(document)).unwrap();
        let mut proven = false;
        for (number, line) in text.lines().enumerate() {
            let cells = line.trim().trim_matches('|').split(" | ").collect::<Vec<_>>();
            let cell = cells.last().unwrap().trim();
            if !line.starts_with('|') || cell == "test" {
                proven = line.starts_with('|');
                continue;
            }
            for name in cell.split('`').skip(1).step_by(2).filter(|_| proven) {
                named += 1;
                if !known(name) {
                    broken.push(format!("{document}:{}: no test {name}", number + 1));
                }
            }
        }
    }
    assert!(named > 100, "only {named} tests are named");
    none(&broken);
}

#[test]
fn one_version_everywhere() {
    let version = env!("CARGO_PKG_VERSION");
    let changelog = fs::read_to_string(root().join("CHANGELOG.md")).unwrap();
    let newest = changelog.lines().find_map(|line| line.strip_prefix("## ")).unwrap_or_default();
    assert!(newest.starts_with(version), "CHANGELOG.md begins with {newest:?}, not {version}");
}
