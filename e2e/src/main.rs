//! `lab demo`, `lab test`, `lab bench`, `lab bench-pods`, `lab bench-agent`, `lab bench-controller`, `lab down`: what the Makefile calls.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand, ValueEnum};
use e2e::artifacts;
use e2e::bench::{self, Programs};
use e2e::bench_agent;
use e2e::bench_controller::{self, Scope};
use e2e::bench_pods;
use e2e::demo::{self, Afterwards};
use e2e::say::say;
use e2e::{stages, standalone};

/// A real Kubernetes on this machine, in namespaces.
#[derive(Parser)]
#[command(name = "lab")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Clone, Copy, ValueEnum)]
enum Mode {
    /// A cluster of two machines
    Cluster,
    /// Two machines without any Kubernetes
    Standalone,
}

#[derive(Subcommand)]
enum Command {
    /// Show the main job on a new cluster
    Demo {
        /// Leave the cluster running
        #[arg(long)]
        keep: bool,

        /// Of what
        #[arg(long, default_value = "cluster", conflicts_with = "keep")]
        mode: Mode,
    },
    /// Run everything that CI runs
    Test,
    /// Time the plugin beside the reference plugins
    Bench,
    /// Time pods from their creation to Ready, beside the reference plugins
    BenchPods,
    /// Measure the agent on clusters of many Nodes, beside flannel
    BenchAgent {
        /// Numbers of Nodes, smallest first
        #[arg(long, value_delimiter = ',', default_values_t = [100, 1000, 5000])]
        sizes: Vec<usize>,
        /// Measure kubenet's agent alone
        #[arg(long)]
        alone: bool,
        /// Instead, break each thing that the agent keeps right 200 times
        #[arg(long)]
        repairs: bool,
    },
    /// Time the controller beside kube-controller-manager
    BenchController(Scope),
    /// What `bench` runs on its machine
    #[command(hide = true)]
    BenchInside { reference: PathBuf, floors: PathBuf },
    /// End what an earlier demo left running
    Down,
}

fn main() -> ExitCode {
    let result = match Arguments::parse().command {
        Command::Demo { mode: Mode::Standalone, .. } => standalone::run(),
        Command::Demo { keep: true, .. } => demo::run(Afterwards::Keep),
        Command::Demo { keep: false, .. } => demo::run(Afterwards::End),
        Command::Test => stages::run(),
        Command::Bench => measured(bench::run),
        Command::BenchPods => measured(bench_pods::run),
        Command::BenchAgent { repairs: true, .. } => bench_agent::repairs(),
        Command::BenchAgent { sizes, alone, .. } => {
            measured(|| bench_agent::run(&bench_agent::Plan { sizes, flannel: !alone }))
        }
        Command::BenchController(scope) => measured(|| bench_controller::run(&scope)),
        Command::BenchInside { reference, floors } => {
            bench::inside(&Programs { reference, floors })
        }
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

fn measured(bench: impl FnOnce() -> Result<()>) -> Result<()> {
    artifacts::must_be_released().and_then(|()| bench())
}
