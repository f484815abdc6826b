//! kubenet's own programs, built by cargo: little optimized for a test, as they are released for a bench.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::program::{command, output, run};
use crate::traces::Traces;

/// Where the programs are. All are static: they run on whatever machine, in whatever root.
#[derive(Clone, Debug)]
pub struct Artifacts {
    pub agent: PathBuf,
    pub controller: PathBuf,
    pub plugin: PathBuf,
    pub probe: PathBuf,
}

/// As the Dockerfile builds them: without any shared library, and with a list of relocations that is
/// small, because all of it is read at each start and stays in memory.
const STATIC: &str = "-C target-feature=+crt-static -C link-arg=-Wl,-z,pack-relative-relocs";

/// Cargo's profile of what is measured, and of what is tested unless `PROFILE` names another one.
const RELEASE: &str = "release";
const QUICK: &str = "quick";

fn profile() -> String {
    std::env::var("PROFILE").unwrap_or_else(|_| QUICK.to_owned())
}

/// # Errors
/// Where a bench would measure something else than what is released.
pub fn must_be_released() -> Result<()> {
    let profile = profile();
    ensure!(
        profile == RELEASE,
        "PROFILE is {profile}, and a bench measures what is released: PROFILE=release"
    );
    Ok(())
}

/// The root of the source tree.
pub fn source() -> &'static Path {
    let e2e = Path::new(env!("CARGO_MANIFEST_DIR"));
    e2e.parent().unwrap_or(e2e)
}

/// Where cargo builds, and where labs have their folders.
pub fn target() -> PathBuf {
    let set = std::env::var_os("CARGO_TARGET_DIR").map(PathBuf::from);
    set.map_or_else(|| source().join("target"), |folder| source().join(folder))
}

/// Builds what has changed.
pub fn build(traces: &Traces) -> Result<Artifacts> {
    let (host, profile) = (host_triple()?, profile());
    let mut cargo = cargo();
    // With a --target, flags apply to the programs and not to what builds them.
    cargo.args(["build", "--profile", &profile, "--locked", "--target", &host]);
    cargo.args(["-p", "agent", "-p", "controller", "-p", "cni", "-p", "probe"]);
    cargo.env("RUSTFLAGS", STATIC);
    run(traces, "cargo build of kubenet's programs", "cargo-programs", &mut cargo)?;
    let programs = target().join(&host).join(&profile);
    Ok(Artifacts {
        agent: programs.join("kubenet-agent"),
        controller: programs.join("kubenet-controller"),
        plugin: programs.join("kubenet"),
        probe: programs.join("probe"),
    })
}

/// Builds the programs that do the least of what the plugin does; returns their folder.
pub fn build_floors(traces: &Traces) -> Result<PathBuf> {
    let host = host_triple()?;
    let mut cargo = cargo();
    cargo.args(["build", "--release", "--locked", "--target", &host, "-p", "net", "--examples"]);
    cargo.env("RUSTFLAGS", STATIC);
    run(traces, "cargo build of the floors, static", "cargo-floors", &mut cargo)?;
    Ok(target().join(host).join("release/examples"))
}

/// Cargo in the root of the source tree: the one that runs us, if one does.
///
/// What that told us of ourselves must not reach it: build scripts that read such a variable would
/// run again, and all that depends on them would be built again.
pub fn cargo() -> Command {
    let mut cargo = command(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    let ours = ["CARGO_BIN_", "CARGO_CRATE_", "CARGO_MANIFEST_", "CARGO_PKG_", "CARGO_PRIMARY_"];
    for (name, _) in std::env::vars_os() {
        if ours.iter().any(|start| name.to_string_lossy().starts_with(start)) {
            cargo.env_remove(name);
        }
    }
    cargo.env_remove("LD_LIBRARY_PATH").current_dir(source());
    cargo
}

fn host_triple() -> Result<String> {
    let text = output(command("rustc").arg("-vV"))?;
    let host = text.lines().find_map(|line| line.strip_prefix("host: "));
    host.map(str::to_owned).context("rustc -vV names no host")
}
