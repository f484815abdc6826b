//! `make test`: its stages, each with its time and its budget, and one honest sum at the end.

mod tally;

use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use serde_json::Value;

use crate::artifacts::{self, cargo};
use crate::kubernetes::Kubernetes;
use crate::program::{output, run_for_text};
use crate::say::say;
use crate::traces::{Logs, Traces};
use crate::{chain, helm, host, lab, reference};

use self::tally::{Tally, failures};

/// The test programs that need an API server, or a whole lab.
const LABS: [&str; 5] = ["agent", "controller", "deployment", "kind", "scenarios"];

/// What all of it may take once everything is built, and on a new machine.
const WARM: Duration = Duration::from_mins(20);
const COLD: Duration = Duration::from_hours(1);

/// What the programs may take on a new machine: Kubernetes alone needs nine minutes, containerd five.
const PROGRAMS_BUDGET: Duration = Duration::from_mins(21);

/// One step of the test.
struct Stage {
    name: String,
    arguments: Vec<String>,
    /// What it may take on two cores once dependencies are built, in seconds.
    budget: u64,
    wanted: Wanted,
}

/// What a stage must do to pass.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Wanted {
    Success,
    Failure,
    /// Success, and the tests that it ran are counted.
    Tests,
}

/// Runs all stages, also after one that failed.
pub fn run() -> Result<()> {
    let traces = lab::begin()?;
    let result = run_stages(&traces);
    let logs = if result.is_ok() { Logs::Remove } else { Logs::Keep };
    traces.end(logs)?;
    result
}

fn run_stages(traces: &Traces) -> Result<()> {
    let start = Instant::now();
    host::prepare(traces)?;
    programs(traces)?;
    let (mut total, mut reasons) = (Tally::default(), Vec::new());
    for stage in stages(&Workspace::read()?) {
        let (tally, reason) = stage.run(traces)?;
        total.passed += tally.passed;
        total.failed.extend(tally.failed);
        reasons.extend(reason);
    }
    let seconds = start.elapsed().as_secs_f64();
    let (warm, cold) = (WARM.as_secs(), COLD.as_secs());
    say(format_args!("all stages: {seconds:.1} s of {warm} s, or of {cold} s from nothing"));
    // Again, where whoever has only the end of it finds them.
    for reason in reasons {
        say(reason);
    }
    for name in &total.failed {
        say(format_args!("  failed: {name}"));
    }
    say(format_args!("{} passed, {} failed", total.passed, total.failed.len()));
    if !total.failed.is_empty() {
        bail!("logs: {}", traces.log("*").display());
    }
    Ok(())
}

/// Builds all that the later stages start, so that their times are their own.
fn programs(traces: &Traces) -> Result<()> {
    let start = Instant::now();
    Kubernetes::find_or_build(traces)?;
    artifacts::build(traces)?;
    reference::plugins(traces, &reference::CHAIN)?;
    reference::plugins(traces, &chain::PLUGINS)?;
    reference::libcni(traces)?;
    reference::containerd(traces)?;
    helm::images(traces)?;
    let (time, budget) = (start.elapsed(), PROGRAMS_BUDGET);
    let seconds = time.as_secs_f64();
    let late = if time > budget { ", OVER BUDGET" } else { "" };
    let what = "Kubernetes, kubenet, its images, containerd 2, reference plugins";
    say(format_args!("{what:<64}{seconds:>6.1} s of {} s{late}", budget.as_secs()));
    Ok(())
}

/// What cargo knows of the workspace.
struct Workspace {
    crates: Vec<String>,
    /// Test programs of this crate, but for those of a lab.
    tests: Vec<String>,
}

impl Workspace {
    fn read() -> Result<Self> {
        let arguments = ["metadata", "--no-deps", "--format-version", "1"];
        let metadata = output(cargo().args(arguments))?;
        let metadata = serde_json::from_str::<Value>(&metadata)?;
        let packages = metadata["packages"].as_array().cloned().unwrap_or_default();
        let own = packages.iter().find(|package| package["name"] == env!("CARGO_PKG_NAME"));
        let targets = own.and_then(|own| own["targets"].as_array()).into_iter().flatten();
        let tests =
            targets.filter(|t| t["kind"][0] == "test" && !LABS.iter().any(|lab| t["name"] == *lab));
        Ok(Self { crates: names(packages.iter()), tests: names(tests) })
    }
}

fn names<'a>(things: impl Iterator<Item = &'a Value>) -> Vec<String> {
    things.filter_map(|thing| thing["name"].as_str().map(str::to_owned)).collect()
}

fn stages(workspace: &Workspace) -> Vec<Stage> {
    let clippy = "clippy --workspace --all-targets --locked -- -D warnings";
    let tests = "test --workspace --exclude e2e --locked --no-fail-fast";
    let own = workspace.tests.iter().map(|name| format!(" --test {name}")).collect::<Vec<_>>();
    let own = format!("test -p e2e --locked --lib{}", own.concat());
    let mut stages = vec![
        Stage::new("format", "fmt --all --check", 10, Wanted::Success),
        Stage::new("clippy", clippy, 120, Wanted::Success),
    ];
    for name in &workspace.crates {
        // Without the features that the others switch on.
        let check = format!("check --locked -p {name}");
        stages.push(Stage::new(&format!("{name} alone"), &check, 30, Wanted::Success));
    }
    stages.extend([
        // Cargo fails where the tree has no such crate, which is what is wanted here.
        Stage::new(
            "no API client in the plugin",
            "tree -p cni -i kube-client",
            10,
            Wanted::Failure,
        ),
        Stage::new("unit, namespace and process tests", tests, 480, Wanted::Tests),
        Stage::new("house rules, and the lab's own tests", &own, 140, Wanted::Tests),
        Stage::new(
            "controller, on a real API server",
            "test -p e2e --locked --test controller",
            240,
            Wanted::Tests,
        ),
        Stage::new(
            "agent, on a real API server",
            "test -p e2e --locked --test agent",
            60,
            Wanted::Tests,
        ),
        Stage::new(
            "scenarios on real kubelets",
            "test -p e2e --locked --test scenarios",
            150,
            Wanted::Tests,
        ),
        Stage::new(
            "deployed by image, chart and Helm",
            "test -p e2e --locked --test deployment",
            420,
            Wanted::Tests,
        ),
        Stage::new(
            "kind: make kind, and what it leaves",
            "test -p e2e --locked --test kind",
            400,
            Wanted::Tests,
        ),
    ]);
    stages
}

impl Stage {
    fn new(name: &str, arguments: &str, budget: u64, wanted: Wanted) -> Self {
        let arguments = arguments.split(' ').map(str::to_owned).collect();
        Self { name: name.to_owned(), arguments, budget, wanted }
    }

    fn command(&self) -> Command {
        let mut cargo = cargo();
        cargo.args(&self.arguments).env("CARGO_TERM_COLOR", "never");
        cargo
    }

    /// What became of it, and if it failed, what it says of that.
    fn run(&self, traces: &Traces) -> Result<(Tally, Option<String>)> {
        let start = Instant::now();
        let log = self.name.replace([' ', ','], "-");
        let (success, text) = run_for_text(traces, &self.name, &log, &mut self.command())?;
        let tally = self.judge(success, &text);
        let (time, budget) = (start.elapsed(), Duration::from_secs(self.budget));
        let late = if time > budget { ", OVER BUDGET" } else { "" };
        let reason = (!tally.failed.is_empty()).then(|| failures(&text));
        if let Some(reason) = &reason {
            say(reason);
        }
        say(format_args!(
            "{:<36} {:>4} passed {:>3} failed  {:>6.1} s of {} s{late}",
            self.name,
            tally.passed,
            tally.failed.len(),
            time.as_secs_f64(),
            self.budget
        ));
        Ok((tally, reason))
    }

    fn judge(&self, success: bool, text: &str) -> Tally {
        match self.wanted {
            Wanted::Success => Tally::of_one(&self.name, success),
            Wanted::Failure => {
                let absent = text.contains("did not match any packages");
                Tally::of_one(&self.name, !success && absent)
            }
            Wanted::Tests => Tally::of_tests(&self.name, success, text),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_stages_together_may_take_no_more_than_all_of_it() {
        let stages = stages(&Workspace::read().unwrap());
        let budgets = stages.iter().map(|stage| Duration::from_secs(stage.budget));
        assert!(budgets.sum::<Duration>() + PROGRAMS_BUDGET < COLD);
    }

    #[test]
    fn an_absent_crate_is_told_from_a_cargo_that_fails() {
        let stage = Stage::new("tree", "tree", 1, Wanted::Failure);
        let good = |success, text| stage.judge(success, text).failed.is_empty();
        let absent = "error: package ID specification `kube-client` did not match any packages";
        assert!(good(false, absent));
        assert!(!good(false, "error: no such manifest"));
        assert!(!good(true, "kube-client v5"));
    }
}
