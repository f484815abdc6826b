//! `make demo`: the main job, for a person to see.

use std::time::Instant;

use anyhow::{Result, bail};

use crate::lab::{self, Lab};
use crate::say::{say, timed};
use crate::traces::{Logs, Whose, sweep};
use crate::{checks, measure, report, workload};

/// Whether the lab ends with the demo.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Afterwards {
    End,
    Keep,
}

/// Builds a lab, shows it, and fails if a check does.
pub fn run(afterwards: Afterwards) -> Result<()> {
    let start = Instant::now();
    let (lab, ()) = lab::with(|lab| {
        let deployed = timed("DaemonSet, Deployments and Services", || workload::deploy(lab))?;
        report::cluster(lab)?;
        let (passed, failed) = report::matrix(&checks::run(lab, &deployed)?);
        measure::run(lab)?;
        say(format_args!(
            "\n{passed} checks passed, {failed} failed ({:.0} s)",
            start.elapsed().as_secs_f64()
        ));
        if failed > 0 {
            bail!("{failed} checks failed");
        }
        Ok(())
    })?;
    match afterwards {
        Afterwards::Keep => keep(lab),
        Afterwards::End => timed("everything ended", || lab.down(Logs::Remove)),
    }
}

fn keep(lab: Lab) -> Result<()> {
    say("\nThe lab goes on. For kubectl:");
    say(format_args!("  kubectl() {{ {} \"$@\"; }}", lab.control_plane.api.kubectl_for_people()));
    say("A shell on a machine:");
    for machine in &lab.machines {
        let init = machine.place.init;
        say(format_args!("  nsenter --target {init} --all    # {}", machine.name()));
    }
    say(format_args!("Logs: {}", lab.traces.log("*").display()));
    say("It ends by: make demo-down");
    lab.keep()
}

/// Ends what `KEEP=1` left running, and what else is left of labs whose process is gone.
pub fn down() -> Result<()> {
    let ended = sweep(&lab::base(), Whose::Kept)?;
    say(format_args!("{ended} lab(s) ended"));
    Ok(())
}
