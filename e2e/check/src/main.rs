//! `kubenet-check`: whether the pods of a cluster reach what they should, and a table that says so.
//!
//! `serve` answers in a pod and asks from it when it is told to; `run` finds those pods, has each
//! ask its questions, and judges the answers. `helm test` of the chart does both on any cluster.

mod ask;
mod cluster;
mod matrix;
mod settings;
mod table;
mod view;

use std::process::ExitCode;

use anyhow::{Context, Result};
use common::names;

use crate::settings::{Flags, Run, Work};

/// Something that was asked went wrong.
const BROKEN: u8 = 1;

/// The questions could not be asked.
const NOT_CHECKED: u8 = 2;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let outcome = match process::settings::parse(Flags::check) {
        Ok(Work::Serve { port }) => serve(port).await.map(|()| ExitCode::SUCCESS),
        Ok(Work::Run(run)) => check(&run).await,
        Err(code) => return code,
    };
    outcome.unwrap_or_else(|error| {
        eprintln!("kubenet-check: {error:#}");
        ExitCode::from(NOT_CHECKED)
    })
}

/// Serves until SIGTERM, which has no default action for the first process of a pod.
async fn serve(port: u16) -> Result<()> {
    let ended = process::shutdown::signalled()?;
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname")?;
    // In a pod that has its machine's network, the hostname is the machine's.
    let name = std::env::var("POD_NAME").unwrap_or_else(|_| name.trim().to_owned());
    let server = tokio::task::spawn_blocking(move || probe::serve::serve(&name, port));
    tokio::select! {
        // The server's thread ends with the process.
        _ = ended => std::process::exit(0),
        outcome = server => outcome?.with_context(|| format!("cannot serve port {port}")),
    }
}

#[expect(clippy::print_stdout, reason = "the table is what this program is for")]
async fn check(run: &Run) -> Result<ExitCode> {
    let client = process::client::connect(run.kubeconfig.as_deref(), names::CHECK).await?;
    let view = cluster::find(&client, run).await?;
    let checks = matrix::checks(&view, run.peers);
    let outcomes = ask::all(&checks);
    let text = table::render(&checks, &outcomes);
    print!("{text}");
    let broken = outcomes.iter().any(|outcome| outcome.failures().next().is_some());
    Ok(if broken { ExitCode::from(BROKEN) } else { ExitCode::SUCCESS })
}
