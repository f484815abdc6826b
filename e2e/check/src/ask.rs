//! Has the pods ask, machines beside each other, and keeps what they were told.

use std::io;
use std::net::SocketAddr;
use std::thread;
use std::time::{Duration, Instant};

use common::{Family, PerFamily};
use probe::connect::connect_from;
use probe::dial::{Protocol, dial_from};
use probe::full::dial_full_from;

use crate::matrix::{Check, Question};

/// How long one question may take.
const WITHIN: Duration = Duration::from_secs(3);

/// Between a question that failed and the next one.
const PAUSE: Duration = Duration::from_millis(100);

const PROTOCOLS: [Protocol; 2] = [Protocol::Tcp, Protocol::Udp];

/// One cell of the table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Cell {
    Took(Duration),
    Failed(String),
    /// There is nothing to ask, or no such way to.
    Absent,
}

/// One line of the table: TCP and UDP of each family.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Outcome(pub(crate) PerFamily<[Cell; 2]>);

impl Outcome {
    /// IPv4 by TCP and UDP, then IPv6.
    pub(crate) fn cells(&self) -> impl Iterator<Item = &Cell> {
        self.0.iter().flat_map(|(_, cells)| cells)
    }

    pub(crate) fn failures(&self) -> impl Iterator<Item = &str> {
        self.cells().filter_map(|cell| match cell {
            Cell::Failed(reason) => Some(reason.as_str()),
            Cell::Took(_) | Cell::Absent => None,
        })
    }
}

/// What came of each of `checks`, which are sorted by machine.
pub(crate) fn all(checks: &[Check]) -> Vec<Outcome> {
    thread::scope(|scope| {
        let machines = checks.chunk_by(|a, b| a.machine == b.machine);
        let machines = machines.map(|own| scope.spawn(move || own.iter().map(one).collect()));
        let machines = machines.collect::<Vec<_>>().into_iter();
        machines.flat_map(|machine| machine.join().unwrap_or_else(|_| Vec::new())).collect()
    })
}

fn one(check: &Check) -> Outcome {
    Outcome(PerFamily::from_fn(|family| PROTOCOLS.map(|protocol| cell(check, family, protocol))))
}

fn cell(check: &Check, family: Family, protocol: Protocol) -> Cell {
    let Some(target) = check.targets[family] else { return Cell::Absent };
    if check.question == Question::Connect && protocol == Protocol::Udp {
        return Cell::Absent;
    }
    let deadline = Instant::now() + check.patience;
    loop {
        match told(check, family, protocol, target) {
            Ok(time) => return Cell::Took(time),
            Err(reason) if Instant::now() >= deadline => return Cell::Failed(reason),
            Err(_) => pause(),
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "no machine tells what its kube-proxy has heard of")]
fn pause() {
    thread::sleep(PAUSE);
}

fn told(
    check: &Check,
    family: Family,
    protocol: Protocol,
    target: SocketAddr,
) -> Result<Duration, String> {
    let asker = check.asker.ok_or("the pod that is to ask has no address")?;
    let failed = |error: io::Error| format!("{protocol} to {target}: {error}");
    let answer = match check.question {
        Question::Small => dial_from(asker, protocol, target, WITHIN),
        Question::Full => dial_full_from(asker, protocol, target, WITHIN),
        Question::Connect => return connect_from(asker, target, WITHIN).map_err(failed),
    };
    let judged = check.judge(family, &answer.map_err(failed)?);
    judged.map_err(|wrong| format!("{protocol} to {target}: {wrong}"))
}
