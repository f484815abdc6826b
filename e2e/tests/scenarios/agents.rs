//! What an agent does to its machine, and what it says of it.

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use e2e::api::Cluster;
use e2e::fake;
use e2e::lab::Lab;
use e2e::network;
use e2e::place::{Place, Process};
use e2e::wait::eventually;
use k8s_openapi::api::core::v1::NodeCondition;
use nix::sys::signal::Signal;

use crate::World;

const PATIENCE: Duration = Duration::from_secs(20);

/// Number on the switch of a machine without a kubelet.
const SPARE: u8 = 13;

/// Between two markers that both monitors see, an agent starts and finds all well.
pub(crate) fn second_start(world: &mut World) -> Result<()> {
    let machine = &mut world.lab.machines[0];
    machine.agent.take().context("no agent runs")?.end(Signal::SIGTERM)?;
    let monitors = Monitors::start(&machine.place)?;
    monitors.mark(&machine.place, "192.0.2.1")?;
    machine.start_agent()?;
    machine.agent.as_mut().context("no agent runs")?.wait_for_log("network ready")?;
    monitors.mark(&machine.place, "192.0.2.2")?;
    let events = monitors.between("192.0.2.1", "192.0.2.2")?;
    ensure!(events.is_empty(), "the start was seen:\n{}", events.join("\n"));
    monitors.end()
}

/// `ip monitor` and `nft monitor` on a machine.
struct Monitors {
    ip: Process,
    nft: Process,
}

impl Monitors {
    fn start(place: &Place) -> Result<Self> {
        let monitor = |name: &str, arguments: &[&str]| {
            let program = e2e::host::find(name).with_context(|| format!("no {name}"))?;
            place.start(&format!("{name}-monitor"), place.command(program).args(arguments))
        };
        Ok(Self {
            ip: monitor("ip", &["monitor", "link", "address", "route"])?,
            nft: monitor("nft", &["monitor"])?,
        })
    }

    /// Makes a change that each of them shows, again and again until it does.
    fn mark(&self, place: &Place, address: &str) -> Result<()> {
        let route = format!("route add blackhole {address}\nroute delete blackhole {address}");
        let table = mark_of_nft(address);
        let table = format!("table ip {table} {{ }}\ndelete table ip {table}");
        eventually("ip monitor shows the mark", PATIENCE, || {
            place.ip(&route)?;
            Ok(fs::read_to_string(&self.ip.log)?.contains(address).then_some(()))
        })?;
        eventually("nft monitor shows the mark", PATIENCE, || {
            place.feed(&["nft", "-f", "-"], &table)?;
            let log = fs::read_to_string(&self.nft.log)?;
            Ok(log.contains(&mark_of_nft(address)).then_some(()))
        })
    }

    /// What was seen after the last mark of `first` and before the first of `last`.
    ///
    /// kube-proxy's tables live their own life; neighbours are not watched.
    fn between(&self, first: &str, last: &str) -> Result<Vec<String>> {
        let ip = lines_between(&self.ip, first, last)?;
        let nft = lines_between(&self.nft, &mark_of_nft(first), &mark_of_nft(last))?;
        let nft = nft.into_iter().filter(|line| line.contains("kubenet"));
        Ok(ip.into_iter().chain(nft).collect())
    }

    fn end(self) -> Result<()> {
        self.ip.end(Signal::SIGTERM)?;
        self.nft.end(Signal::SIGTERM)
    }
}

/// The name of the table that is a mark, where a route's mark is its address.
fn mark_of_nft(address: &str) -> String {
    format!("mark_{}", address.replace('.', "_"))
}

/// What was logged after the last line with `first` and before the first with `last`.
fn lines_between(process: &Process, first: &str, last: &str) -> Result<Vec<String>> {
    let text = fs::read_to_string(&process.log)?;
    let lines = text.lines().collect::<Vec<_>>();
    let start = lines.iter().rposition(|line| line.contains(first)).context("no first mark")?;
    let end = lines.iter().position(|line| line.contains(last)).context("no last mark")?;
    Ok(lines[start + 1..end].iter().map(|line| (*line).to_owned()).collect())
}

/// A Node without a controller, then with one.
pub(crate) fn without_pod_cidrs(world: &mut World) -> Result<()> {
    let lab = &mut world.lab;
    let controller = lab.control_plane.controller.take().context("no controller runs")?;
    controller.end(Signal::SIGTERM)?;
    let place = Place::open(&lab.traces, "spare", &lab.artifacts.probe)?;
    lab.switch.plug(&place, SPARE)?;
    let addresses = network::addresses(SPARE);
    let node = fake::node("spare", &[addresses.v4, addresses.v6], &[]);
    lab.control_plane.api.observer.create_nodes(vec![node])?;
    let agent = place.start("kubenet-agent", &mut lab.machines[0].agent_in(&place))?;
    let message = condition(lab, "True", "PodCIDRMissing")?;
    ensure!(message.contains("node spare has no podCIDRs yet"), "the condition says: {message}");
    ensure!(!conflist_exists(&place), "there is a conflist before there are podCIDRs");
    lab.control_plane.start_controller()?;
    condition(lab, "False", "KubenetReady")?;
    ensure!(conflist_exists(&place), "there is no conflist although the network is ready");
    agent.end(Signal::SIGTERM)?;
    drop(place);
    lab.control_plane.api.delete_fakes()
}

/// Waits until the spare Node's NetworkUnavailable has that status and reason; its message.
fn condition(lab: &Lab, status: &str, reason: &str) -> Result<String> {
    let what = format!("NetworkUnavailable={status}, {reason}");
    lab.control_plane.api.observer.wait(&what, PATIENCE, |cluster| {
        let condition = network_unavailable(cluster, "spare")?;
        let reached = condition.status == status && condition.reason.as_deref() == Some(reason);
        reached.then(|| condition.message.clone().unwrap_or_default())
    })
}

fn conflist_exists(place: &Place) -> bool {
    let root = format!("/proc/{}/root/etc/cni/net.d", place.init);
    fs::exists(format!("{root}/{}", common::names::CONFLIST)).unwrap_or(false)
}

fn network_unavailable<'a>(cluster: &'a Cluster, node: &str) -> Option<&'a NodeCondition> {
    let conditions = cluster.nodes.get(node)?.object.status.as_ref()?.conditions.as_ref()?;
    conditions.iter().find(|condition| condition.type_ == "NetworkUnavailable")
}
