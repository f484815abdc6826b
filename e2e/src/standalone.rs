//! `make demo MODE=standalone`: two machines and their pods without any Kubernetes. Agents have their
//! ranges from flags, the plugin is called as a runtime calls it, and routes are typed by hand.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use common::{Family, PerFamily, names};
use machine::{Machine, Pod};
use net::sysctl::Sysctl;
use probe::PORT;
use probe::dial::{Protocol, dial_from};
use probe::ping::Pinger;

use crate::checks::{Check, Client, at};
use crate::network::{self, Switch};
use crate::place::Place;
use crate::report::{self, ms};
use crate::say::{say, timed};
use crate::traces::{Logs, Traces};
use crate::wait::eventually;
use crate::workload::HOST_PORT;
use crate::{artifacts, host, lab};

mod machine;

/// Numbers of the machines on the switch.
const MACHINES: [u8; 2] = [11, 12];

const PATIENCE: Duration = Duration::from_secs(10);

/// For what works at once or not at all.
const ONCE: Duration = Duration::from_millis(50);

/// What a ping of full size holds besides its headers, at the MTU of a link that nobody has changed.
const PAYLOAD: PerFamily<usize> = PerFamily { v4: 1500 - 28, v6: 1500 - 48 };

/// What somebody breaks on a machine.
type Break = fn(&Machine<'_>) -> Result<()>;

const BREAKS: [(&str, Break); 4] = [
    ("cbr0 deleted", |machine| machine.place.ip("link delete cbr0")),
    ("nft flush ruleset", |machine| machine.place.feed(&["nft", "-f", "-"], "flush ruleset")),
    ("gateway's address deleted", |machine| {
        machine.place.ip(&format!("address flush dev {} scope global", names::BRIDGE))
    }),
    ("IPv4 forwarding turned off", |machine| {
        let write = || Sysctl::default().write("net/ipv4/ip_forward", "0").map(drop);
        Ok(machine.place.netns.run(write)??)
    }),
];

/// How many checks passed, and how many failed.
#[derive(Default)]
struct Tally {
    passed: usize,
    failed: usize,
}

/// Shows it, cleans the machines up, and fails if a check does.
pub fn run() -> Result<()> {
    let traces = lab::begin()?;
    let start = Instant::now();
    let result = show(&traces, start);
    let logs = if result.is_ok() { Logs::Remove } else { Logs::Keep };
    if logs == Logs::Keep {
        say(format_args!("logs: {}", traces.log("*").display()));
    }
    timed("everything ended", || traces.end(logs))?;
    result
}

fn show(traces: &Traces, start: Instant) -> Result<()> {
    host::prepare_machines(traces, &[])?;
    let artifacts = artifacts::build(traces)?;
    let switch = Switch::open(traces, &artifacts.probe)?;
    let outside = lab::outside(traces, &switch, &artifacts.probe)?;
    let open = |number| Machine::open(traces, &switch, &artifacts, number);
    let [first, second] = MACHINES.map(open);
    let mut machines = [first?, second?];
    let before = machines.each_ref().map(Machine::look);
    timed("agents with --pod-cidr on two machines", || {
        machines.iter_mut().try_for_each(Machine::start_agent)
    })?;
    let [first, second] = &machines;
    let pods = timed("routes by `ip route`, two pods on each machine by the plugin", || {
        first.route("add", second)?;
        second.route("add", first)?;
        Ok::<_, anyhow::Error>([pods_of(first)?, pods_of(second)?])
    })?;
    machines.iter().zip(&pods).try_for_each(|(machine, pods)| describe(machine, pods))?;

    let mut tally = Tally::default();
    let views = [(0, 1), (1, 0)].map(|(here, there)| View {
        here: &machines[here],
        there: &machines[there],
        own: &pods[here],
        peer: &pods[there],
        outside: &outside,
    });
    let lines = views.iter().flat_map(View::checks).map(Check::line).collect::<Vec<_>>();
    (tally.passed, tally.failed) = report::matrix(&lines);
    say(format_args!("\n{:<56}{:>10}{:>10}", "Pings of full size", "IPv4", "IPv6"));
    views.iter().try_for_each(|view| view.pings(&mut tally))?;
    say("\nRepair, until pings between machines and connections to the outside work again");
    for (what, break_it) in BREAKS {
        tally.count(what, views[0].repair(break_it));
    }
    say("\nCleanup");
    tally.count("with living pods it keeps what they need", views[0].kept());
    tally.count("without, the machines are as they were", clean_up(&mut machines, pods, before));
    let Tally { passed, failed } = tally;
    let seconds = start.elapsed().as_secs_f64();
    say(format_args!("\n{passed} checks passed, {failed} failed ({seconds:.1} s)"));
    if failed > 0 {
        bail!("{failed} checks failed");
    }
    Ok(())
}

/// Two pods, the second one with a host port.
fn pods_of(machine: &Machine<'_>) -> Result<[Pod; 2]> {
    let name = machine.name();
    Ok([machine.add(&format!("{name}-a"), false)?, machine.add(&format!("{name}-b"), true)?])
}

fn describe(machine: &Machine<'_>, pods: &[Pod]) -> Result<()> {
    let cidrs = machine.cidrs();
    say(format_args!("\n{}  --pod-cidr={},{}", machine.name(), cidrs.v4, cidrs.v6));
    for pod in pods {
        let addresses = pod.server.addresses;
        say(format_args!("  {:12} {}  {}", pod.server.name, addresses.v4, addresses.v6));
    }
    let conflist = machine.place.path(names::CNI_CONF_DIR).join(names::CONFLIST);
    ensure!(conflist.exists(), "no conflist in {}", conflist.display());
    Ok(())
}

/// Two machines, their pods, and a host outside, as seen from the first.
struct View<'a> {
    here: &'a Machine<'a>,
    there: &'a Machine<'a>,
    own: &'a [Pod; 2],
    peer: &'a [Pod; 2],
    outside: &'a Place,
}

impl View<'_> {
    fn checks(&self) -> Vec<Check<'_>> {
        let Self { here, there, own: [a, b], peer: [_, other], outside } = self;
        let (name, peer) = (here.name(), there.name());
        let pod = Client::Pod(&here.place, &a.server);
        let own = a.server.addresses;
        let uplink = network::addresses(here.number);
        let out = lab::outside_addresses();
        let host_port = at(uplink, HOST_PORT);
        let check =
            |what: String, client, server, name, seen| Check { what, client, server, name, seen };
        let (b, other) = (&b.server, &other.server);
        vec![
            check(
                format!("pod on {name} to a pod there"),
                pod,
                at(b.addresses, PORT),
                &b.name,
                own,
            ),
            check(
                format!("pod on {name} to a pod on {peer}"),
                pod,
                at(other.addresses, PORT),
                &other.name,
                own,
            ),
            check(
                format!("pod on {name} to the outside, seen as {name}"),
                pod,
                at(out, PORT),
                &outside.name,
                uplink,
            ),
            check(
                format!("outside to a host port of {name}"),
                Client::Place(outside),
                host_port,
                &b.name,
                out,
            ),
        ]
    }

    /// From the first pod to all others.
    fn pings(&self, tally: &mut Tally) -> Result<()> {
        let ([a, b], [c, _]) = (self.own, self.peer);
        for (what, to) in [("there", b), ("elsewhere", c)] {
            let times = Family::BOTH.map(|family| {
                a.netns.run(|| {
                    let mut pinger = Pinger::new(to.server.addresses[family], 1)?;
                    pinger.ping(PAYLOAD[family], PATIENCE)
                })
            });
            let mut cells = String::new();
            for time in times {
                let time = time?;
                tally.note(time.is_ok());
                cells += &time
                    .map_or_else(|_| format!("{:>10}", "FAILED"), |t| format!("{:>10}", ms(t)));
            }
            say(format_args!(
                "  {:<54}{cells}",
                format!("pod on {} to a pod {what}", self.here.name())
            ));
        }
        Ok(())
    }

    /// Breaks something, and returns how long it took until all was well again.
    fn repair(&self, break_it: Break) -> Result<Duration> {
        let before = self.here.repairs()?;
        break_it(self.here)?;
        let start = Instant::now();
        eventually("pods reach what they must", PATIENCE, || Ok(self.is_well().then_some(())))?;
        let took = start.elapsed();
        // It is counted a moment later.
        eventually("the repair is counted", PATIENCE, || {
            Ok((self.here.repairs()? > before).then_some(()))
        })?;
        Ok(took)
    }

    /// Whether the first pod reaches one on the other machine, and the outside as its machine.
    fn is_well(&self) -> bool {
        let ([a, _], [c, _]) = (self.own, self.peer);
        Family::BOTH.into_iter().all(|family| {
            let ping = || Pinger::new(c.server.addresses[family], 2)?.ping(PAYLOAD[family], ONCE);
            let pod = SocketAddr::new(a.server.addresses[family], PORT);
            let out = SocketAddr::new(lab::outside_addresses()[family], PORT);
            let ask = || dial_from(pod, Protocol::Tcp, out, ONCE);
            let seen = network::addresses(self.here.number)[family];
            a.netns.run(ping).is_ok_and(|time| time.is_ok())
                && self.here.place.netns.run(ask).is_ok_and(|a| a.is_ok_and(|a| a.seen == seen))
        })
    }

    /// A cleanup that leaves pods what they need.
    fn kept(&self) -> Result<Duration> {
        let start = Instant::now();
        let refused = self.here.clean_up().err().context("it takes away what pods need")?;
        let took = start.elapsed();
        let text = refused.to_string();
        for pod in self.own {
            ensure!(text.contains(&pod.server.name), "{} is not named: {text}", pod.server.name);
        }
        ensure!(self.is_well(), "pods do not reach what they must any more");
        Ok(took)
    }
}

/// Ends the pods, and takes kubenet away.
fn clean_up(
    machines: &mut [Machine<'_>; 2],
    pods: [[Pod; 2]; 2],
    before: [Result<String>; 2],
) -> Result<Duration> {
    let start = Instant::now();
    for (machine, pods) in machines.iter().zip(pods) {
        pods.into_iter().try_for_each(|pod| machine.delete(pod))?;
    }
    let [first, second] = &*machines;
    first.route("delete", second)?;
    second.route("delete", first)?;
    for (machine, before) in machines.iter_mut().zip(before) {
        machine.clean_up()?;
        machine.end_agent()?;
        let (before, after) = (before?, machine.look()?);
        ensure!(before == after, "{} was\n{before}\nand is\n{after}", machine.name());
    }
    Ok(start.elapsed())
}

impl Tally {
    fn note(&mut self, passed: bool) {
        self.passed += usize::from(passed);
        self.failed += usize::from(!passed);
    }

    /// Counts a check, and says what came of it.
    fn count(&mut self, what: &str, outcome: Result<Duration>) {
        self.note(outcome.is_ok());
        let text = outcome.map_or_else(|error| format!("FAILED: {error:#}"), ms);
        say(format_args!("  {what:<54}{text:>10}"));
    }
}
