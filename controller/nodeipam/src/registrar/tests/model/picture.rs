//! What a replica is made of, in numbers and in one text.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use common::node::NodeView;

use super::input::{Reply, Topic};
use super::world::NEW;
use super::world::{NodeAt, block, block_number, number, uid};
use crate::claim::{Claim, Holder, Mark};
use crate::pool::Pool;
use crate::registrar::{Answer, Registrar, Subject};

/// A claim as it is shown while it is the server's.
pub(super) fn claim(holder: (u8, u8)) -> Claim {
    let mark = Mark { uid: "c".to_owned(), version: NEW.to_owned() };
    Claim { holder: Holder { name: name(holder.1), uid: uid(holder.0) }, mark, created: 0 }
}

pub(super) fn name(number: u8) -> String {
    format!("n{number}")
}

/// The Node and its name that `holder` stands for.
pub(super) fn seen(holder: &Holder) -> (u8, u8) {
    (number(&holder.uid), number(&holder.name))
}

pub(super) fn topic(subject: &Subject) -> Topic {
    match subject {
        Subject::Node(uid) => Topic::Node(number(uid)),
        Subject::Block(block) => Topic::Block(block_number(*block)),
    }
}

pub(super) fn subject(topic: Topic) -> Subject {
    match topic {
        Topic::Node(node) => Subject::Node(uid(node)),
        Topic::Block(own) => Subject::Block(block(own)),
    }
}

pub(super) fn answer(reply: Reply) -> Answer {
    match reply {
        Reply::Seen(node, name) => Answer::Seen(claim((node, name))),
        Reply::Absent => Answer::Absent,
        Reply::Conflict => Answer::Conflict,
        Reply::Gone => Answer::Gone,
        Reply::There => Answer::There,
        Reply::Settled => Answer::Settled,
    }
}

pub(super) fn node(number: u8, at: NodeAt) -> Arc<NodeView> {
    Arc::new(NodeView {
        name: name(at.name),
        uid: uid(number),
        created: number.into(),
        terminating: false,
        pod_cidrs: at.block.map(|own| block(own).to_string()).into_iter().collect(),
        labels: BTreeMap::default(),
        internal_ips: Vec::new(),
        network_unavailable: None,
    })
}

impl Registrar {
    /// All that decides what it will do, but what follows from it: who was given a block that is not
    /// shown yet is said by Nodes, and once it is shown that decides nothing.
    pub(in crate::registrar) fn picture(&self, uids: &[String], now: Instant) -> String {
        let next = self.allocator.pools().iter().map(Pool::cursors);
        format!("{}{:?}", self.knowledge(uids, now), next.collect::<Vec<_>>())
    }

    /// The same but where it looks for a free block next.
    pub(super) fn knowledge(&self, uids: &[String], now: Instant) -> String {
        use std::fmt::Write;

        let (allocator, mut text) = (&self.allocator, String::new());
        for uid in uids {
            let chosen = allocator.choice_for(uid).map(|(_, cidrs)| cidrs);
            let holds = allocator.held_by(uid);
            let _ = write!(text, "{chosen:?}{holds:?}");
        }
        for waiting in allocator.waiting() {
            let _ = write!(text, "w{}", waiting.uid);
        }
        for block in allocator.ledger().blocks() {
            let (claim, shown) =
                (allocator.ledger().get(block), allocator.ledger().is_shown(block));
            let _ = write!(text, "{block}{claim:?}{shown}");
        }
        for holder in allocator.ledger().left() {
            let since = allocator.ledger().gone_since(holder).unwrap();
            let _ = write!(text, "l{holder}{}", since < now);
        }
        if let Some(fence) = &self.fence {
            text += &fence.picture(now);
        }
        text
    }
}
