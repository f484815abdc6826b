//! Pure: the networks that Nodes get their podCIDRs from, one block of each, all or none.

use std::fmt;

use common::Prefix;

use crate::block_set::{BlockSet, NoBlocks};
use crate::tally::Tally;

/// A cluster CIDR, and the length of the blocks that it is cut into.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range {
    pub cidr: Prefix,
    pub mask: u8,
}

/// The blocks of one or two ranges; a Node gets one of each, in their order.
#[derive(Clone, Debug)]
pub struct Pool {
    sets: Vec<BlockSet>,
    services: Vec<Prefix>,
    /// Blocks of each set that no Node gets, because of `services`.
    reserved: Vec<u128>,
}

/// A range without a free block, which only a Node that goes can give back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no block is free: {0}")]
pub struct Exhausted(pub Usage);

/// How much of a range is in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Usage {
    pub range: Range,
    pub blocks: u128,
    /// Held blocks, the reserved ones among them.
    pub used: u128,
    /// Blocks that no Node gets, because Services have addresses of them.
    pub reserved: u128,
}

impl fmt::Display for Usage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { range: Range { cidr, mask }, blocks, used, reserved } = self;
        write!(f, "pool {cidr}, mask /{mask}: {blocks} blocks, {used} used")?;
        if *reserved > 0 { write!(f, ", {reserved} of them by Services") } else { Ok(()) }
    }
}

impl Pool {
    /// All blocks of `ranges` but those that `services` touch.
    pub fn new(ranges: &[Range], services: &[Prefix]) -> Result<Self, NoBlocks> {
        let sets = ranges.iter().map(|range| BlockSet::new(range.cidr, range.mask));
        let sets = sets.collect::<Result<_, _>>()?;
        let mut pool = Self { sets, services: services.to_vec(), reserved: Vec::new() };
        for &service in services {
            pool.occupy(service);
        }
        pool.reserved = pool.sets.iter().map(BlockSet::used).collect();
        Ok(pool)
    }

    /// The next free block of each range; none of them is taken yet.
    pub fn next_free(&self) -> Result<Vec<Prefix>, Exhausted> {
        let blocks = self.sets.iter().map(BlockSet::next_free);
        let blocks = blocks.zip(self.usage()).map(|(block, usage)| block.ok_or(Exhausted(usage)));
        blocks.collect()
    }

    /// Takes what [`Self::next_free`] gave.
    pub fn take(&mut self, blocks: &[Prefix]) {
        for &block in blocks {
            self.sets.iter_mut().for_each(|set| set.take(block));
        }
    }

    /// Holds the blocks that `range` touches, whoever else holds them.
    pub fn occupy(&mut self, range: Prefix) {
        self.sets.iter_mut().for_each(|set| set.occupy(range));
    }

    /// Undoes one [`Self::take`] or [`Self::occupy`].
    pub fn release(&mut self, range: Prefix) {
        self.sets.iter_mut().for_each(|set| set.release(range));
    }

    /// Whether nobody holds a block that `range` touches.
    pub fn is_free(&self, range: Prefix) -> bool {
        self.sets.iter().all(|set| set.is_free(range))
    }

    /// Whether all of `range` is in one of its networks.
    pub fn covers(&self, range: Prefix) -> bool {
        self.sets.iter().any(|set| set.network().covers(range))
    }

    /// The Service CIDR that `range` shares addresses with.
    pub fn service_in(&self, range: Prefix) -> Option<Prefix> {
        self.services.iter().copied().find(|service| service.overlaps(range))
    }

    pub fn usage(&self) -> impl Iterator<Item = Usage> {
        self.sets.iter().zip(&self.reserved).map(|(set, &reserved)| Usage {
            range: Range { cidr: set.network(), mask: set.length() },
            blocks: set.size(),
            used: set.used(),
            reserved,
        })
    }

    /// What has happened to the blocks of each range.
    pub fn tallies(&self) -> impl Iterator<Item = &Tally> {
        self.sets.iter().map(BlockSet::tally)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prefix(text: &str) -> Prefix {
        Prefix::parse_masking(text).unwrap()
    }

    fn pool(ranges: &[(&str, u8)], services: &[&str]) -> Pool {
        let range = |&(cidr, mask): &(&str, u8)| Range { cidr: prefix(cidr), mask };
        let services = services.iter().map(|text| prefix(text)).collect::<Vec<_>>();
        Pool::new(&ranges.iter().map(range).collect::<Vec<_>>(), &services).unwrap()
    }

    /// The blocks that come next while `taken` are held.
    #[track_caller]
    fn check(ranges: &[(&str, u8)], services: &[&str], taken: &[&str], expected: &str) {
        let mut pool = pool(ranges, services);
        for text in taken {
            pool.occupy(prefix(text));
        }
        let blocks = pool
            .next_free()
            .map(|blocks| blocks.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "));
        assert_eq!(blocks.unwrap_or_else(|full| full.to_string()), expected);
    }

    #[test]
    fn blocks_come_from_each_range_in_order_and_never_from_services() {
        let v4 = ("127.123.234.0/24", 30);
        let service = ["127.123.234.0/26"];
        check(&[v4], &[], &[], "127.123.234.0/30");
        check(&[v4], &service, &[], "127.123.234.64/30");
        let taken =
            ["127.123.234.64/30", "127.123.234.68/30", "127.123.234.72/30", "127.123.234.80/30"];
        check(&[v4], &service, &taken, "127.123.234.76/30");
        let (v4, v6) = (("127.123.234.0/8", 24), ("ace:cab:deca::/84", 98));
        check(&[v4, v6], &service, &[], "127.0.0.0/24 ace:cab:deca::/98");
        check(&[v6, v4], &service, &[], "ace:cab:deca::/98 127.0.0.0/24");
        let three = [v4, v6, ("10.0.0.0/8", 24)];
        check(&three, &service, &[], "127.0.0.0/24 ace:cab:deca::/98 10.0.0.0/24");
        check(&[("10.0.0.0/21", 24)], &["10.1.0.0/21", "3000::/112"], &[], "10.0.0.0/24");
    }

    #[test]
    fn the_range_that_is_full_is_named() {
        let (v4, v6) = (("10.0.0.0/23", 24), ("fd00::/64", 64));
        check(
            &[v4, v6],
            &[],
            &["fd00::/64"],
            "no block is free: pool fd00::/64, mask /64: 1 blocks, 1 used",
        );
        check(
            &[("10.0.0.0/16", 24)],
            &["10.0.0.0/8"],
            &[],
            "no block is free: pool 10.0.0.0/16, mask /24: 256 blocks, 256 used, 256 of them by Services",
        );
    }

    #[test]
    fn usage_counts_what_services_hold() {
        let pool = pool(&[("10.0.0.0/16", 24), ("2001:db8::/48", 64)], &["10.0.0.0/20"]);
        let usage = pool.usage().map(|usage| (usage.used, usage.blocks)).collect::<Vec<_>>();
        assert_eq!(usage, [(16, 256), (0, 65536)]);
    }
}
