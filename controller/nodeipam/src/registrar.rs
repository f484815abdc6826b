//! Pure: the whole of what decides: from what was seen of Nodes and claims to the next request.
//!
//! With the fence a block is claimed before a Node gets it, by an object whose name is the block;
//! the API server refuses a second one of that name. A claim is given up, or goes to another
//! holder, only when its holder can never hold the block again: its Node is gone, or has other
//! podCIDRs, which are immutable. So a claim once made for a Node lets its podCIDRs be written
//! whenever that happens, however late, and nothing has to be known but what was seen before.
//!
//! What the requests are and what became of them is the same for one controller and for several
//! that all believe to lead. `model` in the tests goes through every order in which that can happen.

mod fence;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use common::Prefix;
use common::node::NodeView;

use self::fence::Fence;
use crate::allocator::{Allocator, Decision, Verdict};
use crate::claim::{Claim, Holder, Mark, Sight};
use crate::pool::Plan;

/// What is to be got right, one request at a time.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Subject {
    /// That the Node of this UID gets its podCIDRs.
    Node(String),
    /// That this block is claimed for who holds it, and for nobody if nobody does.
    Block(Prefix),
}

/// The podCIDRs that a Node is to get.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Assignment {
    pub node: String,
    pub uid: String,
    pub cidrs: Vec<Prefix>,
}

/// One request to the API server.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Command {
    /// Make the claim on `block`.
    Claim {
        block: Prefix,
        holder: Holder,
    },
    /// Read the claim on it; the last one that was seen has this UID.
    Read {
        block: Prefix,
        seen: Option<String>,
    },
    /// Let `to` hold the claim, if it still is as `mark` says.
    Adopt {
        block: Prefix,
        mark: Mark,
        to: Holder,
    },
    /// Delete the claim, if it still is as `mark` says.
    Release {
        block: Prefix,
        mark: Mark,
    },
    /// See whether the Node is there.
    Look(Holder),
    Assign(Assignment),
}

/// What became of a [`Command`].
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Answer {
    /// The claim as it is now.
    Seen(Claim),
    /// There is no claim.
    Absent,
    /// The claim is there already, or is not what it was.
    Conflict,
    /// The Node is not there, or another one has its name.
    Gone,
    /// The Node is there.
    There,
    /// The Node has the podCIDRs, or can never have them.
    Settled,
    /// Nobody knows; it may have been carried out all the same, or may yet be.
    Unknown,
}

/// What comes of something that was learned.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Work {
    /// For the log and for Events.
    pub verdicts: Vec<Verdict>,
    /// Those that have a [`Registrar::command`] now, as far as they may not have had it before.
    pub subjects: Vec<Subject>,
}

/// Who holds what, who gets what, and what is to be written next.
#[derive(Clone, Debug)]
pub struct Registrar {
    allocator: Allocator,
    /// None: podCIDRs are written without a claim.
    fence: Option<Fence>,
}

impl Registrar {
    /// Without the fence: nothing but leader election keeps two from giving out the same block.
    pub fn open(allocator: Allocator) -> Self {
        Self { allocator, fence: None }
    }

    /// With the fence; claims are kept for `delay` after their Node is gone.
    ///
    /// [`Self::claims_listed`] and then [`Self::nodes`] with all Nodes, from a list begun after
    /// that, must come before anything else.
    pub fn fenced(allocator: Allocator, delay: Duration) -> Self {
        let allocator = if delay.is_zero() { allocator } else { allocator.with_heirs() };
        Self { allocator, fence: Some(Fence::new(delay)) }
    }

    pub fn allocator(&self) -> &Allocator {
        &self.allocator
    }

    /// Whether [`Self::claims_listed`] has to come first.
    pub fn lacks_claims(&self) -> bool {
        self.fence.as_ref().is_some_and(Fence::is_blind)
    }

    /// When [`Self::tick`] has something to say.
    pub fn wakes_at(&self) -> Option<Instant> {
        self.fence.as_ref()?.wakes_at()
    }

    /// Takes how Nodes changed; the first time, all Nodes.
    pub fn nodes(
        &mut self,
        gone: &[Arc<NodeView>],
        applied: &[Arc<NodeView>],
        now: Instant,
    ) -> Work {
        let mut touched = Touched::default();
        if let Some(fence) = &mut self.fence {
            for node in gone {
                fence.remove(node, self.allocator.pools(), &mut touched);
                fence.leave(&mut self.allocator, node.as_ref().into(), now, &mut touched);
            }
            for node in applied {
                touched.blocks.extend(self.allocator.ledger().held_by(&node.uid));
                fence.show(node, self.allocator.pools(), &mut touched);
            }
            fence.nodes_listed(&mut self.allocator, now, &mut touched);
        }
        let verdicts = self.allocator.round(gone, applied);
        self.work(verdicts, touched, now)
    }

    /// Takes all claims that there are.
    pub fn claims_listed(&mut self, listed: Vec<Sight>, now: Instant) -> Work {
        let Some(fence) = &mut self.fence else { return Work::default() };
        let there = listed.iter().map(Sight::block).collect::<BTreeSet<_>>();
        let known = self.allocator.ledger().iter();
        let missing = known.filter(|(block, _)| !there.contains(block));
        let missing = missing.map(|(block, claim)| Sight::Was(block, claim.mark.uid.clone()));
        let all = missing.chain(listed).collect::<Vec<_>>();
        fence.claims_listed(&all);
        self.claims(all, now)
    }

    /// Takes how claims changed.
    pub fn claims(&mut self, sights: Vec<Sight>, now: Instant) -> Work {
        let mut touched = Touched::default();
        let Some(fence) = &mut self.fence else { return Work::default() };
        for sight in sights {
            fence.see(&mut self.allocator, sight, &mut touched);
        }
        fence.fit(&mut self.allocator, &mut touched);
        let verdicts = self.allocator.round(&[], &[]);
        self.work(verdicts, touched, now)
    }

    /// Makes the pools besides the flags' those of `plans`.
    pub fn follow(&mut self, plans: Vec<Plan>, now: Instant) -> Work {
        let mut touched = Touched::default();
        let verdicts = self.allocator.follow(plans);
        if let Some(fence) = &mut self.fence {
            fence.recut(&self.allocator, &mut touched);
        }
        self.work(verdicts, touched, now)
    }

    /// Releases what was kept for long enough.
    pub fn tick(&mut self, now: Instant) -> Work {
        let mut touched = Touched::default();
        if let Some(fence) = &mut self.fence {
            fence.tick(self.allocator.ledger(), now, &mut touched);
        }
        self.work(Vec::new(), touched, now)
    }

    /// What is to be asked of the API server next; none if `subject` is as it should be, or has to
    /// wait for something else.
    pub fn command(&self, subject: &Subject, now: Instant) -> Option<Command> {
        match (subject, &self.fence) {
            (Subject::Node(uid), None) => self.assign(uid),
            (Subject::Node(uid), Some(fence)) => match fence.claim_for(&self.allocator, uid) {
                fence::Claims::Missing(command) => command,
                fence::Claims::Held => self.assign(uid),
            },
            (Subject::Block(block), fence) => fence.as_ref()?.tidy(&self.allocator, *block, now),
        }
    }

    /// Takes the answer to a command.
    pub fn answered(&mut self, command: &Command, answer: Answer, now: Instant) -> Work {
        let mut touched = Touched::default();
        let Some(fence) = &mut self.fence else { return Work::default() };
        match (command, answer) {
            (
                Command::Claim { block, .. }
                | Command::Read { block, .. }
                | Command::Adopt { block, .. },
                Answer::Seen(claim),
            ) => fence.see(&mut self.allocator, Sight::Told(*block, claim), &mut touched),
            (Command::Read { block, seen }, Answer::Absent) => {
                fence.miss(&mut self.allocator, *block, seen.as_deref(), &mut touched);
            }
            (
                Command::Adopt { block, mark, .. } | Command::Release { block, mark },
                Answer::Absent,
            ) => fence.miss(&mut self.allocator, *block, Some(&mark.uid), &mut touched),
            (
                Command::Claim { block, .. }
                | Command::Adopt { block, .. }
                | Command::Release { block, .. },
                Answer::Conflict,
            ) => fence.doubt(&self.allocator, *block, &mut touched),
            (Command::Look(holder), Answer::Gone) => {
                fence.leave(&mut self.allocator, holder.clone(), now, &mut touched);
            }
            _ => {}
        }
        fence.fit(&mut self.allocator, &mut touched);
        let verdicts = self.allocator.round(&[], &[]);
        self.work(verdicts, touched, now)
    }

    fn assign(&self, uid: &str) -> Option<Command> {
        let (node, cidrs) = self.allocator.choice_for(uid)?;
        let (node, cidrs) = (node.name.clone(), cidrs.to_vec());
        Some(Command::Assign(Assignment { node, uid: uid.to_owned(), cidrs }))
    }

    fn work(&mut self, mut verdicts: Vec<Verdict>, mut touched: Touched, now: Instant) -> Work {
        if let Some(fence) = &mut self.fence {
            fence.settle(&self.allocator, &mut touched);
            verdicts.extend(fence.decide_again(&mut self.allocator, &mut touched));
        }
        let assigned =
            verdicts.iter().filter(|verdict| matches!(verdict.decision, Decision::Assign(_)));
        touched.nodes.extend(assigned.map(|verdict| verdict.node.uid.clone()));
        let blocks = touched.blocks.into_iter().map(Subject::Block);
        let subjects = blocks.chain(touched.nodes.into_iter().map(Subject::Node));
        let subjects = subjects.filter(|subject| self.command(subject, now).is_some()).collect();
        Work { verdicts, subjects }
    }
}

/// What something that was learned may have given a command.
#[derive(Debug, Default)]
struct Touched {
    blocks: BTreeSet<Prefix>,
    /// By UID.
    nodes: BTreeSet<String>,
}

#[cfg(test)]
mod tests;
