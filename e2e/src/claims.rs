//! Tests that share a lab, one after the other: each is a claim, and leaves the lab as it found it.
//!
//! What is printed is what libtest prints, so that `make test` can sum it up.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Error, Result, anyhow};

use crate::lab;
use crate::say::say;
use crate::traces::{Logs, Traces};

/// What is claimed, and what shows that it is so.
pub type Claim<W> = (&'static str, fn(&mut W) -> Result<()>);

/// Claims that turned out wrong, and why.
type Wrong = Vec<(&'static str, Error)>;

/// Checks claims in the world that `make` makes in a new lab: those that an argument of the command
/// line names by a part of their names, or all.
pub fn prove<W>(all: &[Claim<W>], make: impl FnOnce(&Traces) -> Result<W>) -> ExitCode {
    let chosen = chosen(all);
    say(format_args!("running {} tests", chosen.len()));
    let wrong = match lab::begin() {
        Ok(traces) => prove_in_a_lab(&chosen, make, &traces),
        Err(error) => vec![("the_lab_comes_up", error)],
    };
    if !wrong.is_empty() {
        say("\nfailures:");
    }
    for (name, error) in &wrong {
        say(format_args!("---- {name} ----\n{error:#}"));
    }
    // That the lab came up, and that it left nothing behind, is claimed and counted as well.
    let (passed, failed) = ((chosen.len() + 2).saturating_sub(wrong.len()), wrong.len());
    let result = if failed == 0 { "ok" } else { "FAILED" };
    say(format_args!("\ntest result: {result}. {passed} passed; {failed} failed"));
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn chosen<W>(all: &[Claim<W>]) -> Vec<Claim<W>> {
    let filters = std::env::args().skip(1).filter(|argument| !argument.starts_with('-'));
    let filters = filters.collect::<Vec<_>>();
    let wanted =
        |name: &str| filters.is_empty() || filters.iter().any(|f| name.contains(f.as_str()));
    all.iter().filter(|(name, _)| wanted(name)).copied().collect()
}

fn prove_in_a_lab<W>(
    claims: &[Claim<W>],
    make: impl FnOnce(&Traces) -> Result<W>,
    traces: &Traces,
) -> Wrong {
    let checked = make(traces).map(|mut world| check(claims, &mut world));
    let mut wrong = checked.unwrap_or_else(|error| vec![("the_lab_comes_up", error)]);
    let logs = if wrong.is_empty() { Logs::Remove } else { Logs::Keep };
    if logs == Logs::Keep {
        say(format_args!("logs: {}", traces.log("*").display()));
    }
    let ended = traces.end(logs).err();
    wrong.extend(ended.map(|error| ("the_lab_leaves_nothing_behind", error)));
    wrong
}

/// Checks each claim, also after one that is wrong.
fn check<W>(claims: &[Claim<W>], world: &mut W) -> Wrong {
    let mut wrong = Wrong::new();
    for (name, claim) in claims {
        let start = Instant::now();
        let result = catch_unwind(AssertUnwindSafe(|| claim(world)));
        let result = result.unwrap_or_else(|_| Err(anyhow!("it panicked")));
        let verdict = if result.is_ok() { "ok" } else { "FAILED" };
        say(format_args!("test {name} ... {verdict} ({:.1} s)", start.elapsed().as_secs_f64()));
        wrong.extend(result.err().map(|error| (*name, error)));
    }
    wrong
}
