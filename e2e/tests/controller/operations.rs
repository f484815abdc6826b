//! What an operator asks of the program: what it would do, whether it is ready, what it logs.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use e2e::node_ipam::NodeIpam;
use e2e::proxy::{Fate, Kind, Proxy};
use e2e::wait::eventually;
use http::Request;
use serde_json::Value;

use crate::World;
use crate::play::Play;
use crate::script::{Cluster, prefix};

const PATIENCE: Duration = Duration::from_mins(1);

const DRY_RUN: &str = "\
NODE  PODCIDRS     WHAT
a     10.0.1.0/24  would be assigned
b     10.0.0.0/24  has them
c     -            would wait: no block is free: pool 10.0.0.0/23, mask /24: 2 blocks, 2 used

pool 10.0.0.0/23, mask /24: 2 blocks, 2 used
";

fn cluster(range: &str) -> Cluster {
    Cluster { ranges: vec![(prefix(range), 24)], services: Vec::new() }
}

pub(crate) fn dry_run(world: &mut World) -> Result<()> {
    let World { api, programs, .. } = world;
    api.delete_fakes()?;
    let nodes = [("b", &["10.0.0.0/24"][..]), ("a", &[]), ("c", &[])];
    let nodes = nodes.map(|(name, cidrs)| e2e::fake::node(name, &[], cidrs));
    api.observer.create_nodes(nodes.to_vec())?;
    let flags = ["--cluster-cidr=10.0.0.0/23", "--dry-run", "--fence=claims"];
    let table = programs.output(&api.place, &flags)?;
    ensure!(table == DRY_RUN, "it prints\n{table}");
    let cidrs = "jsonpath={.items[*].spec.podCIDRs}";
    let cidrs = api.kubectl(&["get", "nodes", "-o", cidrs])?;
    ensure!(cidrs == "[\"10.0.0.0/24\"]", "Nodes have {cidrs}");
    api.delete_fakes()
}

pub(crate) fn over_http(world: &mut World) -> Result<()> {
    let World { api, programs, .. } = world;
    let script = |kind, number| match (kind, number) {
        (Kind::List, 0) => Fate::Late(Duration::from_secs(2)),
        _ => Fate::Answered,
    };
    let proxy = Proxy::start(&api.place, &programs.kubeconfig, Box::new(script))?;
    let behind = programs.with_kubeconfig(&proxy.kubeconfig);
    let mut play = Play::begin(api, behind, NodeIpam::Kubenet, &cluster("10.0.0.0/16"))?;
    let ask = |path: &str| {
        let path = path.to_owned();
        api.observer.ask(|_| async move {
            let request = Request::get(path).body(Vec::new())?;
            let client = NodeIpam::Kubenet.client()?;
            Ok(client.request_text(request).await.unwrap_or_else(|error| error.to_string()))
        })
    };
    eventually("it lives and is not ready", PATIENCE, || {
        let lives = ask("/livez")? == "ok";
        Ok((lives && ask("/readyz?verbose")?.contains("[-]nodes failed: not listed yet"))
            .then_some(()))
    })?;
    play.create("n", &[])?;
    play.settled()?;
    let ready = ask("/readyz?verbose")?;
    let checks = ["[+]clustercidrs ok", "[+]nodes ok", "readyz check passed"];
    ensure!(checks.iter().all(|check| ready.contains(check)), "{ready}");
    let metrics = ask("/metrics")?;
    ensure!(metrics.contains("node_ipam_controller_cirdset_max_cidrs"), "{metrics}");
    Ok(())
}

pub(crate) fn json_logs(world: &mut World) -> Result<()> {
    world.api.delete_fakes()?;
    let flags = ["--cluster-cidr=10.0.0.0/16", "--log-format=json"];
    let mut running = world.start(NodeIpam::Kubenet, &flags)?;
    running.wait_for_log("listed all Nodes")?;
    running.kill()?;
    let log = running.said()?;
    ensure!(log.lines().count() > 1, "it logs {log:?}");
    for line in log.lines() {
        let line = serde_json::from_str::<Value>(line).with_context(|| line.to_owned())?;
        ensure!(line["level"].is_string() && line["timestamp"].is_string(), "{line}");
    }
    Ok(())
}
