//! Pure: which plugin `--network-plugin` names, of those that are built in and those that were found.
//!
//! As kubelet chose (`InitNetworkPlugin` in pkg/kubelet/network/plugins.go, 1.7): there is one, and a
//! name that fits several is none. Unlike there, a plugin that is not asked for spoils nothing.

use std::path::{Path, PathBuf};

use crate::mode::{ExecPlugin, Runtime};

/// A folder of `--network-plugin-dir`, and what it holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// The folder's name with '/' for '~'.
    pub name: String,
    pub program: PathBuf,
    /// Why it can't be used.
    pub flaw: Option<Flaw>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Flaw {
    #[error("does not exist")]
    Missing,
    #[error("is not executable: chmod +x mends it")]
    NotExecutable,
    /// `IsQualifiedName` in k8s.io/apimachinery/pkg/util/validation.
    #[error("is in a folder whose name is no name of a plugin: want NAME or VENDOR~NAME")]
    BadName,
}

/// Why there is no plugin.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SelectError {
    #[error("exec takes the only plugin in {dir}, and there is none{}", flaws(.found))]
    NoneFound { dir: String, found: Vec<Found> },
    #[error("exec takes the only plugin in {dir}, and there are several: name one of {names}")]
    SeveralFound { dir: String, names: String },
    #[error("{name} is built in, and {program} has the same name: rename or remove it")]
    Ambiguous { name: String, program: String },
    #[error("{program} {flaw}")]
    Unusable { program: String, flaw: Flaw },
    #[error(
        "{name} is none of kubenet, cni, exec and noop, and no plugin in {dir} has this name; \
         there is {}", if .names.is_empty() { "none" } else { .names }
    )]
    Unknown { name: String, dir: String, names: String },
}

/// Takes the only plugin of the folder.
const ANY: &str = "exec";

/// The plugin called `name`, or for `exec` the only one of those `found` in `dir`.
pub fn select(name: &str, dir: &Path, found: &[Found]) -> Result<Runtime, SelectError> {
    let dir = dir.display().to_string();
    let named = found.iter().find(|plugin| plugin.name == name);
    let built_in = match name {
        "" | "noop" => Some(Runtime::Nothing),
        "cni" => Some(Runtime::Others),
        "kubenet" => Some(Runtime::Kubenet),
        ANY => Some(only(dir.clone(), found)?),
        _ => None,
    };
    match (built_in, named) {
        (Some(built_in), None) => Ok(built_in),
        (Some(_), Some(plugin)) => Err(SelectError::Ambiguous {
            name: name.to_owned(),
            program: plugin.program.display().to_string(),
        }),
        (None, Some(plugin)) => plugin.usable(),
        (None, None) => {
            Err(SelectError::Unknown { name: name.to_owned(), dir, names: names(found) })
        }
    }
}

fn only(dir: String, found: &[Found]) -> Result<Runtime, SelectError> {
    let usable = found.iter().filter(|plugin| plugin.flaw.is_none()).collect::<Vec<_>>();
    match usable.as_slice() {
        [] => Err(SelectError::NoneFound { dir, found: found.to_vec() }),
        [plugin] => plugin.usable(),
        several => {
            let names = names(several.iter().copied());
            Err(SelectError::SeveralFound { dir, names })
        }
    }
}

fn names<'a>(found: impl IntoIterator<Item = &'a Found>) -> String {
    found.into_iter().map(|plugin| plugin.name.as_str()).collect::<Vec<_>>().join(", ")
}

fn flaws(found: &[Found]) -> String {
    let flaws = found.iter().filter_map(|plugin| {
        plugin.flaw.map(|flaw| format!("; {} {flaw}", plugin.program.display()))
    });
    flaws.collect()
}

impl Found {
    /// What a folder called `folder` in `dir` holds, where `flaw` tells of a program.
    pub fn new(dir: &Path, folder: &str, flaw: impl FnOnce(&Path) -> Option<Flaw>) -> Self {
        let name = folder.replace('~', "/");
        let last = name.rsplit('/').next().unwrap_or_default();
        let program = dir.join(folder).join(last);
        let bad = (!is_qualified(&name)).then_some(Flaw::BadName);
        let flaw = bad.or_else(|| flaw(&program));
        Self { name, program, flaw }
    }

    fn usable(&self) -> Result<Runtime, SelectError> {
        let Self { name, program, flaw } = self;
        match flaw {
            None => Ok(Runtime::Exec(ExecPlugin { name: name.clone(), program: program.clone() })),
            Some(flaw) => {
                Err(SelectError::Unusable { program: program.display().to_string(), flaw: *flaw })
            }
        }
    }
}

/// NAME or VENDOR/NAME, where the vendor is a DNS subdomain.
fn is_qualified(text: &str) -> bool {
    let (vendor, name) = text.split_once('/').map_or((None, text), |(v, name)| (Some(v), name));
    let word = |text: &str, inner: &[char]| {
        let ends = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric());
        let all = text.chars().all(|c| c.is_ascii_alphanumeric() || inner.contains(&c));
        ends(text.chars().next()) && ends(text.chars().next_back()) && all
    };
    let is_vendor = |vendor: &str| {
        let lower = !vendor.contains(|c: char| c.is_ascii_uppercase());
        lower && vendor.len() <= 253 && vendor.split('.').all(|label| word(label, &['-']))
    };
    vendor.is_none_or(is_vendor) && name.len() <= 63 && word(name, &['-', '_', '.'])
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `folders` as `FOLDER` or `FOLDER:missing` or `FOLDER:0444`.
    #[track_caller]
    fn check(name: &str, folders: &[&str], expected: &str) {
        let dir = Path::new("/exec");
        let found = folders.iter().map(|text| {
            let (folder, state) = text.split_once(':').unwrap_or((text, ""));
            Found::new(dir, folder, |_| match state {
                "missing" => Some(Flaw::Missing),
                "0444" => Some(Flaw::NotExecutable),
                _ => None,
            })
        });
        let text = match select(name, dir, &found.collect::<Vec<_>>()) {
            Ok(Runtime::Exec(ExecPlugin { name, program })) => {
                format!("{name} at {}", program.display())
            }
            Ok(runtime) => format!("{runtime:?}"),
            Err(error) => format!("error: {error}"),
        };
        assert_eq!(text, expected);
    }

    #[test]
    fn what_is_built_in_is_chosen_by_its_name() {
        check("kubenet", &[], "Kubenet");
        check("cni", &["a"], "Others");
        check("noop", &[], "Nothing");
        check("", &["a"], "Nothing");
    }

    #[test]
    fn exec_takes_the_only_plugin() {
        check("exec", &["a"], "a at /exec/a/a");
        check("exec", &["mycompany~mysdn"], "mycompany/mysdn at /exec/mycompany~mysdn/mysdn");
        check("exec", &[], "error: exec takes the only plugin in /exec, and there is none");
        check(
            "exec",
            &["a", "b~c"],
            "error: exec takes the only plugin in /exec, and there are several: name one of a, b/c",
        );
    }

    #[test]
    fn any_other_value_names_a_plugin() {
        check("b", &["a", "b"], "b at /exec/b/b");
        check(
            "mycompany/mysdn",
            &["mycompany~mysdn", "a"],
            "mycompany/mysdn at /exec/mycompany~mysdn/mysdn",
        );
        check(
            "abcd",
            &["a", "b"],
            "error: abcd is none of kubenet, cni, exec and noop, and no plugin in /exec has this \
             name; there is a, b",
        );
    }

    #[test]
    fn a_name_that_fits_several_is_none() {
        check(
            "cni",
            &["cni"],
            "error: cni is built in, and /exec/cni/cni has the same name: rename or remove it",
        );
    }

    #[test]
    fn a_plugin_that_cannot_be_used_is_named_when_it_is_asked_for() {
        check("a", &["a:0444"], "error: /exec/a/a is not executable: chmod +x mends it");
        check(
            "exec",
            &["a:missing"],
            "error: exec takes the only plugin in /exec, and there is none; /exec/a/a does not exist",
        );
        check(
            "my plugin",
            &["my plugin"],
            "error: /exec/my plugin/my plugin is in a folder whose name is no name of a plugin: \
             want NAME or VENDOR~NAME",
        );
    }

    #[test]
    fn a_plugin_that_is_not_asked_for_spoils_nothing() {
        check("a", &["a", "-bad-", "b:0444"], "a at /exec/a/a");
        check("exec", &["a", "-bad-", "b:missing"], "a at /exec/a/a");
        check("kubenet", &["b:0444"], "Kubenet");
    }

    #[test]
    fn names_are_qualified_as_kubernetes_has_it() {
        for (name, expected) in [
            ("a", true),
            ("A_b.c-1", true),
            ("my.company/sdn", true),
            ("My/sdn", false),
            ("my..company/sdn", false),
            ("a/b/c", false),
            ("/a", false),
            ("a/", false),
            ("", false),
            ("a-", false),
        ] {
            assert_eq!(is_qualified(name), expected, "{name:?}");
        }
        assert!(!is_qualified(&"a".repeat(64)));
    }
}
