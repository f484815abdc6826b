//! kubenet-agent: parses its flags, starts logging, runs.

use std::process::ExitCode;

use agent::run;
use agent::settings::Flags;
use process::{settings, telemetry};
use tracing::error;

/// One thread for the API server's events; rounds block one of their own.
#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let settings = match settings::parse(Flags::check) {
        Ok(settings) => settings,
        Err(code) => return code,
    };
    telemetry::init(settings.shared.log_format);
    match run::run(settings).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            error!("{error:#}");
            ExitCode::FAILURE
        }
    }
}
