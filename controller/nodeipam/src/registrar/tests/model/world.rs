//! The world of the model: Nodes, claims, and the requests that may yet reach the server.
//!
//! A request that was sent once may be carried out at any later time and any number of times, as
//! long as it can change anything. A claim may be made for any Node at any time, sent or not: that
//! is more than can happen, and it spares the memory of who sent what.

use std::net::IpAddr;

use common::Prefix;

use super::input::Reply;
use super::picture::seen;
use crate::registrar::Command;

/// The version of what the server has; what it had before has 1.
pub(super) const NEW: &str = "2";

/// What is explored.
#[expect(clippy::struct_excessive_bools, reason = "each is one thing to leave out or add")]
#[derive(Clone, Copy, Debug)]
pub(super) struct Options {
    pub replicas: u8,
    pub nodes: u8,
    pub blocks: u8,
    /// Whether answers are late and watches bring one event after the other; else answers come at
    /// once or never, and a watch brings all that has happened.
    pub fine: bool,
    /// How many faults there may be; none: any number.
    pub faults: Option<u8>,
    /// Whether a Node may be made under the name of a gone one even where no name can matter.
    pub names: bool,
    pub fence: bool,
    /// How long claims are kept, in seconds.
    pub delay: u8,
    /// Whether the first Node has the first block before anything starts, without a claim.
    pub unclaimed: bool,
    /// What is left out, to show that it is missed: a Node's block is forgotten when its PATCH has
    /// no answer.
    pub forgetful: bool,
    pub server: Server,
}

/// What the server looks at before it carries a request out.
#[derive(Clone, Copy, Debug)]
pub(super) struct Server {
    /// `metadata.uid` in a PATCH.
    pub uid_of_node: bool,
    /// The resourceVersion with which a claim is deleted.
    pub version: bool,
    /// Which Nodes there are, for one who asks; else none is there.
    pub looks: bool,
}

impl Options {
    pub(super) const fn new(replicas: u8, nodes: u8, blocks: u8) -> Self {
        let server = Server { uid_of_node: true, version: true, looks: true };
        let (faults, delay) = (None, 0);
        let (fence, fine, unclaimed, forgetful, names) = (true, false, false, false, false);
        Self {
            replicas,
            nodes,
            blocks,
            fine,
            faults,
            names,
            fence,
            delay,
            unclaimed,
            forgetful,
            server,
        }
    }

    /// A network of that many blocks, or one more, which is the Services'.
    pub(super) fn network(&self) -> Prefix {
        let bits = self.blocks.next_power_of_two().trailing_zeros();
        Prefix::parse_masking(&format!("10.0.0.0/{}", 24 - bits)).unwrap()
    }

    pub(super) fn services(&self) -> Option<Prefix> {
        (!self.blocks.is_power_of_two()).then(|| block(self.blocks))
    }
}

/// Who holds a claim: a Node and its name.
pub(super) type Seen = Option<(u8, u8)>;

/// By number, as far as there are so many.
pub(super) type Claims = [Seen; 3];
pub(super) type Nodes = [Option<NodeAt>; 4];

/// A Node that was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct NodeAt {
    pub name: u8,
    pub block: Option<u8>,
    pub gone: bool,
}

/// What the API server has, and what is on its way there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct World {
    pub blocks: u8,
    /// None: not made yet.
    pub nodes: Nodes,
    pub claims: Claims,
    /// Requests but claims that may be carried out, as bits.
    pub late: u64,
    pub faults: u8,
    /// By number; sorted, as it does not matter which is which.
    pub replicas: [u32; 3],
    pub count: u8,
}

/// How a claim has changed: its block, and whether it is another object.
pub(super) type Change = (u8, bool);

pub(super) fn block(number: u8) -> Prefix {
    Prefix::containing([10, 0, number, 0].into(), 24).unwrap()
}

pub(super) fn block_number(block: Prefix) -> u8 {
    let IpAddr::V4(address) = block.network() else { panic!("{block}") };
    address.octets()[2]
}

pub(super) fn uid(number: u8) -> String {
    format!("u{number}")
}

/// The number in a name.
pub(super) fn number(text: &str) -> u8 {
    text.trim_start_matches(char::is_alphabetic).parse().unwrap()
}

impl World {
    pub(super) fn new(options: &Options, replica: u32) -> Self {
        let mut nodes = [None; 4];
        if options.unclaimed {
            nodes[0] = Some(NodeAt { name: 0, block: Some(0), gone: false });
        }
        let faults = options.faults.unwrap_or(0);
        let (blocks, count) = (options.blocks, options.replicas);
        let claims = [None; 3];
        Self { blocks, nodes, claims, late: 0, faults, replicas: [replica; 3], count }
    }

    pub(super) fn replicas(&self) -> &[u32] {
        &self.replicas[..usize::from(self.count)]
    }

    pub(super) fn claims(&self) -> &[Seen] {
        &self.claims[..usize::from(self.blocks)]
    }

    pub(super) fn made(&self) -> impl Iterator<Item = (u8, NodeAt)> + use<> {
        (0..).zip(self.nodes).map_while(|(number, node)| Some((number, node?)))
    }

    pub(super) fn live(&self) -> impl Iterator<Item = (u8, NodeAt)> + use<> {
        self.made().filter(|(_, node)| !node.gone)
    }

    /// Two Nodes that hold the same block.
    pub(super) fn violation(&self) -> Option<String> {
        let held = |block| self.live().filter(move |(_, node)| node.block == Some(block));
        let twice = (0..self.blocks).find(|&block| held(block).count() > 1)?;
        let holders = held(twice).map(|(number, _)| number).collect::<Vec<_>>();
        Some(format!("block {twice} is held by Nodes {holders:?}"))
    }

    /// Nodes and claims as they must be once nobody has anything left to do. With `kept`, those
    /// that are gone may have claims.
    pub(super) fn is_right(&self, kept: bool) -> bool {
        let claimed = |(number, node): (u8, NodeAt)| {
            let claim = node.block.map(|block| self.claims[usize::from(block)]);
            claim.is_none_or(|claim| claim.is_some_and(|(holder, _)| holder == number))
        };
        let needed = |(block, seen): (u8, &Seen)| {
            seen.is_none_or(|(holder, _)| {
                let node = self.nodes[usize::from(holder)].unwrap();
                if node.gone { kept } else { node.block == Some(block) }
            })
        };
        let full = self.claims().iter().all(Option::is_some);
        let served = full || self.live().all(|(_, node)| node.block.is_some());
        served && self.live().all(claimed) && (0..).zip(self.claims()).all(needed)
    }

    /// Carries out what is asked; returns the answer and how a claim has changed.
    pub(super) fn serve(
        &mut self,
        options: &Options,
        command: &Command,
    ) -> (Reply, Option<Change>) {
        match command {
            Command::Claim { block, holder } => {
                let block = block_number(*block);
                if self.claims[usize::from(block)].is_some() {
                    return (Reply::Conflict, None);
                }
                self.claims[usize::from(block)] = Some(seen(holder));
                (self.now(block), Some((block, true)))
            }
            Command::Read { block, .. } => (self.now(block_number(*block)), None),
            Command::Adopt { block, mark, to } => {
                let block = block_number(*block);
                if self.claims[usize::from(block)].is_some() && mark.version != NEW {
                    return (Reply::Conflict, None);
                }
                let change =
                    self.claims[usize::from(block)].as_mut().map(|holder| *holder = seen(to));
                (self.now(block), change.map(|()| (block, false)))
            }
            Command::Release { block, mark } => {
                let block = block_number(*block);
                let meets = mark.uid == "c" && mark.version == NEW;
                let meets = meets || !options.server.version && mark.uid == "c";
                if self.claims[usize::from(block)].is_some() && !meets {
                    return (Reply::Conflict, None);
                }
                let change = self.claims[usize::from(block)].take().map(|_| (block, true));
                (Reply::Absent, change)
            }
            Command::Look(holder) => {
                let there = self.live().any(|(node, _)| node == number(&holder.uid));
                let there = there && options.server.looks;
                (if there { Reply::There } else { Reply::Gone }, None)
            }
            Command::Assign(assignment) => {
                let (own, name) = (number(&assignment.uid), number(&assignment.node));
                let by_name = self.live().find(|(_, node)| node.name == name);
                let found = by_name.map(|(node, _)| node);
                let found = found.filter(|&node| !options.server.uid_of_node || node == own);
                if let Some(node) = found.and_then(|node| self.nodes[usize::from(node)].as_mut()) {
                    node.block.get_or_insert(block_number(assignment.cidrs[0]));
                }
                (Reply::Settled, None)
            }
        }
    }

    fn now(&self, block: u8) -> Reply {
        self.claims[usize::from(block)]
            .map_or(Reply::Absent, |holder| Reply::Seen(holder.0, holder.1))
    }
}
