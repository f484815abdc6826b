//! Pure: who must reach what, who must answer, and as whom the asker may be seen.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use common::PerFamily;
use probe::dial::Answer;

use crate::view::{Machine, Server, View, at};

#[cfg(test)]
mod tests;

/// The ports of both Services.
const SERVICE_PORT: u16 = 80;

/// How long it may take until kube-proxy has heard of an endpoint, and which asks till it does.
const SERVICE_PATIENCE: Duration = Duration::from_secs(20);

/// What is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Question {
    /// One small packet, or one connection.
    Small,
    /// As much as the way takes, both ways.
    Full,
    /// A connection, of which nobody is asked anything.
    Connect,
}

/// One line of the table: the same for both families and protocols.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Check {
    /// The machine that it starts on.
    pub(crate) machine: String,
    pub(crate) what: String,
    pub(crate) question: Question,
    /// Where the asker is told.
    pub(crate) asker: Option<SocketAddr>,
    pub(crate) targets: PerFamily<Option<SocketAddr>>,
    /// Names of which one must answer; any where there is none.
    pub(crate) answers: Vec<String>,
    /// Addresses as one of which the asker must be seen; any where there is none.
    pub(crate) seen: PerFamily<Vec<IpAddr>>,
    /// How long it is asked again until it is right.
    pub(crate) patience: Duration,
}

/// All checks of a cluster; each machine goes to the next `peers` others.
pub(crate) fn checks(view: &View, peers: usize) -> Vec<Check> {
    let count = view.machines.len();
    let all = view.machines.iter().enumerate().flat_map(|(number, here)| {
        let others = (1..count).take(peers).map(move |step| (number + step) % count);
        let others = others.map(|other| &view.machines[other]).collect::<Vec<_>>();
        Asker { view, here, others }.checks()
    });
    all.collect()
}

/// A machine whose pods ask, and those that they go to.
struct Asker<'a> {
    view: &'a View,
    here: &'a Machine,
    others: Vec<&'a Machine>,
}

impl Asker<'_> {
    fn checks(&self) -> Vec<Check> {
        let mut checks = self.on_this_machine();
        for other in &self.others {
            checks.extend(self.to_another(other));
        }
        checks.extend(self.view.outside.iter().map(|target| self.to_the_outside(*target)));
        checks
    }

    fn on_this_machine(&self) -> Vec<Check> {
        let Self { view, here, .. } = self;
        let (client, server, host) = (&here.client, &here.server, &here.host);
        let local = at(view.local_service, SERVICE_PORT);
        let same = "pod on the same machine";
        let host_port = at(host.addresses, view.host_port);
        vec![
            self.check(client, same, server.targets(), server).seen_as(&[client]),
            self.check(client, same, server.targets(), server).full(),
            self.check(host, "its machine to a pod", server.targets(), server),
            self.check(client, "its machine", host.targets(), host).seen_as(&[client, host]),
            self.check(client, "Service, endpoint on the same machine", local, server).patient(),
            self.check(server, "its own Service (hairpin)", local, server).patient(),
            self.check(client, "host port of its machine", host_port, server),
        ]
    }

    fn to_another(&self, other: &Machine) -> Vec<Check> {
        let Self { view, here, .. } = self;
        let (client, server, host) = (&here.client, &other.server, &other.host);
        let name = &other.name;
        let pod = format!("pod on {name}");
        let machine = format!("the machine {name}");
        let host_port = at(host.addresses, view.host_port);
        let service = at(view.service, SERVICE_PORT);
        vec![
            self.check(client, &pod, server.targets(), server).seen_as(&[client]),
            self.check(client, &pod, server.targets(), server).full(),
            self.check(client, &machine, host.targets(), host).seen_as(&[client, &here.host]),
            self.check(client, &machine, host.targets(), host).full(),
            self.check(client, &format!("Service, endpoint on {name}"), service, server).patient(),
            self.check(client, &format!("host port of {name}"), host_port, server),
            self.check(
                &here.host,
                &format!("the machine itself to a {pod}"),
                server.targets(),
                server,
            ),
        ]
    }

    fn to_the_outside(&self, target: SocketAddr) -> Check {
        let targets = PerFamily::from_fn(|family| {
            (common::Family::from(target.ip()) == family).then_some(target)
        });
        let check = self.check(&self.here.client, &target.to_string(), targets, &self.here.server);
        Check { question: Question::Connect, answers: Vec::new(), ..check }
    }

    fn check(
        &self,
        asker: &Server,
        what: &str,
        targets: PerFamily<Option<SocketAddr>>,
        answers: &Server,
    ) -> Check {
        // Machines and Services may have a family that the pods of the cluster lack.
        let targets = PerFamily::from_fn(|family| {
            asker.addresses[family].and(answers.addresses[family]).and(targets[family])
        });
        Check {
            machine: self.here.name.clone(),
            what: what.to_owned(),
            question: Question::Small,
            asker: asker.ear(),
            targets,
            answers: vec![answers.name.clone()],
            seen: PerFamily::default(),
            patience: Duration::ZERO,
        }
    }
}

impl Check {
    /// The asker must be seen as one of `servers`.
    fn seen_as(self, servers: &[&Server]) -> Self {
        let seen = PerFamily::from_fn(|family| {
            servers.iter().filter_map(|server| server.addresses[family]).collect()
        });
        Self { seen, ..self }
    }

    fn full(self) -> Self {
        Self { question: Question::Full, what: format!("{}, full packets", self.what), ..self }
    }

    fn patient(self) -> Self {
        Self { patience: SERVICE_PATIENCE, ..self }
    }

    /// How long it took, or what is wrong with who answered or whom it saw.
    pub(crate) fn judge(&self, family: common::Family, answer: &Answer) -> Result<Duration, Wrong> {
        if !self.answers.is_empty() && !self.answers.contains(&answer.name) {
            return Err(Wrong::Name { is: answer.name.clone(), wanted: self.answers.join(" or ") });
        }
        let wanted = &self.seen[family];
        if !wanted.is_empty() && !wanted.contains(&answer.seen) {
            return Err(Wrong::Seen { is: answer.seen, wanted: wanted.clone() });
        }
        Ok(answer.time)
    }
}

/// What an answer should not say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Wrong {
    Name { is: String, wanted: String },
    Seen { is: IpAddr, wanted: Vec<IpAddr> },
}

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name { is, wanted } => write!(f, "{is} answered, not {wanted}"),
            Self::Seen { is, wanted } => {
                let wanted = wanted.iter().map(IpAddr::to_string).collect::<Vec<_>>();
                write!(f, "the asker was seen as {is}, not as {}", wanted.join(" or "))
            }
        }
    }
}
