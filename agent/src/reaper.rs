//! Removes what is left of pods: what a DEL leaves as a tombstone, and what nobody has called DEL for.
//!
//! A DEL that has left a tombstone knocks at a socket, and ends with the answer. That comes even while the
//! loop is at work; the loop then takes all tombstones that there are, by the plugin's own code.

use std::io;
use std::path::Path;
use std::time::Duration;

use common::attachment::AttachmentId;
use net::NetError;
use net::link::Link;
use process::telemetry::Chain;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Notify;
use tracing::{debug, info, warn};

/// Until the next try to accept, after one that failed for want of files.
const PAUSE: Duration = Duration::from_millis(100);

/// The byte says nothing: it is there.
const ANSWER: &[u8] = b"!";

/// Removes, and says so.
#[derive(Debug)]
pub(crate) struct Reaper {
    reaper: cni::Reaper,
    /// What went wrong the last time, so that it is said once.
    failure: Option<String>,
}

/// Where DELs knock.
#[derive(Debug)]
pub struct Door(UnixListener);

impl Reaper {
    /// In the network namespace of the calling thread.
    pub(crate) fn open(state_dir: &Path) -> Result<Self, NetError> {
        Ok(Self { reaper: cni::Reaper::open(state_dir)?, failure: None })
    }

    /// Completes the removal of what has a tombstone.
    pub(crate) fn complete(&mut self) {
        let removed = self.reaper.complete();
        for id in self.said(removed) {
            debug!(%id, "removed");
        }
    }

    /// Removes what has no host link, among `links` or newer than these.
    pub(crate) fn remove_dead(&mut self, links: &[Link]) {
        let removed = self.reaper.remove_dead(links);
        for id in self.said(removed) {
            info!(%id, "removed: its network namespace is gone");
        }
    }

    fn said(&mut self, removed: Result<Vec<AttachmentId>, cni::Error>) -> Vec<AttachmentId> {
        let failure = removed.as_ref().err().map(|error| Chain(error).to_string());
        if let Some(failure) = failure.as_ref().filter(|new| self.failure.as_ref() != Some(new)) {
            warn!("cannot remove what is left of pods: {failure}");
        }
        self.failure = failure;
        removed.unwrap_or_default()
    }
}

impl Door {
    /// Listens at `path`, in place of an agent that is no more.
    pub fn open(path: &Path) -> io::Result<Self> {
        match std::fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => UnixListener::bind(path).map(Self),
        }
    }

    /// Answers whoever knocks, for ever.
    pub async fn answer(&self, knocked: &Notify) {
        loop {
            match self.0.accept().await {
                Ok((stream, _)) => {
                    knocked.notify_one();
                    answer(&stream);
                }
                Err(error) => {
                    warn!(error = %Chain(&error), "cannot answer a DEL");
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
    }
}

/// One that has not waited for it does without.
fn answer(stream: &UnixStream) {
    if let Err(error) = stream.try_write(ANSWER) {
        debug!(error = %Chain(&error), "a DEL is gone");
    }
}
