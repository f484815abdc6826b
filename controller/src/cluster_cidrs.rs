//! ClusterCIDR objects: their pools for the allocator, and in return their finalizer and status.
//!
//! What is written follows from what is known at the time of a review, at most one a second; a write
//! that fails is found missing by a later one.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::{Duration, Instant};

use common::names;
use futures::stream::{Stream, StreamExt};
use jiff::Timestamp;
use kube::api::{Api, Patch, PatchParams};
use kube::core::Resource;
use kube::runtime::watcher::Event;
use kube::{Client, ResourceExt};
use process::cluster_cidrs::{ClusterCidr, FINALIZER};
use process::snapshot::Snapshot;
use process::telemetry::Chain;
use serde_json::{Value, json};
use tokio::task::{JoinError, JoinSet};
use tracing::{debug, error, warn};

use crate::events::Events;
use crate::pool_plan::{self, Mistake};
use crate::pool_status;
use nodeipam::allocator::Allocator;
use nodeipam::pool::{Origin, Plan, Pool};
use nodeipam::pool_report::{Report, keepers};

/// The reason for Events about a ClusterCIDR that can't be used; node-ipam-controller's.
const INVALID: &str = "InvalidClusterCIDR";

/// Between two reviews: a status follows what it tells of within it.
const PACE: Duration = Duration::from_secs(1);

/// Until a write that failed is tried again, doubled with each failure in a row.
const RETRY: Duration = Duration::from_secs(5);

/// The longest of these delays: a definition without a status fails for ever.
const LONGEST_RETRY: Duration = Duration::from_mins(5);

/// Until a write without an answer is given up.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Why objects are no pools, by name.
pub type Invalid = BTreeMap<String, Vec<Mistake>>;

type Sent = (String, Result<(), WriteError>);

/// Why an object was not written.
#[derive(Debug, thiserror::Error)]
enum WriteError {
    #[error("cannot write the ClusterCIDR")]
    Request(#[source] kube::Error),
    #[error("no answer within {} s", TIMEOUT.as_secs())]
    Timeout,
}

/// What is to be written to one object.
#[derive(Clone, Debug, PartialEq)]
enum Write {
    Finalizers(Value),
    Status(Value),
}

/// What is known of the ClusterCIDRs, and what is being written to them.
pub struct ClusterCidrs {
    api: Api<ClusterCidr>,
    objects: Snapshot<ClusterCidr>,
    plans: Vec<Plan>,
    invalid: Invalid,
    sent: JoinSet<Sent>,
    writing: HashSet<String>,
    /// After which delay, and when, a write that failed is tried again, by name.
    resting: HashMap<String, (Duration, Instant)>,
    /// When the next review is due; none if nothing has changed.
    due: Option<Instant>,
}

impl ClusterCidrs {
    pub fn new(client: Client) -> Self {
        Self {
            api: Api::all(client),
            objects: Snapshot::default(),
            plans: Vec::new(),
            invalid: Invalid::new(),
            sent: JoinSet::new(),
            writing: HashSet::new(),
            resting: HashMap::new(),
            due: None,
        }
    }

    /// Follows `watch` until the first list is complete.
    pub async fn list(&mut self, watch: &mut (impl Stream<Item = Event<ClusterCidr>> + Unpin)) {
        while self.objects.known().is_none()
            && let Some(event) = watch.next().await
        {
            self.objects.apply(event);
        }
    }

    pub fn learn(&mut self, event: Event<ClusterCidr>) {
        self.objects.apply(event);
    }

    /// The plans of all that are pools, the oldest first, and what is wrong with the others, by name.
    pub fn plans(&self) -> (Vec<Plan>, Invalid) {
        let known = self.objects.known().into_iter().flat_map(BTreeMap::values);
        let mut objects = known.collect::<Vec<_>>();
        objects
            .sort_by_key(|object| (object.metadata.creation_timestamp.clone(), object.name_any()));
        let (mut plans, mut invalid) = (Vec::new(), Invalid::new());
        for object in objects {
            match pool_plan::plan(object) {
                Ok(plan) => plans.push(plan),
                Err(mistakes) => drop(invalid.insert(object.name_any(), mistakes)),
            }
        }
        (plans, invalid)
    }

    /// The plans, if they are not as they were. What is wrong with objects is told once.
    pub fn changed_plans(&mut self, events: &Events) -> Option<Vec<Plan>> {
        let (plans, invalid) = self.plans();
        for (name, mistakes) in &invalid {
            let object = self.objects.known().and_then(|known| known.get(name));
            if let Some(object) = object.filter(|_| self.invalid.get(name) != Some(mistakes)) {
                tell(object, mistakes, events);
            }
        }
        self.invalid = invalid;
        let changed = self.plans != plans;
        self.plans.clone_from(&plans);
        changed.then_some(plans)
    }

    /// Something has changed that a finalizer or a status may follow from.
    pub fn review_at(&mut self, due: Instant) {
        if self.objects.known().is_some_and(|known| !known.is_empty()) {
            self.due = Some(self.due.map_or(due, |earlier| earlier.min(due)));
        }
    }

    /// As [`Self::review_at`], soon.
    pub fn review_soon(&mut self, now: Instant) {
        self.review_at(now + PACE);
    }

    /// When [`Self::review`] has something to do.
    pub fn wakes_at(&self) -> Option<Instant> {
        self.due
    }

    /// Sends what the objects lack, if it is time for that.
    pub fn review(&mut self, allocator: &Allocator, now: Instant) {
        if self.due.is_none_or(|due| now < due) {
            return;
        }
        let known = self.objects.known();
        self.resting.retain(|name, _| known.is_some_and(|known| known.contains_key(name)));
        self.due =
            self.resting.values().map(|&(_, until)| until).filter(|&until| until > now).min();
        let objects = self.objects.known().into_iter().flat_map(BTreeMap::values);
        let rests = |name: &str| self.resting.get(name).is_some_and(|&(_, until)| until > now);
        let idle = |name: &str| !self.writing.contains(name) && !rests(name);
        let writes = objects.filter(|object| idle(&object.name_any())).filter_map(|object| {
            let write = self.missing(object, allocator)?;
            Some((object.name_any(), write))
        });
        for (name, write) in writes.collect::<Vec<_>>() {
            debug!(clustercidr = %name, ?write, "writing");
            let api = self.api.clone();
            self.writing.insert(name.clone());
            self.sent.spawn(async move {
                let answer = tokio::time::timeout(TIMEOUT, send(&api, &name, &write)).await;
                let answer = answer.map_err(|_| WriteError::Timeout);
                (name, answer.and_then(|answer| answer.map_err(WriteError::Request)))
            });
        }
    }

    /// Waits for the answer to a write; none if there is none under way.
    pub async fn answered(&mut self) -> Option<()> {
        let answer = self.sent.join_next().await?;
        self.conclude(answer, Instant::now());
        Some(())
    }

    fn conclude(&mut self, answer: Result<Sent, JoinError>, now: Instant) {
        match answer {
            // How the object looks now the watch tells, in the order in which it changed.
            Ok((name, Ok(()))) => {
                self.writing.remove(&name);
                self.resting.remove(&name);
                self.review_soon(now);
            }
            Ok((name, Err(error))) => {
                warn!(clustercidr = %name, error = %Chain(&error), "cannot write; trying again");
                self.writing.remove(&name);
                let before = self.resting.get(&name).map(|&(delay, _)| delay);
                let delay = before.map_or(RETRY, |before| LONGEST_RETRY.min(before * 2));
                self.resting.insert(name, (delay, now + delay));
                self.review_at(now + delay);
            }
            Err(panic) => error!(error = %Chain(&panic), "the task of a write broke down"),
        }
    }

    /// What `object` lacks most.
    fn missing(&self, object: &ClusterCidr, allocator: &Allocator) -> Option<Write> {
        let origin = Origin::ClusterCidr(object.name_any().into());
        let pool = allocator.pools().iter().find(|pool| pool.plan().origin == origin);
        if let Some(finalizers) = finalizers(object, pool, allocator) {
            return Some(Write::Finalizers(json!({
                "metadata": {
                    "uid": object.metadata.uid,
                    "resourceVersion": object.metadata.resource_version,
                    "finalizers": finalizers,
                },
            })));
        }
        let report = match (self.invalid.get(&object.name_any()), pool) {
            (Some(mistakes), _) => Report::of_invalid(mistakes),
            (None, pool) => Report::of(pool?, allocator),
        };
        let status = pool_status::status(object, &report, Timestamp::now());
        let changed = object.status.as_ref() != Some(&status);
        changed.then(|| {
            Write::Status(json!({ "metadata": { "uid": object.metadata.uid }, "status": status }))
        })
    }
}

/// The finalizers that `object` should have; none if it has them.
///
/// Ours stands there from when it is a pool until it is being deleted and no Node needs it.
fn finalizers(
    object: &ClusterCidr,
    pool: Option<&Pool>,
    allocator: &Allocator,
) -> Option<Vec<String>> {
    let has = object.finalizers().iter().any(|finalizer| finalizer == FINALIZER);
    let others = object.finalizers().iter().filter(|finalizer| *finalizer != FINALIZER).cloned();
    let going = object.metadata.deletion_timestamp.is_some();
    let needed = pool.is_some_and(|pool| !going || keepers(pool, allocator).next().is_some());
    match (has, needed) {
        (true, false) if going => Some(others.collect()),
        (false, true) if !going => Some(others.chain([FINALIZER.to_owned()]).collect()),
        _ => None,
    }
}

async fn send(api: &Api<ClusterCidr>, name: &str, write: &Write) -> kube::Result<()> {
    let parameters =
        PatchParams { field_manager: Some(names::CONTROLLER.to_owned()), ..PatchParams::default() };
    match write {
        Write::Finalizers(body) => api.patch(name, &parameters, &Patch::Merge(body)).await,
        Write::Status(body) => api.patch_status(name, &parameters, &Patch::Merge(body)).await,
    }
    .map(drop)
}

fn tell(object: &ClusterCidr, mistakes: &[Mistake], events: &Events) {
    let text = mistakes.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ");
    warn!(clustercidr = %object.name_any(), reason = INVALID, "{text}");
    events.warn_of(object.object_ref(&()), INVALID, text);
}
