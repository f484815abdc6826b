//! Several controllers: one allocates, and another one goes on where it ends.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use e2e::api;
use e2e::fake;
use nix::sys::signal::Signal;

use crate::World;

/// How long nobody may allocate after a leader's end, asked for or sudden; a lease lasts 15 s.
const ENDS: [(Signal, Duration); 2] =
    [(Signal::SIGTERM, Duration::from_secs(3)), (Signal::SIGKILL, Duration::from_secs(20))];

pub(crate) fn take_over(world: &mut World) -> Result<()> {
    let control_plane = &mut world.lab.control_plane;
    for (signal, limit) in ENDS {
        let leader = control_plane.controller.take().context("no controller runs")?;
        control_plane.start_controller()?;
        let next = control_plane.controller.as_mut().context("no second controller runs")?;
        next.wait_for_log("standing by")?;
        let start = Instant::now();
        leader.end(signal)?;
        let name = format!("after-{}", signal.as_str().to_lowercase());
        let observer = &control_plane.api.observer;
        observer.create_nodes(vec![fake::node(&name, &[], &[])])?;
        observer.wait("the next leader assigns", limit * 2, |cluster| {
            cluster.nodes.get(&name)?.at(api::POD_CIDRS)
        })?;
        let took = start.elapsed();
        ensure!(took < limit, "{signal}: nobody allocated for {} ms", took.as_millis());
    }
    control_plane.api.delete_fakes()
}
