//! One controller of the model: a [`Registrar`], what its watches have brought it, and its requests.
//!
//! Whatever happens to it is an [`Input`]; the registrar alone says what comes of it. Two replicas
//! with the same [`Replica::picture`] are one: nothing that they do can differ.

pub(super) mod sketched;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::input::{Input, Topic};
use super::picture::{answer, claim, node, subject, topic};
use super::world::{NodeAt, Nodes, Options, Seen, block, uid};
use crate::allocator::{Allocator, Decision, Verdict};
use crate::claim::{Mark, Sight};
use crate::pools::Pools;
use crate::range::Range;
use crate::registrar::{Answer, Command, Registrar, Subject, Work};

/// How far a replica's watch has come with a Node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum View {
    Unseen,
    Empty,
    Shown,
    Gone,
}

impl View {
    pub(super) const fn of(node: NodeAt) -> Self {
        match node {
            NodeAt { gone: true, .. } => Self::Gone,
            NodeAt { block: Some(_), .. } => Self::Shown,
            NodeAt { block: None, .. } => Self::Empty,
        }
    }
}

/// A request that was sent, and its answer while that is on its way.
#[derive(Clone, Debug)]
struct Sent {
    command: Command,
    answer: Option<Answer>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Down,
    /// Knows the claims.
    Claims,
    Runs,
}

#[derive(Clone, Debug)]
pub(super) struct Replica {
    options: Options,
    registrar: Registrar,
    phase: Phase,
    /// Its watches and answers may be late from now on.
    lags: bool,
    views: Vec<View>,
    /// By Node that was seen, the number in its name.
    names: Vec<u8>,
    /// By block, what its watch will bring next, and whether that is what the server has.
    pending: Vec<Option<(Seen, bool)>>,
    sent: BTreeMap<Subject, Sent>,
    /// Whether what happened last has given a Node a block, or has it still wait for its PATCH.
    decided: bool,
    now: Instant,
}

impl Replica {
    pub(super) fn new(options: Options, start: Instant) -> Self {
        let range = Range::new(options.network(), 24).unwrap();
        let pools = Pools::new(&[range], options.services().as_slice());
        let allocator = Allocator::new(pools);
        let delay = Duration::from_secs(u64::from(options.delay));
        let registrar = if options.fence {
            Registrar::fenced(allocator, delay)
        } else {
            Registrar::open(allocator)
        };
        Self {
            options,
            registrar,
            phase: Phase::Down,
            lags: options.faults.is_none(),
            views: vec![View::Unseen; options.nodes.into()],
            names: vec![0; options.nodes.into()],
            pending: vec![None; options.blocks.into()],
            sent: BTreeMap::new(),
            decided: false,
            now: start,
        }
    }

    pub(super) fn is_down(&self) -> bool {
        self.phase == Phase::Down
    }

    pub(super) fn lags(&self) -> bool {
        self.lags
    }

    pub(super) fn lists_next(&self) -> bool {
        self.phase == Phase::Claims
    }

    pub(super) fn has_decided(&self) -> bool {
        self.decided
    }

    pub(super) fn runs(&self) -> bool {
        self.phase == Phase::Runs
    }

    pub(super) fn view(&self, node: u8) -> View {
        self.views[usize::from(node)]
    }

    pub(super) fn pending(&self, block: u8) -> bool {
        self.pending[usize::from(block)].is_some()
    }

    /// Whether a watch that brings all that has happened to a Node has something new of it. One that
    /// is gone is as if it had never been seen: its UID does not come back.
    pub(super) fn is_news(&self, node: u8, at: NodeAt) -> bool {
        let view = self.view(node);
        if at.gone { view != View::Unseen } else { view != View::of(at) }
    }

    /// Requests without an answer.
    pub(super) fn open(&self) -> impl Iterator<Item = (Topic, &Command)> {
        let open = self.sent.iter().filter(|(_, sent)| sent.answer.is_none());
        open.map(|(subject, sent)| (topic(subject), &sent.command))
    }

    /// Answers on their way.
    pub(super) fn answers(&self) -> impl Iterator<Item = Topic> {
        let answers = self.sent.iter().filter(|(_, sent)| sent.answer.is_some());
        answers.map(|(subject, _)| topic(subject))
    }

    /// Whether the request would be another one by now, or has had its answer lost.
    pub(super) fn would_send_another(&self, topic: Topic) -> bool {
        let subject = &subject(topic);
        let sent = &self.sent[subject];
        let next = self.registrar.command(subject, self.now);
        sent.answer.is_some() || next.as_ref() != Some(&sent.command)
    }

    pub(super) fn waits_for_time(&self) -> bool {
        self.registrar.wakes_at().is_some()
    }

    /// Lets `input` happen; returns what is sent because of it.
    #[expect(clippy::too_many_lines, reason = "one arm for each thing that can happen")]
    pub(super) fn take(&mut self, input: &Input) -> Vec<Command> {
        let now = self.now;
        let work = match input {
            Input::Start(claims) => {
                *self = Self { lags: self.lags, ..Self::new(self.options, self.now) };
                self.phase = Phase::Claims;
                let listed = (0..).zip(claims);
                let listed = listed.filter_map(|(number, &seen)| Some((block(number), seen?)));
                let sights = listed.map(|(block, seen)| Sight::Is(block, claim(seen))).collect();
                self.registrar.claims_listed(sights, now)
            }
            Input::List(nodes) => self.list(nodes),
            &Input::Changed { block, seen, new } => {
                self.outdate(block, new);
                if !self.is_down() {
                    let pending = &mut self.pending[usize::from(block)];
                    let next = pending.map_or((seen, true), |(next, _)| (next, false));
                    *pending = Some(if self.options.fine { next } else { (None, true) });
                }
                Work::default()
            }
            Input::Claim(block, current) => {
                let (event, fresh) = self.pending[usize::from(*block)].take().unwrap();
                self.pending[usize::from(*block)] = (!fresh).then_some((*current, true));
                self.registrar.claims(vec![self::event(*block, event, fresh)], now)
            }
            Input::Claims(claims) => {
                self.pending.fill(None);
                let blocks = (0..self.options.blocks).zip(claims);
                let sights = blocks.map(|(block, &seen)| event(block, seen, true));
                self.registrar.claims(sights.collect(), now)
            }
            Input::Nodes(nodes) => self.refresh(nodes),
            Input::Reply { topic, reply, twice } => {
                let (subject, answer) = (subject(*topic), answer(*reply));
                let command = self.sent.remove(&subject).unwrap().command;
                let mut work = self.registrar.answered(&command, answer.clone(), now);
                if *twice {
                    let again = self.registrar.answered(&command, answer.clone(), now);
                    work.subjects.extend(again.subjects);
                    work.verdicts.extend(again.verdicts);
                }
                if !matches!(answer, Answer::Settled) {
                    work.subjects.push(subject);
                }
                work
            }
            Input::Node(node, at) => self.watch(*node, *at),
            Input::Answered(topic, reply) => {
                self.sent.get_mut(&subject(*topic)).unwrap().answer = Some(answer(*reply));
                Work::default()
            }
            Input::Heard { topic, again } => return self.hear(&subject(*topic), *again),
            Input::Timeout(topic) => {
                let subject = subject(*topic);
                let Sent { command, .. } = self.sent.remove(&subject).unwrap();
                if self.options.forgetful {
                    self.forget(&subject);
                }
                let mut work = self.registrar.answered(&command, Answer::Unknown, now);
                work.subjects.push(subject);
                work
            }
            Input::Lag => {
                self.lags = true;
                Work::default()
            }
            Input::Wait => {
                self.now += Duration::from_secs(u64::from(self.options.delay));
                self.registrar.tick(self.now)
            }
            Input::Crash => {
                *self = Self { lags: self.lags, ..Self::new(self.options, self.now) };
                Work::default()
            }
        };
        self.send(work)
    }

    fn list(&mut self, nodes: &Nodes) -> Work {
        self.phase = Phase::Runs;
        let mut applied = Vec::new();
        for (number, at) in (0..).zip(nodes) {
            let Some(at) = at else { continue };
            if self.options.fine || !at.gone {
                self.note(number, View::of(*at), at.name);
            }
            applied.extend((!at.gone).then(|| node(number, *at)));
        }
        self.registrar.nodes(&[], &applied, self.now)
    }

    fn note(&mut self, number: u8, view: View, name: u8) {
        self.views[usize::from(number)] = view;
        self.names[usize::from(number)] = name;
    }

    fn refresh(&mut self, nodes: &Nodes) -> Work {
        let (mut gone, mut applied) = (Vec::new(), Vec::new());
        for (number, at) in (0..).zip(nodes) {
            let Some(at) = at.filter(|at| self.is_news(number, *at)) else { continue };
            match (self.view(number), at.gone) {
                (View::Empty, true) => gone.push(node(number, NodeAt { block: None, ..at })),
                (_, true) => gone.push(node(number, at)),
                (_, false) => applied.push(node(number, at)),
            }
            let (view, name) = if at.gone { (View::Unseen, 0) } else { (View::of(at), at.name) };
            self.note(number, view, name);
        }
        self.registrar.nodes(&gone, &applied, self.now)
    }

    /// One step on in the life of a Node.
    fn watch(&mut self, number: u8, at: NodeAt) -> Work {
        let empty = NodeAt { block: None, ..at };
        let (next, gone, applied) = match (self.view(number), at.block) {
            (View::Unseen, _) => (View::Empty, None, Some(node(number, empty))),
            (View::Empty, Some(_)) => (View::Shown, None, Some(node(number, at))),
            (View::Empty, None) => (View::Gone, Some(node(number, empty)), None),
            _ => (View::Gone, Some(node(number, at)), None),
        };
        self.note(number, next, at.name);
        let (gone, applied) = (gone.as_slice(), applied.as_slice());
        self.registrar.nodes(gone, applied, self.now)
    }

    fn hear(&mut self, subject: &Subject, again: bool) -> Vec<Command> {
        let sent = self.sent.remove(subject).unwrap();
        let answer = sent.answer.clone().unwrap();
        let mut work = self.registrar.answered(&sent.command, answer.clone(), self.now);
        // As the queue has it: what is not done yet is asked again, sooner or later.
        if !matches!(answer, Answer::Settled) {
            work.subjects.push(subject.clone());
        }
        if again {
            self.sent.insert(subject.clone(), sent);
        }
        self.send(work)
    }

    /// What kube-controller-manager does with a PATCH that has no good answer.
    fn forget(&mut self, subject: &Subject) {
        let Subject::Node(uid) = subject else { return };
        let allocator = self.registrar.allocator();
        let Some((node, _)) = allocator.choice_for(uid) else { return };
        let node = [Arc::clone(node)];
        self.registrar.nodes(&node, &[], self.now);
        self.registrar.nodes(&[], &node, self.now);
    }

    /// One request at a time for each subject, as the queue has it.
    fn send(&mut self, work: Work) -> Vec<Command> {
        let assigns = |verdict: &Verdict| matches!(verdict.decision, Decision::Assign(_));
        self.decided = work.verdicts.iter().any(assigns);
        let mut commands = Vec::new();
        for subject in work.subjects {
            if self.sent.contains_key(&subject) {
                continue;
            }
            let Some(command) = self.registrar.command(&subject, self.now) else { continue };
            commands.push(command.clone());
            self.sent.insert(subject, Sent { command, answer: None });
        }
        if !self.options.fine {
            commands.extend(self.send_again());
        }
        commands
    }

    /// Where answers come at once, so does a request that has become another one.
    fn send_again(&mut self) -> Vec<Command> {
        let mut commands = Vec::new();
        self.sent.retain(|subject, sent| {
            let next = self.registrar.command(subject, self.now);
            if let Some(command) = next.clone().filter(|next| *next != sent.command) {
                commands.push(command.clone());
                sent.command = command;
            }
            next.is_some()
        });
        commands
    }

    /// All that it knows of the claim on a block is older than what the server has now.
    fn outdate(&mut self, number: u8, new: bool) {
        let own = block(number);
        let old = |mark: &mut Mark| {
            "1".clone_into(&mut mark.version);
            if new {
                "old".clone_into(&mut mark.uid);
            }
        };
        if let Some(mark) = self.registrar.allocator.ledger_mut().mark_mut(own) {
            old(mark);
        }
        for Sent { command, answer } in self.sent.values_mut() {
            let about = match command {
                Command::Claim { block, .. } => *block == own,
                Command::Read { block, seen } => {
                    if let (true, true, Some(uid)) = (new, *block == own, seen) {
                        "old".clone_into(uid);
                    }
                    *block == own
                }
                Command::Adopt { block, mark, .. } | Command::Release { block, mark } => {
                    if *block == own {
                        old(mark);
                    }
                    *block == own
                }
                _ => false,
            };
            if let (true, Some(Answer::Seen(claim))) = (about, answer) {
                old(&mut claim.mark);
            }
        }
    }

    /// All that decides what it will do.
    pub(super) fn picture(&self) -> String {
        self.described(Registrar::picture)
    }

    fn described(&self, known: impl Fn(&Registrar, &[String], Instant) -> String) -> String {
        let Self { registrar, phase, lags, views, names, pending, sent, .. } = self;
        let uids = (0..self.options.nodes).map(uid).collect::<Vec<_>>();
        let known = known(registrar, &uids, self.now);
        format!("{phase:?}{lags}{views:?}{names:?}{pending:?}{sent:?}{known}")
    }
}

/// What a watch brings of a claim that is, or was when the event was made, as `seen`.
fn event(number: u8, seen: Seen, fresh: bool) -> Sight {
    let own = block(number);
    let Some(holder) = seen else { return Sight::Was(own, "old".to_owned()) };
    let mut claim = claim(holder);
    if !fresh {
        "1".clone_into(&mut claim.mark.version);
    }
    Sight::Is(own, claim)
}
