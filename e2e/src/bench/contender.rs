//! Who is measured: a chain of plugins as a runtime calls it, or a floor.

use std::io::Write;
use std::os::fd::{AsFd, AsRawFd};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use net::Netns;
use nix::sys::resource::{UsageWho, getrusage};
use serde_json::{Value, json};

use super::table::Samples;
use crate::program::command;

/// A pod that comes and goes.
#[derive(Debug)]
pub(super) struct Pod {
    pub(super) number: u16,
    pub(super) netns: Netns,
}

impl Pod {
    pub(super) fn new(number: u16) -> Result<Self> {
        Ok(Self { number, netns: Netns::unnamed()? })
    }

    pub(super) fn netns_path(&self) -> String {
        format!("/proc/{}/fd/{}", std::process::id(), self.netns.as_fd().as_raw_fd())
    }
}

/// Plugins, called one after the other with the result of the one before.
#[derive(Clone, Debug)]
pub(super) struct Chain {
    /// Where each finds the plugins that it calls.
    pub(super) folder: PathBuf,
    /// The plugins' configurations; `type` is the program.
    pub(super) plugins: Vec<Value>,
    /// Whether pods have a host port and limits.
    pub(super) extras: bool,
}

impl Chain {
    pub(super) fn add(&self, pod: &Pod) -> Result<()> {
        let mut previous = None;
        for plugin in &self.plugins {
            let mut config = self.config(plugin, pod);
            if let Some(previous) = previous {
                config["prevResult"] = previous;
            }
            let answer = self.call("ADD", &config, pod)?;
            // A runtime reads each answer.
            previous = Some(serde_json::from_slice(&answer)?);
        }
        Ok(())
    }

    pub(super) fn del(&self, pod: &Pod) -> Result<()> {
        let last_first = self.plugins.iter().rev();
        last_first
            .map(|plugin| self.config(plugin, pod))
            .try_for_each(|config| self.call("DEL", &config, pod).map(drop))
    }

    /// With what the plugin's capabilities ask for.
    fn config(&self, plugin: &Value, pod: &Pod) -> Value {
        const RATE: u32 = 100_000_000;
        let mut config = plugin.clone();
        let wants = |name: &str| self.extras && plugin["capabilities"][name] == true;
        if wants("portMappings") {
            config["runtimeConfig"]["portMappings"] = json!([
                { "hostPort": 20_000 + pod.number, "containerPort": 80, "protocol": "tcp" }
            ]);
        }
        if wants("bandwidth") {
            config["runtimeConfig"]["bandwidth"] = json!({
                "ingressRate": RATE, "ingressBurst": i32::MAX,
                "egressRate": RATE, "egressBurst": i32::MAX,
            });
        }
        config
    }

    fn call(&self, verb: &str, config: &Value, pod: &Pod) -> Result<Vec<u8>> {
        let program = self.folder.join(config["type"].as_str().unwrap_or_default());
        let mut call = command(&program);
        call.env("CNI_COMMAND", verb)
            .env("CNI_CONTAINERID", format!("bench-{}", pod.number))
            .env("CNI_IFNAME", "eth0")
            .env("CNI_NETNS", pod.netns_path())
            .env("CNI_PATH", &self.folder);
        run(call, config.to_string().as_bytes())
            .with_context(|| format!("{} {verb}", program.display()))
    }
}

/// Runs a program to its end, and returns what it printed.
pub(super) fn run(mut call: Command, stdin: &[u8]) -> Result<Vec<u8>> {
    let mut child = call.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
    if let Some(mut pipe) = child.stdin.take() {
        pipe.write_all(stdin)?;
    }
    let output = child.wait_with_output()?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    Ok(output.stdout)
}

/// A chain and what was measured of it.
#[derive(Debug)]
pub(super) struct Contender {
    pub(super) chain: Chain,
    pub(super) samples: Samples,
}

impl Contender {
    /// One pod comes and goes; without `counts` it warms up.
    pub(super) fn round(&mut self, number: u16, counts: bool) -> Result<()> {
        let pod = Pod::new(number)?;
        let before = children_cpu()?;
        let add = time(|| self.chain.add(&pod))?;
        let del = time(|| self.chain.del(&pod))?;
        if counts {
            self.samples.cpu.push(children_cpu()?.saturating_sub(before));
            self.samples.add.push(add);
            self.samples.del.push(del);
        }
        Ok(())
    }

    /// `pods` come, `parallel` at a time; how long that takes.
    pub(super) fn crowd(&mut self, pods: u16, parallel: usize) -> Result<()> {
        let all = (0..pods).map(Pod::new).collect::<Result<Vec<_>>>()?;
        let repeated = AtomicUsize::new(0);
        // A runtime's caller, too, tries again: host-local fails at times beside others of its kind.
        let add = |pod: &Pod| {
            self.chain.add(pod).or_else(|_| {
                repeated.fetch_add(1, Ordering::Relaxed);
                self.chain.del(pod)?;
                self.chain.add(pod)
            })
        };
        let time = time(|| each(&all, parallel, add))?;
        each(&all, 8, |pod| self.chain.del(pod))?;
        self.samples.crowds.push((parallel, pods, time));
        self.samples.repeated += repeated.into_inner();
        Ok(())
    }
}

/// Does `work` for each of `pods`, `parallel` at a time.
fn each(pods: &[Pod], parallel: usize, work: impl Fn(&Pod) -> Result<()> + Sync) -> Result<()> {
    let next = AtomicUsize::new(0);
    thread::scope(|scope| {
        let worker = || {
            while let Some(pod) = pods.get(next.fetch_add(1, Ordering::Relaxed)) {
                work(pod)?;
            }
            Ok(())
        };
        let workers = (0..parallel).map(|_| scope.spawn(worker)).collect::<Vec<_>>();
        let outcomes = workers
            .into_iter()
            .map(|worker| worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
        outcomes.collect()
    })
}

pub(super) fn time(work: impl FnOnce() -> Result<()>) -> Result<Duration> {
    let start = Instant::now();
    work().map(|()| start.elapsed())
}

/// What all children that have ended used, and their children.
fn children_cpu() -> Result<Duration> {
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN)?;
    let total = usage.user_time() + usage.system_time();
    Ok(Duration::from_micros(u64::try_from(total.tv_sec() * 1_000_000 + total.tv_usec())?))
}
