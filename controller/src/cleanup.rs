//! What became of each machine that is to be cleaned up, as the pods that do it show.

use std::collections::BTreeMap;
use std::fmt;

use k8s_openapi::api::apps::v1::DaemonSet;
use k8s_openapi::api::core::v1::Pod;

mod run;

pub use run::{Flags, run};

/// The exit code of `kubenet-agent cleanup` where pods still live.
const KEPT: i32 = 3;

/// What is known of one machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Nothing of kubenet is left there.
    Clean,
    /// Pods live there, and what they need stays: the agent's words name them.
    Kept(String),
    /// Nothing was heard of it, or only what it could not do yet.
    Waiting(Option<String>),
}

/// All machines of a DaemonSet whose pods' first container is `kubenet-agent cleanup`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Machines {
    outcomes: BTreeMap<String, Outcome>,
    /// How many more there are to be; none while no controller has seen the DaemonSet.
    missing: Option<usize>,
}

impl Machines {
    /// Of the DaemonSet and its pods as they are now.
    pub fn new(set: &DaemonSet, pods: &[Pod]) -> Self {
        let outcomes = pods.iter().filter_map(|pod| {
            let machine = pod.spec.as_ref()?.node_name.clone()?;
            Some((machine, Outcome::of(pod)))
        });
        let outcomes = outcomes.collect::<BTreeMap<_, _>>();
        let status = set.status.as_ref();
        let seen = status.filter(|status| status.observed_generation == set.metadata.generation);
        let wanted = seen.and_then(|status| usize::try_from(status.desired_number_scheduled).ok());
        let missing = wanted.map(|wanted| wanted.saturating_sub(outcomes.len()));
        Self { outcomes, missing }
    }

    /// Whether there is nothing more to wait for.
    pub fn have_answered(&self) -> bool {
        let open = |outcome: &Outcome| matches!(outcome, Outcome::Waiting(_));
        self.missing == Some(0) && !self.outcomes.values().any(open)
    }

    /// Whether nothing was heard of `machine`, so that nothing is to be expected of it.
    pub fn is_silent(&self, machine: &str) -> bool {
        matches!(self.outcomes.get(machine), None | Some(Outcome::Waiting(_)))
    }
}

impl Outcome {
    fn of(pod: &Pod) -> Self {
        let status = pod.status.as_ref();
        let conditions = status.and_then(|status| status.conditions.as_ref());
        let mut conditions = conditions.into_iter().flatten();
        if conditions
            .any(|condition| condition.type_ == "Initialized" && condition.status == "True")
        {
            return Self::Clean;
        }
        let containers = status.and_then(|status| status.init_container_statuses.as_ref());
        let container = containers.and_then(|containers| containers.first());
        let now_and_before = container.map(|container| [&container.state, &container.last_state]);
        let mut known = now_and_before.into_iter().flatten().flatten();
        let ended = known.find_map(|state| state.terminated.as_ref());
        let words = ended.map(|ended| ended.message.clone().unwrap_or_default());
        match (ended.map(|ended| ended.exit_code), words) {
            (Some(KEPT), Some(words)) => Self::Kept(words),
            (_, words) => Self::Waiting(words),
        }
    }
}

impl fmt::Display for Machines {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (machine, outcome) in &self.outcomes {
            let (what, words) = match outcome {
                Outcome::Clean => ("nothing of kubenet is left", None),
                Outcome::Kept(words) => ("what living pods need stays", Some(words)),
                Outcome::Waiting(words) => ("is silent, and was not cleaned up", words.as_ref()),
            };
            writeln!(f, "{machine}: {what}")?;
            for line in words.into_iter().flat_map(|words| words.lines()) {
                writeln!(f, "    {line}")?;
            }
        }
        match self.missing {
            None => writeln!(f, "no controller has seen the DaemonSet that cleans machines up"),
            Some(0) => Ok(()),
            Some(missing) => writeln!(f, "{missing} more machines have no pod that cleans them up"),
        }
    }
}

#[cfg(test)]
mod tests;
