//! kube-controller-manager and kubenet-controller at once: somebody forgot to switch one off.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use e2e::node_ipam::NodeIpam;
use e2e::proxy::{Fate, Kind, Proxy};
use e2e::wait::eventually;

use crate::World;
use crate::play::Play;
use crate::script::{Cluster, prefix};

const PATIENCE: Duration = Duration::from_mins(1);

pub(crate) fn named_and_left_alone(world: &mut World) -> Result<()> {
    let World { api, programs, .. } = world;
    let ranges = vec![(prefix("10.0.0.0/16"), 24)];
    let cluster = Cluster { ranges, services: Vec::new() };
    // The other one is always faster.
    let script = |kind, _| match kind {
        Kind::Patch => Fate::Refused { code: 500, retry_after: 0 },
        _ => Fate::Answered,
    };
    let proxy = Proxy::start(&api.place, &programs.kubeconfig, Box::new(script))?;
    let behind = programs.with_kubeconfig(&proxy.kubeconfig);
    let mut theirs = Play::begin(api, programs.clone(), NodeIpam::Kubernetes, &cluster)?;
    let mut ours = Play::begin(api, behind, NodeIpam::Kubenet, &cluster)?;
    ours.settled()?;
    theirs.create_all((0..2).map(|number| format!("a{number}")))?;
    theirs.settled()?;
    eventually("an Event names the other one", PATIENCE, || {
        let fields = "reason=ForeignAllocatorDetected";
        let events = api.kubectl(&["get", "events", "--field-selector", fields])?;
        Ok(events.contains("kube-controller-manager gives podCIDRs").then_some(()))
    })?;
    let named = Instant::now();
    theirs.create_all((0..20).map(|number| format!("b{number:02}")))?;
    let given = theirs.settled()?;
    ours.settled()?;
    ensure!(given.len() == 22, "{} Nodes are there", given.len());
    let seen = proxy.seen();
    let ours = seen.iter().filter(|seen| seen.kind == Kind::Patch && seen.came > named).count();
    ensure!(ours == 0, "{ours} PATCHes came after the other one was named");
    Ok(())
}
