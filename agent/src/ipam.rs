//! `kubenet-agent ipam`: who holds which address of this machine, and what is wrong with that.
//!
//! It asks nobody: what it says stands in the plugin's files and in the kernel. It changes nothing.

use std::fmt;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::{Args, Subcommand, ValueEnum};
use common::names;
use jiff::Timestamp;
use report::Report;

mod look;
mod metrics;
mod report;
mod table;

pub use metrics::register;

/// Something was found that should not be.
const FINDINGS: u8 = 3;

/// Addresses of this machine's pods.
#[derive(Clone, Debug, Args)]
pub struct Flags {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Clone, Debug, Subcommand)]
enum Verb {
    /// Shows who holds which address, since when, and whether it is alive
    Show(Options),
    /// Names what is wrong: dead leases, leaked network namespaces; the exit code is 3 then
    Check(Options),
}

#[derive(Clone, Debug, Args)]
struct Options {
    /// Folder of leases and records
    #[arg(long, value_name = "DIR", default_value = names::STATE_DIR)]
    state_dir: PathBuf,

    /// How to write it
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    output: Format,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    Text,
    Json,
}

/// Looks at the machine in whose network namespace it runs, and prints what it sees.
pub fn run(flags: &Flags) -> Result<ExitCode> {
    let (Verb::Show(options) | Verb::Check(options)) = &flags.verb;
    let report = Report::of(&look::around(&options.state_dir)?, Timestamp::now());
    let checks = matches!(flags.verb, Verb::Check(_));
    let text: &dyn fmt::Display = match options.output {
        Format::Json => &format!("{:#}\n", serde_json::json!(report)),
        Format::Text if checks => &table::findings(&report),
        Format::Text => &table::attachments(&report.attachments),
    };
    write!(io::stdout(), "{text}").context("cannot write to standard output")?;
    let found = checks && !report.findings.is_empty();
    Ok(if found { ExitCode::from(FINDINGS) } else { ExitCode::SUCCESS })
}
