//! Pure: what claims have to say about who gets which block.

use std::collections::HashSet;
use std::mem;
use std::sync::Arc;
use std::time::Instant;

use common::Prefix;
use common::node::NodeView;

use super::{Allocator, Choice, Decision, Exhausted, Verdict, turn, wants_none};
use crate::claim::{Holder, Sight};
use crate::ledger::Ledger;

impl Allocator {
    /// With what Nodes left being kept for their successors of the same name.
    #[must_use]
    pub fn with_heirs(self) -> Self {
        Self { heirs: true, ..self }
    }

    pub fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    #[cfg(test)]
    pub(crate) fn ledger_mut(&mut self) -> &mut Ledger {
        &mut self.ledger
    }

    /// The UID of the Node that was given `block`, whether it shows it or not.
    pub fn chosen_for(&self, block: Prefix) -> Option<&str> {
        self.chosen.get(&block).map(String::as_str)
    }

    /// The Node that podCIDRs were chosen for and that shows none yet, and these.
    pub fn choice_for(&self, uid: &str) -> Option<(&Arc<NodeView>, &[Prefix])> {
        let holding = self.holdings.get(uid)?;
        let open = holding.node.pod_cidrs.is_empty();
        open.then_some((&holding.node, holding.cidrs.as_slice()))
    }

    /// UIDs of the Nodes of [`Self::choice_for`].
    pub fn choices(&self) -> impl Iterator<Item = &str> {
        let open = self.holdings.iter().filter(|(_, holding)| holding.node.pod_cidrs.is_empty());
        open.map(|(uid, _)| uid.as_str())
    }

    /// Whether `node` waits for a block.
    pub fn is_waiting(&self, node: &NodeView) -> bool {
        self.waiting.contains_key(&turn(node))
    }

    /// Takes what was seen of a claim; returns whether its block is claimed now and was not, or the
    /// other way round. What that takes from a Node, or keeps for one that waits, is for
    /// [`Self::decide_again`], after [`Self::fit`].
    pub fn see(&mut self, sight: Sight) -> bool {
        let block = sight.block();
        let changed = self.ledger.see(sight);
        if changed && self.ledger.get(block).is_some() {
            self.pools.occupy(block);
        } else if changed {
            self.pools.release(block);
        }
        self.unfit |= changed && self.pools.iter().any(|pool| pool.is_cut(block));
        changed
    }

    /// Refuses the pools over whose ranges another size was claimed first; returns whether that is
    /// news of any.
    pub fn fit(&mut self) -> bool {
        mem::take(&mut self.unfit) && self.pools.fit(&self.ledger)
    }

    /// The Node of `holder` is gone.
    pub fn leave(&mut self, holder: Holder, now: Instant) {
        self.ledger.leave(holder, now);
    }

    /// Whether `node` can take over what is claimed for `holder`.
    pub fn is_heir(&self, node: &NodeView, holder: &Holder) -> bool {
        self.heirs && node.name == holder.name && self.ledger.gone_since(holder).is_some()
    }

    /// Decides anew about `nodes`, which show no podCIDRs, whatever was chosen for them. That one
    /// waits on is not said again.
    pub fn decide_again(&mut self, nodes: &[Arc<NodeView>]) -> Vec<Verdict> {
        let nodes = nodes.iter().filter(|node| !wants_none(node)).collect::<Vec<_>>();
        let mut waited = HashSet::new();
        for node in &nodes {
            self.give_back(&node.uid);
            if self.waiting.remove(&turn(node)).is_some() {
                waited.insert(&node.uid);
            }
        }
        let mut verdicts = Vec::new();
        for node in nodes {
            let decision = self.decide(node);
            let decision = decision.filter(|decision| {
                !waited.contains(&node.uid) || !matches!(decision, Decision::Wait(_))
            });
            verdicts.extend(decision.map(|decision| Verdict { node: Arc::clone(node), decision }));
        }
        verdicts
    }

    pub(super) fn next_blocks(&self, node: &NodeView) -> Result<Choice, Exhausted> {
        let own = self.ledger.held_by(&node.uid);
        let left = self.ledger.left_by(&node.name).filter(|_| self.heirs);
        let kept = own.chain(left).filter(|&block| self.pools.service_in(block).is_none());
        self.pools.next_free(node, &kept.collect::<Vec<_>>())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::allocator::tests::{allocator, node};
    use crate::claim::{Claim, Mark};

    /// What a new Node is told of a pool in `ranges`, after each `block#version` was claimed, all
    /// within a second.
    #[track_caller]
    fn check_of(ranges: &str, claims: &str, expected: &str) {
        let mut allocator = allocator(ranges, &[]);
        for word in claims.split_whitespace() {
            let (block, version) = word.split_once('#').unwrap();
            let holder = Holder { name: "other".to_owned(), uid: "other".to_owned() };
            let mark = Mark { uid: block.to_owned(), version: version.to_owned() };
            let claim = Claim { holder, mark, created: 0 };
            allocator.see(Sight::Is(block.parse().unwrap(), claim));
        }
        allocator.fit();
        let told = match &allocator.round(&[], &[node("n1")])[0].decision {
            Decision::Wait(full) => full.to_string(),
            decision => format!("{decision:?}"),
        };
        assert_eq!(told, expected, "{claims}");
    }

    #[track_caller]
    fn check(claims: &str, expected: &str) {
        check_of("10.0.0.0/22:24", claims, expected);
    }

    #[test]
    fn a_range_has_the_size_of_the_claim_that_was_made_first_over_it() {
        check("", "Assign([10.0.0.0/24])");
        check("10.0.0.0/24#1", "Assign([10.0.1.0/24])");
        check("10.1.0.0/25#1", "Assign([10.0.0.0/24])");
        check("10.0.0.0/24#1 10.0.1.0/25#2", "Assign([10.0.2.0/24])");
        let why = "no block is free: pool 10.0.0.0/22, mask /24: 4 blocks, 2 used; refused, as \
                   10.0.1.0/25 was claimed first and a range has blocks of one size";
        check("10.0.0.0/24#2 10.0.1.0/25#1", why);
        check("10.0.0.0/24#10 10.0.1.0/25#9", why);
    }

    #[test]
    fn each_range_of_a_pool_has_a_first_claim_of_its_own() {
        let both = "10.0.0.0/22:24,fd00::/62:64";
        let why = "no block is free: pool 10.0.0.0/22, mask /24: 4 blocks, 2 used; refused, as \
                   10.0.1.0/25 was claimed first and a range has blocks of one size";
        check_of(both, "fd00::/64#1 10.0.1.0/25#2 10.0.0.0/24#3", why);
        check_of(
            both,
            "fd00::/64#1 10.0.0.0/24#2 10.0.1.0/25#3",
            "Assign([10.0.2.0/24, fd00:0:0:1::/64])",
        );
    }
}
