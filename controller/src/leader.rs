//! The loop around [`crate::lease`]: reads the Lease and writes what the candidate decides.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use kube::api::{Api, PostParams};
use parking_lot::Mutex;
use process::telemetry::Chain;
use tracing::{debug, info, warn};

use crate::lease::{Candidate, Record, Step};
use crate::settings::Election;

/// Until a release without an answer is given up: the lease is then over by itself.
const RELEASE_TIMEOUT: Duration = Duration::from_secs(2);

/// Until when this process may act as the leader; clones are the same.
#[derive(Clone, Debug)]
pub struct Term(Arc<Mutex<Option<Instant>>>);

impl Term {
    /// For a process that is the only one.
    pub fn for_ever() -> Self {
        Self(Arc::new(Mutex::new(None)))
    }

    /// Whether it may still begin something `now`; a process that was stopped for a while asks
    /// before anybody tells it.
    pub fn lasts(&self, now: Instant) -> bool {
        self.0.lock().is_none_or(|end| now < end)
    }

    fn ends(&self, at: Instant) {
        *self.0.lock() = Some(at);
    }
}

/// Why a process leads no more.
#[derive(Debug, thiserror::Error)]
pub enum Lost {
    #[error("cannot renew the lease within {} s", .0.as_secs())]
    Expired(Duration),
    #[error("{0} has taken the lease")]
    Taken(String),
    #[error("somebody has released or deleted the lease")]
    Interrupted,
}

/// Why a step could not be made.
#[derive(Debug, thiserror::Error)]
enum Trouble {
    #[error("cannot read or write the lease")]
    Request(#[source] kube::Error),
    #[error("no answer about the lease")]
    Silence,
}

/// One of those that want to lead, and the lease that they want.
#[derive(Debug)]
pub struct Leader {
    api: Api<Lease>,
    name: String,
    candidate: Candidate,
    /// As it was read or written last.
    lease: Option<Lease>,
    /// When the last write that made or kept us the leader was begun.
    renewed: Instant,
    term: Term,
}

impl Leader {
    pub fn new(api: Api<Lease>, election: &Election) -> Self {
        let candidate = Candidate::new(identity(), election.terms);
        let (renewed, term) = (Instant::now(), Term::for_ever());
        Self { api, name: election.name.clone(), candidate, lease: None, renewed, term }
    }

    /// How long this process may lead; it grows with each renewal.
    pub fn term(&self) -> Term {
        self.term.clone()
    }

    /// Waits until this process leads. `standing_by` hears who leads meanwhile, or why nobody
    /// knows.
    pub async fn acquire(&mut self, mut standing_by: impl FnMut(Result<&str, &str>)) {
        let mut known = String::new();
        loop {
            let now = Instant::now();
            let until = match self.look_and_step(now).await {
                Ok(Step::Wait(until)) => {
                    let holder = self.holder();
                    standing_by(Ok(holder));
                    if holder != known {
                        holder.clone_into(&mut known);
                        info!(leader = known, "standing by");
                    }
                    until
                }
                Ok(_) => {
                    self.lasts_from(now);
                    info!(lease = self.name, me = self.candidate.me(), "leading");
                    return;
                }
                Err(trouble) => {
                    standing_by(Err(&Chain(&trouble).to_string()));
                    say(&trouble);
                    now + self.candidate.terms().retry
                }
            };
            tokio::time::sleep_until(until.into()).await;
        }
    }

    /// Keeps leading until that ends.
    pub async fn renew(&mut self) -> Lost {
        let terms = self.candidate.terms();
        loop {
            let end = self.renewed + terms.deadline;
            tokio::time::sleep_until(end.min(Instant::now() + terms.retry).into()).await;
            match tokio::time::timeout_at(end.into(), self.renew_once()).await {
                Ok(Some(lost)) => return lost,
                Ok(None) => {}
                Err(_) => return Lost::Expired(terms.deadline),
            }
        }
    }

    /// One try; it tells only of what no other try can mend.
    async fn renew_once(&mut self) -> Option<Lost> {
        let now = Instant::now();
        let Err(trouble) = self.write(Step::Renew).await else {
            self.lasts_from(now);
            return None;
        };
        say(&trouble);
        match self.look_and_step(now).await {
            Ok(Step::Renew) => self.lasts_from(now),
            Ok(Step::Wait(_)) => return Some(Lost::Taken(self.holder().to_owned())),
            // Somebody else may have led in between.
            Ok(Step::Create | Step::Take(_)) => return Some(Lost::Interrupted),
            Err(trouble) => say(&trouble),
        }
        None
    }

    /// Gives the lease back, so that another one can lead at once.
    pub async fn release(&mut self) {
        let released = async {
            // A renewal that was under way may have changed it, and may yet.
            while let Err(error) = self.release_once().await {
                debug!(error = %Chain(&error), "the lease is not released yet");
            }
        };
        if tokio::time::timeout(RELEASE_TIMEOUT, released).await.is_ok() {
            info!(lease = self.name, "released the lease");
        } else {
            warn!("cannot release the lease; it will be over by itself");
        }
    }

    async fn release_once(&self) -> kube::Result<()> {
        let mut lease = self.api.get(&self.name).await?;
        let old = lease.spec.take().unwrap_or_default();
        if old.holder_identity.as_deref() != Some(self.candidate.me()) {
            return Ok(());
        }
        let now = Some(MicroTime(Timestamp::now()));
        lease.spec = Some(LeaseSpec {
            holder_identity: Some(String::new()),
            lease_duration_seconds: Some(1),
            acquire_time: now.clone(),
            renew_time: now,
            ..old
        });
        self.api.replace(&self.name, &PostParams::default(), &lease).await?;
        Ok(())
    }

    fn lasts_from(&mut self, renewed: Instant) {
        self.renewed = renewed;
        self.term.ends(renewed + self.candidate.terms().deadline);
    }

    fn holder(&self) -> &str {
        let spec = self.lease.as_ref().and_then(|lease| lease.spec.as_ref());
        spec.and_then(|spec| spec.holder_identity.as_deref()).unwrap_or_default()
    }

    /// Reads the lease and does what is to be done about it; anything but [`Step::Wait`] means that
    /// it is ours.
    async fn look_and_step(&mut self, now: Instant) -> Result<Step, Trouble> {
        let timeout = self.candidate.terms().deadline / 2;
        let read = tokio::time::timeout(timeout, self.api.get_opt(&self.name)).await;
        self.lease = read.map_err(|_| Trouble::Silence)?.map_err(Trouble::Request)?;
        let record = self.lease.as_ref().map(record);
        let step = self.candidate.step(record.as_ref(), now);
        if !matches!(step, Step::Wait(_)) {
            self.write(step).await?;
        }
        Ok(step)
    }

    /// Writes over the lease as it was seen last; the API server refuses if it has changed since.
    async fn write(&mut self, step: Step) -> Result<(), Trouble> {
        let terms = self.candidate.terms();
        let now = Some(MicroTime(Timestamp::now()));
        let lease = self.lease.clone().unwrap_or_default();
        let old = lease.spec.clone().unwrap_or_default();
        let seconds = terms.duration.as_secs().try_into().unwrap_or(i32::MAX);
        let mut spec = LeaseSpec {
            holder_identity: Some(self.candidate.me().to_owned()),
            lease_duration_seconds: Some(seconds),
            renew_time: now.clone(),
            ..old
        };
        let metadata = match step {
            Step::Create => ObjectMeta { name: Some(self.name.clone()), ..ObjectMeta::default() },
            _ => lease.metadata,
        };
        if let Step::Take(transitions) = step {
            spec.lease_transitions = Some(transitions);
        }
        if step != Step::Renew {
            spec.acquire_time = now;
        }
        let lease = Lease { metadata, spec: Some(spec) };
        let parameters = PostParams::default();
        let written = async {
            match step {
                Step::Create => self.api.create(&parameters, &lease).await,
                _ => self.api.replace(&self.name, &parameters, &lease).await,
            }
        };
        let written = tokio::time::timeout(terms.deadline / 2, written).await;
        self.lease = Some(written.map_err(|_| Trouble::Silence)?.map_err(Trouble::Request)?);
        Ok(())
    }
}

fn record(lease: &Lease) -> Record {
    let spec = lease.spec.clone().unwrap_or_default();
    let seconds = spec.lease_duration_seconds.and_then(|seconds| u64::try_from(seconds).ok());
    Record {
        holder: spec.holder_identity.unwrap_or_default(),
        duration: seconds.map(Duration::from_secs),
        renewed: spec.renew_time.map(|time| time.0.as_microsecond()),
        transitions: spec.lease_transitions.unwrap_or(0),
    }
}

/// Somebody else was faster is no trouble to speak of.
fn say(trouble: &Trouble) {
    match trouble {
        Trouble::Request(kube::Error::Api(status)) if status.code == 409 => {
            debug!("the lease has changed");
        }
        _ => warn!(error = %Chain(trouble), "leader election hangs; trying again"),
    }
}

/// The machine's name and a number that no other process has.
fn identity() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    format!("{}_{:016x}", name.trim(), RandomState::new().build_hasher().finish())
}
