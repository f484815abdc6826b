//! How much of each range is given away, for whoever watches it.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::path::Path;

use common::Prefix;
use common::conflist::Range;

use crate::error::Error;
use crate::ranges::Pool;
use crate::state::{COOL_DOWN, State};

/// Addresses of one range that are for pods; each counts once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Usage {
    pub subnet: Prefix,
    /// Leased, whether or not the pod still lives.
    pub used: u128,
    /// Free, and given only where no other is.
    pub resting: u128,
    pub free: u128,
}

/// Looks at the leases under `state_dir` without a lock: what changes meanwhile may be missed.
pub fn usage(state_dir: &Path, ranges: &[Range]) -> Result<Vec<Usage>, Error> {
    let state = State::at(state_dir);
    let leased = state.all_leases()?.into_iter().collect::<BTreeSet<_>>();
    let resting = state.seen_resting(COOL_DOWN)?;
    let usage = ranges.iter().map(|&range| {
        let pool = Pool::from(range);
        let count = |addresses: &mut dyn Iterator<Item = &IpAddr>| {
            addresses.filter(|address| pool.has(**address)).map(|_| 1_u128).sum::<u128>()
        };
        let used = count(&mut leased.iter());
        let resting = count(&mut resting.iter().filter(|address| !leased.contains(address)));
        let free = pool.size().saturating_sub(used + resting);
        Usage { subnet: range.subnet, used, resting, free }
    });
    Ok(usage.collect())
}

#[cfg(test)]
mod tests {
    use std::slice;

    use super::*;

    fn check(state: &Path, expected: [u128; 3]) {
        let range = Range::new("10.0.0.0/29".parse().unwrap(), "10.0.0.1".parse().unwrap());
        let usage = usage(state, slice::from_ref(&range)).unwrap()[0];
        assert_eq!([usage.used, usage.resting, usage.free], expected);
    }

    #[test]
    fn each_address_for_pods_is_used_resting_or_free() {
        let folder = tempfile::tempdir().unwrap();
        check(folder.path(), [0, 0, 5]);
        let state = State::open(folder.path(), || Ok(Vec::new())).unwrap();
        check(folder.path(), [0, 0, 5]);
        let claim = |id: &str| state.claim(&id.parse().unwrap()).unwrap().0;
        let leased = |id: &str, address: &str| {
            let claim = claim(id);
            let address = address.parse().unwrap();
            assert!(state.lease(&claim, address).unwrap());
            (claim, address)
        };
        let (first, address) = leased("c1@eth0", "10.0.0.2");
        leased("c2@eth0", "10.0.0.3");
        // One of an earlier range.
        leased("c3@eth0", "10.9.0.2");
        check(folder.path(), [2, 0, 3]);
        state.release(&first, &[address]).unwrap();
        check(folder.path(), [1, 1, 3]);
        leased("c4@eth0", "10.0.0.2");
        check(folder.path(), [2, 0, 3]);
    }
}
