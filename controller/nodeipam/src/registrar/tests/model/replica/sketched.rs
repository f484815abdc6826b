//! A replica as a sketch, and a sketch as a replica: what answers come to at once alone can have one.

use std::sync::Arc;
use std::time::Instant;

use common::node::NodeView;

use super::super::orbits::sketch::{
    Age, CHOSEN, DOUBTS, Entry, HOLDERS, LAGS, LEFT, MISSING, PENDING, PHASE, SENT_FOR_BLOCKS,
    SENT_FOR_NODES, SHOWN, STAGE, Sketch, UNSEEN, WAITS,
};
use super::super::picture::{claim, name, node, seen, subject, topic};
use super::super::world::{NEW, NodeAt, Options, block, block_number, uid};
use super::{Phase, Replica, Sent, View};
use crate::claim::{Claim, Holder, Sight};
use crate::registrar::Registrar;
use crate::registrar::fence::{Fence, Phase as Stage};

/// What replicas are made from.
pub(in super::super) struct Mould {
    blank: Replica,
    /// Each Node without a block, and with each.
    nodes: Vec<[Arc<NodeView>; 4]>,
}

fn set(members: impl Iterator<Item = u8>) -> u8 {
    members.fold(0, |all, member| all | 1 << member)
}

impl Replica {
    /// Its picture but where it looks for a free block next.
    pub(in super::super) fn knowledge(&self) -> String {
        self.described(Registrar::knowledge)
    }

    /// All of its picture but the cursor.
    ///
    /// # Panics
    /// If anything of it is such that a sketch can't say it.
    pub(in super::super) fn sketch(&self) -> Sketch {
        let fence = self.registrar.fence.as_ref().unwrap();
        let (stage, looked_for, missing) = match fence.phase() {
            Stage::Blind => (0, 0, 0),
            Stage::Claims(left) => (1, set(left.iter().map(|holder| seen(holder).0)), 0),
            Stage::Covering(missing) => (2, 0, set(missing.iter().copied().map(block_number))),
            Stage::Settled => (3, 0, 0),
        };
        let phase = match self.phase {
            Phase::Down => 0,
            Phase::Claims => 1,
            Phase::Runs => 2,
        };
        let pending = (0..).zip(&self.pending).filter(|(_, pending)| pending.is_some());
        let left = self.registrar.allocator.ledger().left();
        let sketch = Sketch::default()
            .with(STAGE, stage)
            .with(HOLDERS, looked_for)
            .with(MISSING, missing)
            .with(PHASE, phase)
            .with(LAGS, self.lags.into())
            .with(LEFT, set(left.map(|holder| seen(holder).0)))
            .with(DOUBTS, set(fence.doubts().iter().copied().map(block_number)))
            .with(PENDING, set(pending.map(|(block, _)| block)));
        self.sketch_requests(self.sketch_claims(self.sketch_nodes(sketch)))
    }

    fn sketch_nodes(&self, mut sketch: Sketch) -> Sketch {
        let allocator = &self.registrar.allocator;
        let mut waiting = 0;
        for number in 0..self.options.nodes {
            let (uid, view) = (uid(number), self.view(number));
            let code = match (view, allocator.held_by(&uid)) {
                (View::Unseen, []) => UNSEEN,
                (View::Empty, []) => WAITS,
                (View::Empty, [own]) => CHOSEN + block_number(*own),
                (View::Shown, [own]) => SHOWN + block_number(*own),
                other => panic!("{other:?}"),
            };
            waiting += usize::from(code == WAITS);
            let chosen = allocator.choice_for(&uid).is_some();
            assert_eq!(chosen, (CHOSEN..SHOWN).contains(&code));
            sketch = sketch.with_view(number, code);
        }
        assert_eq!(allocator.waiting().len(), waiting);
        sketch
    }

    fn sketch_claims(&self, mut sketch: Sketch) -> Sketch {
        let ledger = self.registrar.allocator.ledger();
        for (own, Claim { holder, mark, .. }) in ledger.iter() {
            let age = match (mark.uid.as_str(), mark.version.as_str()) {
                ("c", NEW) => Age::Fresh,
                ("c", _) => Age::Stale,
                (_, version) => {
                    assert_ne!(version, NEW);
                    Age::Old
                }
            };
            let entry = Entry { holder: seen(holder).0, age, shown: ledger.is_shown(own) };
            sketch = sketch.with_entry(block_number(own), entry);
        }
        sketch
    }

    fn sketch_requests(&self, mut sketch: Sketch) -> Sketch {
        use super::super::input::Topic;

        for (subject, Sent { command, answer }) in &self.sent {
            assert!(answer.is_none());
            assert_eq!(Some(command), self.registrar.command(subject, self.now).as_ref());
            sketch = match topic(subject) {
                Topic::Node(node) => sketch.with(SENT_FOR_NODES, 1 << node),
                Topic::Block(block) => sketch.with(SENT_FOR_BLOCKS, 1 << block),
            };
        }
        sketch
    }
}

impl Mould {
    pub(in super::super) fn new(options: Options, start: Instant) -> Self {
        let at = |name, block| node(name, NodeAt { name, block, gone: false });
        let nodes = (0..options.nodes)
            .map(|name| [at(name, None), at(name, Some(0)), at(name, Some(1)), at(name, Some(2))]);
        Self { blank: Replica::new(options, start), nodes: nodes.collect() }
    }

    /// A replica with this sketch, which looks for a free block from the first one on.
    pub(in super::super) fn cast(&self, sketch: Sketch) -> Replica {
        let mut new = self.blank.clone();
        new.phase = [Phase::Down, Phase::Claims, Phase::Runs][usize::from(sketch.field(PHASE, 2))];
        new.lags = sketch.field(LAGS, 1) == 1;
        for block in sketch.set(PENDING) {
            new.pending[usize::from(block)] = Some((None, true));
        }
        self.let_see_claims(&mut new, sketch);
        let nodes = self.let_see_nodes(&mut new, sketch);
        let stage = match sketch.field(STAGE, 2) {
            0 => Stage::Blind,
            1 => Stage::Claims(sketch.set(HOLDERS).map(holder).collect()),
            2 => Stage::Covering(sketch.set(MISSING).map(block).collect()),
            _ => Stage::Settled,
        };
        let doubts = sketch.set(DOUBTS).map(block).collect();
        let Registrar { allocator, fence } = &mut new.registrar;
        *fence = Some(Fence::restored(stage, doubts, &nodes, allocator.pools()));
        for topic in sketch.topics() {
            let subject = subject(topic);
            let command = new.registrar.command(&subject, new.now).unwrap();
            new.sent.insert(subject, Sent { command, answer: None });
        }
        new
    }

    fn let_see_claims(&self, new: &mut Replica, sketch: Sketch) {
        let allocator = &mut new.registrar.allocator;
        for number in 0..self.blank.options.blocks {
            let Some(Entry { holder, age, shown }) = sketch.entry(number) else { continue };
            let (own, mut claim) = (block(number), claim((holder, holder)));
            if age != Age::Fresh {
                "1".clone_into(&mut claim.mark.version);
            }
            if age == Age::Old {
                "old".clone_into(&mut claim.mark.uid);
            }
            allocator.see(if shown { Sight::Is(own, claim) } else { Sight::Told(own, claim) });
        }
        for gone in sketch.set(LEFT) {
            allocator.leave(holder(gone), new.now);
        }
    }

    fn let_see_nodes(&self, new: &mut Replica, sketch: Sketch) -> Vec<Arc<NodeView>> {
        let mut nodes = Vec::new();
        for (number, at) in (0..).zip(&self.nodes) {
            let (view, shown, held) = match sketch.view(number) {
                UNSEEN => continue,
                WAITS => (View::Empty, None, None),
                code @ SHOWN.. => (View::Shown, Some(code - SHOWN), Some(code - SHOWN)),
                code => (View::Empty, None, Some(code - CHOSEN)),
            };
            let node = &at[shown.map_or(0, |block| usize::from(block) + 1)];
            new.note(number, view, number);
            new.registrar.allocator.restore(node, held.map(block));
            nodes.push(Arc::clone(node));
        }
        nodes
    }
}

fn holder(node: u8) -> Holder {
    Holder { name: name(node), uid: uid(node) }
}
