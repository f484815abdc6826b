//! What is measured: families, leases that are there already, and what pods want; and the networks
//! that it is measured in.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use common::names;
use serde_json::{Value, json};

use super::POD_CIDRS;
use super::contender::{Chain, Contender, Pod, run, time};
use super::table::{Results, Samples};
use crate::program::command;

/// One table of the report.
#[derive(Clone, Copy, Debug)]
pub(super) struct Case {
    pub(super) name: &'static str,
    pub(super) dual: bool,
    /// Leases of others.
    pub(super) leases: u16,
    /// Whether pods have a host port and limits.
    pub(super) extras: bool,
}

pub(super) const CASES: [Case; 4] = [
    Case { name: "dual stack", dual: true, leases: 0, extras: false },
    Case { name: "single stack", dual: false, leases: 0, extras: false },
    Case { name: "dual stack, 4000 leases", dual: true, leases: 4000, extras: false },
    Case { name: "dual stack, host port, bandwidth", dual: true, leases: 0, extras: true },
];

/// How many pods are started at a time, and of how many.
const LEVELS: [(usize, u16); 4] = [(1, 20), (8, 40), (32, 64), (110, 110)];

/// What the least program gives its pod, and the gateways.
const FLOOR: [(&str, &str); 2] = [("10.89.255.1", "10.89.0.1"), ("fd00:89::ffff", "fd00:89::1")];

/// Where in the ranges the leases of others begin: behind all that pods of earlier cases had.
const FILLED: u16 = 8192;

/// Number of the pod that holds the leases of others.
const HOLDER: u16 = 9999;

/// Where the programs are.
#[derive(Clone, Debug)]
pub struct Programs {
    /// The folder of the reference plugins.
    pub reference: PathBuf,
    /// The folder of the floors.
    pub floors: PathBuf,
}

/// A case that is being measured.
pub(super) struct Contest<'a> {
    case: Case,
    programs: &'a Programs,
    ours: Contender,
    theirs: Contender,
    results: Results,
}

impl<'a> Contest<'a> {
    pub(super) fn new(case: Case, programs: &'a Programs) -> Result<Self> {
        let contender = |chain| Contender { chain, samples: Samples::default() };
        let ours = contender(ours(case)?);
        let theirs = contender(theirs(case, &programs.reference));
        Ok(Self { case, programs, ours, theirs, results: Results::default() })
    }

    /// All of them in turns, so that what else the machine does falls on all alike.
    pub(super) fn measure(mut self, rounds: u16) -> Result<Results> {
        self.round(0, false)?;
        // It holds the leases, because those of nobody who lives are freed.
        let holder = Pod::new(HOLDER)?;
        self.ours.chain.add(&holder)?;
        let fillers = self.fill()?;
        for round in 0..=rounds {
            self.round(round, round > 0)?;
        }
        for (parallel, pods) in LEVELS {
            self.ours.crowd(pods, parallel)?;
            self.theirs.crowd(pods, parallel)?;
        }
        // By nobody's DEL: thousands of addresses would rest.
        fillers.iter().try_for_each(fs::remove_file)?;
        self.ours.chain.del(&holder)?;
        let (ours, theirs) = (self.ours.samples, self.theirs.samples);
        Ok(Results { ours, theirs, ..self.results })
    }

    fn round(&mut self, number: u16, counts: bool) -> Result<()> {
        let exec = time(|| run(command(self.programs.floors.join("floor_exec")), b"").map(drop))?;
        let veth = self.veth(number)?;
        if counts {
            self.results.exec.push(exec);
            self.results.veth.push(veth);
        }
        self.ours.round(number, counts)?;
        self.theirs.round(number, counts)
    }

    fn veth(&self, number: u16) -> Result<std::time::Duration> {
        let pod = Pod::new(number)?;
        let mut call = command(self.programs.floors.join("floor_veth"));
        call.args([&pod.netns_path(), &format!("floor{number}"), names::BRIDGE]);
        for ((_, length), (address, gateway)) in self.case.cidrs().iter().zip(FLOOR) {
            call.args([address, &length.to_string(), gateway]);
        }
        time(|| run(call, b"").map(drop))
    }

    /// Leases as each of them keeps them.
    fn fill(&self) -> Result<Vec<PathBuf>> {
        let state = Path::new(self.ours.chain.plugins[0]["stateDir"].as_str().unwrap_or_default());
        let claim = state.join(names::CLAIMS).join(format!("bench-{HOLDER}@eth0"));
        let host_local = Path::new("/var/lib/cni/networks/reference");
        let mut leases = Vec::new();
        for number in 0..self.case.leases {
            let [high, low] = (number + FILLED).to_be_bytes();
            let addresses =
                [format!("10.89.{high}.{low}"), format!("fd00:89::{:x}", number + FILLED)];
            for address in addresses {
                let ours = state.join(names::LEASES).join(&address);
                let theirs = host_local.join(&address);
                fs::hard_link(&claim, &ours)?;
                fs::write(&theirs, format!("filler-{number}\r\neth0"))?;
                leases.extend([ours, theirs]);
            }
        }
        Ok(leases)
    }
}

impl Case {
    fn cidrs(&self) -> &'static [(&'static str, u8)] {
        if self.dual { &POD_CIDRS } else { &POD_CIDRS[..1] }
    }
}

/// As the agent installed it, with the configuration that it wrote.
fn ours(case: Case) -> Result<Chain> {
    let conflist = Path::new(names::CNI_CONF_DIR).join(names::CONFLIST);
    let text = fs::read_to_string(&conflist).with_context(|| conflist.display().to_string())?;
    let list = serde_json::from_str::<Value>(&text)?;
    let mut config = list["plugins"][0].clone();
    config["cniVersion"] = json!("1.0.0");
    config["name"] = list["name"].clone();
    if let Some(ranges) = config["ranges"].as_array_mut().filter(|_| !case.dual) {
        ranges.truncate(1);
    }
    let folder = PathBuf::from(names::CNI_BIN_DIR);
    Ok(Chain { folder, plugins: vec![config], extras: case.extras })
}

fn theirs(case: Case, folder: &Path) -> Chain {
    let subnet =
        |(network, length): &(&str, u8)| json!([{ "subnet": format!("{network}/{length}") }]);
    let ranges = case.cidrs().iter().map(subnet);
    let ranges = ranges.collect::<Value>();
    let routes = [json!({ "dst": "0.0.0.0/0" }), json!({ "dst": "::/0" })];
    let mut plugins = vec![json!({
        "cniVersion": "1.0.0", "name": "reference", "type": "bridge", "bridge": "ref0",
        "isGateway": true, "hairpinMode": true,
        "ipam": { "type": "host-local", "ranges": ranges, "routes": routes[..case.cidrs().len()] },
    })];
    if case.extras {
        let more = |plugin: &str, capability: &str| {
            json!({
                "cniVersion": "1.0.0", "name": "reference", "type": plugin,
                "capabilities": { capability: true },
            })
        };
        plugins.extend([more("portmap", "portMappings"), more("bandwidth", "bandwidth")]);
    }
    Chain { folder: folder.to_owned(), plugins, extras: case.extras }
}
