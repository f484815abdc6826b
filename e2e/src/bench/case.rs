//! What is measured: families, leases that are there already, and what pods want; and the networks
//! that it is measured in.

use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use common::names;
use net::link::LinkChange;
use net::{Mac, Netlink};
use serde_json::{Value, json};

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

/// A bridge for many pods, beside the agent's: its subnets, and its gateways.
const BRIDGE: &str = "bench0";
const SUBNETS: [(&str, &str, u8); 2] =
    [("10.89.0.0/16", "10.89.0.1", 16), ("fd00:89::/64", "fd00:89::1", 64)];

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
        make_bridge()?;
        let crowd = ours_beside_the_agent(case)?;
        // Beside other leases, which are not the agent's business, also one at a time.
        let chain = if case.leases > 0 { crowd.clone() } else { ours_of_the_agent(case)? };
        let ours = Contender { chain, crowd, samples: Samples::default() };
        let chain = theirs(case, &programs.reference);
        let theirs = Contender { chain: chain.clone(), crowd: chain, samples: Samples::default() };
        let mut contest = Self { case, programs, ours, theirs, results: Results::default() };
        contest.round(0, false)?;
        contest.fill()?;
        Ok(contest)
    }

    /// All of them in turns, so that what else the machine does falls on all alike.
    pub(super) fn measure(mut self, rounds: u16) -> Result<Results> {
        for round in 0..=rounds {
            self.round(round, round > 0)?;
        }
        for (parallel, pods) in LEVELS {
            self.ours.crowd(pods, parallel)?;
            self.theirs.crowd(pods, parallel)?;
        }
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
        call.args([&pod.netns_path(), &format!("floor{number}"), BRIDGE]);
        for (subnet, gateway, length) in self.case.subnets() {
            let address = subnet.replace("0.0/16", "255.1").replace("::/64", "::ffff");
            call.args([&address, &length.to_string(), *gateway]);
        }
        time(|| run(call, b"").map(drop))
    }

    /// Leases as each of them keeps them.
    fn fill(&self) -> Result<()> {
        let state = self.ours.crowd.plugins[0]["stateDir"].as_str().unwrap_or_default();
        let state = Path::new(state);
        let host_local = Path::new("/var/lib/cni/networks/reference");
        for number in 0..self.case.leases {
            let id = format!("filler-{number}");
            let claim = state.join("claims").join(format!("{id}@eth0"));
            fs::write(&claim, format!("{id}\r\neth0"))?;
            let [high, low] = (number + 512).to_be_bytes();
            let addresses = [format!("10.89.{high}.{low}"), format!("fd00:89::{:x}", number + 512)];
            for address in addresses {
                fs::hard_link(&claim, state.join("leases").join(&address))?;
                fs::write(host_local.join(&address), format!("{id}\r\neth0"))?;
            }
        }
        Ok(())
    }
}

impl Case {
    fn subnets(&self) -> &'static [(&'static str, &'static str, u8)] {
        if self.dual { &SUBNETS } else { &SUBNETS[..1] }
    }
}

fn make_bridge() -> Result<()> {
    let mut netlink = Netlink::open()?;
    if netlink.link(BRIDGE)?.is_some() {
        return Ok(());
    }
    let bridge = netlink.create_bridge(BRIDGE, Mac([0x0a, 0x58, 10, 89, 0, 1]))?;
    netlink.set_link(bridge, &LinkChange { up: Some(true), ..LinkChange::default() })?;
    for (_, gateway, length) in SUBNETS {
        netlink.add_address(bridge, gateway.parse::<IpAddr>()?, length)?;
    }
    Ok(())
}

/// As the agent installed it, with the configuration that it wrote.
fn ours_of_the_agent(case: Case) -> Result<Chain> {
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

/// With ranges that are large enough for crowds; the agent puts pods that it knows on its own bridge.
fn ours_beside_the_agent(case: Case) -> Result<Chain> {
    let mut chain = ours_of_the_agent(case)?;
    let state = format!("/run/kubenet-{}", case.name.replace([' ', ','], "-"));
    let range =
        |(subnet, gateway, _): &(&str, &str, u8)| json!({ "subnet": subnet, "gateway": gateway });
    if let Some(config) = chain.plugins.first_mut() {
        config["bridge"] = json!(BRIDGE);
        config["stateDir"] = json!(state);
        config["ranges"] = case.subnets().iter().map(range).collect();
    }
    Ok(chain)
}

fn theirs(case: Case, folder: &Path) -> Chain {
    let ranges = case.subnets().iter().map(|(subnet, ..)| json!([{ "subnet": subnet }]));
    let ranges = ranges.collect::<Value>();
    let routes = [json!({ "dst": "0.0.0.0/0" }), json!({ "dst": "::/0" })];
    let mut plugins = vec![json!({
        "cniVersion": "1.0.0", "name": "reference", "type": "bridge", "bridge": "ref0",
        "isGateway": true, "hairpinMode": true,
        "ipam": { "type": "host-local", "ranges": ranges, "routes": routes[..case.subnets().len()] },
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
