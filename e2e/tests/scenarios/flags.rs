//! What the programs do with flags that they can't use.

use std::path::Path;

use anyhow::{Result, ensure};
use e2e::program::command;

use crate::World;

pub(crate) fn bad_flags(world: &mut World) -> Result<()> {
    let artifacts = &world.lab.artifacts;
    check(
        &artifacts.controller,
        &[
            "--cluster-cidr=10.244.0.0/16,10.1.0.0/16",
            "--node-cidr-mask-size=99",
            "--log-format=xml",
        ],
        &["--cluster-cidr", "--node-cidr-mask-size", "--log-format"],
    )?;
    check(
        &artifacts.agent,
        &["--node-name=", "--cluster-cidr=pods", "--network-plugin-mtu=-1", "--plugin=/nowhere"],
        &["--node-name", "--cluster-cidr", "--network-plugin-mtu", "--plugin"],
    )?;
    check(&artifacts.agent, &["--no-such-flag"], &["--no-such-flag"])
}

/// One message must name all of the `mistakes`.
fn check(program: &Path, flags: &[&str], mistakes: &[&str]) -> Result<()> {
    let output = command(program).args(flags).output()?;
    let stderr = String::from_utf8_lossy(&output.stderr);
    let code = output.status.code();
    ensure!(code == Some(64), "{} exits with {code:?}: {stderr}", program.display());
    for mistake in mistakes {
        ensure!(stderr.contains(mistake), "{mistake} is not named: {stderr}");
    }
    Ok(())
}
