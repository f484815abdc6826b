//! What a lab leaves on the machine that does not end by itself, written down before it is made.
//!
//! The list is a file in the lab's folder, so that whoever finds it can end the lab: the lab
//! itself, its signal handler, the next lab after a kill -9, `make demo-down`.

use std::fmt;
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;

use anyhow::{Context, Error, Result, anyhow};
use parking_lot::Mutex;

use crate::artifacts;
use crate::cgroup;
use crate::identity::Identity;
use crate::program;

const LIST: &str = "traces";

/// One thing that is left behind if nobody removes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trace {
    /// Who made the lab; the list is dead when it is.
    Owner(Identity),
    /// The owner ended on purpose without ending the lab.
    Kept,
    /// PID 1 of a PID namespace: all processes, mounts and networks of it end with it.
    Machine(Identity),
    /// A program of ours that runs long, and what it started.
    Group(Identity),
    /// A folder in each cgroup hierarchy.
    Cgroup(String),
    /// A cgroup v2 controller that was off at the root.
    Controller(String),
    /// A kernel module that was not loaded.
    Module(String),
    /// The work folder of a kind cluster, whose dockerd has a session of its own.
    Kind(String),
}

/// The list of one lab; clones share it.
#[derive(Clone, Debug)]
pub struct Traces {
    folder: PathBuf,
    /// Locked while something is made and written down; for ever, once the end has begun.
    list: Arc<Mutex<File>>,
}

impl Traces {
    /// A new list in a new folder below `base`, named by this process.
    pub fn new(base: &Path) -> Result<Self> {
        let owner = Identity::of(std::process::id())?;
        let folder = base.join(owner.pid.to_string());
        fs::create_dir_all(folder.join("logs"))?;
        let list = File::options().create(true).append(true).open(folder.join(LIST))?;
        let traces = Self { folder, list: Arc::new(Mutex::new(list)) };
        traces.note(&Trace::Owner(owner))?;
        Ok(traces)
    }

    /// The lab's folder, which ends with the lab.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Where the program `name` logs to.
    pub fn log(&self, name: &str) -> PathBuf {
        self.folder.join("logs").join(format!("{name}.log"))
    }

    /// The name of this lab among others, for what is named globally.
    pub fn name(&self) -> String {
        let number = self.folder.file_name().unwrap_or_default().to_string_lossy();
        format!("kubenet-{number}")
    }

    /// Writes down what is about to be made.
    pub fn note(&self, trace: &Trace) -> Result<()> {
        writeln!(self.list.lock(), "{trace}").context("cannot write the list of traces")
    }

    /// Makes something whose trace is only known afterwards; no end comes in between.
    pub fn leave<T>(&self, make: impl FnOnce() -> Result<(T, Trace)>) -> Result<T> {
        let mut list = self.list.lock();
        let (thing, trace) = make()?;
        writeln!(list, "{trace}").context("cannot write the list of traces")?;
        Ok(thing)
    }

    /// Ends the lab, while nothing new can be made; logs stay if `logs` says so.
    pub fn end(&self, logs: Logs) -> Result<()> {
        let _closed = self.list.lock();
        end(&self.folder, logs)
    }

    /// Ends the lab from a signal handler, after which nothing new is made.
    pub fn end_for_good(&self) -> Result<()> {
        std::mem::forget(self.list.lock());
        end(&self.folder, Logs::Keep)
    }
}

/// Whether logs survive their lab.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Logs {
    Keep,
    Remove,
}

/// Which of the labs of other processes to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whose {
    /// Of processes that ended without ending their lab.
    Lost,
    /// Those, and what `KEEP=1` left running.
    Kept,
}

/// Ends labs below `base` whose owner is gone; returns how many there were.
pub fn sweep(base: &Path, whose: Whose) -> Result<usize> {
    let Ok(entries) = fs::read_dir(base) else { return Ok(0) };
    let mut ended = 0;
    for folder in entries.filter_map(|entry| Some(entry.ok()?.path())) {
        let Ok(text) = fs::read_to_string(folder.join(LIST)) else {
            // Logs of a lab that failed; they have been read or never will be.
            fs::remove_dir_all(&folder)?;
            continue;
        };
        let traces = parse(&text);
        let alive = traces.iter().any(|t| matches!(t, Trace::Owner(owner) if owner.is_alive()));
        let kept = traces.contains(&Trace::Kept) && whose != Whose::Kept;
        if !alive && !kept {
            end(&folder, Logs::Remove)?;
            ended += 1;
        }
    }
    Ok(ended)
}

/// Removes all that the list in `folder` names, then the folder; may be repeated.
fn end(folder: &Path, logs: Logs) -> Result<()> {
    let text = fs::read_to_string(folder.join(LIST))?;
    let traces = parse(&text);
    let failures = traces.iter().rev().filter_map(|trace| trace.remove().err());
    let failures = failures.map(|error| format!("{error:#}")).collect::<Vec<_>>();
    if !failures.is_empty() {
        return Err(anyhow!("something stays behind: {}", failures.join("; ")));
    }
    match logs {
        Logs::Remove => fs::remove_dir_all(folder)?,
        Logs::Keep => {
            for entry in fs::read_dir(folder)?.filter_map(Result::ok) {
                match entry.file_type()?.is_dir() {
                    true if entry.file_name() == "logs" => {}
                    true => fs::remove_dir_all(entry.path())?,
                    false => fs::remove_file(entry.path())?,
                }
            }
        }
    }
    Ok(())
}

/// A line that a kill cut short names nothing that was made.
fn parse(text: &str) -> Vec<Trace> {
    text.lines().filter_map(|line| line.parse().ok()).collect()
}

impl Trace {
    /// The process group that `leader` leads.
    pub fn group(leader: u32) -> Result<Self> {
        Identity::of(leader).map(Self::Group)
    }

    /// The PID namespace in which `init` is PID 1.
    pub fn machine(init: u32) -> Result<Self> {
        Identity::of(init).map(Self::Machine)
    }

    fn remove(&self) -> Result<()> {
        match self {
            Self::Owner(_) | Self::Kept => Ok(()),
            Self::Machine(init) => init.kill(),
            Self::Group(leader) => leader.end_group(),
            Self::Cgroup(name) => cgroup::remove(name),
            Self::Controller(name) => cgroup::disable(name),
            Self::Module(name) => {
                program::output(program::command("modprobe").args(["-r", name])).map(drop)
            }
            Self::Kind(folder) => {
                let down = artifacts::source().join("e2e/kind/down.sh");
                program::output(program::command(down).env("W", folder)).map(drop)
            }
        }
    }
}

impl fmt::Display for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Owner(process) => write!(f, "owner {process}"),
            Self::Kept => write!(f, "kept -"),
            Self::Machine(process) => write!(f, "machine {process}"),
            Self::Group(process) => write!(f, "group {process}"),
            Self::Cgroup(name) => write!(f, "cgroup {name}"),
            Self::Controller(name) => write!(f, "controller {name}"),
            Self::Module(name) => write!(f, "module {name}"),
            Self::Kind(folder) => write!(f, "kind {folder}"),
        }
    }
}

impl FromStr for Trace {
    type Err = Error;

    fn from_str(line: &str) -> Result<Self> {
        let (kind, rest) = line.split_once(' ').context("a trace is KIND NAME")?;
        Ok(match kind {
            "owner" => Self::Owner(rest.parse()?),
            "kept" => Self::Kept,
            "machine" => Self::Machine(rest.parse()?),
            "group" => Self::Group(rest.parse()?),
            "cgroup" => Self::Cgroup(rest.to_owned()),
            "controller" => Self::Controller(rest.to_owned()),
            "module" => Self::Module(rest.to_owned()),
            "kind" => Self::Kind(rest.to_owned()),
            _ => return Err(anyhow!("{kind:?} is no trace")),
        })
    }
}
