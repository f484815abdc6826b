//! Pure: what has happened to the blocks of a set so far, as kube-controller-manager counts it.

/// Upper bounds of the buckets of [`Tries`], kube-controller-manager's.
pub const BUCKETS: [u64; 5] = [1, 5, 25, 125, 625];

/// Counts that only grow.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Blocks that were free and became held, by whomever.
    pub allocations: u128,
    /// Blocks that were held and became free.
    pub releases: u128,
    pub tries: Tries,
}

/// How many held blocks were skipped to find each free one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tries {
    pub sum: u128,
    pub count: u64,
    /// For each of [`BUCKETS`] how many skipped at most so many and more than the one before says.
    pub buckets: [u64; BUCKETS.len()],
}

impl Tally {
    /// `blocks` that had `before` holders each have `after`.
    pub fn changed(&mut self, blocks: u128, before: u32, after: u32) {
        match (before, after) {
            (0, 1..) => self.allocations = self.allocations.saturating_add(blocks),
            (1.., 0) => self.releases = self.releases.saturating_add(blocks),
            _ => {}
        }
    }

    /// Blocks that are held.
    pub const fn held(&self) -> u128 {
        self.allocations.saturating_sub(self.releases)
    }
}

impl Tries {
    /// One block was found after `skipped` held ones.
    pub fn add(&mut self, skipped: u128) {
        self.sum = self.sum.saturating_add(skipped);
        self.count += 1;
        let bucket = BUCKETS.iter().position(|&most| skipped <= most.into());
        if let Some(count) = bucket.and_then(|bucket| self.buckets.get_mut(bucket)) {
            *count += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tries_fall_into_the_bucket_that_holds_them() {
        let mut tries = Tries::default();
        for skipped in [0, 1, 2, 625, 626] {
            tries.add(skipped);
        }
        assert_eq!(tries, Tries { sum: 1254, count: 5, buckets: [2, 1, 0, 0, 1] });
    }

    #[test]
    fn a_second_holder_is_no_allocation() {
        let mut tally = Tally::default();
        tally.changed(4, 0, 1);
        tally.changed(2, 1, 2);
        tally.changed(2, 2, 1);
        tally.changed(3, 1, 0);
        assert_eq!((tally.allocations, tally.releases, tally.held()), (4, 3, 1));
    }
}
