//! Pure: the next request, for a Node that is to get its blocks, and for a block's claim.

use std::collections::BTreeSet;
use std::time::Instant;

use common::Prefix;
use common::node::NodeView;

use super::{Fence, Phase};
use crate::allocator::Allocator;
use crate::claim::{Claim, Holder};
use crate::ledger::Ledger;
use crate::node_cidr;
use crate::registrar::Command;

/// Whether all that a Node gets is claimed for it.
pub(in crate::registrar) enum Claims {
    Held,
    /// The next step; none if only something else can bring it on.
    Missing(Option<Command>),
}

impl Fence {
    /// What is missing until the Node of `uid` can be given what was chosen for it.
    pub(in crate::registrar) fn claim_for(&self, allocator: &Allocator, uid: &str) -> Claims {
        let Some((node, cidrs)) = allocator.choice_for(uid).filter(|_| self.is_settled()) else {
            return Claims::Missing(None);
        };
        for &block in cidrs {
            if self.doubts.contains(&block) {
                return Claims::Missing(Some(read(allocator.ledger(), block)));
            }
            if self.is_lost(allocator, node, block) {
                return Claims::Missing(None);
            }
            let claim = allocator.ledger().get(block);
            if claim.is_some_and(|claim| claim.holder.uid == uid) {
                if allocator.ledger().is_shown(block) {
                    continue;
                }
                // The watch will tell whether it overlaps with one that was made before.
                return Claims::Missing(None);
            }
            let holder = Holder::from(node.as_ref());
            return Claims::Missing(Some(match claim {
                None => Command::Claim { block, holder },
                Some(claim) => Command::Adopt { block, mark: claim.mark.clone(), to: holder },
            }));
        }
        Claims::Held
    }

    /// What is to be done about the claim on `block`, whoever is to get it next.
    pub(in crate::registrar) fn tidy(
        &self,
        allocator: &Allocator,
        block: Prefix,
        now: Instant,
    ) -> Option<Command> {
        if matches!(self.phase, Phase::Blind | Phase::Claims(_)) {
            return None;
        }
        if self.doubts.contains(&block) {
            return Some(read(allocator.ledger(), block));
        }
        let shown = self.shown.get(&block);
        let owner = shown.and_then(BTreeSet::first).and_then(|uid| self.nodes.get(uid));
        let owner = owner.map(|node| Holder::from(node.as_ref()));
        let Some(Claim { holder, mark, .. }) = allocator.ledger().get(block) else {
            return owner.map(|holder| Command::Claim { block, holder });
        };
        let gone = allocator.ledger().gone_since(holder);
        match (self.nodes.get(&holder.uid), gone) {
            // Somebody may be about to give it the block.
            (Some(node), _) if node.pod_cidrs.is_empty() => return None,
            // Also where blocks are of another size here.
            (Some(node), _) if shows_some_of(node, block) => return None,
            (None, None) => return Some(Command::Look(holder.clone())),
            _ => {}
        }
        if let Some(to) = owner {
            return Some(Command::Adopt { block, mark: mark.clone(), to });
        }
        let kept = allocator.chosen_for(block).is_some();
        let due = gone.is_none_or(|gone| gone + self.delay <= now);
        (due && !kept).then(|| Command::Release { block, mark: mark.clone() })
    }

    /// Whether somebody else has `block`, which was chosen for `node`, or its pool gives no more.
    pub(super) fn is_lost(&self, allocator: &Allocator, node: &NodeView, block: Prefix) -> bool {
        if allocator.ledger().is_overruled(block) {
            return true;
        }
        if let Some(claim) = allocator.ledger().get(block) {
            return claim.holder.uid != node.uid && !allocator.is_heir(node, &claim.holder);
        }
        let gives = allocator.pools().block_around(block) == Some(block);
        !gives || self.shown.contains_key(&block)
    }
}

fn shows_some_of(node: &NodeView, block: Prefix) -> bool {
    let cidrs = node.pod_cidrs.iter().filter_map(|text| node_cidr::parse(text).ok());
    cidrs.into_iter().any(|cidr| cidr.overlaps(block))
}

fn read(ledger: &Ledger, block: Prefix) -> Command {
    let seen = ledger.get(block).map(|claim| claim.mark.uid.clone());
    Command::Read { block, seen }
}
