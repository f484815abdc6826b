//! kubenet-controller and kube-controller-manager, each alone with the same Nodes.

use std::time::SystemTime;

use anyhow::{Context, Result, ensure};
use e2e::node_ipam::NodeIpam;
use e2e::say::say;

use crate::World;
use crate::play::Play;
use crate::script::{Action, Given, Script};

/// How many scripts are played if nobody asks for more.
const SCRIPTS: usize = 12;

pub(crate) fn same_pod_cidrs(world: &mut World) -> Result<()> {
    let scripts = number("SCRIPTS")?.unwrap_or(SCRIPTS as u64);
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?.as_secs();
    let first = number("SEED")?.unwrap_or(now);
    for number in 0..scripts {
        let seed = first + number;
        let script = Script::draw(usize::try_from(number)?, seed);
        let kubernetes = play(world, NodeIpam::Kubernetes, &script);
        let kubenet = play(world, NodeIpam::Kubenet, &script);
        let again = || format!("SCRIPTS={} SEED={first}: {}", number + 1, script.cluster);
        let (theirs, ours) = (kubernetes.with_context(again)?, kubenet.with_context(again)?);
        compare(&theirs.turns, &ours.turns).with_context(again)?;
        let (counted, of_ours) = (&theirs.counters, &ours.counters);
        ensure!(counted == of_ours, "{}: {counted:#?}, not {of_ours:#?}", again());
        let theirs = theirs.turns;
        let nodes = theirs.iter().filter(|turn| matches!(turn.0, Action::Create { .. })).count();
        let full = theirs.iter().filter(|(_, given)| given.values().any(Vec::is_empty)).count();
        let restarts =
            theirs.iter().filter(|turn| matches!(turn.0, Action::Restart { .. })).count();
        say(format_args!(
            "  seed {seed}: {} steps, {nodes} Nodes, {restarts} restarts, {full} steps while one waits: the same ({})",
            theirs.len(),
            script.cluster
        ));
    }
    Ok(())
}

/// What was done, and what all Nodes had then.
type Turn = (Action, Given);

/// All that came of a script.
struct Played {
    turns: Vec<Turn>,
    /// What was counted since the last start.
    counters: Vec<String>,
}

fn play(world: &World, which: NodeIpam, script: &Script) -> Result<Played> {
    let mut play = Play::begin(&world.api, world.programs.clone(), which, &script.cluster)?;
    let mut turns = Vec::<Turn>::new();
    let mut given = Given::new();
    for (number, step) in script.steps.iter().enumerate() {
        let action = step.means(number, &script.cluster, &given);
        if action == Action::Skip {
            continue;
        }
        given = play.step(&action).with_context(|| format!("{action:?} after {turns:#?}"))?;
        turns.push((action, given.clone()));
    }
    Ok(Played { turns, counters: play.counters()? })
}

/// Fails at the first step after which they differ.
fn compare(theirs: &[Turn], ours: &[Turn]) -> Result<()> {
    for (number, (theirs, ours)) in theirs.iter().zip(ours).enumerate() {
        ensure!(theirs == ours, "step {number}: theirs {theirs:#?}\nours {ours:#?}");
    }
    ensure!(theirs.len() == ours.len(), "{} steps, and {} steps", theirs.len(), ours.len());
    Ok(())
}

fn number(variable: &str) -> Result<Option<u64>> {
    let text = std::env::var(variable).ok();
    text.map(|text| text.parse().with_context(|| format!("{variable}={text}"))).transpose()
}
