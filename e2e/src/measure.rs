//! The numbers of a running lab: how long what takes, and how much memory.

use std::time::Duration;

use anyhow::{Context, Result};

use crate::api::{self, Seen};
use crate::fake;
use crate::lab::Lab;
use crate::place::Process;
use crate::report::{ms, percentile};
use crate::say::say;

/// How many Nodes are created at once.
const NODES: usize = 100;

const PATIENCE: Duration = Duration::from_mins(1);

/// Measures and prints.
pub fn run(lab: &Lab) -> Result<()> {
    say("\nTimes");
    let mut times = new_nodes(lab)?;
    let (p50, p99) = (percentile(&mut times, 50), percentile(&mut times, 99));
    say(format_args!(
        "  Node created to podCIDRs, {NODES} Nodes         p50 {:>10}  p99 {:>10}",
        ms(p50),
        ms(p99)
    ));
    let mut networks = lab.control_plane.api.observer.look(|cluster| {
        let times = cluster.nodes.values().map(|node| between(node, api::POD_CIDRS, api::NETWORK));
        times.flatten().collect::<Vec<_>>()
    });
    line("podCIDRs to NetworkUnavailable=False", &mut networks)?;
    let mut pods = lab.control_plane.api.observer.look(|cluster| {
        let ready = |pod: &Seen<_>| Some(pod.at(api::READY)?.duration_since(pod.created));
        cluster.pods.values().filter_map(ready).collect::<Vec<_>>()
    });
    line("pod created to Ready", &mut pods)?;
    say("\nMemory                                        VmRSS      RssAnon");
    memory("control-plane", lab.control_plane.controller.as_ref())?;
    lab.machines.iter().try_for_each(|machine| memory(machine.name(), machine.agent.as_ref()))
}

fn between<T>(object: &Seen<T>, from: &str, to: &str) -> Option<Duration> {
    Some(object.at(to)?.duration_since(object.at(from)?))
}

fn line(what: &str, times: &mut [Duration]) -> Result<()> {
    let most = times.iter().max().copied().with_context(|| format!("{what}: none was seen"))?;
    let (count, p50) = (times.len(), ms(percentile(times, 50)));
    let what = format!("{what}, {count} of them");
    say(format_args!("  {what:<46} p50 {p50:>10}  max {:>10}", ms(most)));
    Ok(())
}

/// Creates Nodes, and returns how long each waited for its podCIDRs.
fn new_nodes(lab: &Lab) -> Result<Vec<Duration>> {
    let observer = &lab.control_plane.api.observer;
    let names = (0..NODES).map(|number| format!("measured-{number:03}")).collect::<Vec<_>>();
    observer.create_nodes(names.iter().map(|name| fake::node(name, &[], &[])).collect())?;
    let times = observer.wait("new Nodes have podCIDRs", PATIENCE, |cluster| {
        let time = |name| {
            let node = cluster.nodes.get(name)?;
            Some(node.at(api::POD_CIDRS)?.duration_since(node.created))
        };
        names.iter().map(time).collect::<Option<Vec<_>>>()
    })?;
    lab.control_plane.api.delete_fakes()?;
    Ok(times)
}

fn memory(place: &str, process: Option<&Process>) -> Result<()> {
    let process = process.with_context(|| format!("nothing runs in {place}"))?;
    let what = format!("{} of {place}", process.name);
    let mib = |field| process.kib(field).map(|kib| format!("{:.1} MiB", f64::from(kib) / 1024.0));
    say(format_args!("  {what:<40} {:>10}   {:>10}", mib("VmRSS")?, mib("RssAnon")?));
    Ok(())
}
