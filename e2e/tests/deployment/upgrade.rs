//! An upgrade, and the way back, while pods talk.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use common::Family;
use e2e::artifacts::source;
use e2e::helm::{NEW, OLD, OLD_COMMIT};
use e2e::program::{command, output};
use e2e::say::say;
use e2e::workload::{self, Deployed};
use net::Netns;
use probe::PORT;
use probe::stream::{Count, stream_from};
use probe::ticks::{Ticks, ticks_from};

use crate::cases::LEAST;
use crate::{RELEASE, World};

/// Of one stream of datagrams; another one follows.
const STREAM: Duration = Duration::from_secs(1);

pub(crate) fn there_and_back(world: &mut World) -> Result<()> {
    world.without_release()?;
    world.with_proxies()?;
    let old = old_chart(world)?;
    // An operator who kept all values of the old chart can go on with them.
    let (new, kept) = (source().join("charts/kubenet"), old.join("values.yaml"));
    let (new, kept) = (new.display().to_string(), kept.display().to_string());
    world.helm(&["template", RELEASE, &new, "--values", &kept, "--set", LEAST])?;
    world.put_chart(&old, "install", OLD, &[])?;
    world.lab.wait_for_nodes()?;
    let deployed = workload::deploy(&world.lab)?;
    let init = world.lab.machines[0].place.init;
    let netns = Netns::open(Path::new(&format!("/proc/{init}/ns/net")))?;
    let done = AtomicBool::new(false);
    let (world, deployed, done, netns) = (&*world, &*deployed, &done, &netns);
    let seen = thread::scope(|scope| {
        let transfers = Family::BOTH
            .map(|family| scope.spawn(move || netns.run(|| transfer(family, deployed, done))?));
        let upgraded = world
            .put("upgrade", NEW, &[])
            .and_then(|_| world.helm(&["rollback", RELEASE, "1", "--wait", "--timeout=1m"]));
        done.store(true, SeqCst);
        upgraded?;
        let ends = transfers.map(|transfer| transfer.join().ok().context("a transfer panicked")?);
        ends.into_iter().collect::<Result<Vec<_>>>()
    })?;
    world.lab.control_plane.api.kubectl(&["delete", "daemonset,deployment,service", "--all"])?;
    for (ticks, count) in seen {
        let pause = ticks.pause.as_millis();
        say(format_args!(
            "  {} ticks of a connection, the longest pause {pause} ms; datagrams sent and answered: {count}",
            ticks.count
        ));
        ensure!(count.sent > 500, "only {count} datagrams");
        ensure!(count.received == count.sent, "datagrams sent and answered: {count}");
    }
    Ok(())
}

/// The chart of the old image's commit.
fn old_chart(world: &World) -> Result<PathBuf> {
    let folder = world.lab.traces.folder().join("old");
    fs::create_dir_all(&folder)?;
    let archive = folder.join("charts.tar");
    let mut git = command("git");
    git.arg("-C").arg(source()).args(["archive", "--output"]).arg(&archive);
    output(git.args([OLD_COMMIT, "charts"]))?;
    output(command("tar").arg("-xf").arg(&archive).arg("-C").arg(&folder))?;
    Ok(folder.join("charts/kubenet"))
}

/// One connection from machine to machine that never rests, and beside it one datagram after the other.
fn transfer(family: Family, deployed: &[Deployed], done: &AtomicBool) -> Result<(Ticks, Count)> {
    let pod = SocketAddr::new(deployed[0].web.addresses[family], PORT);
    let server = SocketAddr::new(deployed[1].echo.addresses[family], PORT);
    thread::scope(|scope| {
        let ticks = scope.spawn(move || ticks_from(pod, server, || done.load(SeqCst)));
        let mut sum = Count::default();
        while !done.load(SeqCst) {
            let count = stream_from(pod, server, STREAM)?;
            sum.sent += count.sent;
            sum.received += count.received;
        }
        let ticks = ticks.join().ok().context("the connection's reader panicked")?;
        Ok((ticks.with_context(|| format!("the connection of {family}"))?, sum))
    })
}
