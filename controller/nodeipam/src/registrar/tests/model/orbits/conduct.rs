//! What controllers do, in sketches: each is put together, lets something happen, and is sketched
//! again, once for all that differ in the numbers of Nodes and blocks.

use std::collections::HashMap;
use std::rc::Rc;
use std::time::Instant;

use super::super::input::{Input, Reply, Topic};
use super::super::replica::sketched::Mould;
use super::super::rules::Hashed;
use super::super::world::Options;
use super::renaming::{Group, Renaming};
use super::request::Request;
use super::scene::{EMPTY, GONE, Scene};
use super::sketch::{SHOWN, Sketch, WAITS};

/// What can happen to a controller, but to hear of a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Event {
    Start(Scene),
    List(Scene),
    Claims(Scene),
    Nodes(Scene),
    Reply { topic: Topic, reply: Reply, twice: bool },
}

/// What a controller is like then, and what it has sent, as bits.
pub(super) type Outcome = (Sketch, u64);

/// A sketch as it is least, and the renamings there and back.
#[derive(Clone, Copy)]
pub(super) struct Frame {
    least: Sketch,
    there: u8,
    back: u8,
}

pub(super) struct Conduct {
    /// Whether each event happens in every order, also where none can matter.
    pub thorough: bool,
    pub group: Rc<Group>,
    mould: Mould,
    outcomes: HashMap<(Sketch, Event), Rc<[Outcome]>, Hashed>,
    requests: HashMap<Sketch, Rc<[(Topic, Request)]>, Hashed>,
}

impl Event {
    pub(super) fn list(scene: Scene) -> Self {
        Self::List(scene.only_nodes(|_, code| code != GONE))
    }

    fn renamed(self, by: &Renaming) -> Self {
        match self {
            Self::Start(scene) => Self::Start(by.scene(scene)),
            Self::List(scene) => Self::List(by.scene(scene)),
            Self::Claims(scene) => Self::Claims(by.scene(scene)),
            Self::Nodes(scene) => Self::Nodes(by.scene(scene)),
            Self::Reply { topic, reply, twice } => {
                Self::Reply { topic: by.topic(topic), reply: by.reply(reply), twice }
            }
        }
    }

    fn input(self) -> Input {
        match self {
            Self::Start(scene) => Input::Start(scene.claims()),
            Self::List(scene) => Input::List(scene.nodes()),
            Self::Claims(scene) => Input::Claims(scene.claims()),
            Self::Nodes(scene) => Input::Nodes(scene.nodes()),
            Self::Reply { topic, reply, twice } => Input::Reply { topic, reply, twice },
        }
    }

    /// Nodes that may be given a block when this happens to a controller.
    fn wanting(self, sketch: Sketch) -> u8 {
        let shown = |node| match self {
            Self::List(scene) | Self::Nodes(scene) => scene.node(node) == EMPTY,
            _ => false,
        };
        let seen = |node| (WAITS..SHOWN).contains(&sketch.view(node));
        let wanting = (0..4).filter(|&node| seen(node) || shown(node));
        wanting.fold(0, |all, node| all | 1 << node)
    }

    /// Blocks that may be given when this happens: all but those that a Node shows and goes on to.
    fn open(self, sketch: Sketch) -> u8 {
        let goes = |node| matches!(self, Self::Nodes(scene) if scene.node(node) == GONE);
        let shown = (0..4).filter(|&node| !goes(node)).map(|node| sketch.view(node));
        shown.filter_map(|view| view.checked_sub(SHOWN)).fold(7, |all, block| all & !(1 << block))
    }
}

impl Conduct {
    pub(super) fn new(options: Options) -> Self {
        Self {
            thorough: false,
            group: Rc::new(Group::new(options.nodes, options.blocks)),
            mould: Mould::new(options, Instant::now()),
            outcomes: HashMap::default(),
            requests: HashMap::default(),
        }
    }

    pub(super) fn pictures(&self) -> usize {
        self.requests.len()
    }

    pub(super) fn frame(&self, sketch: Sketch) -> Frame {
        let (least, there, _) = self.group.least(self.group.all(), sketch);
        Frame { least, there, back: self.group.inverse(there) }
    }

    /// All that can come of `event`.
    pub(super) fn after(
        &mut self,
        frame: Frame,
        event: Event,
    ) -> impl Iterator<Item = Outcome> + use<> {
        let key = (frame.least, event.renamed(self.group.at(frame.there)));
        let known = self.outcomes.get(&key).cloned();
        let outcomes = known.unwrap_or_else(|| {
            let outcomes = Rc::from(self.in_each_order(key.0, key.1));
            self.outcomes.insert(key, Rc::clone(&outcomes));
            outcomes
        });
        let group = Rc::clone(&self.group);
        (0..outcomes.len()).map(move |place| {
            let ((sketch, sent), back) = (outcomes[place], group.at(frame.back));
            (back.sketch(sketch), back.places(sent))
        })
    }

    /// Requests that it has open.
    pub(super) fn requests(&mut self, frame: Frame) -> Vec<(Topic, Request)> {
        let mould = &self.mould;
        let requests = self.requests.entry(frame.least).or_insert_with(|| {
            let replica = mould.cast(frame.least);
            replica.open().map(|(topic, command)| (topic, Request::of(command))).collect()
        });
        let back = self.group.at(frame.back);
        let renamed = |&(topic, request)| (back.topic(topic), back.request(request));
        requests.iter().map(renamed).collect()
    }

    /// What comes of it under all numbers that Nodes and blocks may have: who is given what first
    /// depends on these. Where nothing is given, nothing does.
    fn in_each_order(&self, sketch: Sketch, event: Event) -> Vec<Outcome> {
        let (first, decided) = self.once(sketch, event);
        if !decided && !self.thorough {
            return vec![first];
        }
        let wanting = if self.thorough { 15 } else { event.wanting(sketch) };
        let open = if self.thorough { 7 } else { event.open(sketch) };
        let orders = self.group.all().iter();
        let orders = orders.filter(|&&order| self.group.at(order).moves_only(wanting, open));
        let (mut all, mut known) = (Vec::new(), HashMap::<_, _, Hashed>::default());
        for &order in orders {
            let there = self.group.at(order);
            let back = self.group.at(self.group.inverse(order));
            let (renamed, event) = (there.sketch(sketch), event.renamed(there));
            let outcome =
                known.entry((renamed, event)).or_insert_with(|| self.once(renamed, event));
            let (sketch, sent) = outcome.0;
            all.push((back.sketch(sketch), back.places(sent)));
        }
        all.sort_unstable();
        all.dedup();
        all
    }

    /// What comes of it under the numbers that there are, and whether a Node is given anything.
    fn once(&self, sketch: Sketch, event: Event) -> (Outcome, bool) {
        let mut replica = self.mould.cast(sketch);
        let commands = replica.take(&event.input());
        let late = commands.iter().filter_map(|command| Request::of(command).late_place());
        let sent = late.fold(0, |all, place| all | 1 << place);
        ((replica.sketch(), sent), replica.has_decided())
    }
}
