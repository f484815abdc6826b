//! Pure: the blocks of one size in a network, and how often each of them is held.
//!
//! Holders are counted, so ranges of foreign sizes may overlap and still be released one by one.
//! Memory grows with the number of gaps, not of blocks: an IPv6 network has too many.

use std::collections::BTreeMap;
use std::ops::Bound::{Excluded, Unbounded};
use std::ops::RangeInclusive;

use common::Prefix;

use crate::range::Range;
use crate::tally::Tally;

/// The blocks of a range; each is free or held.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BlockSet {
    range: Range,
    /// From each index up to the next one, how many hold each block; no two neighbours are equal,
    /// and before the first nobody holds any.
    holders: BTreeMap<u128, u32>,
    /// Where the search for a free block goes on.
    cursor: u128,
    tally: Tally,
}

impl BlockSet {
    /// All blocks of `range`, free.
    pub fn new(range: Range) -> Self {
        Self { range, holders: BTreeMap::new(), cursor: 0, tally: Tally::default() }
    }

    pub const fn range(&self) -> Range {
        self.range
    }

    /// How many blocks it has; [`u128::MAX`] stands for one more, too.
    pub const fn size(&self) -> u128 {
        self.range.last().saturating_add(1)
    }

    /// How many blocks are held.
    pub const fn used(&self) -> u128 {
        self.tally.held()
    }

    /// What has happened to its blocks.
    pub const fn tally(&self) -> &Tally {
        &self.tally
    }

    #[cfg(test)]
    pub(crate) const fn cursor(&self) -> u128 {
        self.cursor
    }

    /// The free block that is next: the first after the one taken last, or else the first of all.
    ///
    /// A released block is so given again as late as can be, as kube-controller-manager does it.
    pub fn next_free(&self) -> Option<Prefix> {
        let index = self.free_from(self.cursor).or_else(|| self.free_from(0))?;
        self.range.cidr().subnet(self.range.mask(), index)
    }

    /// Whether `range` is a block that one alone holds.
    pub fn has_one_holder(&self, range: Prefix) -> bool {
        let is_block = range.length() == self.range.mask() && self.range.cidr().covers(range);
        let block = is_block.then(|| self.touched_by(range)).flatten();
        block.is_some_and(|block| self.count(*block.start()) == 1)
    }

    /// Holds `block`, and searches on behind it from now on, if it was free.
    pub fn take(&mut self, block: Prefix) {
        let Some(blocks) = self.touched_by(block) else { return };
        if !self.is_free(block) {
            return self.occupy(block);
        }
        let skipped = blocks.start().checked_sub(self.cursor);
        let skipped =
            skipped.unwrap_or_else(|| self.range.last() - self.cursor + 1 + blocks.start());
        self.tally.tries.add(skipped);
        self.cursor = if *blocks.end() == self.range.last() { 0 } else { blocks.end() + 1 };
        self.hold(blocks, |count| count.saturating_add(1));
    }

    /// Holds each block that shares an address with `range`, once more if it is held already.
    pub fn occupy(&mut self, range: Prefix) {
        if let Some(blocks) = self.touched_by(range) {
            self.hold(blocks, |count| count.saturating_add(1));
        }
    }

    /// Undoes one [`Self::take`] or [`Self::occupy`] of the same range.
    pub fn release(&mut self, range: Prefix) {
        if let Some(blocks) = self.touched_by(range) {
            self.hold(blocks, |count| count.saturating_sub(1));
        }
    }

    /// Whether all blocks that `range` touches are free.
    pub fn is_free(&self, range: Prefix) -> bool {
        let Some(blocks) = self.touched_by(range) else { return true };
        let free = self.free_from(*blocks.start()) == Some(*blocks.start());
        free && self
            .holders
            .range((Excluded(blocks.start()), Unbounded))
            .next()
            .is_none_or(|(start, _)| start > blocks.end())
    }

    fn free_from(&self, start: u128) -> Option<u128> {
        let here = self.holders.range(..=start).next_back();
        if here.is_none_or(|(_, &count)| count == 0) {
            return Some(start);
        }
        let mut later = self.holders.range((Excluded(start), Unbounded));
        later.find(|&(_, &count)| count == 0).map(|(&start, _)| start)
    }

    /// Indexes of the blocks that share an address with `range`.
    fn touched_by(&self, range: Prefix) -> Option<RangeInclusive<u128>> {
        let network = self.range.cidr();
        if range.covers(network) {
            return Some(0..=self.range.last());
        }
        let shift = u32::from(self.range.host_bits());
        let index = |address| network.offset_of(address)?.checked_shr(shift);
        Some(index(range.network())?..=index(range.last())?)
    }

    fn hold(&mut self, blocks: RangeInclusive<u128>, change: impl Fn(u32) -> u32) {
        let (start, last) = blocks.into_inner();
        let end = (last < self.range.last()).then(|| last + 1);
        for edge in [Some(start), end].into_iter().flatten() {
            let count = self.count(edge);
            self.holders.insert(edge, count);
        }
        let runs = self.holders.range(start..=last).map(|(&run, _)| run).collect::<Vec<_>>();
        let ends = runs.iter().skip(1).map(|next| next - 1).chain([last]);
        let lengths = ends.zip(&runs).map(|(end, run)| (end - run).saturating_add(1));
        for (count, length) in self.holders.range_mut(start..=last).map(|run| run.1).zip(lengths) {
            let before = *count;
            *count = change(before);
            self.tally.changed(length, before, *count);
        }
        // Inside, neighbours differed and changed alike, or met at 0; the edges are new.
        for edge in runs.into_iter().chain(end) {
            let before = edge.checked_sub(1).map_or(0, |before| self.count(before));
            if self.holders.get(&edge) == Some(&before) {
                self.holders.remove(&edge);
            }
        }
    }

    /// How many hold the block of `index`.
    fn count(&self, index: u128) -> u32 {
        self.holders.range(..=index).next_back().map_or(0, |(_, &count)| count)
    }
}

#[cfg(test)]
mod tests;
