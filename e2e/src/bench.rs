//! `make bench`: what an ADD takes, beside the reference plugins and beside the least that it could
//! take, in one run on one machine.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use common::names;

pub use case::Programs;

use crate::artifacts;
use crate::lab;
use crate::reference;
use crate::say::{say, timed};
use crate::traces::Logs;
use case::{CASES, Contest};
use table::{Results, Wanted, target};

mod case;
mod contender;
mod table;

/// How often each is called one at a time, in turns; a variable of this name says otherwise.
const ROUNDS: (&str, u16) = ("BENCH_ROUNDS", 50);

/// Which cases are measured: those whose names have the text of this variable, or all.
const CHOSEN: &str = "BENCH_CASE";

/// How many times faster an ADD must be than the reference's, on however busy a machine.
const LEAST: f64 = 4.0;

const REFERENCE: [&str; 4] = ["main/bridge", "ipam/host-local", "meta/portmap", "meta/bandwidth"];

/// Builds a lab, and measures on a machine of it whose agent and kubelet run.
pub fn run() -> Result<()> {
    let (lab, ()) = lab::with(|lab| {
        let reference = timed("reference plugins", || reference::plugins(&lab.traces, &REFERENCE))?;
        let floors = artifacts::build_floors(&lab.traces)?;
        let this = std::env::current_exe()?;
        let mut inside = lab.machines[0].place.command(this);
        // What it says is read while it runs, which takes minutes.
        let status = inside.arg("bench-inside").args([reference, floors]).status()?;
        ensure!(status.success(), "the measurement failed");
        Ok(())
    })?;
    lab.down(Logs::Remove)
}

/// Measures in the namespaces of the calling process.
///
/// # Errors
/// Also if an ADD is not as much faster as it must be.
pub fn inside(programs: &Programs) -> Result<()> {
    let rounds = match std::env::var(ROUNDS.0) {
        Ok(text) => text.parse().with_context(|| format!("{}: want a number", ROUNDS.0))?,
        Err(_) => ROUNDS.1,
    };
    let chosen = std::env::var(CHOSEN).unwrap_or_default();
    let mut all = [const { None }; CASES.len()];
    for (case, place) in CASES.into_iter().zip(&mut all) {
        if !case.name.contains(&chosen) {
            continue;
        }
        let contest = Contest::new(case, programs).with_context(|| case.name.to_owned())?;
        let results = contest.measure(rounds).with_context(|| case.name.to_owned())?;
        results.lines(case.name).iter().for_each(say);
        *place = Some(results);
    }
    let size = fs::metadata(Path::new(names::CNI_BIN_DIR).join(names::PLUGIN))?.len();
    say("\nTargets");
    targets(all.each_ref().map(Option::as_ref), size).iter().for_each(say);
    for results in all.iter().flatten() {
        ensure!(results.faster() >= LEAST, "ADD is too slow");
    }
    Ok(())
}

/// Of the cases that were measured; `size` is the plugin's, in bytes.
fn targets([dual, single, leases, extras]: [Option<&Results>; 4], size: u64) -> Vec<String> {
    use Wanted::{AtLeast, AtMost};
    let mut lines = Vec::new();
    if let Some(dual) = dual {
        let [ours, theirs] = dual.crowd().map(|time| time.as_secs_f64());
        lines.extend([
            target("ADD in least programs, dual stack", dual.floors(), AtMost(2.0)),
            target("ADD faster than the reference, dual stack", dual.faster(), AtLeast(8.0)),
            target("DEL p50 in ms, agent alive", dual.del().as_secs_f64() * 1e3, AtMost(2.0)),
            target("best pods/s, times the reference's", dual.throughput(), AtLeast(5.0)),
            target("110 pods at once in s", ours, AtMost(0.4)),
            target("the same, times faster (0.4 s beside 1.3 s)", theirs / ours, AtLeast(3.25)),
        ]);
    }
    if let Some(single) = single {
        lines.extend([
            target("ADD in least programs, single stack", single.floors(), AtMost(2.0)),
            target("ADD faster than the reference, single stack", single.faster(), AtLeast(8.0)),
        ]);
    }
    if let Some(extras) = extras {
        lines.extend([
            target("with host port and bandwidth, in least programs", extras.floors(), AtMost(3.0)),
            target("with host port and bandwidth, faster", extras.faster(), AtLeast(20.0)),
        ]);
    }
    if let Some((leases, dual)) = leases.zip(dual) {
        let growth = leases.growth(dual);
        lines.push(target("ADD with 4000 leases, times that with none", growth, AtMost(1.2)));
    }
    let mebibytes = f64::from(u32::try_from(size).unwrap_or(u32::MAX)) / f64::from(1 << 20);
    lines.push(target("size of the plugin in MiB", mebibytes, AtMost(3.0)));
    lines
}
