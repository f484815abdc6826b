//! The same as [`pairs`](super::pairs), of all states that differ in the numbers of Nodes and blocks
//! one.
//!
//! Numbers have an order, and what a controller does depends on it: which Node is served first, and
//! which block is given first. So what is gone through here is more than can happen: at each step all
//! Nodes and all blocks may have any numbers. That is the same under all numbers, and of states that
//! are the same under other numbers one alone has to be looked at. Where a controller looks for a free
//! block next is then no part of a state: other numbers lead to each.
//!
//! A controller is 56 bits, from which a registrar is put together for whatever happens to it.

mod conduct;
mod renaming;
mod request;
mod scene;
pub(super) mod sketch;

use std::collections::{HashMap, HashSet, VecDeque};
use std::fmt;
use std::rc::Rc;
use std::time::{Duration, Instant};

use self::conduct::{Conduct, Event, Frame, Outcome};
use self::renaming::Group;
use self::request::Request;
use self::scene::Scene;
use self::sketch::Sketch;
use super::rules::{Hashed, bits};
use super::world::{Change, Options, World};

/// What the server has, and who and what was found beside it.
struct Spot {
    scene: Scene,
    /// Renamings that leave the server as it is.
    symmetries: Rc<[u8]>,
    /// Requests that may be carried out, and that controllers have open here, as bits.
    late: u64,
    open: u64,
    found: Vec<Sketch>,
    known: HashSet<Sketch, Hashed>,
    /// How many of them have gone through all that can happen to them.
    done: usize,
    /// What has happened to each of those: at no cost, and as a fault.
    happened: (u64, u64),
    waits: bool,
}

/// What somebody else does to the server.
struct Move {
    /// What the server has then.
    scene: Scene,
    change: Option<Change>,
    next: Place,
}

/// A spot, and the renamings that lead to it, of which any will do.
#[derive(Clone)]
struct Place {
    spot: usize,
    renamings: Rc<[u8]>,
}

/// What came of it.
pub(super) struct Report {
    /// Controllers beside states of the server, and how many these are if all numbers count.
    pub pairs: usize,
    pub numbered: usize,
    /// States of the server.
    pub scenes: usize,
    pub steps: usize,
    pub pictures: usize,
    pub seconds: f64,
    /// What is wrong.
    pub wrong: Option<String>,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { pairs, numbered, scenes, steps, pictures, seconds, wrong } = self;
        write!(
            f,
            "{pairs} states of one controller and the server, for {numbered} with numbers, {scenes} of \
             the server, {steps} steps, {pictures} pictures of a controller, {seconds:.1} s"
        )?;
        wrong.iter().try_for_each(|wrong| write!(f, ": {wrong}"))
    }
}

pub(super) struct Orbits {
    options: Options,
    group: Rc<Group>,
    conduct: Conduct,
    spots: Vec<Spot>,
    /// By what the server has.
    places: HashMap<Scene, Place, Hashed>,
    /// Spots with something left to go through; the longer one waits, the more it has.
    todo: VecDeque<usize>,
    pairs: usize,
    numbered: usize,
    steps: usize,
    wrong: Option<String>,
}

impl Orbits {
    /// # Panics
    /// If `options` leave out or add what a sketch can't say.
    pub(super) fn new(options: Options) -> Self {
        let Options { fine, names, fence, delay, unclaimed, forgetful, server, .. } = options;
        assert!(fence && server.uid_of_node && server.version);
        assert!(!fine && !names && !unclaimed && !forgetful && delay == 0);
        let conduct = Conduct::new(options);
        Self {
            options,
            group: Rc::clone(&conduct.group),
            conduct,
            spots: Vec::new(),
            places: HashMap::default(),
            todo: VecDeque::new(),
            pairs: 0,
            numbered: 0,
            steps: 0,
            wrong: None,
        }
    }

    /// The same with each event in every order, also where none can matter.
    pub(super) fn thorough(options: Options) -> Self {
        let mut new = Self::new(options);
        new.conduct.thorough = true;
        new
    }

    pub(super) fn run(&mut self) -> Report {
        let (start, mut told) = (Instant::now(), Duration::ZERO);
        let first = Scene::of(&World::new(&self.options, 0));
        let lags = self.options.faults.is_none();
        let sketch = if lags { Sketch::default().lagging() } else { Sketch::default() };
        self.arrive(first, (sketch, 0));
        while let Some(spot) = self.todo.pop_front().filter(|_| self.wrong.is_none()) {
            self.spots[spot].waits = false;
            self.go_through(spot);
            if start.elapsed() >= told + Duration::from_mins(1) {
                told = start.elapsed();
                let done = self.spots.iter().map(|spot| spot.done).sum::<usize>();
                println!("{told:.0?}: {done} of {} known states gone through", self.pairs);
            }
        }
        Report {
            pairs: self.pairs,
            numbered: self.numbered,
            scenes: self.spots.len(),
            steps: self.steps,
            pictures: self.conduct.pictures(),
            seconds: start.elapsed().as_secs_f64(),
            wrong: self.wrong.take(),
        }
    }

    /// Whether a controller beside what the server has in `world` is known, under any numbers.
    pub(super) fn knows(&self, world: &World, sketch: Sketch) -> bool {
        let (scene, there) = self.group.least_scene(Scene::of(world));
        self.places.get(&scene).is_some_and(|place| {
            let Spot { symmetries, known, .. } = &self.spots[place.spot];
            let sketch = self.group.at(there).sketch(sketch);
            known.contains(&self.group.least(symmetries, sketch).0)
        })
    }

    /// Lets happen at a spot what has not happened there yet.
    fn go_through(&mut self, number: usize) {
        let Spot { scene, late, open, happened: (free, faults), done, .. } = self.spots[number];
        let may = scene.late(&self.options, late);
        let (now_free, now_faults) = match self.options.faults {
            None => (may | open, 0),
            Some(_) => (open, if scene.faults() > 0 { may & !open } else { 0 }),
        };
        let count = self.spots[number].found.len();
        let spot = &mut self.spots[number];
        (spot.happened, spot.done) = ((now_free, now_faults), count);
        let new = self.sent(number, now_free & !free, now_faults & !faults);
        let old = self.sent(number, now_free & free, now_faults & faults);
        let by_others = self.by_others(number);
        for place in 0..count {
            let sketch = self.spots[number].found[place];
            for step in &new {
                self.pass(step, sketch);
            }
            if place >= done {
                for step in old.iter().chain(&by_others) {
                    self.pass(step, sketch);
                }
                self.own(number, sketch);
            }
        }
    }

    /// What comes of requests that are carried out, though nobody waits for them or somebody else
    /// does.
    fn sent(&mut self, number: usize, free: u64, faults: u64) -> Vec<Move> {
        let Spot { scene, late, .. } = self.spots[number];
        let all = bits(free).map(|place| (place, 0)).chain(bits(faults).map(|place| (place, 1)));
        let moves = all.filter_map(|(place, cost)| {
            let (next, _, change) = scene.serve(&self.options, Request::at(place));
            Some((next.after_faults(cost)?, change))
        });
        let moves = moves.collect::<Vec<_>>();
        moves.into_iter().map(|(scene, change)| self.to(scene, late, change)).collect()
    }

    /// What people do, and faults that happen to others.
    fn by_others(&mut self, number: usize) -> Vec<Move> {
        let Spot { scene, late, .. } = self.spots[number];
        let mut next = scene.by_people(&self.options);
        next.extend(scene.after_faults(1));
        next.into_iter().map(|scene| self.to(scene, late, None)).collect()
    }

    /// The server becomes so, and what may be late before may be late then.
    fn to(&mut self, scene: Scene, late: u64, change: Option<Change>) -> Move {
        let next = self.locate(scene);
        self.send(&next, scene.still_late(late, change));
        Move { scene, change, next }
    }

    fn pass(&mut self, step: &Move, sketch: Sketch) {
        let sketch = step.change.map_or(sketch, |change| sketch.outdated(change));
        if sketch.lags() {
            return self.add(&step.next, sketch);
        }
        self.catch_up(step.scene, &step.next, (sketch, 0));
    }

    /// What a controller itself does.
    fn own(&mut self, number: usize, sketch: Sketch) {
        let scene = self.spots[number].scene;
        let frame = self.conduct.frame(sketch);
        let (claims, nodes) = (sketch.has_claims_to_see(), sketch.news(scene));
        let news = sketch.runs() && nodes != Scene::default();
        if scene.is_violation() {
            self.wrong.get_or_insert_with(|| format!("a block is held by two Nodes: {scene:?}"));
        }
        let rests = sketch.runs() && !sketch.has_requests() && !claims && !news;
        if rests && !scene.is_right(&self.options) {
            self.wrong.get_or_insert_with(|| format!("this stays as it is: {scene:?} {sketch:?}"));
        }
        if sketch.is_down() {
            return self.happen(scene, frame, Event::Start(scene.only_claims()));
        }
        let fault = scene.after_faults(self.options.faults.map_or(0, |_| 1));
        if let Some(scene) = fault {
            self.arrive(scene, (sketch.crashed(), 0));
            if !sketch.lags() {
                self.arrive(scene, (sketch.lagging(), 0));
            }
        }
        if sketch.lists_next() {
            self.happen(scene, frame, Event::list(scene));
        }
        if claims {
            self.happen(scene, frame, Event::Claims(scene.only_claims()));
        }
        if news {
            self.happen(scene, frame, Event::Nodes(nodes));
        }
        for (topic, request) in self.conduct.requests(frame) {
            let (next, reply, change) = scene.serve(&self.options, request);
            if next != scene {
                self.ask(number, request);
            }
            let frame = match change {
                Some(change) => self.conduct.frame(sketch.outdated(change)),
                None => frame,
            };
            self.happen(next, frame, Event::Reply { topic, reply, twice: false });
            if let Some(next) = next.after_faults(self.options.faults.map_or(0, |_| 1)) {
                self.happen(next, frame, Event::Reply { topic, reply, twice: true });
            }
        }
    }

    /// Notes an open request that changes something, for the others.
    fn ask(&mut self, number: usize, request: Request) {
        let Spot { symmetries, open, .. } = &self.spots[number];
        let bit = 1 << request.place().unwrap();
        let bits = symmetries.iter().fold(0, |all, &one| all | self.group.at(one).places(bit));
        if bits & !open != 0 {
            self.spots[number].open |= bits;
            self.wake(number);
        }
    }

    fn happen(&mut self, scene: Scene, frame: Frame, event: Event) {
        let next = self.locate(scene);
        for outcome in self.conduct.after(frame, event) {
            self.catch_up(scene, &next, outcome);
        }
    }

    fn arrive(&mut self, scene: Scene, outcome: Outcome) {
        let next = self.locate(scene);
        self.catch_up(scene, &next, outcome);
    }

    /// Brings a controller whose watches are never late what there is, and notes what it is then.
    fn catch_up(&mut self, scene: Scene, next: &Place, (sketch, sent): Outcome) {
        let news = if sketch.runs() { sketch.news(scene) } else { Scene::default() };
        let event = match news {
            _ if sketch.lags() || sketch.is_down() => None,
            _ if sketch.has_claims_to_see() => Some(Event::Claims(scene.only_claims())),
            news => (news != Scene::default()).then_some(Event::Nodes(news)),
        };
        let Some(event) = event else {
            self.send(next, scene.still_late(sent, None));
            return self.add(next, sketch);
        };
        let frame = self.conduct.frame(sketch);
        for (sketch, more) in self.conduct.after(frame, event) {
            self.catch_up(scene, next, (sketch, sent | more));
        }
    }

    /// The spot of `scene`.
    fn locate(&mut self, scene: Scene) -> Place {
        if let Some(known) = self.places.get(&scene) {
            return known.clone();
        }
        let (least, there) = self.group.least_scene(scene);
        if !self.places.contains_key(&least) {
            let (spot, new) = (self.spots.len(), Spot::new(least, &self.group));
            self.places.insert(least, Place { spot, renamings: Rc::clone(&new.symmetries) });
            self.spots.push(new);
            self.wake(spot);
        }
        let Place { spot, .. } = self.places[&least];
        let symmetries = self.spots[spot].symmetries.iter();
        let renamings = symmetries.map(|&one| self.group.product(one, there)).collect();
        self.places.entry(scene).or_insert(Place { spot, renamings }).clone()
    }

    fn send(&mut self, to: &Place, late: u64) {
        if late == 0 {
            return;
        }
        let renamed = to.renamings.iter().map(|&one| self.group.at(one).places(late));
        let late = renamed.fold(0, |all, places| all | places);
        if late & !self.spots[to.spot].late != 0 {
            self.spots[to.spot].late |= late;
            self.wake(to.spot);
        }
    }

    fn add(&mut self, to: &Place, sketch: Sketch) {
        self.steps += 1;
        let (sketch, _, same) = self.group.least(&to.renamings, sketch);
        let spot = &mut self.spots[to.spot];
        if spot.known.insert(sketch) {
            spot.found.push(sketch);
            self.pairs += 1;
            self.numbered += self.group.all().len() / same;
            self.wake(to.spot);
        }
    }

    fn wake(&mut self, number: usize) {
        let spot = &mut self.spots[number];
        if !spot.waits {
            spot.waits = true;
            self.todo.push_back(number);
        }
    }
}

impl Spot {
    fn new(scene: Scene, group: &Group) -> Self {
        let same = |place: &u8| group.at(*place).scene(scene) == scene;
        Self {
            scene,
            symmetries: group.all().iter().copied().filter(same).collect(),
            late: 0,
            open: 0,
            found: Vec::new(),
            known: HashSet::default(),
            done: 0,
            happened: (0, 0),
            waits: false,
        }
    }
}
