//! What the server has, in 24 bits, and what requests do to it.

use super::super::input::Reply;
use super::super::world::{Change, Claims, NodeAt, Nodes, Options, World};
use super::request::Request;

/// Of each Node three bits, of each claim three, and how many faults there may still be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Scene(pub(super) u32);

/// What can be said of a Node; that it has a block is [`HAS`] and the block's number.
pub(super) const UNMADE: u8 = 0;
pub(super) const EMPTY: u8 = 1;
pub(super) const HAS: u8 = 2;
pub(super) const GONE: u8 = 5;

const CLAIMS: u32 = 12;
const FAULTS: u32 = 21;

impl Scene {
    pub(super) fn of(world: &World) -> Self {
        let mut scene = Self(u32::from(world.faults) << FAULTS);
        for (node, at) in world.made() {
            let code = at.block.map_or(EMPTY, |block| HAS + block);
            scene = scene.with_node(node, if at.gone { GONE } else { code });
        }
        for (block, seen) in (0..).zip(world.claims()) {
            scene = scene.with_claim(block, seen.map(|(holder, _)| holder));
        }
        scene
    }

    fn code(self, at: u32) -> u8 {
        u8::try_from(self.0 >> at & 7).unwrap()
    }

    fn with_code(self, at: u32, code: u8) -> Self {
        Self(self.0 & !(7 << at) | u32::from(code) << at)
    }

    pub(super) fn node(self, node: u8) -> u8 {
        self.code(3 * u32::from(node))
    }

    pub(super) fn with_node(self, node: u8, code: u8) -> Self {
        self.with_code(3 * u32::from(node), code)
    }

    /// The Node that the claim on a block is for.
    pub(super) fn claim(self, block: u8) -> Option<u8> {
        self.code(CLAIMS + 3 * u32::from(block)).checked_sub(1)
    }

    pub(super) fn with_claim(self, block: u8, holder: Option<u8>) -> Self {
        self.with_code(CLAIMS + 3 * u32::from(block), holder.map_or(0, |holder| holder + 1))
    }

    pub(super) fn faults(self) -> u32 {
        self.0 >> FAULTS
    }

    /// After so many more faults; none if there may not be as many.
    pub(super) fn after_faults(self, faults: u32) -> Option<Self> {
        (self.faults() >= faults).then(|| Self(self.0 - (faults << FAULTS)))
    }

    pub(super) fn only_faults(self) -> Self {
        Self(self.faults() << FAULTS)
    }

    /// Without the Nodes, and the faults.
    pub(super) fn only_claims(self) -> Self {
        Self(self.0 & 0x1ff << CLAIMS)
    }

    /// Those Nodes of which `wanted` is true for number and code.
    pub(super) fn only_nodes(self, wanted: impl Fn(u8, u8) -> bool) -> Self {
        let nodes = (0..4).map(|node| (node, self.node(node)));
        let nodes = nodes.filter(|&(node, code)| wanted(node, code));
        nodes.fold(Self(0), |scene, (node, code)| scene.with_node(node, code))
    }

    pub(super) fn claims(self) -> Claims {
        [0, 1, 2].map(|block| self.claim(block).map(|holder| (holder, holder)))
    }

    pub(super) fn nodes(self) -> Nodes {
        [0, 1, 2, 3].map(|name| {
            let code = self.node(name);
            let block = code.checked_sub(HAS).filter(|_| code != GONE);
            (code != UNMADE).then_some(NodeAt { name, block, gone: code == GONE })
        })
    }

    fn live(self) -> impl Iterator<Item = (u8, u8)> {
        let nodes = (0..4).map(move |node| (node, self.node(node)));
        nodes.filter(|&(_, code)| code != UNMADE && code != GONE)
    }

    pub(super) fn is_violation(self) -> bool {
        let held = |block| self.live().filter(move |&(_, code)| code == HAS + block);
        (0..3).any(|block| held(block).count() > 1)
    }

    /// As [`World::is_right`].
    pub(super) fn is_right(self, options: &Options) -> bool {
        let claimed =
            |(node, code): (u8, u8)| code == EMPTY || self.claim(code - HAS) == Some(node);
        let mut claims = (0..options.blocks).map(|block| (block, self.claim(block)));
        let full = claims.clone().all(|(_, holder)| holder.is_some());
        let served = full || self.live().all(|(_, code)| code != EMPTY);
        let needed = |(block, holder): (u8, Option<u8>)| {
            holder.is_none_or(|holder| self.node(holder) == HAS + block)
        };
        served && self.live().all(claimed) && claims.all(needed)
    }

    /// What people do to Nodes: which of those that are not made yet comes next makes no difference.
    pub(super) fn by_people(self, options: &Options) -> Vec<Self> {
        let mut all = Vec::new();
        let new = (0..options.nodes).find(|&node| self.node(node) == UNMADE);
        all.extend(new.map(|node| self.with_node(node, EMPTY)));
        all.extend(self.live().map(|(node, _)| self.with_node(node, GONE)));
        all
    }

    /// As [`World::serve`].
    pub(super) fn serve(
        self,
        options: &Options,
        request: Request,
    ) -> (Self, Reply, Option<Change>) {
        match request {
            Request::Claim { block, node } if self.claim(block).is_none() => {
                let next = self.with_claim(block, Some(node));
                (next, next.now(block), Some((block, true)))
            }
            Request::Claim { .. } => (self, Reply::Conflict, None),
            Request::Read { block } => (self, self.now(block), None),
            Request::Adopt { block, .. } | Request::Release { block, .. }
                if self.claim(block).is_none() =>
            {
                (self, Reply::Absent, None)
            }
            Request::Adopt { fresh: false, .. } | Request::Release { fresh: false, .. } => {
                (self, Reply::Conflict, None)
            }
            Request::Adopt { block, node, .. } => {
                let next = self.with_claim(block, Some(node));
                (next, next.now(block), Some((block, false)))
            }
            Request::Release { block, .. } => {
                (self.with_claim(block, None), Reply::Absent, Some((block, true)))
            }
            Request::Look { node } => {
                let there = options.server.looks && self.live().any(|(live, _)| live == node);
                (self, if there { Reply::There } else { Reply::Gone }, None)
            }
            Request::Assign { block, node } => {
                let empty = self.node(node) == EMPTY;
                let next = if empty { self.with_node(node, HAS + block) } else { self };
                (next, Reply::Settled, None)
            }
        }
    }

    fn now(self, block: u8) -> Reply {
        self.claim(block).map_or(Reply::Absent, |holder| Reply::Seen(holder, holder))
    }

    /// Requests that may be carried out though nobody waits for them: a claim may be made for any
    /// Node at any time.
    pub(super) fn late(self, options: &Options, late: u64) -> u64 {
        let free = (0..options.blocks).filter(|&block| self.claim(block).is_none());
        let made = (0..options.nodes).filter(|&node| self.node(node) != UNMADE);
        let claims = free.flat_map(|block| {
            made.clone().filter_map(move |node| Request::Claim { block, node }.place())
        });
        claims.fold(late, |all, place| all | 1 << place)
    }

    /// Those of `late` that the server would not refuse, after the claim on a block has changed.
    pub(super) fn still_late(self, late: u64, change: Option<Change>) -> u64 {
        let met = |place: &u8| match Request::at(*place) {
            Request::Assign { node, .. } => self.node(node) == EMPTY,
            Request::Adopt { block, .. } | Request::Release { block, .. } => {
                change.is_none_or(|(changed, _)| changed != block)
            }
            _ => true,
        };
        let places = super::super::rules::bits(late).filter(met);
        places.fold(0, |all, place| all | 1 << place)
    }
}
