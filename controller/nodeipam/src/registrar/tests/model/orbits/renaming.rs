//! Nodes and blocks under other numbers, and what stays the same then.

use std::cmp::Ordering;

use super::super::input::{Reply, Topic};
use super::super::rules::bits;
use super::request::{PLACES, Request};
use super::scene::{HAS, Scene};
use super::sketch::{BLOCK_SETS, CHOSEN, ENTRIES, NODE_SETS, SHOWN, STAGE, Sketch, VIEWS};

/// Each Node and each block under the number that stands at its own.
pub(super) struct Renaming {
    nodes: [u8; 4],
    blocks: [u8; 3],
    views: [u64; 8],
    entries: [u64; 32],
    node_sets: [u64; 16],
    block_sets: [u64; 8],
    places: [u8; PLACES],
}

/// All of them, each by its place; the first changes nothing.
pub(super) struct Group {
    all: Vec<Renaming>,
    products: Vec<Vec<u8>>,
    inverses: Vec<u8>,
    places: Vec<u8>,
}

fn part(bits: u64, at: u32, width: u32) -> usize {
    usize::try_from(bits >> at & ((1 << width) - 1)).unwrap()
}

impl Renaming {
    fn new(nodes: [u8; 4], blocks: [u8; 3]) -> Self {
        let set = |names: &[u8], set: usize| {
            let members = bits(set.try_into().unwrap());
            members.fold(0, |all, member| all | 1 << names[usize::from(member)])
        };
        let view = |code: usize| match u8::try_from(code).unwrap() {
            code @ SHOWN.. => u64::from(SHOWN + blocks[usize::from(code - SHOWN)]),
            code @ CHOSEN.. => u64::from(CHOSEN + blocks[usize::from(code - CHOSEN)]),
            code => code.into(),
        };
        let entry = |code: usize| match code {
            1..25 => {
                u64::from(1 + nodes[(code - 1) / 6] * 6) + u64::try_from((code - 1) % 6).unwrap()
            }
            _ => 0,
        };
        let mut new = Self {
            nodes,
            blocks,
            views: std::array::from_fn(view),
            entries: std::array::from_fn(entry),
            node_sets: std::array::from_fn(|members| set(&nodes, members)),
            block_sets: std::array::from_fn(|members| set(&blocks[..], members & 7)),
            places: [0; PLACES],
        };
        new.places = std::array::from_fn(|place| {
            new.request(Request::at(place.try_into().unwrap())).place().unwrap()
        });
        new
    }

    fn node(&self, node: u8) -> u8 {
        self.nodes[usize::from(node)]
    }

    fn block(&self, block: u8) -> u8 {
        self.blocks[usize::from(block)]
    }

    pub(super) fn sketch(&self, old: Sketch) -> Sketch {
        Sketch(self.entries(old) | self.all_but_entries(old))
    }

    fn entries(&self, Sketch(old): Sketch) -> u64 {
        let mut new = 0;
        for (block, &name) in (0..).zip(&self.blocks) {
            let entry = self.entries[part(old, ENTRIES + 5 * block, 5)];
            new |= entry << (ENTRIES + 5 * u32::from(name));
        }
        new
    }

    fn all_but_entries(&self, Sketch(old): Sketch) -> u64 {
        let mut new = old & !0 << STAGE;
        for (node, &name) in (0..).zip(&self.nodes) {
            new |= self.views[part(old, VIEWS + 3 * node, 3)] << (VIEWS + 3 * u32::from(name));
        }
        for at in NODE_SETS {
            new |= self.node_sets[part(old, at, 4)] << at;
        }
        for at in BLOCK_SETS {
            new |= self.block_sets[part(old, at, 3)] << at;
        }
        new
    }

    pub(super) fn scene(&self, old: Scene) -> Scene {
        let mut new = old.only_faults();
        for node in 0..4 {
            let code = old.node(node);
            let block = code.checked_sub(HAS).filter(|&block| block < 3);
            let code = block.map_or(code, |block| HAS + self.block(block));
            new = new.with_node(self.node(node), code);
        }
        for block in 0..3 {
            let holder = old.claim(block).map(|holder| self.node(holder));
            new = new.with_claim(self.block(block), holder);
        }
        new
    }

    pub(super) fn places(&self, places: u64) -> u64 {
        bits(places).fold(0, |all, place| all | 1 << self.places[usize::from(place)])
    }

    pub(super) fn request(&self, request: Request) -> Request {
        match request {
            Request::Claim { block, node } => {
                Request::Claim { block: self.block(block), node: self.node(node) }
            }
            Request::Read { block } => Request::Read { block: self.block(block) },
            Request::Adopt { block, node, fresh } => {
                Request::Adopt { block: self.block(block), node: self.node(node), fresh }
            }
            Request::Release { block, fresh } => {
                Request::Release { block: self.block(block), fresh }
            }
            Request::Look { node } => Request::Look { node: self.node(node) },
            Request::Assign { block, node } => {
                Request::Assign { block: self.block(block), node: self.node(node) }
            }
        }
    }

    pub(super) fn topic(&self, topic: Topic) -> Topic {
        match topic {
            Topic::Node(node) => Topic::Node(self.node(node)),
            Topic::Block(block) => Topic::Block(self.block(block)),
        }
    }

    pub(super) fn reply(&self, reply: Reply) -> Reply {
        match reply {
            Reply::Seen(node, name) => Reply::Seen(self.node(node), self.node(name)),
            reply => reply,
        }
    }

    /// Whether it leaves all Nodes and blocks but these alone.
    pub(super) fn moves_only(&self, nodes: u8, blocks: u8) -> bool {
        (0..4).all(|node| nodes >> node & 1 == 1 || self.node(node) == node)
            && (0..3).all(|block| blocks >> block & 1 == 1 || self.block(block) == block)
    }
}

/// All orders of the first `moved` of N numbers; the first is theirs.
fn orders<const N: usize>(moved: u8) -> Vec<[u8; N]> {
    let mut all = vec![std::array::from_fn(|number| u8::try_from(number).unwrap())];
    for last in 1..usize::from(moved) {
        let swapped = |order: &[u8; N], other| {
            let mut order = *order;
            order.swap(last, other);
            order
        };
        all = all
            .iter()
            .flat_map(|order| (0..=last).rev().map(move |other| swapped(order, other)))
            .collect();
    }
    all
}

impl Group {
    pub(super) fn new(nodes: u8, blocks: u8) -> Self {
        let blocks = orders(blocks);
        let pairs = orders(nodes)
            .into_iter()
            .flat_map(|nodes| blocks.iter().map(move |&blocks| (nodes, blocks)));
        let all = pairs.map(|(nodes, blocks)| Renaming::new(nodes, blocks)).collect::<Vec<_>>();
        let product = |outer: &Renaming, inner: &Renaming| {
            let (nodes, blocks) = (
                inner.nodes.map(|node| outer.node(node)),
                inner.blocks.map(|block| outer.block(block)),
            );
            let found = all.iter().position(|one| (one.nodes, one.blocks) == (nodes, blocks));
            u8::try_from(found.unwrap()).unwrap()
        };
        let products =
            all.iter().map(|outer| all.iter().map(|inner| product(outer, inner)).collect());
        let products = products.collect::<Vec<Vec<u8>>>();
        let inverse =
            |row: &Vec<u8>| u8::try_from(row.iter().position(|&one| one == 0).unwrap()).unwrap();
        let inverses = products.iter().map(inverse).collect();
        let places = (0..u8::try_from(all.len()).unwrap()).collect();
        Self { all, products, inverses, places }
    }

    pub(super) fn all(&self) -> &[u8] {
        &self.places
    }

    pub(super) fn at(&self, place: u8) -> &Renaming {
        &self.all[usize::from(place)]
    }

    pub(super) fn inverse(&self, place: u8) -> u8 {
        self.inverses[usize::from(place)]
    }

    /// First `inner`, then `outer`.
    pub(super) fn product(&self, outer: u8, inner: u8) -> u8 {
        self.products[usize::from(outer)][usize::from(inner)]
    }

    /// The least that `sketch` becomes, first as to its claims, then as to the rest; by which of
    /// `renamings`, and how many lead to it.
    pub(super) fn least(&self, renamings: &[u8], sketch: Sketch) -> (Sketch, u8, usize) {
        let (mut claims, mut rest, mut by, mut same) = (u64::MAX, u64::MAX, 0, 0);
        for &place in renamings {
            let renaming = self.at(place);
            let next = renaming.entries(sketch);
            if next > claims {
                continue;
            }
            let next = (next, renaming.all_but_entries(sketch));
            match next.cmp(&(claims, rest)) {
                Ordering::Less => ((claims, rest), by, same) = (next, place, 1),
                Ordering::Equal => same += 1,
                Ordering::Greater => {}
            }
        }
        (Sketch(claims | rest), by, same)
    }

    /// The least that `scene` becomes, and by which.
    pub(super) fn least_scene(&self, scene: Scene) -> (Scene, u8) {
        let renamed = self.all().iter().map(|&place| (self.at(place).scene(scene), place));
        renamed.min().unwrap_or((scene, 0))
    }
}
