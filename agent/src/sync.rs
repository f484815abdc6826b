//! The loop, which owns all that the agent changes on the machine: whatever wakes it, it looks at
//! everything.

use std::io;
use std::time::Instant;

use tokio::sync::{Notify, watch};
use tracing::debug;

use crate::lock::AgentLock;
use crate::machine::Machine;
use crate::pace::{Pace, Went};
use crate::peers::Peers;
use crate::ranges::Ranges;
use crate::report::{Report, Turn};
use crate::round::{Round, Said};
use crate::state::{Config, Nodes};
use crate::unready::{Unready, Verdict};
use crate::wakers::{Cluster, WakeError, Wakers};

/// Why the loop can't go on.
#[derive(Debug, thiserror::Error)]
pub enum SyncError {
    #[error(transparent)]
    Wake(#[from] WakeError),
    #[error("a round broke off")]
    Round(#[from] tokio::task::JoinError),
    #[error("the folder of leases and records is gone: only a new start helps")]
    State(#[source] io::Error),
}

/// The machine and what has been said of it: handed to a thread that may block, and back.
#[derive(Debug)]
pub struct Worker {
    machine: Machine,
    config: Config,
    /// The cluster's ranges that the flags name.
    flags: Ranges,
    said: Said,
    /// What the Nodes said last; none until they are known.
    peers: Option<Peers>,
    /// Here, so that it is held until the last round is over, also if the loop is cancelled meanwhile.
    lock: AgentLock,
}

/// Makes the worker's machine agree with the `cluster`, and publishes the verdict of each round, until the
/// machine is to be cleaned up: then it is let go for good.
///
/// Between rounds it removes what DELs have left, whenever one has `knocked`.
///
/// # Errors
/// Only if the kernel takes away what the loop lives on; it never ends for the cluster's sake.
pub async fn run(
    mut worker: Worker,
    cluster: Cluster,
    verdicts: watch::Sender<Option<Verdict>>,
    report: &mut Report,
    knocked: &Notify,
) -> Result<(), SyncError> {
    // Before the first look, so that nothing happens unseen between that and the first wait.
    let mut wakers = Wakers::new(cluster, &worker.machine.paths)?;
    let mut pace = Pace::new(Instant::now());
    loop {
        if wakers.cluster.has_changed() {
            pace.excuse();
        }
        wakers.drain()?;
        worker.lock.keep().map_err(SyncError::State)?;
        worker.hear(wakers.cluster.nodes.borrow_and_update().as_ref());
        worker.take(&wakers.cluster.ranges.borrow_and_update());
        let excused = pace.is_excused();
        let start = Instant::now();
        let (back, mut round) = tokio::task::spawn_blocking(move || worker.round()).await?;
        worker = back;
        let now = Instant::now();
        let took = now.duration_since(start);
        let wait = pace.after(round.went(), took, now);
        debug!(?round, ?took, ?wait, "round");
        wakers.expect(std::mem::take(&mut round.watched), std::mem::take(&mut round.settings));
        let excused = excused || round.told;
        report.round(&round, &Turn { now, took, excused, quarrel: pace.is_quarrel() });
        verdicts.send_if_modified(|last| {
            let new = last.as_ref() != Some(&round.verdict);
            *last = Some(round.verdict);
            new
        });
        if verdicts.borrow().as_ref() == Some(&Err(Unready::CleaningUp)) {
            return Ok(());
        }
        let rest = wakers.wait(wait);
        tokio::pin!(rest);
        loop {
            tokio::select! {
                rested = &mut rest => break rested?,
                () = knocked.notified() => {
                    worker = tokio::task::spawn_blocking(move || worker.complete()).await?;
                }
            }
        }
    }
}

impl Worker {
    /// `lock` is the file that makes this the machine's one agent.
    pub fn new(machine: Machine, config: Config, lock: AgentLock) -> Self {
        let flags =
            Ranges { pods: config.cluster_cidrs.clone(), services: config.services.clone() };
        Self { machine, config, flags, said: Said::default(), peers: None, lock }
    }

    fn hear(&mut self, nodes: Option<&Nodes>) {
        let before = self.peers.take().unwrap_or_default();
        self.peers = nodes.map(|nodes| Peers::read(&self.config.node, nodes, before));
    }

    /// The cluster has `ranges` besides those of the flags.
    fn take(&mut self, ranges: &Ranges) {
        self.config.cluster_cidrs = [&self.flags.pods[..], &ranges.pods].concat();
        self.config.services = [&self.flags.services[..], &ranges.services].concat();
    }

    fn complete(mut self) -> Self {
        self.machine.reaper.complete();
        self
    }

    fn round(mut self) -> (Self, Round) {
        let round = self.machine.round(&self.config, self.peers.as_ref(), &mut self.said);
        (self, round)
    }
}

impl Round {
    fn went(&self) -> Went {
        match &self.verdict {
            Err(unready) if !unready.is_awaited() => Went::Failed,
            _ if self.changed => Went::Changed,
            _ => Went::Quiet,
        }
    }
}

#[cfg(test)]
mod tests;
