//! Removes what is left of pods: what a DEL leaves as a tombstone, and what nobody has called DEL for.
//!
//! A DEL that has left a tombstone knocks at a socket, and ends with the answer. That comes even while the
//! loop is at work; the loop then takes all tombstones that there are, by the plugin's own code.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use common::attachment::AttachmentId;
use net::NetError;
use net::link::Link;
use process::telemetry::Chain;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Notify;
use tracing::{debug, info, warn};

use crate::glance;

/// Until the next try to accept, after one that failed for want of files.
const PAUSE: Duration = Duration::from_millis(100);

/// The byte says nothing: it is there.
const ANSWER: &[u8] = b"!";

/// What became of an attachment before it was removed here.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Kind {
    kind: &'static str,
}

/// A DEL had left the rest.
const DELETED: Kind = Kind { kind: "deleted" };

/// Its namespace was gone, and nobody had called DEL.
const DEAD: Kind = Kind { kind: "dead" };

/// How many were removed.
pub type Reclaimed = Family<Kind, Counter>;

/// Removes, and says so.
#[derive(Debug)]
pub(crate) struct Reaper {
    removal: cni::Reaper,
    pub(crate) reclaimed: Reclaimed,
    /// What went wrong the last time, so that it is said once.
    failure: Option<String>,
}

/// Where DELs knock.
#[derive(Debug)]
pub struct Door {
    listener: UnixListener,
    path: PathBuf,
}

impl Reaper {
    /// In the network namespace of the calling thread.
    pub(crate) fn open(state_dir: &Path) -> Result<Self, NetError> {
        let reclaimed = Reclaimed::default();
        // From the start, so that what comes can be seen to be more.
        for kind in [DELETED, DEAD] {
            drop(reclaimed.get_or_create(&kind));
        }
        Ok(Self { removal: cni::Reaper::open(state_dir)?, reclaimed, failure: None })
    }

    /// Completes the removal of what has a tombstone.
    pub(crate) fn complete(&mut self) {
        let removed = self.removal.complete();
        for id in self.said(removed, &DELETED) {
            debug!(%id, "removed");
        }
    }

    /// Removes what has no host link, among `links` or newer than these.
    pub(crate) fn remove_dead(&mut self, links: &[Link]) {
        let removed = self.removal.remove_dead(links);
        for id in self.said(removed, &DEAD) {
            info!(%id, "removed: its network namespace is gone");
        }
    }

    /// Makes anew what is lost of the files of `id`, if it lives.
    pub(crate) fn restore(&mut self, id: &AttachmentId) -> Result<(), cni::Error> {
        self.removal.restore(id)
    }

    fn said(
        &mut self,
        removed: Result<Vec<AttachmentId>, cni::Error>,
        kind: &Kind,
    ) -> Vec<AttachmentId> {
        let failure = removed.as_ref().err().map(|error| Chain(error).to_string());
        if let Some(failure) = failure.as_ref().filter(|new| self.failure.as_ref() != Some(new)) {
            warn!("cannot remove what is left of pods: {failure}");
        }
        self.failure = failure;
        let removed = removed.unwrap_or_default();
        self.reclaimed.get_or_create(kind).inc_by(removed.len() as u64);
        removed
    }
}

impl Door {
    /// Listens at `path`, in place of an agent that is no more.
    pub fn open(path: &Path) -> io::Result<Self> {
        match std::fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(Self { listener: UnixListener::bind(path)?, path: path.to_owned() }),
        }
    }

    /// Answers whoever knocks, for ever; a socket that somebody has removed is made anew, once its folder
    /// is there.
    pub async fn answer(&mut self, knocked: &Notify) {
        loop {
            let accepted = tokio::select! {
                accepted = self.listener.accept() => accepted,
                () = glance::next() => {
                    self.renew();
                    continue;
                }
            };
            match accepted {
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

    /// Where the socket is gone, in a folder that is there.
    fn renew(&mut self) {
        if !self.path.exists() {
            match Self::open(&self.path) {
                Ok(new) => *self = new,
                Err(error) => debug!(error = %Chain(&error), "no socket for DELs"),
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
