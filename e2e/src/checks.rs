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
pub(crate) enum Client<'a> {
    /// A pod, which is told to by its machine.
    Pod(&'a Place, &'a Server),
    /// A machine, or the host outside.
    Place(&'a Place),
}

/// One line of the matrix: the same for both families and protocols.
pub(crate) struct Check<'a> {
    pub(crate) what: String,
    pub(crate) client: Client<'a>,
    pub(crate) server: PerFamily<SocketAddr>,
    /// The hostname that must answer.
    pub(crate) name: &'a str,
    /// The address that the server must see.
    pub(crate) seen: PerFamily<IpAddr>,
}

/// One line of the matrix, checked.
pub struct Line {
    pub what: String,
    /// IPv4 by TCP and UDP, then IPv6 by TCP and UDP: how long it took, or what went wrong.
    pub outcomes: Vec<Result<Duration>>,
}

/// Two machines, what runs on them, and a host outside, as seen from the first.
#[derive(Clone, Copy)]
struct View<'a> {
    here: &'a Machine,
    there: &'a Machine,
    own: &'a Deployed,
    peer: &'a Deployed,
    outside: &'a Place,
}

/// Runs all checks, each once.
pub fn run(lab: &Lab, deployed: &[Deployed]) -> Result<Vec<Line>> {
    let mut lines = Vec::new();
    for here in 0..lab.machines.len() {
        let view = View::of(lab, deployed, here);
        let checks = view.at_home().into_iter().chain(view.by_a_pod()?).chain(view.by_others());
        lines.extend(checks.map(Check::line));
    }
    Ok(lines)
}

/// Runs those between pods of one machine, however they are wired.
pub fn at_home(lab: &Lab, deployed: &[Deployed], here: usize) -> Vec<Line> {
    View::of(lab, deployed, here).at_home().map(Check::line).into()
}

impl<'a> View<'a> {
    fn of(lab: &'a Lab, deployed: &'a [Deployed], here: usize) -> Self {
        let there = (here + 1) % lab.machines.len();
        Self {
            here: &lab.machines[here],
            there: &lab.machines[there],
            own: &deployed[here],
            peer: &deployed[there],
            outside: &lab.outside,
        }
    }

    fn at_home(self) -> [Check<'a>; 2] {
        let Self { here, own, .. } = self;
        let servers = [
            ("to a pod there", at(own.echo.addresses, PORT)),
            ("to a ClusterIP with its endpoint there", at(own.service, SERVICE_PORT)),
        ];
        servers.map(|(what, server)| Check {
            what: format!("pod on {} {what}", here.name()),
            client: Client::Pod(&here.place, &own.web),
            server,
            name: &own.echo.name,
            seen: own.web.addresses,
        })
    }

    fn by_a_pod(self) -> Result<[Check<'a>; 4]> {
        let Self { here, there, own, peer, .. } = self;
        let (web, echo) = (Client::Pod(&here.place, &own.web), Client::Pod(&here.place, &own.echo));
        let peer_service = at(peer.service, SERVICE_PORT);
        let (seen, uplink) = (own.web.addresses, network::addresses(here.number));
        let (own_name, peer_name) = (own.echo.name.as_str(), peer.echo.name.as_str());
        let outside = at(lab::outside_addresses(), PORT);
        let checks = [
            ("to a pod on %t", web, at(peer.echo.addresses, PORT), peer_name, seen),
            ("to a ClusterIP with its endpoint on %t", web, peer_service, peer_name, seen),
            (
                "to its own ClusterIP",
                echo,
                at(own.service, SERVICE_PORT),
                own_name,
                gateways(here)?,
            ),
            ("to the outside, seen as %h", web, outside, "outside", uplink),
        ];
        let (name, other) = (here.name(), there.name());
        Ok(checks.map(|(what, client, server, answers, seen)| Check {
            what: format!("pod on {name} {}", what.replace("%h", name).replace("%t", other)),
            client,
            server,
            name: answers,
            seen,
        }))
    }

    fn by_others(self) -> [Check<'a>; 2] {
        let name = self.here.name();
        let clients = [
            ("outside", self.outside, lab::outside_addresses()),
            (self.there.name(), &self.there.place, network::addresses(self.there.number)),
        ];
        clients.map(|(client, place, seen)| Check {
            what: format!("{client} to a host port of {name}"),
            client: Client::Place(place),
            server: at(network::addresses(self.here.number), HOST_PORT),
            name: &self.own.web.name,
            seen,
        })
    }
}

pub(crate) fn at(addresses: PerFamily<IpAddr>, port: u16) -> PerFamily<SocketAddr> {
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
    pub(crate) fn line(self) -> Line {
        let kinds = Family::BOTH.map(|family| {
            [Protocol::Tcp, Protocol::Udp].map(|protocol| self.outcome(family, protocol))
        });
        let outcomes = kinds.into_iter().flatten().collect();
        Line { what: self.what, outcomes }
    }

    fn outcome(&self, family: Family, protocol: Protocol) -> Result<Duration> {
        let server = self.server[family];
        let answer = match self.client {
            Client::Pod(place, pod) => place.netns.run(|| {
                let pod = SocketAddr::new(pod.addresses[family], PORT);
                dial_from(pod, protocol, server, PATIENCE)
            })?,
            Client::Place(place) => place.netns.run(|| dial(protocol, server, PATIENCE))?,
        };
        self.judge(family, &answer.with_context(|| format!("{server} by {protocol}"))?)
    }

    fn judge(&self, family: Family, answer: &Answer) -> Result<Duration> {
        let (name, seen) = (&answer.name, answer.seen);
        anyhow::ensure!(name == self.name, "{name} answered, not {}", self.name);
        let wanted = self.seen[family];
        anyhow::ensure!(seen == wanted, "{name} saw {seen}, not {wanted}");
        Ok(answer.time)
    }
}
