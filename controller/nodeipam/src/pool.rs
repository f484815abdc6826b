//! Pure: one pool, which gives a Node a block of each of its ranges, or nothing.

use std::fmt;
use std::sync::Arc;

use common::Prefix;

use crate::block_set::BlockSet;
use crate::ledger::Ledger;
use crate::range::Range;
use crate::selector::Selector;
use crate::tally::Tally;

/// Where a pool comes from.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Origin {
    /// `--cluster-cidr`.
    Flags,
    ClusterCidr(Arc<str>),
}

/// What a pool is to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    pub origin: Origin,
    /// A Node gets one block of each, in their order.
    pub ranges: Vec<Range>,
    /// Whom it is for; none is all that no selector means.
    pub selector: Option<Selector>,
    /// Whether it gives nothing any more, as it is being deleted.
    pub closed: bool,
}

/// The blocks of its ranges.
#[derive(Clone, Debug)]
pub struct Pool {
    plan: Plan,
    sets: Vec<BlockSet>,
    /// Blocks of each set that no Node gets, because of Services.
    reserved: Vec<u128>,
    rank: Rank,
    /// Whether anything is claimed that is none of its blocks, and shares addresses with them.
    cut: bool,
    /// What was claimed first over one of its ranges, if that is of another size than its blocks:
    /// nothing is given then.
    misfit: Option<Prefix>,
}

/// Of the pools that mean a Node equally well, the one with the least rank is asked first: those of
/// node-ipam-controller, and the name where it has none.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rank {
    /// Blocks of its smallest range, free or not.
    blocks: u128,
    /// Bits of a Node's addresses that are not its block's.
    host_bits: u8,
    selector: String,
    cidr: String,
    origin: Origin,
}

/// How much of a range is in use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Usage {
    pub origin: Origin,
    pub range: Range,
    pub blocks: u128,
    /// Held blocks, the reserved ones among them.
    pub used: u128,
    /// Blocks that no Node gets, because Services have addresses of them.
    pub reserved: u128,
    /// What was claimed first, of another size, because of which none are given.
    pub misfit: Option<Prefix>,
}

impl Origin {
    /// The ClusterCIDR's name; empty for the flags.
    pub fn name(&self) -> &str {
        match self {
            Self::Flags => "",
            Self::ClusterCidr(name) => name,
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flags => f.write_str("pool"),
            Self::ClusterCidr(name) => write!(f, "ClusterCIDR {name}"),
        }
    }
}

impl fmt::Display for Usage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { origin, range, blocks, used, reserved, misfit } = self;
        let (cidr, mask) = (range.cidr(), range.mask());
        write!(f, "{origin} {cidr}, mask /{mask}: {blocks} blocks, {used} used")?;
        if *reserved > 0 {
            write!(f, ", {reserved} of them by Services")?;
        }
        misfit.map_or(Ok(()), |claim| {
            write!(f, "; refused, as {claim} was claimed first and a range has blocks of one size")
        })
    }
}

impl Plan {
    /// What the flags say.
    pub fn of_flags(ranges: &[Range]) -> Self {
        Self { origin: Origin::Flags, ranges: ranges.to_vec(), selector: None, closed: false }
    }

    /// Whether the pool of `other` is this one: of the same name, with the same blocks.
    pub fn is_for_blocks_of(&self, other: &Self) -> bool {
        (&self.origin, &self.ranges) == (&other.origin, &other.ranges)
    }

    fn rank(&self, sets: &[BlockSet]) -> Rank {
        let blocks = sets.iter().map(BlockSet::size).min().unwrap_or(0);
        let host_bits = self.ranges.first().map_or(0, |range| range.host_bits());
        let selector = self.selector.as_ref().map(ToString::to_string).unwrap_or_default();
        let cidr = self.ranges.first().map(|range| range.cidr().to_string()).unwrap_or_default();
        Rank { blocks, host_bits, selector, cidr, origin: self.origin.clone() }
    }
}

impl Pool {
    /// All blocks of the plan's ranges but those that `services` touch.
    pub fn new(plan: Plan, services: &[Prefix]) -> Self {
        let sets = plan.ranges.iter().copied().map(BlockSet::new).collect::<Vec<_>>();
        let rank = plan.rank(&sets);
        let mut pool = Self { plan, sets, reserved: Vec::new(), rank, cut: false, misfit: None };
        for &service in services {
            pool.occupy(service);
        }
        pool.reserved = pool.sets.iter().map(BlockSet::used).collect();
        pool
    }

    pub const fn plan(&self) -> &Plan {
        &self.plan
    }

    pub const fn rank(&self) -> &Rank {
        &self.rank
    }

    /// With another plan of the same blocks.
    #[must_use]
    pub fn following(self, plan: Plan) -> Self {
        Self { rank: plan.rank(&self.sets), plan, ..self }
    }

    /// The next block of each range: one of `kept`, which nobody holds but who keeps it, or else a
    /// free one. None of them is taken yet.
    ///
    /// # Errors
    /// The usage of the first range that has none.
    #[expect(clippy::result_large_err, reason = "few pools are full, and none is asked often")]
    pub fn next_free(&self, kept: &[Prefix]) -> Result<Vec<Prefix>, Usage> {
        if let Some(usage) = self.usage().find(|usage| usage.misfit.is_some()) {
            return Err(usage);
        }
        let mut blocks = Vec::with_capacity(self.sets.len());
        for (place, set) in self.sets.iter().enumerate() {
            let kept = kept.iter().copied().find(|&block| set.has_one_holder(block));
            match kept.or_else(|| set.next_free()) {
                Some(block) => blocks.push(block),
                None => return self.usage().nth(place).map_or(Ok(blocks), Err),
            }
        }
        Ok(blocks)
    }

    /// Takes a block that [`Self::next_free`] gave.
    pub fn take(&mut self, block: Prefix) {
        self.sets.iter_mut().for_each(|set| set.take(block));
    }

    /// Holds the blocks that `range` touches, whoever else holds them.
    pub fn occupy(&mut self, range: Prefix) {
        self.sets.iter_mut().for_each(|set| set.occupy(range));
    }

    /// Undoes one [`Self::take`] or [`Self::occupy`].
    pub fn release(&mut self, range: Prefix) {
        self.sets.iter_mut().for_each(|set| set.release(range));
    }

    /// Notes which of `claims` was made first over each of its ranges.
    pub fn fit(&mut self, claims: &Ledger) {
        let misfit = |range: &Range| {
            let over = claims.iter().filter(|(claim, _)| range.cidr().overlaps(*claim));
            let first = over.min_by_key(|(_, claim)| claim.age()).map(|(claim, _)| claim);
            first.filter(|&claim| range.is_cut_by(claim))
        };
        self.misfit = self.plan.ranges.iter().find_map(misfit);
        self.cut = claims.blocks().any(|claim| self.is_cut_by(claim));
    }

    /// Whether `claim` has not the size of the blocks that it touches.
    pub fn is_cut_by(&self, claim: Prefix) -> bool {
        self.plan.ranges.iter().any(|range| range.is_cut_by(claim))
    }

    /// Whether [`Self::fit`] may tell something else after the claim on `changed` has come or gone.
    pub fn is_cut(&self, changed: Prefix) -> bool {
        self.cut && self.overlaps(changed) || self.is_cut_by(changed)
    }

    /// Whether another size was claimed first.
    pub const fn is_refused(&self) -> bool {
        self.misfit.is_some()
    }

    /// Whether nobody holds a block that `range` touches.
    pub fn is_free(&self, range: Prefix) -> bool {
        self.sets.iter().all(|set| set.is_free(range))
    }

    /// Whether all of `range` is in one of its networks.
    pub fn covers(&self, range: Prefix) -> bool {
        self.plan.ranges.iter().any(|own| own.cidr().covers(range))
    }

    /// Whether `range` shares addresses with one of its networks.
    pub fn overlaps(&self, range: Prefix) -> bool {
        self.plan.ranges.iter().any(|own| own.cidr().overlaps(range))
    }

    pub fn usage(&self) -> impl Iterator<Item = Usage> {
        self.sets.iter().zip(&self.reserved).map(|(set, &reserved)| Usage {
            origin: self.plan.origin.clone(),
            range: set.range(),
            blocks: set.size(),
            used: set.used(),
            reserved,
            misfit: self.misfit.filter(|&claim| set.range().is_cut_by(claim)),
        })
    }

    #[cfg(test)]
    pub(crate) fn cursors(&self) -> Vec<u128> {
        self.sets.iter().map(BlockSet::cursor).collect()
    }

    /// What has happened to the blocks of each range.
    pub fn tallies(&self) -> impl Iterator<Item = &Tally> {
        self.sets.iter().map(BlockSet::tally)
    }
}

#[cfg(test)]
mod tests {
    use std::cmp::Reverse;

    use super::*;

    /// node-ipam-controller's table: requirements that are met, host bits, network, selector, name.
    #[test]
    fn of_pools_that_mean_a_node_equally_well_the_most_particular_is_asked_first() {
        let item = |(met, host_bits, cidr, selector, name): (usize, u8, &str, &str, &str)| {
            let cidr = cidr.parse::<Prefix>().unwrap();
            let blocks = Range::new(cidr, 32 - host_bits).unwrap().last() + 1;
            let origin = Origin::ClusterCidr(name.into());
            let (selector, cidr) = (selector.to_owned(), cidr.to_string());
            (Reverse(met), Rank { blocks, host_bits, selector, cidr, origin })
        };
        let mut items = Vec::new();
        for (line, first) in [
            ((1, 8, "192.168.0.0/16", "foo=bar", "test1"), "192.168.0.0/16"),
            ((2, 8, "10.1.0.0/24", "foo=bar", "test2"), "10.1.0.0/24"),
            ((2, 8, "172.16.0.0/16", "foo=bar", "test3"), "10.1.0.0/24"),
            ((2, 6, "10.1.1.0/26", "abc=bar", "test4"), "10.1.1.0/26"),
            ((2, 6, "10.1.2.0/26", "foo=bar", "test5"), "10.1.1.0/26"),
            ((2, 6, "10.1.3.0/26", "abc=bar", "test4"), "10.1.1.0/26"),
        ] {
            items.push(item(line));
            assert_eq!(items.iter().min().unwrap().1.cidr, first);
        }
    }
}
