//! `make bench-controller`: what giving Nodes their podCIDRs takes, beside kube-controller-manager,
//! on one machine, either of them first on an API server that is new.

mod load;

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use clap::Args;

use self::load::{CONNECTIONS, Load, PATIENCE, Preset};
use crate::api;
use crate::fake;
use crate::lab;
use crate::node_ipam::{NodeIpam, Running, World};
use crate::place::Process;
use crate::report::{ms, percentile};
use crate::say::say;
use crate::traces::Logs;

/// 65536 blocks in each family.
const CLUSTER_CIDR: &str = "--cluster-cidr=10.0.0.0/8,fd00::/48";

/// kube-controller-manager asks 20 times a second unless it is told otherwise.
const UNLIMITED: [&str; 2] = ["--kube-api-qps=100000", "--kube-api-burst=100000"];

const NODES: usize = 5000;

/// How many are deleted, and how many are added, at once.
const CHANGED: usize = 1000;

/// Nodes that come a second, and how many come at that rate.
const RATE: u32 = 100;
const AT_THAT_RATE: usize = 2000;

/// Who begins, and who follows on the same API server.
const ORDERS: [[NodeIpam; 2]; 2] =
    [[NodeIpam::Kubenet, NodeIpam::Kubernetes], [NodeIpam::Kubernetes, NodeIpam::Kubenet]];

/// What is measured; without any of these, all of it in both orders.
#[derive(Args)]
pub struct Scope {
    /// Only the order in which this one comes first
    #[arg(long)]
    first: Option<NodeIpam>,

    /// Only starts on clusters whose Nodes have their podCIDRs
    #[arg(long)]
    restarts_only: bool,

    /// Numbers of Nodes that a controller is started on at the end, at most 65000
    #[arg(long, value_delimiter = ',', num_args = 0.., default_values_t = [20_000, 65_000])]
    restart_on: Vec<usize>,
}

/// Measures it; each order has a lab of its own, and so has each number of Nodes.
pub fn run(scope: &Scope) -> Result<()> {
    let orders = ORDERS.into_iter().filter(|order| scope.first.is_none_or(|who| who == order[0]));
    if !scope.restarts_only {
        for order in orders.clone() {
            in_a_new_lab(|bench| bench.one_after_the_other(order))?;
        }
    }
    for &count in &scope.restart_on {
        let turns = orders.clone().flatten().collect::<Vec<_>>();
        in_a_new_lab(|bench| bench.restarts(count, &turns))?;
    }
    Ok(())
}

fn in_a_new_lab(measure: impl FnOnce(&Bench<'_>) -> Result<()>) -> Result<()> {
    let traces = lab::begin()?;
    let measured = World::new(&traces)
        .and_then(|world| measure(&Bench { load: Load(&world.api), world: &world }));
    traces.end(if measured.is_ok() { Logs::Remove } else { Logs::Keep })?;
    measured
}

struct Bench<'a> {
    world: &'a World,
    load: Load<'a>,
}

impl Bench<'_> {
    /// All that is measured while the API server takes PATCHes.
    fn one_after_the_other(&self, order: [NodeIpam; 2]) -> Result<()> {
        self.limit()?;
        heads();
        for which in order {
            self.measure(which)?;
        }
        self.limit()
    }

    /// Starts on `count` Nodes that have theirs.
    fn restarts(&self, count: usize, turns: &[NodeIpam]) -> Result<()> {
        self.load.create(0..count, Preset::Yes)?;
        heads();
        turns.iter().try_for_each(|&which| self.restart(which, count).map(drop))
    }

    /// How fast the API server is: nobody can give podCIDRs faster.
    fn limit(&self) -> Result<()> {
        self.load.create(0..NODES, Preset::No)?;
        let seconds = self.load.patch(0..NODES)?.as_secs_f64();
        say(format_args!("{NODES} bare PATCHes by {CONNECTIONS} connections: {seconds:.1} s"));
        self.load.delete_all()
    }

    fn measure(&self, which: NodeIpam) -> Result<()> {
        self.load.create(0..NODES, Preset::No)?;
        let start = Instant::now();
        let process = self.start(which)?;
        self.load.wait_for(NODES)?;
        row(which, &format!("{NODES} from none"), start.elapsed(), &process)?;
        drop(process);
        let process = self.restart(which, NODES)?;
        let start = Instant::now();
        self.load.delete(0..CHANGED)?;
        self.load.create(NODES..NODES + CHANGED, Preset::No)?;
        self.load.wait_for(NODES)?;
        let what = format!("{CHANGED} deleted, {CHANGED} added");
        row(which, &what, start.elapsed(), &process)?;
        self.trickle(which, &process)?;
        drop(process);
        self.load.delete_all()
    }

    /// Starts it where all have podCIDRs; it is done when it serves one more Node.
    fn restart(&self, which: NodeIpam, count: usize) -> Result<Running> {
        let (api, last) = (&self.world.api, "last");
        api.observer.create_nodes(vec![fake::node(last, &[], &[])])?;
        let start = Instant::now();
        let process = self.start(which)?;
        api.observer.wait("the last Node has podCIDRs", PATIENCE, |cluster| {
            cluster.nodes.get(last)?.at(api::POD_CIDRS)
        })?;
        row(which, &format!("restart on {count}"), start.elapsed(), &process)?;
        api.kubectl(&["delete", "node", last])?;
        self.load.wait_for(count)?;
        Ok(process)
    }

    /// How long each Node waits while they come at a steady rate.
    fn trickle(&self, which: NodeIpam, process: &Process) -> Result<()> {
        let numbers = NODES + CHANGED..NODES + CHANGED + AT_THAT_RATE;
        let start = Instant::now();
        self.load.trickle(numbers.clone(), RATE)?;
        self.load.wait_for(NODES + AT_THAT_RATE)?;
        row(which, &format!("{AT_THAT_RATE}, {RATE} a second"), start.elapsed(), process)?;
        let mut times = self.load.times(numbers);
        ensure!(times.len() == AT_THAT_RATE, "{} Nodes were measured", times.len());
        let [p50, p99] = [50, 99].map(|percent| ms(percentile(&mut times, percent)));
        say(format_args!("{:<60}p50 {p50}, p99 {p99} from seen to served", ""));
        Ok(())
    }

    fn start(&self, which: NodeIpam) -> Result<Running> {
        let flags = match which {
            NodeIpam::Kubenet => vec![CLUSTER_CIDR],
            NodeIpam::Kubernetes => [&[CLUSTER_CIDR], &UNLIMITED[..]].concat(),
        };
        self.world.start(which, &flags)
    }
}

fn heads() {
    let heads = ["time", "CPU s", "VmRSS MB", "RssAnon MB"];
    let heads = [9, 8, 11, 11].iter().zip(heads).map(|(width, head)| format!("{head:>width$}"));
    say(format_args!("\n{:<60}{}", "", heads.collect::<String>()));
}

fn row(which: NodeIpam, what: &str, time: Duration, process: &Process) -> Result<()> {
    let mb = |field| Ok::<_, anyhow::Error>(f64::from(process.kib(field)?) / 1024.0);
    say(format_args!(
        "{:<26}{what:<34}{:>7.1} s{:>8.1}{:>11.1}{:>11.1}",
        which.name(),
        time.as_secs_f64(),
        process.cpu()?.as_secs_f64(),
        mb("VmRSS")?,
        mb("RssAnon")?
    ));
    Ok(())
}
