//! `make bench-controller`: what giving Nodes their podCIDRs takes, beside kube-controller-manager,
//! in one run on one machine and one API server.

use std::ops::Range;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use futures::{StreamExt, TryStreamExt, stream};
use k8s_openapi::api::core::v1::Node;
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams, PostParams};
use nix::sys::signal::Signal;
use serde_json::json;

use crate::api;
use crate::api_server::{self, ApiServer};
use crate::artifacts;
use crate::fake;
use crate::kubernetes::Kubernetes;
use crate::lab;
use crate::network::Switch;
use crate::node_ipam::{NodeIpam, Programs};
use crate::pki::Pki;
use crate::place::Process;
use crate::report::{ms, percentile};
use crate::say::say;
use crate::traces::{Logs, Traces};

/// 65536 blocks in each family.
const FLAGS: [&str; 1] = ["--cluster-cidr=10.0.0.0/8,fd00::/48"];

/// kube-controller-manager asks 20 times a second unless it is told otherwise.
const UNLIMITED: [&str; 2] = ["--kube-api-qps=100000", "--kube-api-burst=100000"];

const NODES: usize = 5000;

/// How many are deleted, and how many are added, at once.
const CHANGED: usize = 1000;

/// Nodes that come a second, and how many come at that rate.
const RATE: u32 = 100;
const AT_THAT_RATE: usize = 2000;

/// Requests of ours under way at once.
const CONNECTIONS: usize = 20;

const PATIENCE: Duration = Duration::from_mins(20);

/// Who is measured, and how it is started.
#[derive(Clone, Copy)]
struct Contender {
    which: NodeIpam,
    flags: &'static [&'static str],
}

const CONTENDERS: [Contender; 2] = [
    Contender { which: NodeIpam::Kubenet, flags: &[] },
    Contender { which: NodeIpam::Kubernetes, flags: &UNLIMITED },
];

/// An API server, and the programs to start beside it.
struct Bench {
    api: ApiServer,
    programs: Programs,
    _switch: Switch,
}

/// Measures all in a new lab, at the end starts on clusters of so many Nodes.
pub fn run(restart_on: &[usize]) -> Result<()> {
    let traces = lab::begin()?;
    let result = Bench::new(&traces).and_then(|bench| bench.run(restart_on));
    traces.end(if result.is_ok() { Logs::Remove } else { Logs::Keep })?;
    result
}

impl Bench {
    fn new(traces: &Traces) -> Result<Self> {
        let kubernetes = Kubernetes::find_or_build(traces)?;
        let artifacts = artifacts::build(traces)?;
        let pki = Pki::new(&traces.folder().join("pki"), &api_server::url())?;
        let switch = Switch::open(traces, &artifacts.probe)?;
        let api = ApiServer::start(traces, &switch, &pki, &kubernetes, &artifacts.probe)?;
        let programs = Programs::find(&artifacts, &kubernetes, &pki, &api)?;
        Ok(Self { api, programs, _switch: switch })
    }

    fn run(&self, restart_on: &[usize]) -> Result<()> {
        self.limit()?;
        let heads = ["time", "CPU s", "VmRSS MB", "RssAnon MB"];
        let heads = [9, 8, 11, 11].iter().zip(heads).map(|(width, head)| format!("{head:>width$}"));
        say(format_args!("\n{:<60}{}", "", heads.collect::<String>()));
        for contender in CONTENDERS {
            self.measure(contender)?;
        }
        for &count in restart_on {
            self.create(0..count, Preset::Yes)?;
            for contender in CONTENDERS {
                self.restart(contender, count)?.end(Signal::SIGKILL)?;
            }
            self.delete_all()?;
        }
        Ok(())
    }

    /// How fast the API server is: nobody can give podCIDRs faster.
    fn limit(&self) -> Result<()> {
        self.create(0..NODES, Preset::No)?;
        let start = Instant::now();
        self.at_once(0..NODES, |nodes, number| async move {
            let patch = json!({"spec": {"podCIDR": cidrs(number)[0], "podCIDRs": cidrs(number)}});
            nodes.patch(&name(number), &PatchParams::default(), &Patch::Merge(patch)).await?;
            Ok(())
        })?;
        let seconds = start.elapsed().as_secs_f64();
        say(format_args!("{NODES} bare PATCHes by {CONNECTIONS} connections: {seconds:.1} s"));
        self.delete_all()
    }

    /// All that is measured while the API server takes the PATCHes.
    fn measure(&self, contender: Contender) -> Result<()> {
        self.create(0..NODES, Preset::No)?;
        let start = Instant::now();
        let process = self.start(contender)?;
        self.wait_for(NODES)?;
        row(contender, &format!("{NODES} from none"), start.elapsed(), &process)?;
        process.end(Signal::SIGKILL)?;
        let process = self.restart(contender, NODES)?;
        let start = Instant::now();
        self.at_once(0..CHANGED, |nodes, number| async move {
            nodes.delete(&name(number), &DeleteParams::default()).await?;
            Ok(())
        })?;
        self.create(NODES..NODES + CHANGED, Preset::No)?;
        self.wait_for(NODES)?;
        let what = format!("{CHANGED} deleted, {CHANGED} added");
        row(contender, &what, start.elapsed(), &process)?;
        self.trickle(contender, &process)?;
        process.end(Signal::SIGKILL)?;
        self.delete_all()
    }

    /// Starts it where all have podCIDRs; it is done when it serves one more Node.
    fn restart(&self, contender: Contender, count: usize) -> Result<Process> {
        let last = format!("last-{}", contender.which.name());
        self.api.observer.create_nodes(vec![fake::node(&last, &[], &[])])?;
        let start = Instant::now();
        let process = self.start(contender)?;
        self.api.observer.wait("the last Node has podCIDRs", PATIENCE, |cluster| {
            cluster.nodes.get(&last)?.at(api::POD_CIDRS)
        })?;
        row(contender, &format!("restart on {count}"), start.elapsed(), &process)?;
        self.api.kubectl(&["delete", "node", &last])?;
        Ok(process)
    }

    /// From a Node seen to its podCIDRs seen, by one watch, while Nodes come at a steady rate.
    fn trickle(&self, contender: Contender, process: &Process) -> Result<()> {
        let first = NODES + CHANGED;
        let start = Instant::now();
        self.api.observer.ask(|client| async move {
            let nodes = Api::<Node>::all(client);
            let mut due = tokio::time::interval(Duration::from_secs(1) / RATE);
            for number in first..first + AT_THAT_RATE {
                due.tick().await;
                nodes.create(&PostParams::default(), &fake::node(&name(number), &[], &[])).await?;
            }
            Ok(())
        })?;
        self.wait_for(NODES + AT_THAT_RATE)?;
        row(contender, &format!("{AT_THAT_RATE}, {RATE} a second"), start.elapsed(), process)?;
        let mut times = self.api.observer.look(|cluster| {
            let names = (first..first + AT_THAT_RATE).map(name);
            let times = names.filter_map(|name| {
                let node = cluster.nodes.get(&name)?;
                Some(node.at(api::POD_CIDRS)?.saturating_duration_since(node.created))
            });
            times.collect::<Vec<_>>()
        });
        ensure!(times.len() == AT_THAT_RATE, "{} Nodes were measured", times.len());
        let [p50, p99] = [50, 99].map(|percent| ms(percentile(&mut times, percent)));
        say(format_args!("{:<60}p50 {p50}, p99 {p99} from seen to served", ""));
        Ok(())
    }

    fn start(&self, contender: Contender) -> Result<Process> {
        let flags = FLAGS.iter().chain(contender.flags).map(|flag| (*flag).to_owned());
        self.programs.start(contender.which, &self.api.place, &flags.collect::<Vec<_>>())
    }

    fn create(&self, numbers: Range<usize>, preset: Preset) -> Result<()> {
        self.at_once(numbers, move |nodes, number| async move {
            let cidrs = cidrs(number);
            let cidrs = cidrs.iter().map(String::as_str).collect::<Vec<_>>();
            let cidrs = if preset == Preset::Yes { &cidrs[..] } else { &[] };
            nodes.create(&PostParams::default(), &fake::node(&name(number), &[], cidrs)).await?;
            Ok(())
        })
    }

    /// Does `one` for each number, several at a time.
    fn at_once<F: Future<Output = Result<()>>>(
        &self,
        numbers: Range<usize>,
        one: impl Fn(Api<Node>, usize) -> F + Send,
    ) -> Result<()> {
        self.api.observer.ask(|client| async move {
            let nodes = Api::<Node>::all(client);
            let work = stream::iter(numbers).map(|number| one(nodes.clone(), number));
            work.buffer_unordered(CONNECTIONS).try_collect::<()>().await
        })
    }

    /// Waits until so many Nodes have podCIDRs, and all have.
    fn wait_for(&self, count: usize) -> Result<()> {
        self.api.observer.wait("all Nodes have podCIDRs", PATIENCE, |cluster| {
            let nodes = cluster.nodes.values();
            let served = nodes.filter(|node| node.at(api::POD_CIDRS).is_some()).count();
            (served == count && cluster.nodes.len() == count).then_some(())
        })
    }

    fn delete_all(&self) -> Result<()> {
        self.api.observer.ask(|client| async move {
            let nodes = Api::<Node>::all(client);
            let all = ListParams::default().labels(fake::LABEL);
            nodes.delete_collection(&DeleteParams::default(), &all).await?;
            Ok(())
        })?;
        self.api
            .observer
            .wait("no Node is left", PATIENCE, |cluster| cluster.nodes.is_empty().then_some(()))
    }
}

/// Whether Nodes come with podCIDRs.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Preset {
    Yes,
    No,
}

fn name(number: usize) -> String {
    format!("node-{number:05}")
}

/// The blocks of that number.
fn cidrs(number: usize) -> [String; 2] {
    let (high, low) = (number / 256, number % 256);
    [format!("10.{high}.{low}.0/24"), format!("fd00:0:0:{number:x}::/64")]
}

fn row(contender: Contender, what: &str, time: Duration, process: &Process) -> Result<()> {
    let mb = |field| Ok::<_, anyhow::Error>(f64::from(process.kib(field)?) / 1024.0);
    say(format_args!(
        "{:<26}{what:<34}{:>7.1} s{:>8.1}{:>11.1}{:>11.1}",
        contender.which.name(),
        time.as_secs_f64(),
        process.cpu()?.as_secs_f64(),
        mb("VmRSS")?,
        mb("RssAnon")?
    ));
    Ok(())
}
