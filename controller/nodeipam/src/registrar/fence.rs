//! Pure: which claims there have to be, and what is missing.

mod next;

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use common::Prefix;
use common::node::NodeView;

pub(super) use self::next::Claims;
use super::Touched;
use crate::allocator::{Allocator, Verdict};
use crate::claim::{Holder, Sight};
use crate::ledger::Ledger;
use crate::node_cidr;
use crate::pools::Pools;

/// What is known besides the ledger of claims.
#[derive(Clone, Debug)]
pub(super) struct Fence {
    delay: Duration,
    phase: Phase,
    /// By UID.
    nodes: HashMap<String, Arc<NodeView>>,
    /// UIDs of the Nodes whose podCIDRs lie in each block.
    shown: HashMap<Prefix, BTreeSet<String>>,
    /// Claims of which something else is known to be true than what was seen last.
    doubts: BTreeSet<Prefix>,
    /// When what a holder left is kept no longer.
    timers: BTreeSet<(Instant, Holder)>,
}

#[derive(Clone, Debug)]
pub(super) enum Phase {
    /// Which claims there are is not known yet.
    Blind,
    /// Claims are known, and not the Nodes. Who holds one of these claims and is missing in a list
    /// of Nodes that was begun later is gone.
    Claims(HashSet<Holder>),
    /// Nodes hold these blocks without a claim yet.
    Covering(BTreeSet<Prefix>),
    Settled,
}

impl Fence {
    pub(super) fn new(delay: Duration) -> Self {
        Self {
            delay,
            phase: Phase::Blind,
            nodes: HashMap::new(),
            shown: HashMap::new(),
            doubts: BTreeSet::new(),
            timers: BTreeSet::new(),
        }
    }

    pub(super) fn is_blind(&self) -> bool {
        matches!(self.phase, Phase::Blind)
    }

    fn is_settled(&self) -> bool {
        matches!(self.phase, Phase::Settled)
    }

    pub(super) fn wakes_at(&self) -> Option<Instant> {
        self.timers.first().map(|(due, _)| *due)
    }

    pub(super) fn claims_listed(&mut self, listed: &[Sight]) {
        if let Phase::Blind = self.phase {
            let holders = listed.iter().filter_map(|sight| match sight {
                Sight::Is(_, claim) => Some(claim.holder.clone()),
                Sight::Told(..) | Sight::Was(..) => None,
            });
            self.phase = Phase::Claims(holders.collect());
        }
    }

    /// All Nodes are known.
    pub(super) fn nodes_listed(
        &mut self,
        allocator: &mut Allocator,
        now: Instant,
        touched: &mut Touched,
    ) {
        let Phase::Claims(holders) = &mut self.phase else { return };
        for holder in std::mem::take(holders) {
            if !self.nodes.contains_key(&holder.uid) {
                self.leave(allocator, holder, now, touched);
            }
        }
        let ledger = allocator.ledger();
        touched.blocks.extend(ledger.blocks());
        let missing = self.shown.keys().filter(|block| ledger.get(**block).is_none());
        self.phase = Phase::Covering(missing.copied().collect());
    }

    /// The Node of `holder` is gone for certain.
    pub(super) fn leave(
        &mut self,
        allocator: &mut Allocator,
        holder: Holder,
        now: Instant,
        touched: &mut Touched,
    ) {
        touched.blocks.extend(allocator.ledger().held_by(&holder.uid));
        if !self.delay.is_zero() {
            self.timers.insert((now + self.delay, holder.clone()));
        }
        allocator.leave(holder, now);
    }

    pub(super) fn tick(&mut self, ledger: &Ledger, now: Instant, touched: &mut Touched) {
        while self.timers.first().is_some_and(|(due, _)| *due <= now) {
            let Some((_, holder)) = self.timers.pop_first() else { return };
            touched.blocks.extend(ledger.held_by(&holder.uid));
        }
    }

    pub(super) fn show(&mut self, node: &Arc<NodeView>, pools: &Pools, touched: &mut Touched) {
        let old = self.nodes.insert(node.uid.clone(), Arc::clone(node));
        if old.as_ref().is_some_and(|old| old.pod_cidrs == node.pod_cidrs) {
            return;
        }
        if let Some(old) = old {
            self.unshow(&old, pools, touched);
        }
        for block in blocks(node, pools) {
            self.shown.entry(block).or_default().insert(node.uid.clone());
            touched.blocks.insert(block);
        }
    }

    pub(super) fn remove(&mut self, node: &NodeView, pools: &Pools, touched: &mut Touched) {
        if let Some(node) = self.nodes.remove(&node.uid) {
            self.unshow(&node, pools, touched);
        }
    }

    /// Blocks are others now, or are given where they were not.
    pub(super) fn recut(&mut self, allocator: &Allocator, touched: &mut Touched) {
        touched.nodes.extend(allocator.choices().map(str::to_owned));
        self.shown.clear();
        for node in self.nodes.values() {
            for block in blocks(node, allocator.pools()) {
                self.shown.entry(block).or_default().insert(node.uid.clone());
                touched.blocks.insert(block);
            }
        }
        if let Phase::Covering(missing) = &mut self.phase {
            missing.retain(|block| self.shown.contains_key(block));
        }
    }

    /// There was no claim on `block`, at a time when the newest one that had been seen was of this
    /// UID, if there was any.
    pub(super) fn miss(
        &mut self,
        allocator: &mut Allocator,
        block: Prefix,
        seen: Option<&str>,
        touched: &mut Touched,
    ) {
        self.see(allocator, Sight::Was(block, seen.unwrap_or_default().to_owned()), touched);
    }

    pub(super) fn see(&mut self, allocator: &mut Allocator, sight: Sight, touched: &mut Touched) {
        let block = sight.block();
        self.doubts.remove(&block);
        touched.blocks.insert(block);
        touched.nodes.extend(allocator.chosen_for(block).map(str::to_owned));
        if let Sight::Is(_, claim) | Sight::Told(_, claim) = &sight {
            touched.nodes.insert(claim.holder.uid.clone());
            self.covered(block);
        }
        if allocator.see(sight) && allocator.pools().iter().any(|pool| pool.is_cut_by(block)) {
            touched.nodes.extend(allocator.choices().map(str::to_owned));
        }
    }

    /// Finds out which pools give blocks, after claims have changed.
    pub(super) fn fit(&mut self, allocator: &mut Allocator, touched: &mut Touched) {
        if allocator.fit() {
            self.recut(allocator, touched);
        }
    }

    pub(super) fn doubt(&mut self, allocator: &Allocator, block: Prefix, touched: &mut Touched) {
        self.doubts.insert(block);
        touched.blocks.insert(block);
        touched.nodes.extend(allocator.chosen_for(block).map(str::to_owned));
    }

    /// Decides again about the Nodes among `touched` that have lost a block to somebody else, and
    /// about those that wait while one is claimed for them.
    pub(super) fn decide_again(
        &self,
        allocator: &mut Allocator,
        touched: &mut Touched,
    ) -> Vec<Verdict> {
        for &block in &touched.blocks {
            let claim = allocator.ledger().get(block);
            touched.nodes.extend(claim.map(|claim| claim.holder.uid.clone()));
            touched.nodes.extend(allocator.chosen_for(block).map(str::to_owned));
        }
        let again = |node: &&Arc<NodeView>| {
            let chosen = allocator.choice_for(&node.uid).map(|(_, cidrs)| cidrs);
            let mut chosen = chosen.into_iter().flatten();
            let claimed = allocator.ledger().held_by(&node.uid).next().is_some();
            let lost = chosen.any(|&block| self.is_lost(allocator, node, block));
            lost || (claimed && allocator.is_waiting(node))
        };
        let nodes = touched.nodes.iter().filter_map(|uid| self.nodes.get(uid));
        let nodes = nodes.filter(again).cloned().collect::<Vec<_>>();
        allocator.decide_again(&nodes)
    }

    fn unshow(&mut self, node: &NodeView, pools: &Pools, touched: &mut Touched) {
        for block in blocks(node, pools) {
            touched.blocks.insert(block);
            let Some(uids) = self.shown.get_mut(&block) else { continue };
            uids.remove(&node.uid);
            if uids.is_empty() {
                self.shown.remove(&block);
                self.covered(block);
            }
        }
    }

    /// `block` is claimed, or nobody has it any more.
    fn covered(&mut self, block: Prefix) {
        if let Phase::Covering(missing) = &mut self.phase {
            missing.remove(&block);
        }
    }

    /// Begins to give out blocks once all that Nodes have is claimed.
    pub(super) fn settle(&mut self, allocator: &Allocator, touched: &mut Touched) {
        if matches!(&self.phase, Phase::Covering(missing) if missing.is_empty()) {
            self.phase = Phase::Settled;
            touched.nodes.extend(allocator.choices().map(str::to_owned));
        }
    }
}

#[cfg(test)]
impl Fence {
    /// One that knows these Nodes.
    pub(super) fn restored(
        phase: Phase,
        doubts: BTreeSet<Prefix>,
        nodes: &[Arc<NodeView>],
        pools: &Pools,
    ) -> Self {
        let mut fence = Self { phase, doubts, ..Self::new(Duration::ZERO) };
        for node in nodes {
            fence.show(node, pools, &mut Touched::default());
        }
        fence
    }

    pub(super) const fn phase(&self) -> &Phase {
        &self.phase
    }

    pub(super) const fn doubts(&self) -> &BTreeSet<Prefix> {
        &self.doubts
    }

    /// All that decides what it will do, but the Nodes, which each watch shows.
    pub(super) fn picture(&self, now: Instant) -> String {
        let phase = match &self.phase {
            Phase::Claims(holders) => format!("{:?}", holders.iter().collect::<BTreeSet<_>>()),
            phase => format!("{phase:?}"),
        };
        let timers = self.timers.iter().map(|(due, holder)| (*due <= now, holder));
        format!("{phase}{:?}{:?}", self.doubts, timers.collect::<BTreeSet<_>>())
    }
}

/// The blocks that the podCIDRs of `node` lie in; one that is larger than a block lies in none.
fn blocks(node: &NodeView, pools: &Pools) -> impl Iterator<Item = Prefix> {
    let cidrs = node.pod_cidrs.iter().filter_map(|text| node_cidr::parse(text).ok());
    cidrs.filter_map(|cidr| pools.block_around(cidr))
}
