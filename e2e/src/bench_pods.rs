//! `make bench-pods`: from a pod's creation to Ready, through kubelet and containerd, beside a machine
//! whose pods are made by the reference plugins; in turns in one run.

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result};
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, PostParams};
use nix::sys::signal::Signal;
use serde_json::json;

use crate::lab::{self, Lab};
use crate::machine::Machine;
use crate::report::{ms, percentile};
use crate::say::{say, timed};
use crate::traces::Logs;
use crate::wait::eventually;
use crate::{api, chain};

/// How many pods each of them starts, fewer than a kubelet's 110; a variable of this name says otherwise.
const PODS: (&str, u16) = ("BENCH_PODS", 100);

/// Comes before ours.
const CONFLIST: &str = "00-reference.conflist";

const PATIENCE: Duration = Duration::from_mins(1);

/// What kubelet counts of each sandbox, network and all.
const SANDBOX: &str = "kubelet_run_podsandbox_duration_seconds";

/// Measures in a new lab, whose second machine is the reference plugins'.
pub fn run() -> Result<()> {
    let pods = match std::env::var(PODS.0) {
        Ok(text) => text.parse().with_context(|| format!("{}: want a number", PODS.0))?,
        Err(_) => PODS.1,
    };
    let (lab, ()) = lab::with(|lab| {
        timed("the second machine, of the reference plugins", || hand_over(lab))?;
        measure(lab, pods)
    })?;
    lab.down(Logs::Remove)
}

/// Puts the reference plugins in the place of ours, without a moment in which there is no network.
fn hand_over(lab: &mut Lab) -> Result<()> {
    chain::install(&lab.traces, &lab.machines[1].place)?;
    let cidrs = chain::pod_cidrs(lab, lab.machines[1].name())?;
    let machine = &mut lab.machines[1];
    let list = chain::conflist(&chain::bridge("cni0", &cidrs));
    fs::write(chain::file(&machine.place, CONFLIST), list.to_string())?;
    machine.agent.take().context("no agent runs")?.end(Signal::SIGTERM)?;
    machine.clean_up(&[]).map(drop)
}

fn measure(lab: &Lab, pods: u16) -> Result<()> {
    // kube-controller-manager makes it, and no pod may be without.
    eventually("there is a default service account", PATIENCE, || {
        Ok(lab.control_plane.api.kubectl(&["get", "serviceaccount", "default"]).ok())
    })?;
    let [ours, theirs] = [&lab.machines[0], &lab.machines[1]];
    let contenders = [("kubenet", ours), ("bridge, host-local, portmap", theirs)];
    let mut times = [Vec::new(), Vec::new()];
    let before = [sandboxes(lab, ours)?, sandboxes(lab, theirs)?];
    for number in 0..=pods {
        for ((_, machine), times) in contenders.iter().zip(&mut times) {
            let time = start(lab, machine, number)?;
            // The first warms up.
            times.extend((number > 0).then_some(time));
        }
    }
    say(format_args!(
        "\n{:<32}{:>12}{:>12}{:>12}{:>24}",
        format!("pod created to Ready, {pods} pods"),
        "p50",
        "p90",
        "p99",
        "RunPodSandbox, mean"
    ));
    for (((name, machine), mut times), (sum, count)) in contenders.iter().zip(times).zip(before) {
        let cells = [50, 90, 99].map(|percent| ms(percentile(&mut times, percent)));
        let (new_sum, new_count) = sandboxes(lab, machine)?;
        let mean = Duration::from_secs_f64((new_sum - sum) / (new_count - count));
        let cells = cells.map(|cell| format!("{cell:>12}")).concat();
        say(format_args!("  {name:<30}{cells}{:>24}", ms(mean)));
    }
    Ok(())
}

/// How long it took from the creation to Ready, as a watch saw them.
///
/// The pod stays, so that no other one's end falls on a start.
fn start(lab: &Lab, machine: &Machine, number: u16) -> Result<Duration> {
    let name = format!("bench-{}-{number}", machine.name());
    let pod = serde_json::from_value::<Pod>(json!({
        "metadata": { "name": name },
        "spec": {
            "nodeName": machine.name(),
            "terminationGracePeriodSeconds": 0,
            "automountServiceAccountToken": false,
            "containers": [{
                "name": "probe", "image": crate::image::NAME, "imagePullPolicy": "Never",
                "args": ["serve"],
            }],
        },
    }))?;
    let observer = &lab.control_plane.api.observer;
    observer.ask(async |client| {
        let api = Api::<Pod>::default_namespaced(client);
        Ok(api.create(&PostParams::default(), &pod).await.map(drop)?)
    })?;
    let key = format!("default/{name}");
    observer.wait(&format!("{name} is Ready"), PATIENCE, |cluster| {
        let pod = cluster.pods.get(&key)?;
        Some(pod.at(api::READY)?.duration_since(pod.created))
    })
}

/// How long all sandboxes of a machine took, in seconds, and how many there were.
fn sandboxes(lab: &Lab, machine: &Machine) -> Result<(f64, f64)> {
    let path = format!("/api/v1/nodes/{}/proxy/metrics", machine.name());
    let text = lab.control_plane.api.kubectl(&["get", "--raw", &path])?;
    let sum = |suffix: &str| {
        let lines = text.lines().filter(|line| line.starts_with(&format!("{SANDBOX}_{suffix}")));
        lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum::<f64>()
    };
    Ok((sum("sum"), sum("count")))
}
