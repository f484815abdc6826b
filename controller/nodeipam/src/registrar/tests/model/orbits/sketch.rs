//! One controller, in 56 bits: all of its picture but where it looks for a free block next.

use super::super::input::Topic;
use super::super::rules::bits;
use super::super::world::Change;
use super::scene::{EMPTY, GONE, HAS, Scene, UNMADE};

/// What a [`Replica`](super::super::replica::Replica) is like.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(in super::super) struct Sketch(pub(super) u64);

/// What was seen of the claim on a block: for whom, which mark it has, and whether the watch has
/// shown it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) struct Entry {
    pub holder: u8,
    pub age: Age,
    pub shown: bool,
}

/// What the mark of a claim is by now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum Age {
    /// The server's.
    Fresh,
    /// An earlier version of the same object.
    Stale,
    /// Of an object that is no more.
    Old,
}

/// What was seen of a Node; [`CHOSEN`] and [`SHOWN`] stand for the block with the number 0.
pub(in super::super) const UNSEEN: u8 = 0;
pub(in super::super) const WAITS: u8 = 1;
pub(in super::super) const CHOSEN: u8 = 2;
pub(in super::super) const SHOWN: u8 = 5;

/// Where each field begins: of each Node three bits, of each block five, then sets.
pub(super) const VIEWS: u32 = 0;
pub(super) const ENTRIES: u32 = 12;
pub(in super::super) const LEFT: u32 = 27;
pub(in super::super) const SENT_FOR_NODES: u32 = 31;
pub(in super::super) const HOLDERS: u32 = 35;
pub(in super::super) const DOUBTS: u32 = 39;
pub(in super::super) const PENDING: u32 = 42;
pub(in super::super) const SENT_FOR_BLOCKS: u32 = 45;
pub(in super::super) const MISSING: u32 = 48;
/// What the fence knows: nothing, claims, claims and Nodes, all it needs.
pub(in super::super) const STAGE: u32 = 51;
/// Whether it is down, lists, or runs.
pub(in super::super) const PHASE: u32 = 53;
pub(in super::super) const LAGS: u32 = 55;

pub(super) const NODE_SETS: [u32; 3] = [LEFT, SENT_FOR_NODES, HOLDERS];
pub(super) const BLOCK_SETS: [u32; 4] = [DOUBTS, PENDING, SENT_FOR_BLOCKS, MISSING];

impl Sketch {
    pub(in super::super) fn field(self, at: u32, width: u32) -> u8 {
        u8::try_from(self.0 >> at & ((1 << width) - 1)).unwrap()
    }

    #[must_use]
    pub(in super::super) fn with(self, at: u32, code: u8) -> Self {
        Self(self.0 | u64::from(code) << at)
    }

    pub(in super::super) fn set(self, at: u32) -> impl Iterator<Item = u8> {
        bits(self.field(at, if BLOCK_SETS.contains(&at) { 3 } else { 4 }).into())
    }

    pub(in super::super) fn view(self, node: u8) -> u8 {
        self.field(VIEWS + 3 * u32::from(node), 3)
    }

    #[must_use]
    pub(in super::super) fn with_view(self, node: u8, view: u8) -> Self {
        self.with(VIEWS + 3 * u32::from(node), view)
    }

    pub(in super::super) fn entry(self, block: u8) -> Option<Entry> {
        let code = self.field(ENTRIES + 5 * u32::from(block), 5).checked_sub(1)?;
        let age = [Age::Fresh, Age::Stale, Age::Old][usize::from(code / 2 % 3)];
        Some(Entry { holder: code / 6, age, shown: code % 2 == 1 })
    }

    #[must_use]
    pub(in super::super) fn with_entry(self, block: u8, entry: Entry) -> Self {
        let code = 1 + entry.holder * 6 + entry.age as u8 * 2 + u8::from(entry.shown);
        self.with(ENTRIES + 5 * u32::from(block), code)
    }

    pub(super) fn is_down(self) -> bool {
        self.field(PHASE, 2) == 0
    }

    pub(super) fn lists_next(self) -> bool {
        self.field(PHASE, 2) == 1
    }

    pub(super) fn runs(self) -> bool {
        self.field(PHASE, 2) == 2
    }

    pub(super) fn lags(self) -> bool {
        self.field(LAGS, 1) == 1
    }

    pub(super) fn lagging(self) -> Self {
        self.with(LAGS, 1)
    }

    pub(super) fn crashed(self) -> Self {
        Self(self.0 & 1 << LAGS)
    }

    pub(super) fn has_requests(self) -> bool {
        self.field(SENT_FOR_NODES, 4) != 0 || self.field(SENT_FOR_BLOCKS, 3) != 0
    }

    pub(in super::super) fn topics(self) -> impl Iterator<Item = Topic> {
        self.set(SENT_FOR_NODES).map(Topic::Node).chain(self.set(SENT_FOR_BLOCKS).map(Topic::Block))
    }

    /// What its watch of claims has for it, whatever that is.
    pub(super) fn has_claims_to_see(self) -> bool {
        self.field(PENDING, 3) != 0
    }

    /// Nodes that its watch has something new of.
    pub(super) fn news(self, scene: Scene) -> Scene {
        scene.only_nodes(|node, at| match (at, self.view(node)) {
            (UNMADE, _) => false,
            (GONE, view) => view != UNSEEN,
            (EMPTY, view) => !(WAITS..SHOWN).contains(&view),
            (HAS.., view) => view < SHOWN,
        })
    }

    /// As [`Input::Changed`](super::super::input::Input::Changed) has it.
    pub(super) fn outdated(self, (block, new): Change) -> Self {
        if self.is_down() {
            return self;
        }
        let pending = self.with(PENDING, 1 << block);
        let Some(entry) = pending.entry(block) else { return pending };
        let age = match entry.age {
            _ if new => Age::Old,
            Age::Fresh => Age::Stale,
            age => age,
        };
        let without = Self(pending.0 & !(31 << (ENTRIES + 5 * u32::from(block))));
        without.with_entry(block, Entry { age, ..entry })
    }
}
