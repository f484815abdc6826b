//! A world in three words, and a request in one bit.

use super::picture::name;
use super::world::NEW;
use super::world::{NodeAt, Options, World, block, block_number, number, uid};
use crate::claim::{Holder, Mark};
use crate::registrar::{Assignment, Command};

/// Two states are equal if this is.
pub(super) type Packed = [u64; 3];

pub(super) fn pack(world: &World) -> Packed {
    let mut first = u64::from(world.faults) << 56;
    for (number, node) in world.nodes.iter().enumerate() {
        let (name, fate) = node.map_or((15, 0), |node| {
            (node.name, node.block.map_or(0, |block| 2 * (block + 1)) + u8::from(node.gone))
        });
        first |= u64::from(name | fate << 4) << (number * 8);
    }
    for (block, seen) in world.claims.iter().enumerate() {
        first |= u64::from(seen.map_or(0, |(holder, _)| holder + 1)) << ((8 + block) * 4);
    }
    let numbers = world.replicas().iter().enumerate().map(|(place, &number)| {
        assert!(number < 1 << 21, "too many pictures");
        u64::from(number) << (place * 21)
    });
    [first, world.late, numbers.fold(0, |all, number| all | number)]
}

pub(super) fn unpack(options: &Options, packed: Packed) -> World {
    let Options { blocks, replicas, .. } = *options;
    let [first, late, numbers] = packed;
    let field = |place: u8| u8::try_from(first >> (place * 4) & 15).unwrap();
    let node = |number: u8| {
        let (name, fate) = (field(2 * number), field(2 * number + 1));
        let node = NodeAt { name, block: (fate / 2).checked_sub(1), gone: fate % 2 == 1 };
        (name < 15).then_some(node)
    };
    let nodes = [0, 1, 2, 3].map(node);
    let claim = |block: u8| {
        let holder = field(8 + block).checked_sub(1)?;
        Some((holder, nodes[usize::from(holder)].unwrap().name))
    };
    let replica = |place: u8| u32::try_from(numbers >> (place * 21) & 0x1f_ffff).unwrap();
    World {
        blocks,
        claims: [0, 1, 2].map(claim),
        nodes,
        late,
        faults: u8::try_from(first >> 56).unwrap(),
        replicas: [0, 1, 2].map(replica),
        count: replicas,
    }
}

/// The place of a request among those that are remembered; none if it changes nothing, or may
/// happen anyway.
pub(super) fn bit(command: &Command, options: &Options) -> Option<u8> {
    match command {
        Command::Claim { .. } => None,
        Command::Adopt { mark, .. } | Command::Release { mark, .. } if mark.version != NEW => None,
        _ => place(command, options),
    }
}

/// The place of a request among all that can change something.
pub(super) fn place(command: &Command, options: &Options) -> Option<u8> {
    let Options { nodes, blocks, .. } = *options;
    let place = |kind: u8, block: u8, node: u8| Some(kind * nodes * blocks + block * nodes + node);
    match command {
        Command::Claim { block, holder } => place(0, block_number(*block), number(&holder.uid)),
        Command::Assign(assignment) => {
            place(1, block_number(assignment.cidrs[0]), number(&assignment.uid))
        }
        Command::Adopt { block, to, .. } => place(2, block_number(*block), number(&to.uid)),
        Command::Release { block, .. } => place(3, 0, block_number(*block)),
        Command::Read { .. } | Command::Look(_) => None,
    }
}

pub(super) fn command(place: u8, world: &World, options: &Options) -> Command {
    let Options { nodes, blocks, .. } = *options;
    let (kind, own, node) = (place / (nodes * blocks), place / nodes % blocks, place % nodes);
    let holder = || {
        let name = name(world.nodes[usize::from(node)].unwrap().name);
        Holder { name, uid: uid(node) }
    };
    let mark = Mark { uid: "c".to_owned(), version: NEW.to_owned() };
    match kind {
        0 => Command::Claim { block: block(own), holder: holder() },
        1 => {
            let Holder { name: node, uid } = holder();
            Command::Assign(Assignment { node, uid, cidrs: vec![block(own)] })
        }
        2 => Command::Adopt { block: block(own), mark, to: holder() },
        _ => Command::Release { block: block(place % (nodes * blocks)), mark },
    }
}

/// Drops requests that the server would refuse from now on.
pub(super) fn forget_what_is_too_late(world: &mut World, options: &Options) {
    for bit in (0..64).filter(|bit| world.late >> bit & 1 == 1).collect::<Vec<_>>() {
        let Command::Assign(assignment) = command(bit, world, options) else { continue };
        let node = world.nodes[usize::from(number(&assignment.uid))].unwrap();
        if options.server.uid_of_node && (node.gone || node.block.is_some()) {
            world.late &= !(1 << bit);
        }
    }
}
