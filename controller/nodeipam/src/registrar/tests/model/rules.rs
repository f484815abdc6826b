//! What can happen next, and what comes of it.
//!
//! What a replica does depends on its picture alone, so each input to each of them is given to a
//! registrar once, and its outcome remembered.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, DefaultHasher, Hash, Hasher};
use std::time::Instant;

use super::input::{Input, Topic};
use super::packed::{bit, command, forget_what_is_too_late};
use super::replica::{Replica, View};
use super::world::{Change, NodeAt, Options, World};

/// Multiplies and rotates: keys are small numbers that nobody chooses to collide.
#[derive(Default)]
pub(super) struct Mix(u64);

impl Hasher for Mix {
    fn finish(&self) -> u64 {
        self.0 ^ (self.0 >> 32)
    }

    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            self.write_u64(chunk.iter().fold(0, |all, &byte| all << 8 | u64::from(byte)));
        }
    }

    fn write_u64(&mut self, number: u64) {
        self.0 = (self.0.rotate_left(5) ^ number).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }
}

pub(super) type Hashed = BuildHasherDefault<Mix>;

/// One thing that can happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Somebody makes the next Node, with this name.
    Make { name: u8 },
    /// Somebody deletes a Node.
    Delete(u8),
    /// The server carries out what was sent some time ago, or carries it out again.
    Late(u8),
    /// The server carries out the open request of a replica; where answers come at once, it hears
    /// of it, maybe twice.
    Serve { place: usize, topic: Topic, twice: bool },
    /// Something happens to one replica.
    Replica(usize, Input),
}

pub(super) struct Rules {
    pub(super) options: Options,
    pub(super) replicas: Vec<Replica>,
    known: HashMap<u128, u32>,
    /// What is sent, as bits, is all of it that outlives a replica.
    outcomes: HashMap<(u32, Input), (u32, u64), Hashed>,
}

impl Rules {
    pub(super) fn new(options: Options) -> Self {
        let mut new = Self {
            options,
            replicas: Vec::new(),
            known: HashMap::new(),
            outcomes: HashMap::default(),
        };
        new.number_of(Replica::new(options, Instant::now()));
        new
    }

    /// Everything that can happen, and how the world looks then.
    pub(super) fn outcomes(&mut self, world: &World) -> Vec<(Step, World)> {
        let late = self.late(world);
        let steps = self.people(world).into_iter().chain(late).chain(self.own(world));
        let steps = steps.collect::<Vec<_>>();
        let outcome = |step| Some((step, self.after(world, step, self.cost(world, &step))?));
        steps.into_iter().filter_map(outcome).collect()
    }

    /// How many faults a step is.
    pub(super) fn cost(&self, world: &World, step: &Step) -> u8 {
        u8::from(self.options.faults.is_some() && self.is_fault(world, step))
    }

    /// How the world looks after a step that is so many faults; none if there may not be as many.
    pub(super) fn after(&mut self, world: &World, step: Step, cost: u8) -> Option<World> {
        let mut next = World { faults: world.faults.checked_sub(cost)?, ..*world };
        self.carry_out(&mut next, step);
        self.catch_up(&mut next);
        forget_what_is_too_late(&mut next, &self.options);
        next.replicas[..usize::from(next.count)].sort_unstable();
        Some(next)
    }

    /// What is wrong with a world.
    pub(super) fn wrong(&self, world: &World, rests: bool) -> Option<String> {
        let kept = self.options.delay > 0;
        // A claim for another Node than has the block is what no controller would make.
        let left = rests && self.options.fence && !self.options.unclaimed;
        let left =
            || (left && !world.is_right(kept)).then(|| format!("this stays as it is: {world:?}"));
        world.violation().or_else(left)
    }

    /// What people do to Nodes.
    pub(super) fn people(&self, world: &World) -> Vec<Step> {
        let mut steps = Vec::new();
        let made = u8::try_from(world.made().count()).unwrap();
        if made < self.options.nodes {
            let free = |name: &u8| !world.live().any(|(_, node)| node.name == *name);
            // What a name that came before may matter for.
            let again =
                self.options.delay > 0 || !self.options.server.uid_of_node || self.options.names;
            let mut names = world
                .made()
                .filter(|_| again)
                .map(|(_, node)| node.name)
                .filter(free)
                .collect::<Vec<_>>();
            names.push(made);
            names.sort_unstable();
            names.dedup();
            steps.extend(names.into_iter().map(|name| Step::Make { name }));
        }
        steps.extend(world.live().map(|(node, _)| Step::Delete(node)));
        steps
    }

    /// Requests that reach the server though nobody waits for them, as bits.
    pub(super) fn late_bits(&self, world: &World) -> u64 {
        let Options { nodes, blocks, fence, .. } = self.options;
        let free = (0..blocks).filter(|&block| fence && world.claims[usize::from(block)].is_none());
        let made = (1 << world.made().count()) - 1;
        free.fold(world.late, |all, block| all | made << (block * nodes))
    }

    fn late(&self, world: &World) -> impl Iterator<Item = Step> + use<> {
        bits(self.late_bits(world)).map(Step::Late)
    }

    /// What replicas can do, or can happen to one of them.
    pub(super) fn own(&self, world: &World) -> Vec<Step> {
        let fine = self.options.fine;
        let mut steps = Vec::new();
        for (place, &number) in world.replicas().iter().enumerate() {
            if world.replicas[..place].contains(&number) {
                continue;
            }
            let replica = &self.replicas[number as usize];
            let mut add = |input| steps.push(Step::Replica(place, input));
            if replica.is_down() {
                add(Input::Start(world.claims));
                continue;
            }
            add(Input::Crash);
            if replica.lists_next() {
                add(Input::List(world.nodes));
            }
            if replica.lags() {
                deliveries(world, replica, fine).into_iter().for_each(&mut add);
            } else {
                add(Input::Lag);
            }
            if replica.waits_for_time() {
                add(Input::Wait);
            }
            for topic in replica.answers() {
                add(Input::Heard { topic, again: false });
                add(Input::Heard { topic, again: true });
            }
            let open = || replica.open().map(|(topic, _)| topic);
            let lost = |topic: &Topic| {
                if fine { replica.would_send_another(*topic) } else { self.options.forgetful }
            };
            open()
                .chain(replica.answers())
                .filter(lost)
                .for_each(|topic| add(Input::Timeout(topic)));
            let twice = if fine { &[false][..] } else { &[false, true] };
            for topic in open() {
                steps.extend(twice.iter().map(|&twice| Step::Serve { place, topic, twice }));
            }
        }
        steps
    }

    fn is_fault(&self, world: &World, step: &Step) -> bool {
        match step {
            Step::Late(_) | Step::Serve { twice: true, .. } => true,
            Step::Replica(place, Input::Crash) => {
                !self.replicas[world.replicas[*place] as usize].is_down()
            }
            Step::Replica(_, input) => {
                matches!(input, Input::Timeout(_) | Input::Lag | Input::Heard { again: true, .. })
            }
            _ => false,
        }
    }

    fn carry_out(&mut self, world: &mut World, step: Step) {
        match step {
            Step::Make { name } => {
                let made = world.made().count();
                world.nodes[made] = Some(NodeAt { name, block: None, gone: false });
            }
            Step::Delete(node) => {
                let node = world.nodes[usize::from(node)].as_mut().unwrap();
                node.gone = true;
                // Only a watch that shows all that has happened has use for what it had.
                node.block = node.block.filter(|_| self.options.fine);
            }
            Step::Late(bit) => {
                let command = command(bit, world, &self.options);
                let (_, change) = world.serve(&self.options, &command);
                self.tell(world, change);
            }
            Step::Serve { place, topic, twice } => {
                let replica = &self.replicas[world.replicas[place] as usize];
                let (_, command) = replica.open().find(|(open, _)| *open == topic).unwrap();
                let command = command.clone();
                let (reply, change) = world.serve(&self.options, &command);
                self.tell(world, change);
                let heard = if self.options.fine {
                    Input::Answered(topic, reply)
                } else {
                    Input::Reply { topic, reply, twice }
                };
                self.give(world, place, heard);
            }
            Step::Replica(place, input) => self.give(world, place, input),
        }
    }

    /// Tells all watches how a claim has changed.
    fn tell(&mut self, world: &mut World, change: Option<Change>) {
        let Some((block, new)) = change else { return };
        let seen = world.claims[usize::from(block)];
        let Options { nodes, blocks, server, .. } = self.options;
        let adoptions = ((1 << nodes) - 1) << (2 * nodes * blocks + block * nodes);
        let release = u64::from(new || server.version) << (3 * nodes * blocks + block);
        world.late &= !(adoptions | release);
        for place in 0..world.replicas().len() {
            self.give(world, place, Input::Changed { block, seen, new });
        }
    }

    /// Brings those whose watches are never late what there is.
    fn catch_up(&mut self, world: &mut World) {
        for place in 0..world.replicas().len() {
            loop {
                let replica = &self.replicas[world.replicas[place] as usize];
                let next = Some(replica).filter(|replica| !replica.lags());
                let next = next.and_then(|replica| {
                    deliveries(world, replica, self.options.fine).into_iter().next()
                });
                let Some(input) = next else { break };
                self.give(world, place, input);
            }
        }
    }

    /// Whether nobody has anything to do, until something happens from outside.
    pub(super) fn rests(&self, world: &World) -> bool {
        let replicas = world.replicas().iter().map(|&number| &self.replicas[number as usize]);
        let some = replicas.clone().any(Replica::runs);
        some && replicas.clone().all(|replica| {
            let idle = replica.open().next().is_none() && replica.answers().next().is_none();
            let idle = idle && deliveries(world, replica, self.options.fine).is_empty();
            replica.is_down() || replica.runs() && idle
        })
    }

    fn give(&mut self, world: &mut World, place: usize, input: Input) {
        let number = world.replicas[place];
        let known = self.outcomes.get(&(number, input)).copied();
        let (next, sent) = known.unwrap_or_else(|| {
            let mut replica = self.replicas[number as usize].clone();
            let commands = replica.take(&input);
            let sent = commands.iter().filter_map(|command| bit(command, &self.options));
            let sent = sent.fold(0, |all, bit| all | 1 << bit);
            let outcome = (self.number_of(replica), sent);
            self.outcomes.insert((number, input), outcome);
            outcome
        });
        world.replicas[place] = next;
        world.late |= sent;
    }

    pub(super) fn digest_of(&self, number: u32) -> u128 {
        digest(&self.replicas[number as usize].picture())
    }

    pub(super) fn number_by(&self, digest: u128) -> Option<u32> {
        self.known.get(&digest).copied()
    }

    fn number_of(&mut self, replica: Replica) -> u32 {
        let next = u32::try_from(self.replicas.len()).unwrap();
        let number = *self.known.entry(digest(&replica.picture())).or_insert(next);
        if number == next {
            self.replicas.push(replica);
        }
        number
    }
}

pub(super) fn bits(all: u64) -> impl Iterator<Item = u8> {
    (0..64).filter(move |bit| all >> bit & 1 == 1)
}

/// What the watches of a replica have for it.
fn deliveries(world: &World, replica: &Replica, fine: bool) -> Vec<Input> {
    let mut all = Vec::new();
    if replica.is_down() {
        return all;
    }
    let mut pending = (0..world.blocks).filter(|&block| replica.pending(block));
    if !fine {
        all.extend(pending.next().map(|_| Input::Claims(world.claims)));
        let new = world.made().any(|(number, node)| replica.is_news(number, node));
        all.extend((new && replica.runs()).then_some(Input::Nodes(world.nodes)));
        return all;
    }
    all.extend(pending.map(|block| Input::Claim(block, world.claims[usize::from(block)])));
    if !replica.runs() {
        return all;
    }
    for (number, node) in world.made() {
        // A watch shows the end of one Node before the next of its name.
        let mut before = world.made().take(number.into()).filter(|(_, it)| it.name == node.name);
        let waits = before.any(|(before, _)| replica.view(before) != View::Gone);
        if replica.view(number) < View::of(node) && !waits {
            all.push(Input::Node(number, node));
        }
    }
    all
}

/// 128 bits of a picture: that two of n pictures have the same has a probability of n²/2^129.
fn digest(picture: &str) -> u128 {
    let half = |salt: u8| {
        let mut hasher = DefaultHasher::new();
        (salt, picture).hash(&mut hasher);
        u128::from(hasher.finish())
    };
    half(0) << 64 | half(1)
}
