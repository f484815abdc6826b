//! The program kubenet-controller.

use std::process::ExitCode;

use controller::run;
use controller::settings::Flags;
use process::{settings, telemetry};
use tracing::error;

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
            error!(error = format!("{error:#}"), "cannot go on");
            ExitCode::FAILURE
        }
    }
}
