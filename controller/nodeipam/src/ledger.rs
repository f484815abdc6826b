//! Pure: the claims that were seen, by block and by holder, and which of the holders are gone.
//!
//! All of it may be out of date. What is written because of it meets the claim's [`Mark`](crate::claim::Mark)
//! or its name at the API server, which has the last word.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Bound::{Excluded, Unbounded};
use std::time::Instant;

use common::Prefix;

use crate::claim::{Claim, Holder, Sight};

/// The claims on blocks.
#[derive(Clone, Debug, Default)]
pub struct Ledger {
    claims: BTreeMap<Prefix, Entry>,
    /// How many claims there are of each length.
    lengths: BTreeMap<u8, usize>,
    /// By the holder's UID; never empty.
    blocks: HashMap<String, BTreeSet<Prefix>>,
    /// Holders of claims whose Node is gone for certain, and since when that is known.
    left: BTreeMap<Holder, Instant>,
}

#[derive(Clone, Debug)]
struct Entry {
    claim: Claim,
    /// Whether the watch has shown it as it is.
    shown: bool,
}

impl Ledger {
    pub fn get(&self, block: Prefix) -> Option<&Claim> {
        self.claims.get(&block).map(|entry| &entry.claim)
    }

    /// Whether the watch has shown the claim on `block`, and with it all that were written before.
    pub fn is_shown(&self, block: Prefix) -> bool {
        self.claims.get(&block).is_some_and(|entry| entry.shown)
    }

    /// Whether a claim on a block of another size, which shares addresses with `block`, comes before
    /// the one on it, or before any that is yet to be made.
    ///
    /// The versions of the API server are one order for all: of two that overlap, everybody who has
    /// seen both finds the same one to be first, and nobody can have seen the later one alone.
    pub fn is_overruled(&self, block: Prefix) -> bool {
        let own = self.get(block);
        let mut others = self.overlapping(block);
        others.any(|other| own.is_none_or(|own| !own.mark.is_before(&other.mark)))
    }

    /// Claims on blocks of other sizes that share addresses with `block`.
    fn overlapping(&self, block: Prefix) -> impl Iterator<Item = &Claim> {
        let shorter = self.lengths.range(..block.length()).map(|(&length, _)| length);
        let around = shorter
            .filter_map(move |length| self.get(Prefix::containing(block.network(), length).ok()?));
        let inside = self.claims.range((Excluded(block), Unbounded));
        let inside = inside.take_while(move |(other, _)| block.covers(**other));
        around.chain(inside.map(|(_, entry)| &entry.claim))
    }

    #[cfg(test)]
    pub(crate) fn mark_mut(&mut self, block: Prefix) -> Option<&mut crate::claim::Mark> {
        self.claims.get_mut(&block).map(|entry| &mut entry.claim.mark)
    }

    pub fn len(&self) -> usize {
        self.claims.len()
    }

    pub fn is_empty(&self) -> bool {
        self.claims.is_empty()
    }

    pub fn blocks(&self) -> impl Iterator<Item = Prefix> + Clone {
        self.claims.keys().copied()
    }

    pub fn iter(&self) -> impl Iterator<Item = (Prefix, &Claim)> + Clone {
        self.claims.iter().map(|(&block, entry)| (block, &entry.claim))
    }

    /// What is claimed for the Node of `uid`.
    pub fn held_by(&self, uid: &str) -> impl Iterator<Item = Prefix> {
        self.blocks.get(uid).into_iter().flatten().copied()
    }

    /// What is claimed for Nodes of `name` that are gone.
    pub fn left_by(&self, name: &str) -> impl Iterator<Item = Prefix> {
        let first = Holder { name: name.to_owned(), uid: String::new() };
        let named = self.left.range(first..).take_while(move |(holder, _)| holder.name == name);
        named.flat_map(|(holder, _)| self.held_by(&holder.uid))
    }

    /// Holders that are gone.
    pub fn left(&self) -> impl ExactSizeIterator<Item = &Holder> {
        self.left.keys()
    }

    /// Since when `holder` is known to be gone, while claims of it are left.
    pub fn gone_since(&self, holder: &Holder) -> Option<Instant> {
        self.left.get(holder).copied()
    }

    /// Takes what was seen last; returns whether that makes the block claimed, or claimed no more.
    ///
    /// The end of a claim is no news of its successor, which may have been seen before.
    pub fn see(&mut self, sight: Sight) -> bool {
        let block = sight.block();
        let known = self.claims.get(&block);
        let old = match sight {
            // An answer can be later than a watch.
            Sight::Is(_, claim) | Sight::Told(_, claim)
                if known.is_some_and(|known| claim.mark.is_before(&known.claim.mark)) =>
            {
                return false;
            }
            Sight::Is(_, claim) => self.put(block, Entry { claim, shown: true }),
            Sight::Told(_, claim) => {
                let shown =
                    known.is_some_and(|known| known.shown && known.claim.mark == claim.mark);
                self.put(block, Entry { claim, shown })
            }
            Sight::Was(_, uid) if known.is_some_and(|known| known.claim.mark.uid == uid) => {
                self.remove(block)
            }
            Sight::Was(..) => return false,
        };
        let was = old.is_some();
        if let Some(Claim { holder, .. }) = old
            && self.get(block).is_none_or(|claim| claim.holder.uid != holder.uid)
        {
            self.strike(block, &holder);
        }
        self.claims.contains_key(&block) != was
    }

    fn put(&mut self, block: Prefix, entry: Entry) -> Option<Claim> {
        self.blocks.entry(entry.claim.holder.uid.clone()).or_default().insert(block);
        let old = self.claims.insert(block, entry);
        if old.is_none() {
            *self.lengths.entry(block.length()).or_default() += 1;
        }
        old.map(|entry| entry.claim)
    }

    fn remove(&mut self, block: Prefix) -> Option<Claim> {
        let old = self.claims.remove(&block)?;
        if let Some(count) = self.lengths.get_mut(&block.length()) {
            *count -= 1;
            if *count == 0 {
                self.lengths.remove(&block.length());
            }
        }
        Some(old.claim)
    }

    /// Notes that the Node of `holder` is gone, if anything is claimed for it.
    pub fn leave(&mut self, holder: Holder, now: Instant) {
        if self.blocks.contains_key(&holder.uid) {
            self.left.entry(holder).or_insert(now);
        }
    }

    fn strike(&mut self, block: Prefix, holder: &Holder) {
        let Some(blocks) = self.blocks.get_mut(&holder.uid) else { return };
        blocks.remove(&block);
        if blocks.is_empty() {
            self.blocks.remove(&holder.uid);
            self.left.remove(holder);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::claim::Mark;

    /// Each `block#version` as the watch shows it; `block?version` as an answer tells it.
    fn ledger(claims: &str) -> Ledger {
        let mut ledger = Ledger::default();
        for word in claims.split_whitespace() {
            let (block, version) = word.split_once(['#', '?']).unwrap();
            let block = block.parse().unwrap();
            let mark = Mark { uid: block_uid(block), version: version.to_owned() };
            let holder = Holder { name: "n".to_owned(), uid: "u".to_owned() };
            let claim = Claim { holder, mark, created: 0 };
            let told = word.contains('?');
            ledger.see(if told { Sight::Told(block, claim) } else { Sight::Is(block, claim) });
        }
        ledger
    }

    fn block_uid(block: Prefix) -> String {
        format!("c{block}")
    }

    /// Whether there is no earlier claim that overlaps with `block`.
    #[track_caller]
    fn check(claims: &str, block: &str, comes_first: bool) {
        let overruled = ledger(claims).is_overruled(block.parse().unwrap());
        assert_eq!(!overruled, comes_first, "{block} of {claims}");
    }

    #[test]
    fn of_two_claims_that_overlap_the_earlier_one_counts() {
        let both = "10.0.0.0/24#5 10.0.0.128/25#7";
        check(both, "10.0.0.0/24", true);
        check(both, "10.0.0.128/25", false);
        // It has another holder since, so it comes later.
        check("10.0.0.0/24#9 10.0.0.128/25#7", "10.0.0.0/24", false);
        check("10.0.0.0/16#9 10.0.0.0/24#8 10.0.0.128/25#7", "10.0.0.0/24", false);
        check("10.0.0.0/24#5 10.0.1.0/25#3 10.0.0.0/24#5", "10.0.0.0/24", true);
        check("fd00::/64#5 fd00::/62#4", "fd00::/64", false);
    }

    #[test]
    fn what_is_not_claimed_yet_comes_last() {
        check("10.0.0.0/24#5", "10.0.0.0/25", false);
        check("10.0.0.0/24#5", "10.0.0.0/16", false);
        check("10.0.0.0/24#5", "10.0.1.0/25", true);
    }

    #[test]
    fn versions_that_are_no_numbers_let_neither_have_the_block() {
        let both = "10.0.0.0/24#a 10.0.0.128/25#b";
        check(both, "10.0.0.0/24", false);
        check(both, "10.0.0.128/25", false);
    }

    #[test]
    fn an_answer_does_not_show_what_came_before() {
        let shown = |claims| ledger(claims).is_shown("10.0.0.0/24".parse().unwrap());
        assert!(shown("10.0.0.0/24#5"));
        assert!(!shown("10.0.0.0/24?5"));
        assert!(shown("10.0.0.0/24?5 10.0.0.0/24#5"));
        assert!(shown("10.0.0.0/24#5 10.0.0.0/24?5"));
        assert!(!shown("10.0.0.0/24#5 10.0.0.0/24?6"));
        assert!(!shown("10.0.0.0/24?6 10.0.0.0/24#5"));
    }
}
