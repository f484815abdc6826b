//! `make bench`: what an ADD takes, beside the reference plugins, in one run on one machine.

use std::fs;
use std::io::Write;
use std::os::fd::{AsFd, AsRawFd};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use common::names;
use net::Netns;
use serde_json::{Value, json};

use crate::lab;
use crate::program::{command, output};
use crate::reference;
use crate::report::{ms, percentile};
use crate::say::{say, timed};
use crate::traces::Logs;

/// How often each is called, in turns.
const ROUNDS: usize = 100;

/// How many times faster an ADD must be than the reference's.
const WANTED: f64 = 4.0;

const REFERENCE: [&str; 2] = ["main/bridge", "ipam/host-local"];

/// A plugin, its configuration, and how long its calls took.
struct Contender {
    what: &'static str,
    program: PathBuf,
    /// Where it finds the plugins that it calls.
    folder: PathBuf,
    config: Value,
    add: Vec<Duration>,
    del: Vec<Duration>,
}

/// Builds a lab, and measures on a machine of it whose agent and kubelet run.
pub fn run() -> Result<()> {
    let (lab, ()) = lab::with(|lab| {
        let reference = timed("reference plugins", || reference::plugins(&lab.traces, &REFERENCE))?;
        let this = std::env::current_exe()?;
        let mut inside = lab.machines[0].place.command(this);
        say(output(inside.arg("bench-inside").arg(reference))?.trim_end());
        Ok(())
    })?;
    lab.down(Logs::Remove)
}

/// Measures in the namespaces of the calling process, with the reference plugins in `reference`.
///
/// # Errors
/// Also if an ADD is not as much faster as it must be.
pub fn inside(reference: &Path) -> Result<()> {
    let mut ours = Contender::kubenet()?;
    let mut theirs = Contender::reference(reference);
    for round in 0..=ROUNDS {
        for contender in [&mut ours, &mut theirs] {
            contender.round(round)?;
        }
    }
    let floor = ours.floor()?;
    say(format_args!(
        "\n{:<34}{:>12}{:>12}{:>12}{:>12}",
        "", "ADD p50", "ADD p99", "DEL p50", "DEL p99"
    ));
    let rows = [ours.row(), theirs.row()];
    say(format_args!("{:<34}{:>12}", "exec of the plugin (VERSION)", ms(floor)));
    let [ours, theirs] = rows.map(|add| add.as_secs_f64());
    say(format_args!("ADD is {:.1} times faster; {WANTED} is wanted", theirs / ours));
    ensure!(theirs / ours >= WANTED, "ADD is too slow");
    Ok(())
}

impl Contender {
    /// As the agent installed it, with the configuration that it wrote.
    fn kubenet() -> Result<Self> {
        let conflist = Path::new(names::CNI_CONF_DIR).join(names::CONFLIST);
        let list = serde_json::from_str::<Value>(&fs::read_to_string(conflist)?)?;
        let mut config = list["plugins"][0].clone();
        config["cniVersion"] = json!("1.0.0");
        config["name"] = list["name"].clone();
        let folder = PathBuf::from(names::CNI_BIN_DIR);
        let program = folder.join(names::PLUGIN);
        Ok(Self { what: names::PLUGIN, program, folder, config, add: vec![], del: vec![] })
    }

    fn reference(folder: &Path) -> Self {
        let config = json!({
            "cniVersion": "1.0.0",
            "name": "reference",
            "type": "bridge",
            "bridge": "ref0",
            "isGateway": true,
            "hairpinMode": true,
            "ipam": {
                "type": "host-local",
                "ranges": [[{"subnet": "10.88.0.0/24"}], [{"subnet": "fd00:88::/64"}]],
                "routes": [{"dst": "0.0.0.0/0"}, {"dst": "::/0"}],
            },
        });
        let program = folder.join("bridge");
        let (what, folder) = ("bridge + host-local (reference)", folder.to_owned());
        Self { what, program, folder, config, add: vec![], del: vec![] }
    }

    /// One pod comes and goes; the first one warms up and is not counted.
    fn round(&mut self, number: usize) -> Result<()> {
        let netns = Netns::unnamed()?;
        let add = self.call("ADD", number, &netns)?;
        let del = self.call("DEL", number, &netns)?;
        if number > 0 {
            self.add.push(add);
            self.del.push(del);
        }
        Ok(())
    }

    /// As a runtime calls it.
    fn call(&self, verb: &str, number: usize, netns: &Netns) -> Result<Duration> {
        let path = format!("/proc/{}/fd/{}", std::process::id(), netns.as_fd().as_raw_fd());
        let config = self.config.to_string();
        let start = Instant::now();
        let mut child = command(&self.program)
            .env("CNI_COMMAND", verb)
            .env("CNI_CONTAINERID", format!("bench-{number}"))
            .env("CNI_IFNAME", "eth0")
            .env("CNI_NETNS", path)
            .env("CNI_PATH", &self.folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| self.program.display().to_string())?;
        if let Some(mut stdin) = child.stdin.take() {
            stdin.write_all(config.as_bytes())?;
        }
        let output = child.wait_with_output()?;
        let time = start.elapsed();
        if !output.status.success() {
            bail!("{} {verb}: {}", self.what, String::from_utf8_lossy(&output.stdout));
        }
        Ok(time)
    }

    /// What it takes to start the program for next to nothing.
    fn floor(&self) -> Result<Duration> {
        let netns = Netns::current()?;
        let times = (0..ROUNDS).map(|round| self.call("VERSION", round, &netns));
        Ok(percentile(&mut times.collect::<Result<Vec<_>>>()?, 50))
    }

    /// Prints the times, and returns the median of ADD.
    fn row(&mut self) -> Duration {
        let (add, del) = (&mut self.add, &mut self.del);
        let p50 = percentile(add, 50);
        let cells = [p50, percentile(add, 99), percentile(del, 50), percentile(del, 99)];
        let cells = cells.map(|time| format!("{:>12}", ms(time))).concat();
        say(format_args!("{:<34}{cells}", self.what));
        p50
    }
}
