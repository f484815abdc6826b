//! Pure: all pools of the cluster, which may overlap, and which of them serves a Node.
//!
//! What somebody holds is held in each pool that has a part of it, whichever gave it: so no block of
//! one pool is given while another's lies in it or around it.

use std::cmp::Reverse;
use std::fmt;

use common::Prefix;
use common::node::NodeView;

use crate::ledger::Ledger;
use crate::pool::{Plan, Pool, Usage};
use crate::range::Range;
use crate::tally::Tally;

/// The pools, and what none of them may give.
#[derive(Clone, Debug)]
pub struct Pools {
    services: Vec<Prefix>,
    /// Of those without a selector the first is asked first, and the flags' last of all.
    pools: Vec<Pool>,
}

/// Blocks for a Node that nobody holds; not taken yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Choice {
    place: usize,
    blocks: Vec<Prefix>,
}

/// Of each pool that could have served a Node, a range without a free block. Only a Node that goes
/// or another pool brings one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no block is free: {}", Listed(.0))]
pub struct Exhausted(pub Vec<Usage>);

struct Listed<'a>(&'a [Usage]);

impl fmt::Display for Listed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let texts = self.0.iter().map(ToString::to_string).collect::<Vec<_>>();
        f.write_str(&texts.join("; "))
    }
}

impl Pools {
    /// The flags' pool alone: all blocks of `ranges` but those that `services` touch.
    pub fn new(ranges: &[Range], services: &[Prefix]) -> Self {
        let pool = Pool::new(Plan::of_flags(ranges), services);
        Self { services: services.to_vec(), pools: vec![pool] }
    }

    /// The next blocks for `node`: of the pool that means it with most requirements; then of those
    /// that mean all Nodes; then of the flags'. What is `kept` for it comes before what is free.
    pub fn next_free(&self, node: &NodeView, kept: &[Prefix]) -> Result<Choice, Exhausted> {
        let mut full = Vec::new();
        let mut candidates = self.candidates(node).collect::<Vec<_>>();
        candidates.sort_by_key(|(_, pool)| !kept.iter().any(|&block| pool.covers(block)));
        for (place, pool) in candidates {
            match pool.next_free(kept) {
                Ok(blocks) => return Ok(Choice { place, blocks }),
                Err(usage) => full.push(usage),
            }
        }
        Err(Exhausted(full))
    }

    /// Whether any pool has blocks to give.
    pub fn has_room(&self) -> bool {
        self.open().any(|(_, pool)| pool.next_free(&[]).is_ok())
    }

    /// Takes what [`Self::next_free`] gave, and nothing was taken since.
    pub fn take(&mut self, choice: Choice) -> Vec<Prefix> {
        for &block in &choice.blocks {
            for (place, pool) in self.pools.iter_mut().enumerate() {
                if place == choice.place { pool.take(block) } else { pool.occupy(block) }
            }
        }
        choice.blocks
    }

    /// Holds the blocks that `range` touches, whoever else holds them.
    pub fn occupy(&mut self, range: Prefix) {
        self.pools.iter_mut().for_each(|pool| pool.occupy(range));
    }

    /// Undoes one [`Self::take`] or [`Self::occupy`].
    pub fn release(&mut self, range: Prefix) {
        self.pools.iter_mut().for_each(|pool| pool.release(range));
    }

    /// Whether nobody holds a block that `range` touches.
    pub fn is_free(&self, range: Prefix) -> bool {
        self.pools.iter().all(|pool| pool.is_free(range))
    }

    /// The block that all of `range` is in; none if it is larger, or in no pool.
    pub fn block_around(&self, range: Prefix) -> Option<Prefix> {
        let pools = self.pools.iter().filter(|pool| !pool.is_refused());
        let ranges = pools.flat_map(|pool| &pool.plan().ranges);
        let mut around = ranges.filter(|own| own.cidr().covers(range));
        let own = around.find(|own| own.mask() <= range.length())?;
        Prefix::containing(range.network(), own.mask()).ok()
    }

    /// Whether all of `range` is in one network of a pool.
    pub fn covers(&self, range: Prefix) -> bool {
        self.pools.iter().any(|pool| pool.covers(range))
    }

    /// Whether `range` has addresses of `pool` that no open pool would account for without it.
    pub fn needs(&self, pool: &Pool, range: Prefix) -> bool {
        pool.overlaps(range) && !self.open().any(|(_, open)| open.covers(range))
    }

    /// The Service CIDR that `range` shares addresses with.
    pub fn service_in(&self, range: Prefix) -> Option<Prefix> {
        self.services.iter().copied().find(|service| service.overlaps(range))
    }

    /// Makes the pools besides the flags' those of `plans`, in this order, while `held` is held; a
    /// pool whose ranges are the same goes on as it is.
    pub fn follow(&mut self, plans: Vec<Plan>, held: &[Prefix]) {
        let mut old = std::mem::take(&mut self.pools);
        let flags = old.pop();
        for plan in plans {
            let known = old.iter().position(|pool| pool.plan().is_for_blocks_of(&plan));
            let pool = match known {
                Some(place) => old.swap_remove(place).following(plan),
                None => self.fresh(plan, held),
            };
            self.pools.push(pool);
        }
        self.pools.extend(flags);
    }

    /// Refuses each pool over which another size was claimed first; returns whether that is news of
    /// any.
    pub fn fit(&mut self, claims: &Ledger) -> bool {
        let refused = |pools: &[Pool]| pools.iter().map(Pool::is_refused).collect::<Vec<_>>();
        let before = refused(&self.pools);
        self.pools.iter_mut().for_each(|pool| pool.fit(claims));
        refused(&self.pools) != before
    }

    pub fn iter(&self) -> impl Iterator<Item = &Pool> {
        self.pools.iter()
    }

    pub fn usage(&self) -> impl Iterator<Item = Usage> {
        self.pools.iter().flat_map(Pool::usage)
    }

    /// What has happened to the blocks of each range, in the order of [`Self::usage`].
    pub fn tallies(&self) -> impl Iterator<Item = &Tally> {
        self.pools.iter().flat_map(Pool::tallies)
    }

    fn fresh(&self, plan: Plan, held: &[Prefix]) -> Pool {
        let mut pool = Pool::new(plan, &self.services);
        for &range in held {
            pool.occupy(range);
        }
        pool
    }

    fn open(&self) -> impl Iterator<Item = (usize, &Pool)> {
        self.pools.iter().enumerate().filter(|(_, pool)| !pool.plan().closed)
    }

    fn candidates(&self, node: &NodeView) -> impl Iterator<Item = (usize, &Pool)> {
        let selected = self.open().filter_map(|(place, pool)| {
            let met = pool.plan().selector.as_ref()?.matches(node)?;
            Some((Reverse(met), pool.rank(), place, pool))
        });
        let mut selected = selected.collect::<Vec<_>>();
        selected.sort_unstable_by_key(|&(met, rank, ..)| (met, rank));
        let selected = selected.into_iter().map(|(_, _, place, pool)| (place, pool));
        selected.chain(self.open().filter(|(_, pool)| pool.plan().selector.is_none()))
    }
}

#[cfg(test)]
pub(crate) mod tests;
