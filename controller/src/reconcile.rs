//! From what the watch tells to what is written: one task that owns the allocator and the queue of
//! PATCHes, so that nothing is locked; only the PATCHes themselves run beside it.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Instant;

use common::node::NodeView;
use futures::stream::{Stream, StreamExt};
use k8s_openapi::api::core::v1::Node;
use kube::api::Api;
use kube::runtime::watcher::Event;
use process::nodes::{self, Change, Nodes};
use process::telemetry::Chain;
use tokio::task::JoinSet;
use tracing::{debug, error, info, warn};

use crate::allocator::{Allocator, Decision, Verdict};
use crate::events::{self, Events};
use crate::patch::{self, Reply};
use crate::queue::{Assignment, End, Queue};

/// PATCHes under way at once. A server on two cores took 5000 Nodes no faster from 48, and a quarter
/// slower from 12.
const IN_FLIGHT: usize = 24;

/// Events of the watch that are looked at together.
const BATCH: usize = 1024;

/// Failures of one PATCH after which an Event tells of it, as with kube-controller-manager.
const FAILURES_BEFORE_EVENT: u32 = 3;

type Sent = (Assignment, Reply);

/// Gives each Node of the cluster its podCIDRs.
pub struct Reconciler {
    nodes: Nodes,
    allocator: Allocator,
    queue: Queue,
    sent: JoinSet<Sent>,
    api: Api<Node>,
    events: Events,
}

impl Reconciler {
    pub fn new(allocator: Allocator, api: Api<Node>, events: Events) -> Self {
        let (nodes, queue) = (Nodes::default(), Queue::new(IN_FLIGHT));
        Self { nodes, allocator, queue, sent: JoinSet::new(), api, events }
    }

    /// Follows `watch` until it ends, which [`nodes::watch`] never does.
    pub async fn run(mut self, watch: impl Stream<Item = Event<nodes::Node>>) {
        let mut batches = std::pin::pin!(watch.ready_chunks(BATCH));
        loop {
            self.send(Instant::now());
            let due = self.queue.wakes_at();
            tokio::select! {
                batch = batches.next() => match batch {
                    Some(batch) => self.learn(batch),
                    None => return,
                },
                Some(ended) = self.sent.join_next() => match ended {
                    Ok((assignment, reply)) => self.conclude(&assignment, &reply, Instant::now()),
                    Err(panic) => error!(error = %Chain(&panic), "a PATCH's task broke down"),
                },
                () = until(due) => {}
            }
        }
    }

    fn learn(&mut self, batch: Vec<Event<nodes::Node>>) {
        let first = self.nodes.known().is_none();
        let changes = batch.into_iter().flat_map(|event| self.nodes.apply(event)).collect();
        let (gone, applied) = collapse(changes);
        let verdicts = self.allocator.round(&gone, &applied);
        let settled = applied.iter().filter(|node| !node.pod_cidrs.is_empty());
        gone.iter().chain(settled).for_each(|node| self.queue.remove(&node.uid));
        for verdict in verdicts {
            self.carry_out(verdict);
        }
        if let (true, Some(known)) = (first, self.nodes.known()) {
            info!(nodes = known.len(), waiting = self.allocator.waiting(), "listed all Nodes");
            for usage in self.allocator.pool().usage() {
                let (cidr, mask) = (usage.range.cidr, usage.range.mask);
                info!(%cidr, mask, blocks = usage.blocks, used = usage.used, "cluster CIDR");
            }
        }
    }

    fn carry_out(&mut self, Verdict { node, decision }: Verdict) {
        match decision {
            Decision::Assign(cidrs) => {
                let NodeView { name, uid, .. } = node.as_ref();
                debug!(node = %name, ?cidrs, "chose podCIDRs");
                self.queue.put(Assignment { node: name.clone(), uid: uid.clone(), cidrs });
            }
            Decision::Wait(exhausted) => {
                let reason = events::NOT_AVAILABLE;
                warn!(node = %node.name, reason, "{exhausted}");
                self.events.unassigned(&node.name, &node.uid, reason, exhausted);
            }
            Decision::Odd(oddity) => {
                let reason = oddity.reason();
                warn!(node = %node.name, reason, "{oddity}");
                self.events.warn(&node, reason, oddity);
            }
        }
    }

    fn send(&mut self, now: Instant) {
        while let Some(assignment) = self.queue.next(now) {
            let api = self.api.clone();
            self.sent.spawn(async move {
                let reply = patch::send(&api, &assignment).await;
                (assignment, reply)
            });
        }
    }

    fn conclude(&mut self, assignment: &Assignment, reply: &Reply, now: Instant) {
        let Assignment { node, uid, cidrs } = assignment;
        let (end, trouble) = match reply {
            Reply::Assigned => {
                info!(%node, ?cidrs, "assigned podCIDRs");
                (End::Done, None)
            }
            Reply::Overtaken(error) => {
                info!(%node, ?cidrs, error = %Chain(error), "Node takes no podCIDRs of ours");
                (End::Done, None)
            }
            Reply::Failed(error) => (End::Failed, Some(error)),
            Reply::Unavailable { error, patience } => (End::Unavailable(*patience), Some(error)),
        };
        let failures = self.queue.ended(uid, end, now);
        let Some(error) = trouble else { return };
        let reason = events::ASSIGNMENT_FAILED;
        warn!(%node, reason, ?cidrs, error = %Chain(error), "cannot assign podCIDRs; trying again");
        if failures == FAILURES_BEFORE_EVENT && end == End::Failed {
            self.events.unassigned(node, uid, reason, Chain(error));
        }
    }
}

async fn until(due: Option<Instant>) {
    match due {
        Some(due) => tokio::time::sleep_until(due.into()).await,
        None => std::future::pending().await,
    }
}

/// The Nodes that are gone after `changes`, and how the others look, each once, first come first.
fn collapse(changes: Vec<Change>) -> (Vec<Arc<NodeView>>, Vec<Arc<NodeView>>) {
    let mut gone = Vec::new();
    let mut applied = Vec::<Arc<NodeView>>::new();
    let mut places = HashMap::new();
    for change in changes {
        match change {
            Change::Gone(node) => gone.push(node),
            Change::Applied(node) => {
                let place = *places.entry(node.uid.clone()).or_insert(applied.len());
                match applied.get_mut(place) {
                    Some(earlier) => *earlier = node,
                    None => applied.push(node),
                }
            }
        }
    }
    let dead = gone.iter().map(|node| node.uid.as_str()).collect::<HashSet<_>>();
    applied.retain(|node| !dead.contains(node.uid.as_str()));
    (gone, applied)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(uid: &str, cidr: &str) -> Arc<NodeView> {
        let json =
            serde_json::json!({"metadata": {"name": "n", "uid": uid}, "spec": {"podCIDR": cidr}});
        Arc::new(serde_json::from_value::<nodes::Node>(json).unwrap().into())
    }

    #[test]
    fn of_several_changes_of_a_node_the_last_one_counts() {
        let changes = vec![
            Change::Applied(node("a", "")),
            Change::Applied(node("b", "")),
            Change::Applied(node("a", "10.0.0.0/24")),
            Change::Gone(node("b", "")),
            Change::Applied(node("c", "")),
        ];
        let (gone, applied) = collapse(changes);
        assert_eq!(gone, [node("b", "")]);
        assert_eq!(applied, [node("a", "10.0.0.0/24"), node("c", "")]);
    }
}
