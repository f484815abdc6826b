//! `make bench`: what an ADD takes, beside the reference plugins and beside the least that it could
//! take, in one run on one machine of its own.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use common::names;

pub use case::Programs;

use crate::place::Place;
use crate::say::{say, timed};
use crate::traces::{Logs, Traces};
use crate::{artifacts, host, lab, reference};
use case::{CASES, Contest};
use table::{Results, Wanted, target};

mod case;
mod contender;
mod table;

/// How often each is called one at a time, in turns; a variable of this name says otherwise.
const ROUNDS: (&str, u16) = ("BENCH_ROUNDS", 50);

/// Which cases are measured: those whose names have the text of this variable, or all.
const CHOSEN: &str = "BENCH_CASE";

const REFERENCE: [&str; 4] = ["main/bridge", "ipam/host-local", "meta/portmap", "meta/bandwidth"];

/// Addresses for many pods: with the 30 s for which each rests, thousands are in use.
pub(crate) const POD_CIDRS: [(&str, u8); 2] = [("10.89.0.0", 16), ("fd00:89::", 64)];

/// Measures on a machine of its own whose agent needs no cluster.
pub fn run() -> Result<()> {
    let traces = lab::begin()?;
    let measured = measure(&traces);
    if measured.is_err() {
        say(format_args!("logs: {}", traces.log("*").display()));
    }
    traces.end(if measured.is_ok() { Logs::Remove } else { Logs::Keep })?;
    measured
}

fn measure(traces: &Traces) -> Result<()> {
    host::prepare(traces)?;
    let artifacts = artifacts::build(traces)?;
    let floors = artifacts::build_floors(traces)?;
    let reference = timed("reference plugins", || reference::plugins(traces, &REFERENCE))?;
    let machine = Place::open(traces, "bench", &artifacts.probe)?;
    let mut agent = machine.command(&artifacts.agent);
    let cidrs = POD_CIDRS.map(|(network, length)| format!("{network}/{length}")).join(",");
    agent.arg("--plugin").arg(&artifacts.plugin);
    // There is no uplink to follow.
    agent.args(["--pod-cidr", &cidrs, "--network-plugin-mtu", "1500"]);
    let mut agent = machine.start("kubenet-agent", &mut agent)?;
    agent.wait_for_log("network ready")?;
    say(format_args!("load average before: {}", load()?));
    let mut inside = machine.command(std::env::current_exe()?);
    // What it says is read while it runs, which takes minutes.
    let status = inside.arg("bench-inside").args([reference, floors]).status()?;
    ensure!(status.success(), "the measurement failed");
    let cpu = agent.cpu()?.as_secs_f64();
    say(format_args!("\nload average after: {}; the agent computed {cpu:.1} s", load()?));
    Ok(())
}

/// Of the last minute, five and fifteen.
fn load() -> Result<String> {
    let text = fs::read_to_string("/proc/loadavg")?;
    Ok(text.split(' ').take(3).collect::<Vec<_>>().join(" "))
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
        let contest = Contest::new(case, programs);
        let results = contest.and_then(|contest| contest.measure(rounds));
        let results = results.with_context(|| case.name.to_owned())?;
        results.lines(case.name).iter().for_each(say);
        *place = Some(results);
    }
    let size = fs::metadata(Path::new(names::CNI_BIN_DIR).join(names::PLUGIN))?.len();
    say("\nTargets");
    targets(all.each_ref().map(Option::as_ref), size).iter().for_each(say);
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
            target("DEL p50 in ms", dual.del().as_secs_f64() * 1e3, AtMost(2.0)),
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
        let del = leases.del().as_secs_f64() * 1e3;
        lines.extend([
            target("ADD with 4000 leases, times that with none", growth, AtMost(1.2)),
            target("DEL p50 in ms with 4000 leases", del, AtMost(2.0)),
        ]);
    }
    let mebibytes = f64::from(u32::try_from(size).unwrap_or(u32::MAX)) / f64::from(1 << 20);
    lines.push(target("size of the plugin in MiB", mebibytes, AtMost(3.0)));
    lines
}
