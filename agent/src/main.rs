//! kubenet-agent: parses its flags, starts logging, runs; or does `ipam`, `cleanup` or `modprobe`.

use std::process::ExitCode;

use agent::settings::{Flags, Settings};
use agent::{cleanup, ipam, modprobe, run};
use clap::{Parser, Subcommand};
use common::names;
use process::settings::Mistakes;
use process::{settings, telemetry};
use tracing::error;

/// kubenet-agent: one machine's part of the pod network.
#[derive(Debug, Parser)]
#[command(name = names::AGENT, version = common::version(), args_conflicts_with_subcommands = true)]
struct CommandLine {
    #[command(flatten)]
    flags: Flags,

    #[command(subcommand)]
    tool: Option<Tool>,
}

/// What it does instead of running.
#[derive(Debug, Subcommand)]
enum Tool {
    Ipam(ipam::Flags),
    Cleanup(cleanup::Flags),
    Modprobe(modprobe::Flags),
}

enum Task {
    Run(Box<Settings>),
    Ipam(ipam::Flags),
    Cleanup(cleanup::Flags),
    Modprobe(modprobe::Flags),
}

impl CommandLine {
    fn check(self) -> Result<Task, Mistakes> {
        match self.tool {
            Some(Tool::Ipam(flags)) => Ok(Task::Ipam(flags)),
            Some(Tool::Cleanup(flags)) => Ok(Task::Cleanup(flags)),
            Some(Tool::Modprobe(flags)) => Ok(Task::Modprobe(flags)),
            None => self.flags.check().map(Box::new).map(Task::Run),
        }
    }
}

/// One thread for the API server's events; rounds block one of their own.
#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let outcome = match settings::parse(CommandLine::check) {
        Ok(Task::Run(settings)) => {
            telemetry::init(settings.shared.log_format);
            Box::pin(run::run(*settings)).await.map(|()| ExitCode::SUCCESS).inspect_err(|error| {
                error!("{error:#}");
            })
        }
        Ok(Task::Ipam(flags)) => ipam::run(&flags).inspect_err(|error| {
            eprintln!("{}: {error:#}", names::AGENT);
        }),
        Ok(Task::Cleanup(flags)) => cleanup::run(flags).await.inspect_err(|error| {
            eprintln!("{}: {error:#}", names::AGENT);
        }),
        Ok(Task::Modprobe(flags)) => {
            modprobe::run(&flags).map(|()| ExitCode::SUCCESS).inspect_err(|error| {
                eprintln!("{}: {error:#}", names::AGENT);
            })
        }
        Err(code) => return code,
    };
    outcome.unwrap_or(ExitCode::FAILURE)
}
