//! What goes wrong between kubenet-controller and the API server: each time all Nodes get their
//! podCIDRs in the end, none twice, no block is lost, and the process goes on.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use e2e::node_ipam::NodeIpam;
use e2e::proxy::{Fate, Kind, Proxy, Seen};
use e2e::wait::eventually;
use serde_json::Value;

use crate::World;
use crate::play::Play;
use crate::script::{Cluster, Given, prefix};

const PATIENCE: Duration = Duration::from_mins(1);

/// How many Nodes come.
const NODES: usize = 60;

/// PATCHes that may be under way at once.
const AT_ONCE: usize = 24;

/// A controller behind a proxy.
struct Faulty<'a> {
    /// Before the proxy, so that the controller ends first.
    play: Play<'a>,
    proxy: Proxy,
}

impl<'a> Faulty<'a> {
    fn begin(
        world: &'a World,
        script: impl Fn(Kind, usize) -> Fate + Send + Sync + 'static,
    ) -> Result<Self> {
        let World { api, programs, .. } = world;
        let script = Box::new(script);
        let proxy = Proxy::start(&api.place, &programs.kubeconfig, script)?;
        let programs = programs.with_kubeconfig(&proxy.kubeconfig);
        let ranges = vec![(prefix("10.0.0.0/18"), 24), (prefix("fd00::/58"), 64)];
        let cluster = Cluster { ranges, services: Vec::new() };
        let play = Play::begin(api, programs, NodeIpam::Kubenet, &cluster)?;
        Ok(Self { play, proxy })
    }

    /// Nodes with these numbers come, one after the other.
    fn create(&self, numbers: std::ops::Range<usize>) -> Result<()> {
        self.play.create_all(numbers.map(|number| format!("n{number:02}")))
    }

    /// Waits until all is well, and checks that it always was.
    fn ends_well(&mut self) -> Result<Given> {
        let given = self.play.settled()?;
        nothing_twice(&given)?;
        each_node_was_offered_one_choice(&self.proxy.seen())?;
        Ok(given)
    }

    fn of(&self, kind: Kind) -> Vec<Seen> {
        self.proxy.seen().into_iter().filter(|seen| seen.kind == kind).collect()
    }

    fn wait_for(&self, what: &str, mut come: impl FnMut(&[Seen]) -> bool) -> Result<()> {
        eventually(what, PATIENCE, || Ok(come(&self.proxy.seen()).then_some(())))
    }
}

fn nothing_twice(given: &Given) -> Result<()> {
    let all = given.iter().flat_map(|(name, cidrs)| cidrs.iter().map(move |cidr| (cidr, name)));
    let mut seen = BTreeMap::<String, &String>::new();
    for (cidr, name) in all {
        if let Some(other) = seen.insert(cidr.to_string(), name) {
            bail!("{cidr} is {name}'s and {other}'s");
        }
    }
    Ok(())
}

/// Whatever came of a PATCH, the next one says the same.
fn each_node_was_offered_one_choice(seen: &[Seen]) -> Result<()> {
    let mut choices = BTreeMap::<String, Value>::new();
    for patch in seen.iter().filter(|seen| seen.kind == Kind::Patch) {
        let body = serde_json::from_str::<Value>(&patch.body)?;
        let uid = body["metadata"]["uid"].as_str().context("a PATCH without UID")?.to_owned();
        let cidrs = body["spec"]["podCIDRs"].clone();
        let before = choices.entry(uid).or_insert_with(|| cidrs.clone());
        ensure!(*before == cidrs, "{}: first {before}, then {cidrs}", patch.uri);
    }
    Ok(())
}

pub(crate) fn lost_replies(world: &mut World) -> Result<()> {
    let script = |kind, number| match kind {
        Kind::Patch if number % 2 == 0 => Fate::ReplyLost,
        _ => Fate::Answered,
    };
    let mut faulty = Faulty::begin(world, script)?;
    faulty.create(0..NODES)?;
    ensure!(faulty.ends_well()?.len() == NODES, "not all Nodes are there");
    let lost = faulty.of(Kind::Patch).iter().filter(|seen| seen.fate == Fate::ReplyLost).count();
    ensure!(lost > 5, "only {lost} replies were lost");
    Ok(())
}

pub(crate) fn late_patch(world: &mut World) -> Result<()> {
    let script = |kind, number| match (kind, number) {
        (Kind::Patch, 0) => Fate::Held(Duration::from_secs(2)),
        _ => Fate::Answered,
    };
    let mut faulty = Faulty::begin(world, script)?;
    faulty.create(0..1)?;
    faulty.wait_for("the first PATCH comes", |seen| {
        seen.iter().any(|seen| seen.kind == Kind::Patch)
    })?;
    faulty.play.delete("n00")?;
    // The successor, and one that may get what the first one was to get.
    faulty.create(0..2)?;
    faulty.wait_for("the first PATCH has ended", |seen| {
        seen.iter().any(|seen| matches!(seen.fate, Fate::Held(_)) && seen.ended.is_some())
    })?;
    let given = faulty.ends_well()?;
    let patches = faulty.of(Kind::Patch);
    let [late, successors, ..] = &patches[..] else { bail!("{} PATCHes came", patches.len()) };
    let body = |patch: &Seen| serde_json::from_str::<Value>(&patch.body);
    let (late, successors) = (body(late)?, body(successors)?);
    ensure!(late["metadata"] != successors["metadata"], "the successor was not told from it");
    let expected = given["n00"].iter().map(ToString::to_string).collect::<Vec<_>>();
    ensure!(successors["spec"]["podCIDRs"] == serde_json::json!(expected), "it has {expected:?}");
    ensure!(late["spec"] != successors["spec"], "both were to get the same, which shows nothing");
    Ok(())
}

pub(crate) fn too_many_requests(world: &mut World) -> Result<()> {
    const RETRY_AFTER: u32 = 2;
    let busy = parking_lot::Mutex::new(None);
    let script = move |kind, number| {
        if kind != Kind::Patch || number < 10 {
            return Fate::Answered;
        }
        let until = *busy.lock().get_or_insert_with(|| Instant::now() + seconds(RETRY_AFTER));
        let refused = Fate::Refused { code: 429, retry_after: RETRY_AFTER };
        if Instant::now() < until { refused } else { Fate::Answered }
    };
    let mut faulty = Faulty::begin(world, script)?;
    faulty.create(0..NODES)?;
    ensure!(faulty.ends_well()?.len() == NODES, "not all Nodes are there");
    let patches = faulty.of(Kind::Patch);
    let refused = |seen: &&Seen| matches!(seen.fate, Fate::Refused { .. });
    let told = patches.iter().find(refused).and_then(|seen| seen.ended).context("no 429")?;
    // What was under way then could not know.
    let late = told + seconds(RETRY_AFTER);
    let impatient = patches.iter().filter(|seen| told < seen.came && seen.came < late).count();
    ensure!(impatient < AT_ONCE, "{impatient} PATCHes came while the server asked for patience");
    Ok(())
}

fn seconds(count: u32) -> Duration {
    Duration::from_secs(count.into())
}

pub(crate) fn internal_errors(world: &mut World) -> Result<()> {
    let script = |kind, number| match (kind, number % 4) {
        (Kind::Patch, 0 | 1) => Fate::Refused { code: 500, retry_after: 0 },
        (Kind::Patch, 2) => Fate::Misreported,
        (Kind::List, _) if number < 2 => Fate::Refused { code: 500, retry_after: 0 },
        _ => Fate::Answered,
    };
    let mut faulty = Faulty::begin(world, script)?;
    faulty.create(0..NODES)?;
    ensure!(faulty.ends_well()?.len() == NODES, "not all Nodes are there");
    Ok(())
}

pub(crate) fn watches_cut(world: &mut World) -> Result<()> {
    let script = |kind, _| match kind {
        Kind::List | Kind::Watch => Fate::Cut(Duration::from_secs(1)),
        _ => Fate::Answered,
    };
    let mut faulty = Faulty::begin(world, script)?;
    for round in 0..4 {
        let before = watches(&faulty.proxy.seen());
        faulty.create(round * 10..round * 10 + 10)?;
        faulty.wait_for("the next watch begins", |seen| watches(seen) > before)?;
        faulty.play.delete(&format!("n{:02}", round * 10))?;
    }
    ensure!(faulty.ends_well()?.len() == 36, "not all Nodes are there");
    Ok(())
}

fn watches(seen: &[Seen]) -> usize {
    seen.iter().filter(|seen| matches!(seen.kind, Kind::List | Kind::Watch)).count()
}

pub(crate) fn gone(world: &mut World) -> Result<()> {
    // What follows on a list or a watch is a version that the server has forgotten.
    let script = |kind, _| match kind {
        Kind::List => Fate::Cut(Duration::from_secs(1)),
        Kind::Watch => Fate::Refused { code: 410, retry_after: 0 },
        _ => Fate::Answered,
    };
    let mut faulty = Faulty::begin(world, script)?;
    for round in 0..3 {
        let before = lists(&faulty.proxy.seen());
        faulty.create(round * 10..round * 10 + 10)?;
        faulty.play.delete(&format!("n{:02}", round * 10))?;
        faulty.wait_for("all Nodes are listed again", |seen| lists(seen) > before)?;
    }
    ensure!(faulty.ends_well()?.len() == 27, "not all Nodes are there");
    ensure!(faulty.of(Kind::Watch).len() > 1, "no version was forgotten");
    Ok(())
}

fn lists(seen: &[Seen]) -> usize {
    seen.iter().filter(|seen| seen.kind == Kind::List).count()
}

pub(crate) fn slow_list(world: &mut World) -> Result<()> {
    let script = |kind, number| match (kind, number) {
        (Kind::List, 0) => Fate::Late(Duration::from_secs(3)),
        _ => Fate::Answered,
    };
    let mut faulty = Faulty::begin(world, script)?;
    faulty.wait_for("Nodes are being listed", |seen| lists(seen) == 1)?;
    // They have the first blocks, and the list may be older than they are.
    faulty.play.create("preset", &[prefix("10.0.0.0/24"), prefix("fd00::/64")])?;
    faulty.create(0..NODES)?;
    let given = faulty.ends_well()?;
    ensure!(given["preset"] == [prefix("10.0.0.0/24"), prefix("fd00::/64")], "it lost its own");
    let listed = faulty.of(Kind::List).first().and_then(|seen| seen.ended);
    let first = faulty.of(Kind::Patch).first().map(|seen| seen.came);
    ensure!(listed < first, "a PATCH came before the list: {first:?}, {listed:?}");
    Ok(())
}

pub(crate) fn server_restart(world: &mut World) -> Result<()> {
    // Slow enough that the end comes while some are under way.
    let script = |kind, _| match kind {
        Kind::Patch => Fate::Late(Duration::from_millis(200)),
        _ => Fate::Answered,
    };
    let mut faulty = Faulty::begin(world, script)?;
    faulty.create(0..NODES)?;
    faulty.wait_for("some PATCHes came", |seen| {
        seen.iter().filter(|seen| seen.kind == Kind::Patch).count() > 10
    })?;
    world.api.restart()?;
    world.api.wait_until_ready()?;
    ensure!(faulty.ends_well()?.len() == NODES, "not all Nodes are there");
    Ok(())
}

pub(crate) fn at_most_so_many_at_once(world: &mut World) -> Result<()> {
    let script = |kind, _| match kind {
        Kind::List => Fate::Late(Duration::from_secs(1)),
        Kind::Patch => Fate::Late(Duration::from_millis(500)),
        _ => Fate::Answered,
    };
    let mut faulty = Faulty::begin(world, script)?;
    faulty.create(0..NODES)?;
    ensure!(faulty.ends_well()?.len() == NODES, "not all Nodes are there");
    let patches = faulty.of(Kind::Patch);
    let under_way = |at: Instant| {
        let unfinished = |seen: &&Seen| seen.came <= at && seen.ended.is_none_or(|end| at < end);
        patches.iter().filter(unfinished).count()
    };
    let most = patches.iter().map(|seen| under_way(seen.came)).max().unwrap_or(0);
    ensure!((2..=AT_ONCE).contains(&most), "{most} PATCHes were under way at once");
    Ok(())
}
