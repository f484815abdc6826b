//! The loop, which owns all that the agent changes on the machine: it is woken by Nodes, by the
//! kernel and by a timer, and each time looks at everything.

use std::fs::File;
use std::io;
use std::time::Instant;

use net::NetError;
use net::events::Events;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::watch;
use tracing::debug;

use crate::machine::Machine;
use crate::nodes::Latest;
use crate::pace::{Pace, Wait, Went};
use crate::round::{Round, Said};
use crate::state::Config;
use crate::unready::Verdict;

/// Why the loop can't go on.
#[derive(Debug, thiserror::Error)]
pub enum SyncError {
    #[error(transparent)]
    Subscribe(#[from] NetError),
    #[error("cannot wait for events of the kernel")]
    Events(#[source] io::Error),
    #[error("a round broke off")]
    Round(#[from] tokio::task::JoinError),
}

/// The machine and what has been said of it: handed to a thread that may block, and back.
#[derive(Debug)]
pub struct Worker {
    machine: Machine,
    config: Config,
    said: Said,
    /// Here, so that it is held until the last round is over, also if the loop is cancelled meanwhile.
    _lock: File,
}

/// What wakes the loop.
struct Wakers {
    nodes: watch::Receiver<Latest>,
    kernel: Kernel,
}

struct Kernel {
    routing: AsyncFd<Events>,
    nftables: AsyncFd<Events>,
}

/// Makes the worker's machine agree with `nodes` for ever, and publishes the verdict of each round.
///
/// # Errors
/// Only if the kernel takes away what the loop lives on; it never ends for the cluster's sake.
pub async fn run(
    mut worker: Worker,
    nodes: watch::Receiver<Latest>,
    verdicts: watch::Sender<Option<Verdict>>,
) -> Result<(), SyncError> {
    // Before the first look, so that nothing happens unseen between that and the first wait.
    let mut wakers = Wakers { nodes, kernel: Kernel::subscribe()? };
    let mut pace = Pace::default();
    loop {
        if wakers.nodes.has_changed().unwrap_or(false) {
            pace.forgive();
        }
        wakers.kernel.drain()?;
        let nodes = wakers.nodes.borrow_and_update().clone();
        let start = Instant::now();
        let (back, round) = tokio::task::spawn_blocking(move || worker.round(&nodes)).await?;
        worker = back;
        let wait = pace.after(round.went(), start.elapsed());
        debug!(?round, took = ?start.elapsed(), ?wait, "round");
        verdicts.send_if_modified(|last| {
            let new = last.as_ref() != Some(&round.verdict);
            *last = Some(round.verdict);
            new
        });
        wakers.wait(wait).await?;
    }
}

impl Worker {
    /// `lock` is the file that makes this the machine's one agent.
    pub fn new(machine: Machine, config: Config, lock: File) -> Self {
        Self { machine, config, said: Said::default(), _lock: lock }
    }

    fn round(mut self, nodes: &Latest) -> (Self, Round) {
        let round = self.machine.round(&self.config, nodes.as_deref(), &mut self.said);
        (self, round)
    }
}

impl Round {
    fn went(&self) -> Went {
        match &self.verdict {
            Ok(()) if self.changed => Went::Changed,
            Ok(()) => Went::Quiet,
            // The cure wakes the loop.
            Err(unready) if unready.waits_for_the_cluster() => Went::Quiet,
            Err(_) => Went::Failed,
        }
    }
}

impl Wakers {
    /// Until something happens and its burst is over, but within the bounds of `wait`.
    async fn wait(&mut self, wait: Wait) -> Result<(), SyncError> {
        let rest = tokio::time::sleep(wait.least);
        let sleep = tokio::time::timeout(wait.most, async {
            tokio::select! {
                // An end of the watch ends the program, elsewhere.
                Ok(()) = self.nodes.changed() => self.nodes.mark_changed(),
                result = self.kernel.changed() => result?,
            }
            tokio::time::sleep(wait.burst).await;
            Ok(())
        });
        let ((), slept) = tokio::join!(rest, sleep);
        slept.unwrap_or(Ok(()))
    }
}

impl Kernel {
    /// In the namespace of the calling thread.
    fn subscribe() -> Result<Self, SyncError> {
        Ok(Self {
            routing: pollable(Events::of_routing()?)?,
            nftables: pollable(Events::of_nftables()?)?,
        })
    }

    async fn changed(&mut self) -> Result<(), SyncError> {
        let Self { routing, nftables } = self;
        let news = tokio::select! {
            news = routing.async_io_mut(Interest::READABLE, Events::next) => news,
            news = nftables.async_io_mut(Interest::READABLE, Events::next) => news,
        };
        debug!(?news, "kernel");
        news.map(drop).map_err(SyncError::Events)
    }

    /// Forgets what has been told so far: what is looked at from now on is newer.
    fn drain(&mut self) -> Result<(), SyncError> {
        for events in [&mut self.routing, &mut self.nftables] {
            match events.get_mut().next() {
                Err(error) if error.kind() != io::ErrorKind::WouldBlock => {
                    return Err(SyncError::Events(error));
                }
                _ => {}
            }
        }
        Ok(())
    }
}

fn pollable(events: Events) -> Result<AsyncFd<Events>, SyncError> {
    #[expect(deprecated, reason = "its successor is unsafe; Events keeps its socket until its end")]
    AsyncFd::with_interest(events, Interest::READABLE).map_err(SyncError::Events)
}

#[cfg(test)]
mod tests;
