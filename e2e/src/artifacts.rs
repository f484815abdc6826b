//! kubenet's own programs, built by cargo as they are released.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::program::{command, output, run};
use crate::traces::Traces;

/// Where the programs are.
#[derive(Clone, Debug)]
pub struct Artifacts {
    pub agent: PathBuf,
    pub controller: PathBuf,
    /// Static: a container runtime starts it in whatever root it has.
    pub plugin: PathBuf,
    /// Static: it is all that its image holds.
    pub probe: PathBuf,
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
    let host = host_triple()?;
    let mut cargo = command(cargo());
    cargo.current_dir(source()).args(["build", "--release", "--locked"]);
    cargo.args(["-p", "agent", "-p", "controller"]);
    run(traces, "cargo build of agent and controller", "cargo-programs", &mut cargo)?;
    // With a --target, flags apply to the programs and not to what builds them.
    let mut cargo = command(self::cargo());
    cargo.current_dir(source()).args(["build", "--release", "--locked", "--target", &host]);
    cargo.args(["-p", "cni", "-p", "probe"]).env("RUSTFLAGS", "-C target-feature=+crt-static");
    run(traces, "cargo build of the plugin, static", "cargo-plugin", &mut cargo)?;
    let programs = target().join("release");
    let statics = target().join(&host).join("release");
    Ok(Artifacts {
        agent: programs.join("kubenet-agent"),
        controller: programs.join("kubenet-controller"),
        plugin: statics.join("kubenet"),
        probe: statics.join("probe"),
    })
}

/// The cargo that runs us, if one does.
pub fn cargo() -> PathBuf {
    std::env::var_os("CARGO").map_or_else(|| PathBuf::from("cargo"), PathBuf::from)
}

fn host_triple() -> Result<String> {
    let text = output(command("rustc").arg("-vV"))?;
    let host = text.lines().find_map(|line| line.strip_prefix("host: "));
    host.map(str::to_owned).context("rustc -vV names no host")
}
