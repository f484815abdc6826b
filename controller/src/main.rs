//! kubenet-controller: parses its flags, starts logging, runs; or cleans up what was installed.

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use common::names;
use controller::settings::{Flags, Settings};
use controller::{cleanup, run};
use process::settings::Mistakes;
use process::{settings, telemetry};
use tracing::error;

/// kubenet-controller: gives each Node its podCIDRs
#[derive(Debug, Parser)]
#[command(name = names::CONTROLLER, version = common::version(), args_conflicts_with_subcommands = true)]
struct CommandLine {
    #[command(flatten)]
    flags: Flags,

    #[command(subcommand)]
    tool: Option<Tool>,
}

/// What it does instead of running.
#[derive(Debug, Subcommand)]
enum Tool {
    Cleanup(cleanup::Flags),
}

enum Task {
    Run(Box<Settings>),
    Cleanup(cleanup::Flags),
}

impl CommandLine {
    fn check(self) -> Result<Task, Mistakes> {
        match self.tool {
            Some(Tool::Cleanup(flags)) => Ok(Task::Cleanup(flags)),
            None => self.flags.check().map(Box::new).map(Task::Run),
        }
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let outcome = match settings::parse(CommandLine::check) {
        Ok(Task::Run(settings)) => {
            telemetry::init(settings.shared.log_format);
            Box::pin(run::run(*settings)).await.inspect_err(|error| {
                error!(error = format!("{error:#}"), "cannot go on");
            })
        }
        Ok(Task::Cleanup(flags)) => cleanup::run(flags).await.inspect_err(|error| {
            eprintln!("{}: {error:#}", names::CONTROLLER);
        }),
        Err(code) => return code,
    };
    outcome.map_or(ExitCode::FAILURE, |()| ExitCode::SUCCESS)
}
