//! Goes through every state that the world can come to, the nearest first.
//!
//! What a replica does depends on its picture alone, so each input to each of them is given to a
//! registrar once, and its outcome remembered.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::hash::{BuildHasherDefault, Hasher};
use std::time::Instant;

use super::input::{Input, Topic};
use super::packed::{Packed, bit, command, forget_what_is_too_late, pack, unpack};
use super::replica::{Replica, View};
use super::world::{Change, NodeAt, Options, World};

/// Multiplies and rotates: keys are small numbers that nobody chooses to collide.
#[derive(Default)]
struct Mix(u64);

impl Hasher for Mix {
    fn finish(&self) -> u64 {
        self.0 ^ (self.0 >> 32)
    }

    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.write_u64(byte.into());
        }
    }

    fn write_u64(&mut self, number: u64) {
        self.0 = (self.0.rotate_left(5) ^ number).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }
}

type Hashed = BuildHasherDefault<Mix>;

/// One thing that can happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
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

/// What came of it.
pub(super) struct Report {
    pub states: usize,
    pub steps: usize,
    /// States in which nobody has anything left to do.
    pub at_rest: usize,
    /// What replicas can be like.
    pub pictures: usize,
    pub seconds: f64,
    /// What is wrong, and what led to it.
    pub wrong: Option<(String, Vec<String>)>,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { states, steps, at_rest, pictures, seconds, wrong } = self;
        write!(
            f,
            "{states} states, {steps} steps, {at_rest} at rest, {pictures} pictures of a controller, {seconds:.1} s"
        )?;
        if let Some((what, trace)) = wrong {
            write!(f, ": {what}, after {} steps:\n  {}", trace.len(), trace.join("\n  "))?;
        }
        Ok(())
    }
}

pub(super) struct Explorer {
    options: Options,
    replicas: Vec<Replica>,
    known: HashMap<String, u32>,
    /// What is sent, as bits, is all of it that outlives a replica.
    outcomes: HashMap<(u32, Input), (u32, u64), Hashed>,
}

impl Explorer {
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

    pub(super) fn run(mut self) -> Report {
        let start = Instant::now();
        let first = pack(&World::new(&self.options, 0));
        let (mut states, mut parents) = (vec![first], vec![0_u32]);
        let mut known = HashSet::<Packed, Hashed>::from_iter([first]);
        let (mut next, mut steps, mut at_rest, mut wrong) = (0, 0, 0, None);
        while next < states.len() {
            let world = unpack(&self.options, states[next]);
            let outcomes = self.outcomes(&world);
            let rests = self.rests(&world);
            at_rest += usize::from(rests);
            let what = world.violation().or_else(|| {
                let kept = self.options.delay > 0;
                // A claim for another Node than has the block is what no controller would make.
                let left = rests && self.options.fence && !self.options.unclaimed;
                let left = left && !world.is_right(kept);
                left.then(|| format!("this stays as it is: {world:?}"))
            });
            if let Some(what) = what {
                wrong = Some((what, self.trace(&states, &parents, next)));
                break;
            }
            for (_, world) in outcomes {
                steps += 1;
                let packed = pack(&world);
                if known.insert(packed) {
                    states.push(packed);
                    parents.push(u32::try_from(next).unwrap());
                }
            }
            next += 1;
        }
        let (states, pictures) = (states.len(), self.replicas.len());
        let seconds = start.elapsed().as_secs_f64();
        Report { states, steps, at_rest, pictures, seconds, wrong }
    }

    fn trace(&mut self, states: &[Packed], parents: &[u32], last: usize) -> Vec<String> {
        let mut path = vec![last];
        while let Some(&place) = path.last().filter(|&&place| place > 0) {
            path.push(parents[place] as usize);
        }
        path.reverse();
        let steps = path.windows(2).map(|pair| {
            let world = unpack(&self.options, states[pair[0]]);
            let mut all = self.outcomes(&world).into_iter();
            let (step, world) = all.find(|(_, world)| pack(world) == states[pair[1]]).unwrap();
            format!("{step:?} -> {:?} {:?}", world.nodes, world.claims)
        });
        steps.collect()
    }

    /// Everything that can happen, and how the world looks then.
    fn outcomes(&mut self, world: &World) -> Vec<(Step, World)> {
        let mut all = Vec::new();
        for step in self.people(world).into_iter().chain(self.replicas(world)) {
            let cost = u8::from(self.options.faults.is_some() && self.is_fault(world, &step));
            let Some(faults) = world.faults.checked_sub(cost) else { continue };
            let mut next = World { faults, ..*world };
            self.carry_out(&mut next, step);
            self.catch_up(&mut next);
            forget_what_is_too_late(&mut next, &self.options);
            next.replicas[..usize::from(next.count)].sort_unstable();
            all.push((step, next));
        }
        all
    }

    fn people(&self, world: &World) -> Vec<Step> {
        let mut steps = Vec::new();
        let made = u8::try_from(world.made().count()).unwrap();
        if made < self.options.nodes {
            let free = |name: &u8| !world.live().any(|(_, node)| node.name == *name);
            let mut names =
                world.made().map(|(_, node)| node.name).filter(free).collect::<Vec<_>>();
            names.push(made);
            names.sort_unstable();
            names.dedup();
            steps.extend(names.into_iter().map(|name| Step::Make { name }));
        }
        steps.extend(world.live().map(|(node, _)| Step::Delete(node)));
        let bits = (0..64).filter(|bit| world.late >> bit & 1 == 1);
        steps.extend(bits.map(Step::Late));
        if self.options.fence {
            let free = (0..self.options.blocks)
                .filter(|&block| world.claims()[usize::from(block)].is_none());
            let claims =
                free.flat_map(|block| (0..made).map(move |node| block * self.options.nodes + node));
            steps.extend(claims.map(Step::Late));
        }
        steps
    }

    fn replicas(&self, world: &World) -> Vec<Step> {
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
    fn rests(&self, world: &World) -> bool {
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

    fn number_of(&mut self, replica: Replica) -> u32 {
        let next = u32::try_from(self.replicas.len()).unwrap();
        let number = *self.known.entry(replica.picture()).or_insert(next);
        if number == next {
            self.replicas.push(replica);
        }
        number
    }
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
        let new = world.made().any(|(number, node)| View::of(node) != replica.view(number));
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
