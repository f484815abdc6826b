//! `lab demo`, `lab test`, `lab down`: what the Makefile calls.

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use e2e::demo::{self, Afterwards};
use e2e::say::say;
use e2e::stages;

/// A real Kubernetes on this machine, in namespaces.
#[derive(Parser)]
#[command(name = "lab")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Show the main job on a new cluster
    Demo {
        /// Leave the cluster running
        #[arg(long)]
        keep: bool,
    },
    /// Run everything that CI runs
    Test,
    /// End what an earlier demo left running
    Down,
}

fn main() -> ExitCode {
    let result = match Arguments::parse().command {
        Command::Demo { keep: true } => demo::run(Afterwards::Keep),
        Command::Demo { keep: false } => demo::run(Afterwards::End),
        Command::Test => stages::run(),
        Command::Down => demo::down(),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say(format_args!("\nfailed: {error:#}"));
            ExitCode::FAILURE
        }
    }
}
