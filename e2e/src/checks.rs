//! Who must reach whom, and as whom it must be seen: the matrix of checks.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use anyhow::{Context, Result};
use common::{Family, PerFamily};
use probe::PORT;
use probe::dial::{Answer, Protocol, dial, dial_from};

use crate::lab::{self, Lab};
use crate::machine::Machine;
use crate::network;
use crate::place::Place;
use crate::workload::{Deployed, HOST_PORT, SERVICE_PORT, Server};

const PATIENCE: Duration = Duration::from_secs(2);

/// Who asks.
#[derive(Clone, Copy)]
enum Client<'a> {
    /// A pod, which is told to by its machine.
    Pod(&'a Machine, &'a Server),
    /// A machine, or the host outside.
    Place(&'a Place),
}

/// One line of the matrix: the same for both families and protocols.
struct Check<'a> {
    what: String,
    client: Client<'a>,
    server: PerFamily<SocketAddr>,
    /// The hostname that must answer.
    name: &'a str,
    /// The address that the server must see.
    seen: PerFamily<IpAddr>,
}

/// One line of the matrix, checked.
pub struct Line {
    pub what: String,
    /// IPv4 by TCP and UDP, then IPv6 by TCP and UDP: how long it took, or what went wrong.
    pub outcomes: Vec<Result<Duration>>,
}

/// Runs all checks, each once.
pub fn run(lab: &Lab, deployed: &[Deployed]) -> Result<Vec<Line>> {
    let mut lines = Vec::new();
    for here in 0..lab.machines.len() {
        let there = (here + 1) % lab.machines.len();
        for check in matrix(lab, deployed, here, there)? {
            lines.push(check.line());
        }
    }
    Ok(lines)
}

/// The checks from machine number `here`, with machine number `there` as the other one.
fn matrix<'a>(
    lab: &'a Lab,
    deployed: &'a [Deployed],
    here: usize,
    there: usize,
) -> Result<Vec<Check<'a>>> {
    let (machine, other) = (&lab.machines[here], &lab.machines[there]);
    let (own, peer) = (&deployed[here], &deployed[there]);
    let (name, other_name) = (machine.name(), other.name());
    let pod = Client::Pod(machine, &own.web);
    let web = own.web.addresses;
    let uplink = network::addresses(machine.number);
    let host_port = at(uplink, HOST_PORT);
    let check =
        |what: String, client, server, name, seen| Check { what, client, server, name, seen };
    Ok(vec![
        check(
            format!("pod to pod on {name}"),
            pod,
            at(own.echo.addresses, PORT),
            &own.echo.name,
            web,
        ),
        check(
            format!("pod on {name} to pod on {other_name}"),
            pod,
            at(peer.echo.addresses, PORT),
            &peer.echo.name,
            web,
        ),
        check(
            format!("pod on {name} to ClusterIP, endpoint on {name}"),
            pod,
            at(own.service, SERVICE_PORT),
            &own.echo.name,
            web,
        ),
        check(
            format!("pod on {name} to ClusterIP, endpoint on {other_name}"),
            pod,
            at(peer.service, SERVICE_PORT),
            &peer.echo.name,
            web,
        ),
        check(
            format!("pod on {name} to its own ClusterIP"),
            Client::Pod(machine, &own.echo),
            at(own.service, SERVICE_PORT),
            &own.echo.name,
            gateways(machine)?,
        ),
        check(
            format!("pod on {name} to the outside, seen as {name}"),
            pod,
            at(lab::outside_addresses(), PORT),
            "outside",
            uplink,
        ),
        check(
            format!("outside to host port of {name}"),
            Client::Place(&lab.outside),
            host_port,
            &own.web.name,
            lab::outside_addresses(),
        ),
        check(
            format!("{other_name} to host port of {name}"),
            Client::Place(&other.place),
            host_port,
            &own.web.name,
            network::addresses(other.number),
        ),
    ])
}

fn at(addresses: PerFamily<IpAddr>, port: u16) -> PerFamily<SocketAddr> {
    PerFamily::from_fn(|family| SocketAddr::new(addresses[family], port))
}

/// The addresses of cbr0: kube-proxy masquerades a pod that reaches itself, so that the answer
/// does not take the short way.
fn gateways(machine: &Machine) -> Result<PerFamily<IpAddr>> {
    let bridge = machine.bridge()?;
    let find = |family| {
        let mut addresses = bridge.addresses.iter().map(|address| address.ip);
        addresses.find(|address| Family::from(*address) == family)
    };
    let missing = || format!("cbr0 of {} has no address", machine.name());
    Ok(PerFamily {
        v4: find(Family::V4).with_context(missing)?,
        v6: find(Family::V6).with_context(missing)?,
    })
}

impl Check<'_> {
    fn line(self) -> Line {
        let kinds = Family::BOTH.map(|family| {
            [Protocol::Tcp, Protocol::Udp].map(|protocol| self.outcome(family, protocol))
        });
        let outcomes = kinds.into_iter().flatten().collect();
        Line { what: self.what, outcomes }
    }

    fn outcome(&self, family: Family, protocol: Protocol) -> Result<Duration> {
        let server = self.server[family];
        let answer = match self.client {
            Client::Pod(machine, pod) => machine.place.netns.run(|| {
                let pod = SocketAddr::new(pod.addresses[family], PORT);
                dial_from(pod, protocol, server, PATIENCE)
            })?,
            Client::Place(place) => place.netns.run(|| dial(protocol, server, PATIENCE))?,
        };
        self.judge(family, answer.with_context(|| format!("{server} by {protocol}"))?)
    }

    fn judge(&self, family: Family, answer: Answer) -> Result<Duration> {
        let (name, seen) = (&answer.name, answer.seen);
        anyhow::ensure!(name == self.name, "{name} answered, not {}", self.name);
        let wanted = self.seen[family];
        anyhow::ensure!(seen == wanted, "{name} saw {seen}, not {wanted}");
        Ok(answer.time)
    }
}
