//! The reference plugins and libcni, built once from the versions that their Go modules here pin.

use std::path::PathBuf;

use anyhow::Result;

use crate::artifacts::source;
use crate::kubernetes::{cache, go_build};
use crate::traces::Traces;

/// What stands in a chain with ours.
pub const CHAIN: [&str; 5] =
    ["main/loopback", "meta/tuning", "meta/portmap", "meta/firewall", "meta/bandwidth"];

/// The folder of these of the reference plugins, as `meta/tuning`.
pub fn plugins(traces: &Traces, packages: &[&str]) -> Result<PathBuf> {
    let packages = packages.iter().map(|package| format!("plugins/plugins/{package}"));
    built(traces, "plugins", &packages.collect::<Vec<_>>())
}

/// The folder of `cnitool`, and of `libcni`, which carries out one call of the library.
pub fn libcni(traces: &Traces) -> Result<PathBuf> {
    built(traces, "libcni", &["cni/cnitool".to_owned()])?;
    built(traces, "libcni", &[String::new()])
}

/// Builds what is missing in the folder of a module: `packages` of its dependencies, "" for its own.
fn built(traces: &Traces, name: &str, packages: &[String]) -> Result<PathBuf> {
    let module = source().join("e2e").join(name);
    let folder = cache(name, &module)?;
    for package in packages {
        let program = package.rsplit('/').next().filter(|program| !program.is_empty());
        let target = folder.join(program.unwrap_or(name));
        if !target.is_file() {
            let package = match package.as_str() {
                "" => ".".to_owned(),
                package => format!("github.com/containernetworking/{package}"),
            };
            go_build(traces, &module, &target, &["-ldflags", "-s -w", &package])?;
        }
    }
    Ok(folder)
}
