//! `make bench-agent`: what following all Nodes of a cluster takes one machine, beside flannel (host-gw),
//! in one run on one machine and one API server.

mod arrivals;
mod cluster;
mod contender;
mod table;

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use nix::sys::signal::Signal;

use self::arrivals::Arrivals;
use self::cluster::Cluster;
use self::contender::Contender;
use self::table::{Figures, Start, Table};
use crate::artifacts::cargo;
use crate::lab;
use crate::place::Process;
use crate::reference;
use crate::say::say;
use crate::solo::Solo;
use crate::traces::{Logs, Traces};

/// Of heartbeats, and how many come a second.
const BEATING: Duration = Duration::from_mins(1);
const RATE: u32 = 10;

/// Cold starts of each, of which the last one goes on.
const STARTS: usize = 3;

/// How often each row of the repairs is broken.
const REPAIRS: &str = "200";

/// Whom and what to measure.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Numbers of Nodes, smallest first.
    pub sizes: Vec<usize>,
    pub flannel: bool,
}

/// Measures in a new lab.
pub fn run(plan: &Plan) -> Result<()> {
    let traces = lab::begin()?;
    let result = measure(&traces, plan);
    traces.end(if result.is_ok() { Logs::Remove } else { Logs::Keep })?;
    result
}

/// Breaks each thing that the agent keeps right, again and again, on the kernel alone.
pub fn repairs() -> Result<()> {
    let mut tests = cargo();
    tests.args(["test", "--release", "-p", "agent", "--locked", "--lib"]);
    tests.args(["--", "sync::tests::repair"]);
    tests.args(["--nocapture", "--test-threads=1"]).env("REPAIRS", REPAIRS);
    let done = tests.status().context("cannot start cargo")?;
    anyhow::ensure!(done.success(), "something was not put right in time");
    Ok(())
}

fn measure(traces: &Traces, plan: &Plan) -> Result<()> {
    let mut solo = Solo::open(traces)?;
    cluster::CIDRS.clone_into(&mut solo.cluster_cidrs);
    solo.place.ip(cluster::UPLINK)?;
    let flannel = plan.flannel.then(|| reference::flannel(traces)).transpose()?;
    let contenders = [Some(Contender::Kubenet), flannel.map(Contender::Flannel)];
    let contenders = contenders.into_iter().flatten().collect::<Vec<_>>();
    let cluster = Cluster::new(&solo.api);
    let mut table = Table::default();
    for &size in &plan.sizes {
        cluster.grow(size)?;
        for contender in &contenders {
            let figures = one(&solo, &cluster, contender, size)?;
            say(format_args!("{} on {size} Nodes: {figures}", contender.name()));
            table.add(contender.name(), size, figures);
        }
    }
    say(format_args!("\n{table}"));
    Ok(())
}

/// All that is measured of one of them, from nothing.
fn one(solo: &Solo, cluster: &Cluster<'_>, contender: &Contender, size: usize) -> Result<Figures> {
    let mut starts = Vec::with_capacity(STARTS);
    for _ in 1..STARTS {
        let (process, start) = cold(solo, contender, size)?;
        process.end(Signal::SIGTERM)?;
        starts.push(start);
    }
    let (process, start) = cold(solo, contender, size)?;
    starts.push(start);
    let changes = cluster.changes(&solo.place, size)?;
    let busy = process.cpu()?;
    cluster.beat(size, BEATING, RATE)?;
    let idle_cpu = process.cpu()?.saturating_sub(busy);
    let mb = |field| Ok::<_, anyhow::Error>(f64::from(process.kib(field)?) / 1024.0);
    let (rss, peak, anon) = (mb("VmRSS")?, mb("VmHWM")?, mb("RssAnon")?);
    process.end(Signal::SIGTERM)?;
    Ok(Figures { starts, changes, idle_cpu, rss, peak, anon })
}

/// Starts it on a machine without anything of an earlier one, and waits for its routes.
fn cold(solo: &Solo, contender: &Contender, size: usize) -> Result<(Process, Start)> {
    contender::forget(solo)?;
    let mut arrivals = Arrivals::open(&solo.place)?;
    let start = Instant::now();
    let process = contender.start(solo)?;
    let last = arrivals.last_of(size)?;
    let start = Start { time: last.duration_since(start), cpu: process.cpu()? };
    Ok((process, start))
}
