//! One round of the loop: look at the machine, compare, change what differs, and say what was done.

use std::collections::BTreeSet;

use common::names;
use process::telemetry::Chain;
use tracing::{debug, info, warn};

use crate::apply::ApplyError;
use crate::cni_config;
use crate::exceptions::Exceptions;
use crate::machine::Machine;
use crate::mode::Runtime;
use crate::peers::Peers;
use crate::state::{self, Config, Step};
use crate::sysctl;
use crate::unready::{Unready, Verdict};

/// Of many complaints that are new at once, how many are written to the log.
const NAMED: usize = 20;

/// What a round came to.
#[derive(Debug)]
pub struct Round {
    pub verdict: Verdict,
    /// Whether anything of the machine was changed.
    pub changed: bool,
    /// What was changed.
    pub made: Vec<Made>,
    /// Whether the operator's file says something else than before.
    pub told: bool,
    /// What is wrong without keeping pods from starting, if that could be seen.
    pub complaints: BTreeSet<String>,
    /// Kernel settings as they were at the round's beginning, and all keys that matter.
    pub settings: sysctl::Values,
    pub watched: Vec<String>,
}

/// A step that was carried out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Made {
    /// [`Step::kind`].
    pub kind: &'static str,
    pub text: String,
}

/// What was said last, so that the log has each change once.
#[derive(Debug, Default)]
pub struct Said {
    verdict: Option<Verdict>,
    complaints: BTreeSet<String>,
    exceptions: Option<Exceptions>,
}

/// What became of the steps of a plan.
#[derive(Debug, Default)]
struct Outcome {
    made: Vec<Made>,
    failures: Vec<Unready>,
    /// What the kernel refused of a Node's routes or a pod's port: nobody else's concern.
    refused: BTreeSet<String>,
    settings: sysctl::Values,
    watched: Vec<String>,
    told: bool,
}

impl Machine {
    /// Brings the machine one round closer to what it should be, and says so.
    pub fn round(&mut self, config: &Config, peers: Option<&Peers>, said: &mut Said) -> Round {
        let converged = self.converge(config, peers, said);
        let (outcome, verdict) = match converged {
            Ok(mut outcome) => {
                let first = std::mem::take(&mut outcome.failures).into_iter().next();
                (outcome, first.map_or(Ok(()), Err))
            }
            Err(unready) => (Outcome::default(), Err(unready)),
        };
        // An error of its own says more than that nobody could be told of it.
        let heard = if config.mode.runtime.is_ours() { self.tell(&verdict) } else { Ok(()) };
        let heard = heard.map_err(|error| failed("tell the plugin", &error));
        let verdict = verdict.and(heard);
        said.verdict(&verdict);
        let Outcome { made, settings, watched, told, .. } = outcome;
        let complaints = said.complaints.clone();
        Round { verdict, changed: !made.is_empty(), made, told, complaints, settings, watched }
    }

    fn converge(
        &mut self,
        config: &Config,
        peers: Option<&Peers>,
        said: &mut Said,
    ) -> Result<Outcome, Unready> {
        if self.paths.cleaning().exists() {
            return Err(Unready::CleaningUp);
        }
        let takes_over = config.take_over && config.mode.runtime == Runtime::Kubenet;
        let not_taken = if takes_over { self.take_over()? } else { BTreeSet::new() };
        let mut observed = self
            .observe(&config.mode)
            .map_err(|error| Unready::Unseen(Chain(&error).to_string()))?;
        observed.exceptions = self.exceptions.look();
        let told = said.exceptions.replace(observed.exceptions.clone());
        self.reaper.complete();
        self.reaper.remove_dead(&observed.links);
        let desired = state::desired(config, peers, &observed)?;
        let mut outcome = self.apply_all(&state::plan(&desired, &observed));
        outcome.failures.extend(state::obstacle(&desired, &observed));
        outcome.failures.extend(state::shadow(&desired, &observed));
        let mut complaints = state::complaints(&desired, &observed);
        complaints.append(&mut outcome.refused);
        complaints.extend(not_taken);
        // The first failure is the verdict.
        complaints.extend(outcome.failures.iter().skip(1).map(ToString::to_string));
        said.complaints(complaints);
        outcome.watched = sysctl::watched(&observed.links, &observed.routes);
        outcome.told = told.as_ref() != Some(&observed.exceptions);
        outcome.settings = observed.sysctls;
        Ok(outcome)
    }

    /// Carries out all `steps`, whatever becomes of those before. Only a conflist is not written
    /// after a failure, nor another's disabled: it says that all else is in place.
    fn apply_all(&mut self, steps: &[Step]) -> Outcome {
        let mut outcome = Outcome::default();
        for step in steps {
            let conflist = matches!(
                step,
                Step::Runtime(cni_config::Step::WriteConflist(_) | cni_config::Step::Disable(_))
            );
            if conflist && !outcome.failures.is_empty() {
                continue;
            }
            debug!(?step, "applying");
            let made = match self.apply(step) {
                Ok(()) => true,
                Err(ApplyError::Routes { refused, all }) => {
                    outcome.refused.extend(refused.iter().map(|error| Chain(error).to_string()));
                    refused.len() < all
                }
                Err(error) if matches!(step, Step::Port(_) | Step::Restore(_)) => {
                    outcome.refused.insert(failed(step, &error).to_string());
                    false
                }
                Err(error) => {
                    outcome.failures.push(failed(step, &error));
                    false
                }
            };
            if made {
                info!("{step}");
                outcome.made.push(Made { kind: step.kind(), text: step.to_string() });
            }
        }
        outcome
    }
}

fn failed(what: impl std::fmt::Display, error: &(dyn std::error::Error + Send + Sync)) -> Unready {
    Unready::Failed(format!("{what}: {}", Chain(error)))
}

impl Said {
    fn verdict(&mut self, verdict: &Verdict) {
        if self.verdict.as_ref() == Some(verdict) {
            return;
        }
        match verdict {
            Ok(()) => info!(bridge = names::BRIDGE, "network ready"),
            Err(unready) => warn!(reason = unready.code(), "network not ready: {unready}"),
        }
        self.verdict = Some(verdict.clone());
    }

    fn complaints(&mut self, complaints: BTreeSet<String>) {
        let new = complaints.difference(&self.complaints);
        let count = new.clone().count();
        for complaint in new.take(NAMED) {
            warn!("{complaint}");
        }
        if let Some(more @ 1..) = count.checked_sub(NAMED) {
            warn!("and {more} more of the kind");
        }
        self.complaints = complaints;
    }
}

#[cfg(test)]
mod tests;
