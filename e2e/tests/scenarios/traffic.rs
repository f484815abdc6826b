//! What packets of pods do, at rest and while an agent dies.

use std::net::SocketAddr;
use std::path::Path;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use common::Family;
use e2e::{checks, report};
use net::Netns;
use nix::sys::signal::Signal;
use probe::PORT;
use probe::stream::stream_from;

use crate::World;

pub(crate) fn matrix(world: &mut World) -> Result<()> {
    let lines = checks::run(&world.lab, &world.deployed)?;
    let checks = lines.iter().map(|line| line.outcomes.len()).sum::<usize>();
    ensure!(checks >= 64, "only {checks} checks are made");
    report::all_pass(&lines)
}

/// A stream between machines runs while the agents of both die and come back.
pub(crate) fn agent_killed(world: &mut World) -> Result<()> {
    let World { lab, deployed } = world;
    let netns = Netns::open(Path::new(&format!("/proc/{}/ns/net", lab.machines[0].place.init)))?;
    for family in Family::BOTH {
        let pod = SocketAddr::new(deployed[0].web.addresses[family], PORT);
        let server = SocketAddr::new(deployed[1].echo.addresses[family], PORT);
        let count = thread::scope(|scope| {
            let stream =
                scope.spawn(|| netns.run(|| stream_from(pod, server, Duration::from_secs(4)))?);
            for machine in &mut lab.machines {
                machine.restart_agent(Signal::SIGKILL)?;
            }
            ensure!(!stream.is_finished(), "the stream ended before the agents were back");
            let count = stream.join().ok().context("the stream panicked")?;
            Ok(count?)
        })?;
        ensure!(count.sent > 500, "{family}: only {count} packets were sent and came back");
        ensure!(count.received == count.sent, "{family}: sent and received: {count}");
    }
    Ok(())
}
