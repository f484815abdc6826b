//! A set of namespaces with a PID 1: a machine, the control plane, the switch, the outside.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use net::Netns;
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, SysconfVar, sysconf};

use crate::program::{command, converse, output};
use crate::traces::{Trace, Traces};
use crate::wait::eventually;

const PATIENCE: Duration = Duration::from_secs(10);

/// Namespaces of their own for network, mounts, processes and the hostname.
///
/// With it, or with the process that opened it, everything in it ends; see `probe machine`.
#[derive(Debug)]
pub struct Place {
    pub name: String,
    pub netns: Netns,
    /// PID 1 of the place, as the host numbers it.
    pub init: u32,
    holder: Child,
    lifeline: Option<ChildStdin>,
    traces: Traces,
}

/// A program that runs in a place.
#[derive(Debug)]
pub struct Process {
    pub name: String,
    /// As the host numbers it.
    pub pid: u32,
    /// Where it logs to.
    pub log: PathBuf,
    /// Where in it its own lines begin.
    begin: u64,
    entry: Child,
}

impl Place {
    /// Opens an empty place: loopback, the host's files, and nothing that runs.
    pub fn open(traces: &Traces, name: &str, probe: &Path) -> Result<Self> {
        let mut holder = traces
            .leave(|| {
                let mut unshare = command("unshare");
                unshare
                    .args(["--mount", "--net", "--pid", "--uts", "--ipc", "--fork", "--kill-child"])
                    .args(["--propagation", "private"])
                    .arg(probe)
                    .args(["machine", name]);
                // Of its own group: Ctrl-C is the lab's to answer.
                unshare.process_group(0).stdin(Stdio::piped()).stdout(Stdio::piped());
                let holder = unshare.stderr(File::create(traces.log(name))?).spawn()?;
                let trace = Trace::machine(holder.id())?;
                Ok((holder, trace))
            })
            .with_context(|| format!("cannot open {name}"))?;
        let mut word = String::new();
        if let Some(stdout) = holder.stdout.take() {
            BufReader::new(stdout).read_line(&mut word)?;
        }
        if word.trim() != "ready" {
            holder.wait()?;
            bail!("cannot open {name}: {}", fs::read_to_string(traces.log(name))?.trim_end());
        }
        let init = only_child(holder.id())?.context("PID 1 is gone")?;
        traces.note(&Trace::machine(init)?)?;
        let netns = Netns::open(Path::new(&format!("/proc/{init}/ns/net")))?;
        let (lifeline, traces) = (holder.stdin.take(), traces.clone());
        let place = Self { name: name.to_owned(), netns, init, holder, lifeline, traces };
        place.ip("link set lo up")?;
        Ok(place)
    }

    /// Where the host finds the place's file `path`, which begins with a slash.
    pub fn path(&self, path: &str) -> PathBuf {
        PathBuf::from(format!("/proc/{}/root{path}", self.init))
    }

    /// A program to be run inside, in the place's files, processes and network.
    pub fn command(&self, program: impl AsRef<Path>) -> Command {
        let mut entry = self.enter(&["--mount", "--net", "--uts", "--ipc", "--pid"]);
        entry.arg("--").arg(program.as_ref());
        entry
    }

    fn enter(&self, namespaces: &[&str]) -> Command {
        let mut entry = command("nsenter");
        entry.arg("--target").arg(self.init.to_string()).args(namespaces);
        entry
    }

    /// Runs `ip` commands, one a line, in the place's network with the host's numbers of processes.
    pub fn ip(&self, batch: &str) -> Result<()> {
        self.feed(&["ip", "-batch", "-"], batch)
    }

    /// Runs a program of the host in the place's network, with `input` at its stdin.
    pub fn feed(&self, program: &[&str], input: &str) -> Result<()> {
        let mut entry = self.enter(&["--net"]);
        converse(entry.arg("--").args(program), input)
            .with_context(|| format!("in {}", self.name))
            .map(drop)
    }

    /// What a program of the host says in the place's network.
    pub fn output(&self, program: &[&str]) -> Result<String> {
        output(self.enter(&["--net"]).arg("--").args(program))
    }

    /// Starts a program inside that runs until it is told to end, or the place ends.
    pub fn start(&self, name: &str, program: &mut Command) -> Result<Process> {
        let log = self.traces.log(&format!("{}-{name}", self.name));
        let file = File::options().create(true).append(true).open(&log)?;
        let begin = file.metadata()?.len();
        program.process_group(0).stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file);
        let mut entry = program.spawn().with_context(|| format!("cannot start {name}"))?;
        let pid = eventually(&format!("{name} starts"), PATIENCE, || {
            if let Some(status) = entry.try_wait()? {
                bail!("{name} ended at once: {status}; see {}", log.display());
            }
            only_child(entry.id())
        })?;
        Ok(Process { name: name.to_owned(), pid, log, begin, entry })
    }

    /// Lets the place outlive this process.
    pub fn keep(mut self) -> Result<()> {
        if let Some(mut lifeline) = self.lifeline.take() {
            lifeline.write_all(b"s")?;
        }
        std::mem::forget(self);
        Ok(())
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        // While its parent has not ended, the number of PID 1 is nobody else's.
        if matches!(self.holder.try_wait(), Ok(None)) {
            let _ = kill(Pid::from_raw(self.init.cast_signed()), Signal::SIGKILL);
            let _ = self.holder.wait();
        }
    }
}

impl Process {
    /// Whether it has not ended.
    pub fn is_running(&mut self) -> bool {
        matches!(self.entry.try_wait(), Ok(None))
    }

    /// Waits until it has logged `text`.
    pub fn wait_for_log(&mut self, text: &str) -> Result<()> {
        let what = format!("{} logs {text:?}", self.name);
        eventually(&what, PATIENCE, || {
            let said = self.said()?;
            if !said.contains(text) && !self.is_running() {
                bail!("{} has ended: {}", self.name, said.trim_end());
            }
            Ok(said.contains(text).then_some(()))
        })
    }

    /// All that it has logged.
    pub fn said(&self) -> Result<String> {
        let mut log = File::open(&self.log)?;
        log.seek(SeekFrom::Start(self.begin))?;
        let mut said = String::new();
        log.read_to_string(&mut said)?;
        Ok(said)
    }

    /// Kills it, and waits for the end.
    pub fn kill(&mut self) -> Result<()> {
        self.signal(Signal::SIGKILL)
    }

    /// Sends `signal` and waits for the end.
    pub fn end(mut self, signal: Signal) -> Result<()> {
        self.signal(signal)
    }

    fn signal(&mut self, signal: Signal) -> Result<()> {
        kill(Pid::from_raw(self.pid.cast_signed()), signal)?;
        eventually(&format!("{} ends", self.name), PATIENCE, || Ok(self.entry.try_wait()?))
            .map(drop)
    }

    /// What it has computed so far: fields 14 and 15 of proc(5)'s /proc/PID/stat, in clock ticks.
    pub fn cpu(&self) -> Result<Duration> {
        let text = fs::read_to_string(format!("/proc/{}/stat", self.pid))?;
        // The program's name, in parentheses, may hold spaces.
        let fields = text.rsplit_once(") ").map(|(_, fields)| fields.split(' ').skip(11).take(2));
        let ticks = fields.into_iter().flatten().map(str::parse::<u32>);
        let ticks = ticks.sum::<Result<u32, _>>()?;
        let a_second = sysconf(SysconfVar::CLK_TCK)?.context("no clock ticks")?;
        Ok(Duration::from_secs(ticks.into()) / u32::try_from(a_second)?)
    }

    /// A field of /proc/PID/status in KiB, as `VmRSS`.
    pub fn kib(&self, field: &str) -> Result<u32> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid))?;
        let line = status.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
        let value = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
        value.with_context(|| format!("{} has no {field}", self.name))
    }
}

/// The child of a process that has at most one; none while it has not forked.
fn only_child(parent: u32) -> Result<Option<u32>> {
    let children = fs::read_to_string(format!("/proc/{parent}/task/{parent}/children"))?;
    Ok(children.split_whitespace().next().map(str::parse).transpose()?)
}
