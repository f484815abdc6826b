//! Where the two programs differ on purpose: for each such row of docs/parity.md what either does.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use e2e::node_ipam::NodeIpam;
use e2e::wait::eventually;

use crate::World;
use crate::play::Play;
use crate::script::{Cluster, prefix};

const PATIENCE: Duration = Duration::from_mins(1);

const PARITY: &str = include_str!("../../../docs/parity.md");

/// What is done, and what comes of it in a few words.
type Deed = fn(&mut Play<'_>) -> Result<String>;

/// A row of docs/parity.md by its beginning, and what comes of a deed there and here.
struct Difference {
    row: &'static str,
    ranges: &'static [(&'static str, u8)],
    services: &'static [&'static str],
    deed: Deed,
    theirs: &'static str,
    ours: &'static str,
}

const ONE: &[(&str, u8)] = &[("10.0.0.0/21", 24)];
const TWO: &[(&str, u8)] = &[("10.0.0.0/21", 24), ("fd00::/61", 64)];

const DIFFERENCES: &[Difference] = &[
    Difference {
        row: "if the second range is full, the first one's block is lost with each try",
        ranges: &[("10.0.0.0/16", 24), ("fd00::/63", 64)],
        services: &[],
        deed: second_range_full,
        theirs: "more than 2 blocks of 10.0.0.0/16 are used",
        ours: "2 blocks of 10.0.0.0/16 are used",
    },
    Difference {
        row: "two that overlap are one: releasing one frees what the other still has",
        ranges: ONE,
        services: &[],
        deed: one_of_two_that_share_goes,
        theirs: "the next Node gets 10.0.0.0/24",
        ours: "the next Node gets 10.0.1.0/24",
    },
    Difference {
        row: "and are free once a range over them is released",
        ranges: ONE,
        services: &["10.0.0.0/26"],
        deed: a_node_among_services_goes,
        theirs: "the next Node gets 10.0.0.0/24",
        ours: "the next Node gets 10.0.1.0/24",
    },
    Difference {
        row: "a Node whose CIDRs stand in another order than the ranges is out of range",
        ranges: TWO,
        services: &[],
        deed: the_other_order,
        theirs: "the next Node gets 10.0.1.0/24, fd00:0:0:1::/64",
        ours: "the next Node gets 10.0.2.0/24, fd00:0:0:2::/64",
    },
    Difference {
        row: "a Node that is malformed, out of range or has more CIDRs than ranges ends the process",
        ranges: ONE,
        services: &[],
        deed: start_with_a_node_out_of_range,
        theirs: "it ends",
        ours: "the next Node gets 10.0.0.0/24",
    },
];

pub(crate) fn as_the_rows_say(world: &mut World) -> Result<()> {
    for difference in DIFFERENCES {
        let row = difference.row;
        ensure!(PARITY.contains(&format!("| {row}")), "docs/parity.md has no row {row:?}");
        let ranges = difference.ranges.iter().map(|&(cidr, mask)| (prefix(cidr), mask)).collect();
        let services = difference.services.iter().map(|text| prefix(text)).collect();
        let cluster = Cluster { ranges, services };
        for (which, expected) in
            [(NodeIpam::Kubernetes, difference.theirs), (NodeIpam::Kubenet, difference.ours)]
        {
            let what = || format!("{row}: {}", which.name());
            let mut play = Play::begin(&world.api, world.programs.clone(), which, &cluster)?;
            let came = (difference.deed)(&mut play).with_context(what)?;
            ensure!(came == expected, "{}: {came}, not: {expected}", what());
        }
    }
    Ok(())
}

fn second_range_full(play: &mut Play<'_>) -> Result<String> {
    play.create("a", &[])?;
    play.create("b", &[])?;
    play.settled()?;
    play.create("waits", &[])?;
    play.wait_until_it_knows_that_it_waits("waits")?;
    let used = play.used()?[0];
    let more = if used > 2 { "more than " } else { "" };
    Ok(format!("{more}2 blocks of 10.0.0.0/16 are used"))
}

fn one_of_two_that_share_goes(play: &mut Play<'_>) -> Result<String> {
    play.create("a", &[prefix("10.0.0.0/24")])?;
    play.settled()?;
    play.create("b", &[prefix("10.0.0.0/24")])?;
    // Who has seen what comes next has seen it.
    play.create("c", &[prefix("10.0.5.0/24")])?;
    play.settled()?;
    play.delete("b")?;
    next(play)
}

fn a_node_among_services_goes(play: &mut Play<'_>) -> Result<String> {
    play.create("a", &[prefix("10.0.0.128/25")])?;
    play.create("b", &[prefix("10.0.5.0/24")])?;
    play.settled()?;
    play.delete("a")?;
    next(play)
}

fn the_other_order(play: &mut Play<'_>) -> Result<String> {
    // Who serves a Node has listed those that were there.
    play.create("a", &[])?;
    play.settled()?;
    play.create("b", &[prefix("fd00:0:0:1::/64"), prefix("10.0.1.0/24")])?;
    next(play)
}

fn start_with_a_node_out_of_range(play: &mut Play<'_>) -> Result<String> {
    play.create("a", &[prefix("198.51.100.0/24")])?;
    play.restart(None)?;
    play.create("next", &[])?;
    eventually("it ends or serves the next Node", PATIENCE, || {
        if !play.is_running() {
            return Ok(Some("it ends".to_owned()));
        }
        Ok(play.pod_cidrs_of("next").map(|cidrs| format!("the next Node gets {cidrs}")))
    })
}

/// What a Node gets that comes now.
fn next(play: &Play<'_>) -> Result<String> {
    play.create("next", &[])?;
    let cidrs = eventually("the next Node is served", PATIENCE, || Ok(play.pod_cidrs_of("next")))?;
    Ok(format!("the next Node gets {cidrs}"))
}
