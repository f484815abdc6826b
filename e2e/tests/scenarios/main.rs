//! Scenarios on real kubelets: one lab, and a claim for each test.
//!
//! They run one after the other, because they share the lab; each leaves it as it found it. What
//! is printed is what libtest prints, so that `make test` can sum it up.

mod agents;
mod controllers;
mod flags;
mod nodes;
mod traffic;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Error, Result, anyhow};
use e2e::lab::{Lab, with};
use e2e::say::say;
use e2e::traces::Logs;
use e2e::workload::{self, Deployed};

/// What scenarios have: the lab, and what was deployed to it.
struct World<'a> {
    lab: &'a mut Lab,
    deployed: Vec<Deployed>,
}

type Scenario = fn(&mut World<'_>) -> Result<()>;

const SCENARIOS: &[(&str, Scenario)] = &[
    ("pods_reach_what_they_must_as_whom_they_must", traffic::matrix),
    ("an_agent_killed_and_started_again_loses_no_packet", traffic::agent_killed),
    ("a_second_start_of_an_agent_changes_nothing", agents::second_start),
    ("a_machine_without_pod_cidrs_says_so_until_it_has_them", agents::without_pod_cidrs),
    ("a_node_with_pod_cidrs_of_somebody_else_keeps_them", nodes::foreign_pod_cidrs),
    ("a_deleted_nodes_route_goes_and_its_pod_cidr_is_given_again", nodes::deleted),
    ("a_controller_killed_while_it_allocates_gives_nothing_twice", nodes::controller_killed),
    (
        "another_controller_takes_over_3_s_after_a_stop_and_20_s_after_a_kill",
        controllers::take_over,
    ),
    ("bad_flags_are_all_named_and_exit_64", flags::bad_flags),
];

fn main() -> ExitCode {
    let filters = std::env::args().skip(1).filter(|argument| !argument.starts_with('-'));
    let filters = filters.collect::<Vec<_>>();
    let wanted =
        |name: &str| filters.is_empty() || filters.iter().any(|f| name.contains(f.as_str()));
    let chosen = SCENARIOS.iter().filter(|(name, _)| wanted(name)).collect::<Vec<_>>();
    say(format_args!("running {} tests", chosen.len()));
    let failed = match with(|lab| run(lab, &chosen)) {
        Ok((lab, failed)) => {
            let logs = if failed.is_empty() { Logs::Remove } else { Logs::Keep };
            let ended = lab.down(logs).err().map(|error| ("the_lab_leaves_nothing_behind", error));
            failed.into_iter().chain(ended).collect()
        }
        Err(error) => vec![("the_lab_comes_up", error)],
    };
    if !failed.is_empty() {
        say("\nfailures:");
    }
    for (name, error) in &failed {
        say(format_args!("---- {name} ----\n{error:#}"));
    }
    // That the lab came up, and that it left nothing behind, is claimed and counted as well.
    let (passed, failed) = ((chosen.len() + 2).saturating_sub(failed.len()), failed.len());
    let result = if failed == 0 { "ok" } else { "FAILED" };
    say(format_args!("\ntest result: {result}. {passed} passed; {failed} failed"));
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Runs each, also after one that failed; returns those that did.
fn run(lab: &mut Lab, chosen: &[&(&'static str, Scenario)]) -> Result<Vec<(&'static str, Error)>> {
    let deployed = workload::deploy(lab)?;
    let mut world = World { lab, deployed };
    let mut failed = Vec::new();
    for (name, scenario) in chosen {
        let start = Instant::now();
        let result = catch_unwind(AssertUnwindSafe(|| scenario(&mut world)));
        let result = result.unwrap_or_else(|_| Err(anyhow!("it panicked")));
        let verdict = if result.is_ok() { "ok" } else { "FAILED" };
        say(format_args!("test {name} ... {verdict} ({:.1} s)", start.elapsed().as_secs_f64()));
        failed.extend(result.err().map(|error| (*name, error)));
    }
    Ok(failed)
}
