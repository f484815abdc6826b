//! Two controllers whose blocks of the same addresses have different sizes, in every order in which
//! things can happen to them; each watch and each request is as late as it likes.

use std::collections::{BTreeMap, BTreeSet, HashSet, VecDeque};
use std::fmt::Write;
use std::sync::Arc;
use std::time::{Duration, Instant};

use common::Prefix;
use common::node::NodeView;

use crate::allocator::tests::{allocator, node};
use crate::claim::{Claim, Mark, Sight};
use crate::registrar::{Answer, Command, Registrar, Subject, Work};

/// What the API server has, and each change of it in order.
#[derive(Clone)]
struct Server {
    version: u64,
    claims: BTreeMap<Prefix, Claim>,
    /// By number; none is deleted.
    nodes: Vec<Option<Arc<NodeView>>>,
    claim_events: Vec<Sight>,
    /// Whether it is the end of the Node.
    node_events: Vec<(bool, Arc<NodeView>)>,
    deletions: u8,
    crashes: u8,
    /// PATCHes and claims of a controller that has crashed.
    orphans: Vec<Command>,
}

#[derive(Clone)]
struct Controller {
    mask: u8,
    registrar: Registrar,
    /// How many events its watches have brought.
    claims: usize,
    nodes: usize,
    sent: BTreeMap<Subject, (Command, Option<Answer>)>,
}

/// What is left out, to show that it is missed.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Without {
    /// The wait for the watch to show a claim, and with it all that came before: an answer is enough.
    TheWait,
    /// The look at claims of another size.
    TheLook,
}

#[derive(Clone)]
struct World {
    server: Server,
    without: Option<Without>,
    controllers: Vec<Controller>,
    /// Whether what is carried out is answered some time later; else at once.
    late_answers: bool,
    now: Instant,
}

impl Controller {
    /// It starts, and lists all there is.
    fn new(mask: u8, server: &Server, now: Instant) -> Self {
        let registrar =
            Registrar::fenced(allocator(&format!("10.0.0.0/24:{mask}"), &[]), Duration::ZERO);
        let (claims, nodes) = (server.claim_events.len(), server.node_events.len());
        let mut new = Self { mask, registrar, claims, nodes, sent: BTreeMap::new() };
        let listed = server.claims.iter().map(|(&block, claim)| Sight::Is(block, claim.clone()));
        let work = new.registrar.claims_listed(listed.collect(), now);
        new.send(work, now);
        let nodes = server.nodes.iter().flatten().cloned().collect::<Vec<_>>();
        let work = new.registrar.nodes(&[], &nodes, now);
        new.send(work, now);
        new
    }

    /// As the queue has it: one request at a time for each subject.
    fn send(&mut self, work: Work, now: Instant) {
        for subject in work.subjects {
            if !self.sent.contains_key(&subject)
                && let Some(command) = self.registrar.command(&subject, now)
            {
                self.sent.insert(subject, (command, None));
            }
        }
    }
}

impl Server {
    fn put(&mut self, block: Prefix, claim: Claim) -> Answer {
        self.claim_events.push(Sight::Is(block, claim.clone()));
        self.claims.insert(block, claim.clone());
        Answer::Seen(claim)
    }

    fn carry_out(&mut self, command: &Command) -> Answer {
        self.version += 1;
        let version = self.version.to_string();
        match command {
            Command::Claim { block, .. } if self.claims.contains_key(block) => Answer::Conflict,
            Command::Claim { block, holder } => {
                let mark = Mark { uid: format!("c{version}"), version };
                let created = i64::try_from(self.version).unwrap();
                self.put(*block, Claim { holder: holder.clone(), mark, created })
            }
            Command::Read { block, .. } => {
                self.claims.get(block).map_or(Answer::Absent, |claim| Answer::Seen(claim.clone()))
            }
            Command::Adopt { block, mark, to } => match self.claims.get(block).cloned() {
                None => Answer::Absent,
                Some(claim) if claim.mark != *mark => Answer::Conflict,
                Some(claim) => {
                    let mark = Mark { version, ..claim.mark };
                    self.put(*block, Claim { holder: to.clone(), mark, ..claim })
                }
            },
            Command::Release { block, mark } => match self.claims.get(block) {
                None => Answer::Absent,
                Some(claim) if claim.mark != *mark => Answer::Conflict,
                Some(_) => {
                    self.claims.remove(block);
                    self.claim_events.push(Sight::Was(*block, mark.uid.clone()));
                    Answer::Absent
                }
            },
            Command::Look(holder) => {
                let mut live = self.nodes.iter().flatten();
                if live.any(|node| node.uid == holder.uid) { Answer::There } else { Answer::Gone }
            }
            Command::Assign(assignment) => {
                let mut live = self.nodes.iter_mut().flatten();
                if let Some(found) = live.find(|node| node.uid == assignment.uid)
                    && found.pod_cidrs.is_empty()
                {
                    *found = node(&format!("{}@{}", assignment.uid, assignment.cidrs[0]));
                    self.node_events.push((false, Arc::clone(found)));
                }
                Answer::Settled
            }
        }
    }

    /// Two Nodes that have an address in common.
    fn violation(&self) -> bool {
        let held = self.nodes.iter().flatten().flat_map(|node| &node.pod_cidrs);
        let held = held.map(|cidr| cidr.parse::<Prefix>().unwrap()).collect::<Vec<_>>();
        (1..held.len()).any(|one| held[..one].iter().any(|other| other.overlaps(held[one])))
    }
}

impl World {
    fn new(without: Option<Without>, late_answers: bool, deletions: u8, crashes: u8) -> Self {
        let now = Instant::now();
        let nodes = [node("a"), node("b")].map(Some).to_vec();
        let server = Server {
            version: 0,
            claims: BTreeMap::new(),
            nodes,
            claim_events: Vec::new(),
            node_events: Vec::new(),
            deletions,
            crashes,
            orphans: Vec::new(),
        };
        let controllers = [24, 25].map(|mask| Controller::new(mask, &server, now)).to_vec();
        Self { server, without, controllers, late_answers, now }
    }

    /// Every world that can be next.
    fn next(&self) -> Vec<Self> {
        let mut all = Vec::new();
        for place in 0..self.controllers.len() {
            self.watches(place, &mut all);
            self.requests(place, &mut all);
            if self.server.crashes > 0 {
                let mut next = self.clone();
                next.server.crashes -= 1;
                let sent = std::mem::take(&mut next.controllers[place].sent).into_values();
                let open = sent.filter(|(_, answer)| answer.is_none()).map(|(command, _)| command);
                next.server.orphans.extend(open);
                let mask = next.controllers[place].mask;
                next.controllers[place] = Controller::new(mask, &next.server, self.now);
                all.push(next);
            }
        }
        for orphan in 0..self.server.orphans.len() {
            let mut next = self.clone();
            let command = next.server.orphans.remove(orphan);
            next.server.carry_out(&command);
            all.push(next);
        }
        let live = (0..self.server.nodes.len()).filter(|&place| self.server.nodes[place].is_some());
        for place in live.filter(|_| self.server.deletions > 0) {
            let mut next = self.clone();
            next.server.deletions -= 1;
            let gone = next.server.nodes[place].take().unwrap();
            next.server.node_events.push((true, gone));
            all.push(next);
        }
        all
    }

    /// A watch brings its next event.
    fn watches(&self, place: usize, all: &mut Vec<Self>) {
        let Controller { claims, nodes, .. } = self.controllers[place];
        if let Some(sight) = self.server.claim_events.get(claims) {
            let mut next = self.clone();
            let own = &mut next.controllers[place];
            own.claims += 1;
            let hidden = self.without == Some(Without::TheLook);
            if !hidden || sight.block().length() == own.mask {
                let work = own.registrar.claims(vec![sight.clone()], self.now);
                own.send(work, self.now);
            }
            all.push(next);
        }
        if let Some((gone, event)) = self.server.node_events.get(nodes) {
            let mut next = self.clone();
            let own = &mut next.controllers[place];
            own.nodes += 1;
            let event = [Arc::clone(event)];
            let (gone, applied) = if *gone { (&event[..], &[][..]) } else { (&[][..], &event[..]) };
            let work = own.registrar.nodes(gone, applied, self.now);
            own.send(work, self.now);
            all.push(next);
        }
    }

    /// A request is carried out, or its answer is heard.
    fn requests(&self, place: usize, all: &mut Vec<Self>) {
        for (subject, (command, answer)) in &self.controllers[place].sent {
            let mut next = self.clone();
            let heard = answer.is_some() || !self.late_answers;
            let answer = answer.clone().unwrap_or_else(|| next.server.carry_out(command));
            let own = &mut next.controllers[place];
            if heard {
                own.sent.remove(subject);
                if let (Some(Without::TheWait), Answer::Seen(claim)) = (self.without, &answer)
                    && let Command::Claim { block, .. } = command
                {
                    let work =
                        own.registrar.claims(vec![Sight::Is(*block, claim.clone())], self.now);
                    own.send(work, self.now);
                }
                let mut work = own.registrar.answered(command, answer, self.now);
                work.subjects.push(subject.clone());
                own.send(work, self.now);
            } else {
                own.sent.insert(subject.clone(), (command.clone(), Some(answer)));
            }
            all.push(next);
        }
    }

    /// All that decides what can come of it. Of versions only their order counts.
    fn picture(&self) -> String {
        let Server {
            claims, nodes, claim_events, node_events, deletions, crashes, orphans, ..
        } = &self.server;
        let mut text = format!("{claims:?}{nodes:?}{deletions}{crashes}{orphans:?}");
        for own in &self.controllers {
            let late = (&claim_events[own.claims..], &node_events[own.nodes..]);
            let known = own.registrar.picture(&["a".to_owned(), "b".to_owned()], self.now);
            let _ = write!(text, "{late:?}{:?}{known}", own.sent);
        }
        ranked(&text)
    }
}

/// `text` with each number of a version, of a claim's UID or of a creation replaced by its rank.
fn ranked(text: &str) -> String {
    let number = |word: &str| word.trim_start_matches('c').parse::<u64>().ok();
    let words = || text.split_inclusive(['"', ' ', '}', ',']);
    let bare = |word: &str| number(word.trim_end_matches(['"', ' ', '}', ',']));
    let ranks = words().filter_map(bare).collect::<BTreeSet<_>>().into_iter().collect::<Vec<_>>();
    let mut out = String::with_capacity(text.len());
    for word in words() {
        match bare(word).and_then(|number| ranks.binary_search(&number).ok()) {
            Some(rank) => {
                let _ = write!(out, "{rank}\"");
            }
            None => out.push_str(word),
        }
    }
    out
}

/// Goes through every world that can come of the first one; returns whether two Nodes ever have an
/// address in common.
fn breaks(without: Option<Without>, late_answers: bool, deletions: u8, crashes: u8) -> bool {
    let first = World::new(without, late_answers, deletions, crashes);
    let mut known = HashSet::from([first.picture()]);
    let mut todo = VecDeque::from([first]);
    while let Some(world) = todo.pop_front() {
        if world.server.violation() {
            println!("{} states: {}", known.len(), world.picture());
            return true;
        }
        todo.extend(world.next().into_iter().filter(|next| known.insert(next.picture())));
    }
    println!(
        "blocks of /24 and /25, 2 Nodes, {deletions} deletions, {crashes} crashes, late answers: \
         {late_answers}: {} states",
        known.len()
    );
    false
}

#[test]
fn blocks_of_two_sizes_never_overlap_whoever_is_first() {
    assert!(!breaks(None, false, 0, 0));
    if super::model::is_long() {
        assert!(!breaks(None, true, 0, 0));
        assert!(!breaks(None, false, 1, 0));
        assert!(!breaks(None, false, 0, 1));
    }
}

#[test]
fn without_the_rule_blocks_of_two_sizes_overlap() {
    assert!(breaks(Some(Without::TheLook), false, 0, 0));
    assert!(breaks(Some(Without::TheWait), false, 0, 0));
}
