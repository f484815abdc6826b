//! Pure: who holds which podCIDRs, and who gets which next.
//!
//! A decision is sticky: a Node, by its UID, gets the same podCIDRs until it is gone. So a PATCH
//! whose outcome is unknown is sent again, and no error path has anything to give back.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::mem;
use std::sync::Arc;

use common::Prefix;
use common::node::NodeView;

use crate::ledger::Ledger;
use crate::node_cidr;
use crate::oddity::Oddity;
use crate::pool::Plan;
use crate::pools::{Choice, Exhausted, Pools};

/// What is to be done about a Node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// It gets these podCIDRs, in this order.
    Assign(Vec<Prefix>),
    /// It gets none before a block is given back; then it gets its turn by itself.
    Wait(Exhausted),
    /// It has podCIDRs that we would not have given it; they are held for it all the same.
    Odd(Oddity),
}

/// A Node and what was decided about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    pub node: Arc<NodeView>,
    pub decision: Decision,
}

/// What a Node holds, from its first podCIDRs until it is gone.
#[derive(Clone, Debug)]
struct Holding {
    node: Arc<NodeView>,
    cidrs: Vec<Prefix>,
}

impl Holding {
    /// Whether `node` shows what it showed before, or just what was chosen for it.
    fn is_what(&self, node: &NodeView) -> bool {
        let chosen = || self.cidrs.iter().map(ToString::to_string);
        self.node.pod_cidrs == node.pod_cidrs || chosen().eq(node.pod_cidrs.iter().cloned())
    }
}

/// The podCIDRs of all Nodes.
#[derive(Clone, Debug)]
pub struct Allocator {
    pools: Pools,
    /// By UID.
    holdings: HashMap<String, Holding>,
    /// Who was given each block.
    chosen: HashMap<Prefix, String>,
    /// Claimed blocks are given to nobody but whom they are claimed for.
    ledger: Ledger,
    /// Whether what Nodes left is kept for their successors of the same name.
    heirs: bool,
    /// Whether claims have changed since pools were last held against them.
    unfit: bool,
    /// By age and UID: who waits longest comes first.
    waiting: BTreeMap<(i64, String), Arc<NodeView>>,
    /// What is odd about podCIDRs, by the UID of their Node.
    odd: HashMap<String, Vec<Oddity>>,
}

impl Allocator {
    /// Nobody holds anything but the Services.
    ///
    /// The first [`Self::round`] must bring all Nodes of the cluster.
    pub fn new(pools: Pools) -> Self {
        Self {
            pools,
            holdings: HashMap::new(),
            chosen: HashMap::new(),
            ledger: Ledger::default(),
            heirs: false,
            unfit: false,
            waiting: BTreeMap::new(),
            odd: HashMap::new(),
        }
    }

    /// Takes what changed in the cluster, and decides.
    ///
    /// First what Nodes left is given back, then what Nodes show is held, whoever chose it, and
    /// only then is anything new given: to those that wait, oldest first, then to new Nodes in
    /// their order. What a Node already knows is not said again, but an `Assign` is until it
    /// shows podCIDRs.
    pub fn round(&mut self, gone: &[Arc<NodeView>], applied: &[Arc<NodeView>]) -> Vec<Verdict> {
        for node in gone {
            self.forget(node);
        }
        let mut verdicts = Vec::new();
        for node in applied {
            if wants_none(node) {
                self.waiting.remove(&turn(node));
            } else if let Some(known) = self.waiting.get_mut(&turn(node)) {
                *known = Arc::clone(node);
            }
            let odd = self.observe(node).into_iter().map(Decision::Odd);
            verdicts.extend(odd.map(|decision| Verdict { node: Arc::clone(node), decision }));
        }
        let served = self.serve_waiting();
        let told = served.iter().map(|verdict| verdict.node.uid.clone()).collect::<HashSet<_>>();
        verdicts.extend(served);
        for node in applied.iter().filter(|node| !told.contains(&node.uid)) {
            let decision = self.decide(node);
            verdicts.extend(decision.map(|decision| Verdict { node: Arc::clone(node), decision }));
        }
        verdicts
    }

    /// Makes the pools besides the flags' those of `plans`, in this order, and decides.
    ///
    /// Whoever holds a block goes on holding it, whatever becomes of the pool that it came from.
    pub fn follow(&mut self, plans: Vec<Plan>) -> Vec<Verdict> {
        let held = self.holdings.values().flat_map(|holding| &holding.cidrs).copied();
        let held = held.chain(self.ledger.blocks());
        self.pools.follow(plans, &held.collect::<Vec<_>>());
        self.pools.fit(&self.ledger);
        let mut verdicts = self.look_for_strays();
        verdicts.extend(self.serve_waiting());
        verdicts
    }

    pub fn pools(&self) -> &Pools {
        &self.pools
    }

    /// Nodes that wait for a block, the one that comes next first.
    pub fn waiting(&self) -> impl ExactSizeIterator<Item = &Arc<NodeView>> {
        self.waiting.values()
    }

    /// All that is odd about the podCIDRs of Nodes, as far as it still is.
    pub fn oddities(&self) -> impl Iterator<Item = &Oddity> {
        self.odd.values().flatten()
    }

    /// What the Node of `uid` holds: chosen or shown.
    pub fn held_by(&self, uid: &str) -> &[Prefix] {
        self.holdings.get(uid).map_or(&[], |holding| &holding.cidrs)
    }

    /// Nodes that hold a range of which `wanted` is true.
    pub fn holders(&self, wanted: impl Fn(Prefix) -> bool) -> impl Iterator<Item = &NodeView> {
        let holds = move |holding: &&Holding| holding.cidrs.iter().any(|&cidr| wanted(cidr));
        self.holdings.values().filter(holds).map(|holding| holding.node.as_ref())
    }

    /// Gives back what `node` held; its object is gone, so no machine uses it any more.
    fn forget(&mut self, node: &NodeView) {
        self.waiting.remove(&turn(node));
        self.give_back(&node.uid);
        self.odd.remove(&node.uid);
        self.odd.retain(|_, oddities| {
            oddities.retain(|oddity| !oddity.is_with(&node.name));
            !oddities.is_empty()
        });
    }

    fn give_back(&mut self, uid: &str) {
        let cidrs = self.holdings.remove(uid).map(|holding| holding.cidrs);
        for cidr in cidrs.into_iter().flatten() {
            self.pools.release(cidr);
            if self.chosen.get(&cidr).is_some_and(|chosen| chosen == uid) {
                self.chosen.remove(&cidr);
            }
        }
    }

    /// Holds the podCIDRs that `node` shows, in place of what was chosen for it, and says what is
    /// odd about them.
    fn observe(&mut self, node: &Arc<NodeView>) -> Vec<Oddity> {
        if node.pod_cidrs.is_empty() {
            return Vec::new();
        }
        let old = self.holdings.get_mut(&node.uid);
        if let Some(known) = old.filter(|holding| holding.is_what(node)) {
            known.node = Arc::clone(node);
            return Vec::new();
        }
        self.give_back(&node.uid);
        let mut oddities = Vec::new();
        let mut cidrs = Vec::new();
        for text in &node.pod_cidrs {
            match node_cidr::parse(text) {
                Ok(cidr) => {
                    oddities.extend(self.oddity(text, cidr));
                    cidrs.push(cidr);
                }
                Err(source) => oddities.push(Oddity::Malformed(source)),
            }
        }
        for &cidr in &cidrs {
            self.pools.occupy(cidr);
        }
        self.holdings.insert(node.uid.clone(), Holding { node: Arc::clone(node), cidrs });
        self.odd.remove(&node.uid);
        if !oddities.is_empty() {
            self.odd.insert(node.uid.clone(), oddities.clone());
        }
        oddities
    }

    fn serve_waiting(&mut self) -> Vec<Verdict> {
        let mut verdicts = Vec::new();
        let mut waiting = mem::take(&mut self.waiting).into_iter();
        while self.pools.has_room()
            && let Some((turn, node)) = waiting.next()
        {
            match self.next_blocks(&node) {
                Ok(choice) => {
                    let decision = self.take(&node, choice);
                    verdicts.push(Verdict { node, decision });
                }
                Err(_) => drop(self.waiting.insert(turn, node)),
            }
        }
        self.waiting.extend(waiting);
        verdicts
    }

    /// What `node` gets; none if it has something, knows that it waits, or is on its way out.
    fn decide(&mut self, node: &Arc<NodeView>) -> Option<Decision> {
        if wants_none(node) {
            return None;
        }
        // Also if it showed them before and now shows none: etcd went back in time.
        let held = self.held_by(&node.uid);
        if !held.is_empty() {
            return Some(Decision::Assign(held.to_vec()));
        }
        match self.next_blocks(node) {
            Ok(choice) => Some(self.take(node, choice)),
            Err(exhausted) => {
                let known = self.waiting.insert(turn(node), Arc::clone(node));
                known.is_none().then_some(Decision::Wait(exhausted))
            }
        }
    }

    fn take(&mut self, node: &Arc<NodeView>, choice: Choice) -> Decision {
        let cidrs = self.pools.take(choice);
        self.chosen.extend(cidrs.iter().map(|&cidr| (cidr, node.uid.clone())));
        let holding = Holding { node: Arc::clone(node), cidrs: cidrs.clone() };
        self.holdings.insert(node.uid.clone(), holding);
        Decision::Assign(cidrs)
    }
}

/// Whether `node` has podCIDRs, whoever gave them, or is on its way out.
fn wants_none(node: &NodeView) -> bool {
    !node.pod_cidrs.is_empty() || node.terminating
}

/// A Node's place among those that wait.
fn turn(node: &NodeView) -> (i64, String) {
    (node.created, node.uid.clone())
}

mod claims;
mod odd;
#[cfg(test)]
mod pool_changes;
#[cfg(test)]
mod regressions;
#[cfg(test)]
mod restored;
#[cfg(test)]
pub(crate) mod tests;
