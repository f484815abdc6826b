//! Goes through what one controller can be like beside each state of the server, whatever others
//! do: however many they are.
//!
//! A state here is what the server has and one controller. Two things happen to it: what that
//! controller does, and what anybody else does to the server. The latter is all that any controller
//! in any known state with the same server has a request open for, all that was ever sent and may
//! still be carried out, and what people do. So each state of any number of controllers, seen from
//! one of them, is among these (Flanagan and Qadeer, Thread-Modular Model Checking, 2003): if none
//! is wrong here, none is wrong there. The reverse does not hold: what others have open need not
//! have come about beside this controller. So a wrong state here may be none there, and only
//! [`Explorer`](super::explorer::Explorer) can find fault.
//!
//! What was sent is as separate: at one state of the server it is all that can be on its way to it,
//! whatever else is. A state at rest is one where one controller has nothing left to do; the others
//! may crash, or not be there.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::time::Instant;

use super::input::Topic;
use super::packed::place;
use super::replica::Replica;
use super::rules::{Hashed, Rules, Step, bits};
use super::world::{Options, World};

/// What the server has, and who and what was found beside it.
struct Scene {
    /// Without replicas; what is on its way grows.
    world: World,
    /// Requests that controllers have open here, as bits.
    open: u64,
    /// Pictures of controllers.
    replicas: Vec<u32>,
    /// How many of them have gone through all that can happen to them.
    done: usize,
    /// What has happened to each of those: at no cost, and as a fault.
    happened: (u64, u64),
    waits: bool,
}

/// What came of it.
pub(super) struct Report {
    /// Controllers beside states of the server.
    pub pairs: usize,
    /// States of the server.
    pub scenes: usize,
    pub steps: usize,
    pub pictures: usize,
    pub seconds: f64,
    /// What is wrong, and the step to it.
    pub wrong: Option<String>,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { pairs, scenes, steps, pictures, seconds, wrong } = self;
        write!(
            f,
            "{pairs} states of one controller and the server, {scenes} of the server, {steps} steps, \
             {pictures} pictures of a controller, {seconds:.1} s"
        )?;
        wrong.iter().try_for_each(|wrong| write!(f, ": {wrong}"))
    }
}

pub(super) struct Pairs {
    rules: Rules,
    scenes: Vec<Scene>,
    /// By what the server has.
    numbers: HashMap<World, u32, Hashed>,
    known: HashSet<(u32, u32), Hashed>,
    /// Scenes with something left to go through.
    todo: Vec<u32>,
    steps: usize,
    wrong: Option<String>,
}

impl Pairs {
    pub(super) fn new(options: Options) -> Self {
        let options = Options { replicas: 1, ..options };
        Self {
            rules: Rules::new(options),
            scenes: Vec::new(),
            numbers: HashMap::default(),
            known: HashSet::default(),
            todo: Vec::new(),
            steps: 0,
            wrong: None,
        }
    }

    /// Whether each controller of a world, and all that is on its way in it, is known beside what
    /// the server has in it.
    pub(super) fn knows(&self, theirs: &Rules, world: &World) -> bool {
        let bare = World { late: 0, replicas: [0; 3], count: 0, ..*world };
        let Some(&number) = self.numbers.get(&bare) else { return false };
        let mut replicas = world.replicas().iter().map(|&replica| theirs.digest_of(replica));
        let late = self.scenes[number as usize].world.late;
        world.late & !late == 0
            && replicas.all(|digest| {
                let replica = self.rules.number_by(digest);
                replica.is_some_and(|replica| self.known.contains(&(number, replica)))
            })
    }

    /// Each controller, and what the server has beside it.
    pub(super) fn each(&self) -> impl Iterator<Item = (&World, &Replica)> {
        self.scenes.iter().flat_map(|scene| {
            let replica = |number: &u32| &self.rules.replicas[*number as usize];
            scene.replicas.iter().map(move |number| (&scene.world, replica(number)))
        })
    }

    pub(super) fn run(&mut self) -> Report {
        let start = Instant::now();
        let first = World::new(&self.rules.options, 0);
        self.add(&World { count: 1, ..first });
        while let Some(number) = self.todo.pop().filter(|_| self.wrong.is_none()) {
            self.scenes[number as usize].waits = false;
            self.go_through(number as usize);
        }
        Report {
            pairs: self.known.len(),
            scenes: self.scenes.len(),
            steps: self.steps,
            pictures: self.rules.replicas.len(),
            seconds: start.elapsed().as_secs_f64(),
            wrong: self.wrong.take(),
        }
    }

    /// Lets happen in a scene what has not happened there yet.
    fn go_through(&mut self, number: usize) {
        let Scene { world, open, happened: (free, faults), done, .. } = self.scenes[number];
        let late = self.rules.late_bits(&world);
        let (now_free, now_faults) = match self.rules.options.faults {
            None => (late | open, 0),
            Some(_) => (open, if world.faults > 0 { late & !open } else { 0 }),
        };
        let count = self.scenes[number].replicas.len();
        let scene = &mut self.scenes[number];
        (scene.happened, scene.done) = ((now_free, now_faults), count);
        let by_people = self.rules.people(&world).into_iter().map(|step| (step, 0));
        let sent = |free, faults| {
            let sent = bits(free).map(|bit| (Step::Late(bit), 0));
            sent.chain(bits(faults).map(|bit| (Step::Late(bit), 1)))
        };
        let all = by_people.chain(sent(now_free, now_faults)).collect::<Vec<_>>();
        for &(step, cost) in &all {
            self.step(&world, step, cost);
        }
        self.fault(&world);
        let new = sent(now_free & !free, now_faults & !faults).collect::<Vec<_>>();
        for place in 0..count {
            let world = Self::with(&world, self.scenes[number].replicas[place]);
            let (env, own) = if place < done { (&new, false) } else { (&all, true) };
            for &(step, cost) in env {
                self.step(&world, step, cost);
            }
            if own {
                self.fault(&world);
                self.own(number, &world);
            }
        }
    }

    /// What the controller of `world` itself does.
    fn own(&mut self, number: usize, world: &World) {
        let rests = self.rules.rests(world);
        if let Some(what) = self.rules.wrong(world, rests) {
            self.wrong.get_or_insert(what);
        }
        for step in self.rules.own(world) {
            if let Step::Serve { topic, .. } = step {
                self.ask(number, world, topic);
            }
            let cost = self.rules.cost(world, &step);
            self.step(world, step, cost);
        }
    }

    /// Notes an open request that changes something, for the others.
    fn ask(&mut self, number: usize, world: &World, topic: Topic) {
        let replica = &self.rules.replicas[world.replicas[0] as usize];
        let (_, command) = replica.open().find(|(open, _)| *open == topic).unwrap();
        let mut after = *world;
        let (_, change) = after.serve(&self.rules.options, command);
        if change.is_none() && after == *world {
            return;
        }
        let bit = 1 << place(command, &self.rules.options).unwrap();
        if self.scenes[number].open & bit == 0 {
            self.scenes[number].open |= bit;
            self.wake(number);
        }
    }

    /// A fault that happens to somebody else.
    fn fault(&mut self, world: &World) {
        if let Some(faults) = world.faults.checked_sub(1) {
            self.add(&World { faults, ..*world });
        }
    }

    fn step(&mut self, world: &World, step: Step, cost: u8) {
        if let Some(next) = self.rules.after(world, step, cost) {
            self.steps += 1;
            self.add(&next);
        }
    }

    fn with(world: &World, replica: u32) -> World {
        World { replicas: [replica, 0, 0], count: 1, ..*world }
    }

    fn add(&mut self, world: &World) {
        let bare = World { late: 0, replicas: [0; 3], count: 0, ..*world };
        let next = u32::try_from(self.scenes.len()).unwrap();
        let number = *self.numbers.entry(bare).or_insert(next);
        if number == next {
            let happened = (0, 0);
            let replicas = Vec::new();
            self.scenes.push(Scene {
                world: bare,
                open: 0,
                replicas,
                done: 0,
                happened,
                waits: false,
            });
        }
        let scene = &mut self.scenes[number as usize];
        let mut news = number == next || world.late & !scene.world.late != 0;
        scene.world.late |= world.late;
        for &replica in world.replicas() {
            if self.known.insert((number, replica)) {
                scene.replicas.push(replica);
                news = true;
            }
        }
        if news {
            self.wake(number as usize);
        }
    }

    fn wake(&mut self, number: usize) {
        let scene = &mut self.scenes[number];
        if !scene.waits {
            scene.waits = true;
            self.todo.push(u32::try_from(number).unwrap());
        }
    }
}
