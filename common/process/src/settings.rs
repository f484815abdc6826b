//! Flags that both programs share, and how a program says what is wrong with its flags: all of it
//! at once, in one message, with exit code 64 (`EX_USAGE` of sysexits.h).

use std::ffi::OsString;
use std::fmt::{self, Display};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;

use crate::telemetry::LogFormat;

/// `EX_USAGE` of sysexits.h: the command was used incorrectly.
const USAGE: u8 = 64;

/// Flags of both programs, as written.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct SharedFlags {
    /// Kubeconfig of the API server; without it, the service account of the Pod
    #[arg(long, value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,

    /// How log lines are written: text or json
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    pub log_format: String,
}

/// The shared flags, checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shared {
    pub kubeconfig: Option<PathBuf>,
    pub log_format: LogFormat,
}

impl SharedFlags {
    /// Checks each flag and adds what is wrong to `mistakes`.
    pub fn check(self, mistakes: &mut Mistakes) -> Shared {
        let log_format = mistakes.keep("--log-format", self.log_format.parse()).unwrap_or_default();
        Shared { kubeconfig: self.kubeconfig, log_format }
    }
}

/// All that is wrong with a program's flags.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mistakes(Vec<String>);

impl Mistakes {
    /// Notes one mistake: what is wrong with `flag` and what to give instead.
    pub fn add(&mut self, flag: &str, mistake: impl Display) {
        self.0.push(format!("{flag}: {mistake}"));
    }

    /// The value of `flag`, or none and a mistake more.
    pub fn keep<T, E: Display>(&mut self, flag: &str, result: Result<T, E>) -> Option<T> {
        result.map_err(|error| self.add(flag, error)).ok()
    }

    /// `settings`, if nothing is wrong.
    pub fn or<T>(self, settings: Option<T>) -> Result<T, Self> {
        match settings {
            Some(settings) if self.0.is_empty() => Ok(settings),
            _ => Err(self),
        }
    }
}

impl Display for Mistakes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|mistake| writeln!(f, "  {mistake}"))
    }
}

/// Settings from the command line and the environment, or the exit code of a program that has
/// said why it does not start: 64 for flags it can't use, 0 after `--help` and `--version`.
pub fn parse<F: Parser, S>(check: impl FnOnce(F) -> Result<S, Mistakes>) -> Result<S, ExitCode> {
    parse_from(std::env::args_os(), check).map_err(|refusal| match refusal {
        Refusal::Usage(error) => {
            // Nobody is left to tell if stderr is closed.
            let _ = error.print();
            ExitCode::from(if error.use_stderr() { USAGE } else { 0 })
        }
        Refusal::Mistakes(text) => {
            eprint!("{text}");
            ExitCode::from(USAGE)
        }
    })
}

enum Refusal {
    Usage(clap::Error),
    Mistakes(String),
}

fn parse_from<F: Parser, S>(
    arguments: impl IntoIterator<Item = impl Into<OsString> + Clone>,
    check: impl FnOnce(F) -> Result<S, Mistakes>,
) -> Result<S, Refusal> {
    let flags = F::try_parse_from(arguments).map_err(Refusal::Usage)?;
    check(flags).map_err(|mistakes| {
        let program = F::command().get_name().to_owned();
        Refusal::Mistakes(format!("{program}: cannot start with these flags:\n{mistakes}"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Parser)]
    #[command(name = "kubenet-test", version)]
    struct Flags {
        #[command(flatten)]
        shared: SharedFlags,
        #[arg(long, default_value = "1")]
        number: String,
    }

    fn check(flags: Flags) -> Result<(Shared, u8), Mistakes> {
        let mut mistakes = Mistakes::default();
        let shared = flags.shared.check(&mut mistakes);
        let number = mistakes.keep("--number", flags.number.parse());
        mistakes.or(number.map(|number| (shared, number)))
    }

    fn parsed(arguments: &[&str]) -> Result<(Shared, u8), Refusal> {
        parse_from(["kubenet-test"].iter().chain(arguments), check)
    }

    #[test]
    fn good_flags_are_settings() {
        let Ok((shared, number)) = parsed(&["--log-format=json", "--kubeconfig", "k"]) else {
            panic!("refused")
        };
        assert_eq!(number, 1);
        let kubeconfig = Some(PathBuf::from("k"));
        assert_eq!(shared, Shared { kubeconfig, log_format: LogFormat::Json });
    }

    #[test]
    fn one_message_names_all_mistakes() {
        let Err(Refusal::Mistakes(text)) = parsed(&["--log-format=xml", "--number=x"]) else {
            panic!("taken")
        };
        assert_eq!(text.lines().count(), 3, "{text}");
        assert!(text.contains("\n  --log-format: \"xml\" is no log format"), "{text}");
        assert!(text.contains("\n  --number: invalid digit"), "{text}");
    }

    #[test]
    fn only_help_and_version_are_no_errors() {
        for (argument, error) in [("--help", false), ("--version", false), ("--typo", true)] {
            let Err(Refusal::Usage(refusal)) = parsed(&[argument]) else { panic!("{argument}") };
            assert_eq!(refusal.use_stderr(), error, "{argument}");
        }
    }
}
