//! A process, and nobody who comes to its number later.

use std::fmt;
use std::fs;
use std::str::FromStr;
use std::time::Duration;

use anyhow::{Context, Error, Result};
use nix::errno::Errno;
use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;

use crate::wait::eventually;

/// How long a process may take to end: a kill is fast, a test stage cleans up behind itself.
const PATIENCE: Duration = Duration::from_secs(20);

/// A process, told from a later one with its number by its start time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    pub pid: u32,
    /// In clock ticks since the boot: field 22 of proc(5)'s /proc/PID/stat.
    start: u64,
}

impl Identity {
    /// Of the process with the number `pid`, which runs.
    pub fn of(pid: u32) -> Result<Self> {
        let text = fs::read_to_string(format!("/proc/{pid}/stat"))
            .with_context(|| format!("process {pid} is gone"))?;
        // The program's name, in parentheses, may hold spaces.
        let fields = text.rsplit_once(") ").map(|(_, fields)| fields.split(' '));
        let start = fields.and_then(|mut fields| fields.nth(19)?.parse().ok());
        Ok(Self { pid, start: start.with_context(|| format!("no start time in {text:?}"))? })
    }

    /// A zombie counts as gone: it has neither memory nor files.
    pub fn is_alive(self) -> bool {
        let zombie = || {
            let status = fs::read_to_string(format!("/proc/{}/stat", self.pid));
            status.is_ok_and(|stat| stat.contains(") Z "))
        };
        Self::of(self.pid).is_ok_and(|now| now == self) && !zombie()
    }

    fn number(self) -> Pid {
        Pid::from_raw(self.pid.cast_signed())
    }

    /// Kills it, and waits until it is gone.
    pub(crate) fn kill(self) -> Result<()> {
        if self.is_alive() {
            sent(kill(self.number(), Signal::SIGKILL))?;
        }
        let what = format!("process {} ends", self.pid);
        eventually(&what, PATIENCE, || Ok((!self.is_alive()).then_some(())))
    }

    /// Asks all of the group to end, which may take them a moment, and waits for the last.
    pub(crate) fn end_group(self) -> Result<()> {
        if !self.is_alive() {
            return Ok(());
        }
        sent(killpg(self.number(), Signal::SIGTERM))?;
        let what = format!("process group {} ends", self.pid);
        let gone = || Ok((killpg(self.number(), None) == Err(Errno::ESRCH)).then_some(()));
        eventually(&what, PATIENCE, gone).or_else(|error| {
            sent(killpg(self.number(), Signal::SIGKILL))?;
            Err(error)
        })
    }
}

/// A process that is gone needs no signal.
fn sent(result: nix::Result<()>) -> nix::Result<()> {
    if result == Err(Errno::ESRCH) { Ok(()) } else { result }
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.pid, self.start)
    }
}

impl FromStr for Identity {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let (pid, start) = text.split_once('/').context("a process is PID/START")?;
        Ok(Self { pid: pid.parse()?, start: start.parse()? })
    }
}
