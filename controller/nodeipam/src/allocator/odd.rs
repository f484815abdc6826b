//! Pure: what is odd about podCIDRs that Nodes show.

use std::sync::Arc;

use common::Prefix;

use super::{Allocator, Decision, Holding, Verdict};
use crate::oddity::Oddity;

impl Allocator {
    /// What is odd about `cidr`, which a Node shows and holds not yet.
    pub(super) fn oddity(&self, text: &str, cidr: Prefix) -> Option<Oddity> {
        if !self.pools.covers(cidr) {
            return Some(Oddity::Outside(cidr));
        }
        if let Some(service) = self.pools.service_in(cidr) {
            return Some(Oddity::Service { cidr, service });
        }
        // Most blocks have one holder, so the Nodes are searched for another one but rarely.
        let overlaps = |other: &&Holding| other.cidrs.iter().any(|held| held.overlaps(cidr));
        let taken = !self.pools.is_free(cidr);
        if let Some(other) = taken.then(|| self.holdings.values().find(overlaps)).flatten() {
            return Some(Oddity::Shared { cidr, with: other.node.name.clone() });
        }
        (text.parse() != Ok(cidr)).then(|| Oddity::HostBits { text: text.to_owned(), cidr })
    }

    /// Who holds a range that is in no pool any more, by name; forgets that of those in a pool again.
    pub(super) fn look_for_strays(&mut self) -> Vec<Verdict> {
        let mut verdicts = Vec::new();
        for (uid, Holding { node, cidrs }) in &self.holdings {
            let mut known = self.odd.remove(uid).unwrap_or_default();
            known.retain(
                |oddity| !matches!(oddity, Oddity::Outside(cidr) if self.pools.covers(*cidr)),
            );
            for &cidr in cidrs.iter().filter(|&&cidr| !self.pools.covers(cidr)) {
                let oddity = Oddity::Outside(cidr);
                if !known.contains(&oddity) {
                    known.push(oddity.clone());
                    let (node, decision) = (Arc::clone(node), Decision::Odd(oddity));
                    verdicts.push(Verdict { node, decision });
                }
            }
            if !known.is_empty() {
                self.odd.insert(uid.clone(), known);
            }
        }
        verdicts.sort_by(|one, other| one.node.name.cmp(&other.node.name));
        verdicts
    }
}
