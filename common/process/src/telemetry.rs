//! Logs: to stderr, as text or JSON, filtered by `RUST_LOG` (default: info). Set up once, at start.

use std::error::Error;
use std::fmt;
use std::io::{self, IsTerminal};
use std::str::FromStr;

use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{fmt as lines, registry};

/// How a line of the log is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogFormat {
    #[default]
    Text,
    Json,
}

/// Why a text is no [`LogFormat`].
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no log format: want text or json")]
pub struct LogFormatError(String);

impl FromStr for LogFormat {
    type Err = LogFormatError;

    fn from_str(text: &str) -> Result<Self, LogFormatError> {
        match text {
            "text" => Ok(Self::Text),
            "json" => Ok(Self::Json),
            _ => Err(LogFormatError(text.to_owned())),
        }
    }
}

/// Starts logging; a later call changes nothing.
///
/// What `RUST_LOG` says wrongly is named on stderr and left out.
pub fn init(format: LogFormat) {
    let said = std::env::var("RUST_LOG").unwrap_or_default();
    let (targets, senseless) = targets(&said);
    for word in senseless {
        eprintln!(
            "RUST_LOG: {word:?} is no filter: want LEVEL or TARGET=LEVEL, as in info,agent=debug"
        );
    }
    let layer = lines::layer().with_writer(io::stderr).with_ansi(io::stderr().is_terminal());
    // An error says that a test in this process has set up logging already.
    let _ = match format {
        LogFormat::Text => registry().with(layer).with(targets).try_init(),
        LogFormat::Json => {
            registry().with(layer.json().flatten_event(true)).with(targets).try_init()
        }
    };
}

/// Pure: the filter that `text` describes, and the words of it that make no sense.
fn targets(text: &str) -> (Targets, Vec<&str>) {
    let mut targets = Targets::new().with_default(LevelFilter::INFO);
    let mut senseless = Vec::new();
    for word in text.split(',').map(str::trim).filter(|word| !word.is_empty()) {
        match word.parse::<Targets>() {
            Ok(one) => {
                if let Some(level) = one.default_level() {
                    targets = targets.with_default(level);
                }
                targets.extend(one);
            }
            Err(_) => senseless.push(word),
        }
    }
    (targets, senseless)
}

/// An error with its sources, in one line: `cannot do this: because of that`.
#[derive(Clone, Copy, Debug)]
pub struct Chain<'a>(pub &'a (dyn Error + Send + Sync));

impl fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut last = self.0.to_string();
        f.write_str(&last)?;
        let mut next = self.0.source();
        while let Some(error) = next {
            let text = error.to_string();
            // Some libraries repeat the source in their own message.
            if !last.contains(&text) {
                write!(f, ": {text}")?;
                last = text;
            }
            next = error.source();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use tracing::Level;

    use super::*;

    #[test]
    fn a_filter_is_info_but_for_what_it_says() {
        let enabled = |text: &str, target: &str, level| {
            let (targets, senseless) = targets(text);
            assert_eq!(senseless, [""; 0], "{text}");
            targets.would_enable(target, &level)
        };
        assert!(enabled("", "agent", Level::INFO) && !enabled("", "agent", Level::DEBUG));
        assert!(enabled("debug", "agent", Level::DEBUG));
        let one = "info, agent::sync=debug,kube=off";
        assert!(enabled(one, "agent::sync", Level::DEBUG));
        assert!(!enabled(one, "agent", Level::DEBUG) && enabled(one, "agent", Level::INFO));
        assert!(!enabled(one, "kube", Level::ERROR));
    }

    #[test]
    fn a_senseless_filter_is_named_and_the_others_count() {
        let (targets, senseless) = targets("agent=loud,debug");
        assert_eq!(senseless, ["agent=loud"]);
        assert!(targets.would_enable("agent", &Level::DEBUG));
    }

    #[derive(Debug, thiserror::Error)]
    enum Sample {
        #[error("cannot list")]
        Outer(#[source] Box<Sample>),
        #[error("request: {0}")]
        Repeating(#[source] io::Error),
    }

    #[test]
    fn a_chain_says_each_cause_once() {
        let error = Sample::Outer(Box::new(Sample::Repeating(io::Error::other("refused"))));
        assert_eq!(Chain(&error).to_string(), "cannot list: request: refused");
    }

    #[test]
    fn a_format_is_one_of_two_words() {
        assert_eq!("text".parse(), Ok(LogFormat::Text));
        assert_eq!("json".parse(), Ok(LogFormat::Json));
        let error = "yaml".parse::<LogFormat>().unwrap_err();
        assert_eq!(error.to_string(), "\"yaml\" is no log format: want text or json");
    }
}
