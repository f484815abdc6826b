//! The reference plugins, libcni, a newer containerd and flannel, built once from the versions that their Go
//! modules here pin.

use std::path::PathBuf;

use anyhow::Result;

use crate::artifacts::source;
use crate::kubernetes::{cache, go_build};
use crate::program::{command, run};
use crate::traces::Traces;

/// Where plugins and libcni are kept.
const CNI: &str = "github.com/containernetworking";

/// What stands in a chain with ours.
pub const CHAIN: [&str; 5] =
    ["main/loopback", "meta/tuning", "meta/portmap", "meta/firewall", "meta/bandwidth"];

/// The folder of these of the reference plugins, as `meta/tuning`.
pub fn plugins(traces: &Traces, packages: &[&str]) -> Result<PathBuf> {
    let packages = packages.iter().map(|package| format!("{CNI}/plugins/plugins/{package}"));
    built(traces, "plugins", &packages.collect::<Vec<_>>())
}

/// The folder of `cnitool`, and of `libcni`, which carries out one call of the library.
pub fn libcni(traces: &Traces) -> Result<PathBuf> {
    built(traces, "libcni", &[format!("{CNI}/cni/cnitool")])?;
    built(traces, "libcni", &[String::new()])
}

/// The folder of `containerd` 2.1, its shim and `ctr`.
pub fn containerd(traces: &Traces) -> Result<PathBuf> {
    let packages = ["containerd", "containerd-shim-runc-v2", "ctr"];
    let packages = packages.map(|name| format!("github.com/containerd/containerd/v2/cmd/{name}"));
    built(traces, "containerd", &packages)
}

/// The program `flanneld`, without its backend for one cloud, whose SDK no module proxy has.
pub fn flannel(traces: &Traces) -> Result<PathBuf> {
    let module = source().join("e2e/flannel");
    let target = cache("flannel", &module)?.join("flanneld");
    if !target.is_file() {
        let mut script = command(module.join("build.sh"));
        script.arg(&target).arg(traces.folder().join("flannel"));
        run(traces, "go build of flannel", "go-flannel", &mut script)?;
    }
    Ok(target)
}

/// Builds what is missing in the folder of a module: `packages` of its dependencies, "" for its own.
fn built(traces: &Traces, name: &str, packages: &[String]) -> Result<PathBuf> {
    let module = source().join("e2e").join(name);
    let folder = cache(name, &module)?;
    for package in packages {
        let program = package.rsplit('/').next().filter(|program| !program.is_empty());
        let target = folder.join(program.unwrap_or(name));
        if !target.is_file() {
            let package = if package.is_empty() { "." } else { package.as_str() };
            go_build(traces, &module, &target, &["-ldflags", "-s -w", package])?;
        }
    }
    Ok(folder)
}
