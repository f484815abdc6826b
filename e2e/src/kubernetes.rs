//! The programs of Kubernetes and etcd: the user's own, or built from their Go modules once.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use sha2::{Digest, Sha256};

use crate::artifacts;
use crate::host;
use crate::image;
use crate::program::{command, output, run};
use crate::say::say;
use crate::traces::Traces;

/// As e2e/kube/go.mod pins it.
const VERSION: (&str, &str, &str) = ("1", "37", "2");

const PROGRAMS: [&str; 7] = [
    "etcd",
    "kube-apiserver",
    "kube-controller-manager",
    "kube-proxy",
    "kube-scheduler",
    "kubectl",
    "kubelet",
];

/// What else the binary is that we build.
const MORE_PROGRAMS: [&str; 2] = ["kubeadm", "helm"];

/// Where each program is.
#[derive(Clone, Debug)]
pub struct Kubernetes {
    programs: BTreeMap<&'static str, PathBuf>,
}

impl Kubernetes {
    /// Finds the programs, and builds them if the user has not all of them.
    ///
    /// What is in `KUBEBUILDER_ASSETS` is taken as it is; a program on PATH if it is of the version
    /// that the lab is written for, because a stray kubectl is on many machines.
    pub fn find_or_build(traces: &Traces) -> Result<Self> {
        let assets = std::env::var_os("KUBEBUILDER_ASSETS").map(PathBuf::from);
        let mut programs = BTreeMap::new();
        for name in PROGRAMS {
            let asset = assets.as_ref().map(|folder| folder.join(name)).filter(|f| f.is_file());
            if let Some(path) = asset.or_else(|| on_path(name)) {
                say(format_args!("  {name} is {}", path.display()));
                programs.insert(name, path);
            }
        }
        if programs.len() < PROGRAMS.len() {
            let folder = built(traces)?;
            for name in PROGRAMS {
                programs.entry(name).or_insert_with(|| folder.join(name));
            }
        }
        Ok(Self { programs })
    }

    /// The program `name`, one of those that a cluster is made of.
    pub fn program(&self, name: &str) -> Result<&Path> {
        let path = self.programs.get(name).map(PathBuf::as_path);
        path.with_context(|| format!("{name} is no program of Kubernetes"))
    }
}

/// One of the programs that no cluster is made of, as `helm`: always of the version that we pin.
pub fn tool(traces: &Traces, name: &str) -> Result<PathBuf> {
    Ok(built(traces)?.join(name))
}

fn on_path(name: &str) -> Option<PathBuf> {
    let path = host::find(name)?;
    let arguments: &[&str] =
        if name == "kubectl" { &["version", "--client"] } else { &["--version"] };
    let text = output(command(&path).args(arguments)).ok()?;
    let wanted = match name {
        "etcd" => "etcd Version: 3.".to_owned(),
        _ => format!("v{}.{}.", VERSION.0, VERSION.1),
    };
    text.contains(&wanted).then_some(path)
}

/// The folder of the binary made from e2e/kube as it is now, under all its names.
fn built(traces: &Traces) -> Result<PathBuf> {
    let module = artifacts::source().join("e2e/kube");
    let folder = cache("kube", &module)?;
    let binary = folder.join("kube");
    if !binary.is_file() {
        say("  building Kubernetes, once: about 10 minutes on two cores");
        let (major, minor, patch) = VERSION;
        let flag = "-X k8s.io/component-base/version.git";
        let flags = format!(
            "-s -w {flag}Version=v{major}.{minor}.{patch} {flag}Major={major} {flag}Minor={minor}"
        );
        go_build(traces, &module, &binary, &["-ldflags", &flags, "."])?;
    }
    for name in PROGRAMS.iter().chain(&MORE_PROGRAMS) {
        match symlink("kube", folder.join(name)) {
            Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => Err(error)?,
            _ => {}
        }
    }
    Ok(folder)
}

/// A folder that survives `cargo clean`, named by what is built from `module`.
pub(crate) fn cache(name: &str, module: &Path) -> Result<PathBuf> {
    let base = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let home = || std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache"));
    let base = base.or_else(home).context("neither XDG_CACHE_HOME nor HOME is set")?;
    let mut digest = Sha256::new();
    let mut files = fs::read_dir(module)?.collect::<Result<Vec<_>, _>>()?;
    files.sort_by_key(fs::DirEntry::file_name);
    for file in files {
        digest.update(file.file_name().as_encoded_bytes());
        digest.update(fs::read(file.path())?);
    }
    let mut digits = image::hex(&digest.finalize());
    digits.truncate(12);
    let folder = base.join("kubenet").join(format!("{name}-{digits}"));
    fs::create_dir_all(&folder)?;
    Ok(folder)
}

/// Builds static programs of the Go module in `module` to `target`, complete or not at all.
pub(crate) fn go_build(
    traces: &Traces,
    module: &Path,
    target: &Path,
    arguments: &[&str],
) -> Result<()> {
    require_go(module)?;
    let name = target.file_name().unwrap_or_default().to_string_lossy();
    let unfinished = traces.folder().join(&*name);
    let mut go = command("go");
    go.current_dir(module).env("CGO_ENABLED", "0").env("GOFLAGS", "");
    go.args(["build", "-v", "-trimpath", "-o"]).arg(&unfinished).args(arguments);
    run(traces, &format!("go build of {name}"), &format!("go-{name}"), &mut go)?;
    // Not a rename: the lab's folder may be on another file system than the cache.
    let beside = target.with_extension("new");
    fs::copy(&unfinished, &beside)?;
    fs::remove_file(&unfinished)?;
    Ok(fs::rename(&beside, target)?)
}

/// Go fetches the version that go.mod asks for by itself, from 1.21 on; one that can't, or may not,
/// says which it is.
fn require_go(module: &Path) -> Result<()> {
    let version = output(command("go").current_dir(module).args(["env", "GOVERSION"]));
    let why = match version {
        Ok(version) if is_new_enough(&version) => return Ok(()),
        Ok(version) => format!("{} is too old", version.trim()),
        Err(error) => format!("{error:#}"),
    };
    let cure = "curl -fsSL https://go.dev/dl/go1.26.8.linux-$(dpkg --print-architecture).tar.gz \
                | tar -C /usr/local -xz && ln -sf /usr/local/go/bin/go /usr/local/bin/go";
    bail!("Go 1.26 is missing or does not work ({why}); this mends it:\n    {cure}")
}

/// Whether `version`, as `go env GOVERSION` prints it, builds our modules.
fn is_new_enough(version: &str) -> bool {
    let mut numbers = version.trim().trim_start_matches("go").split('.').map(str::parse::<u32>);
    match (numbers.next(), numbers.next()) {
        (Some(Ok(major)), Some(Ok(minor))) => (major, minor) >= (1, 26),
        // A development version: `devel go1.27-…`.
        _ => version.starts_with("devel"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_old_go_is_told_from_a_new_one() {
        for (version, expected) in
            [("go1.19.8\n", false), ("go1.26.8\n", true), ("go1.30.0", true), ("go2.0", true)]
        {
            assert_eq!(is_new_enough(version), expected, "{version}");
        }
        assert!(is_new_enough("devel go1.28-abc") && !is_new_enough(""));
    }
}
