//! The loop on a real kernel: what wakes it, and that it falls asleep again.

use std::fs;
use std::os::unix::fs::symlink;
use std::sync::Arc;
use std::time::Duration;

use common::names;
use net::Netlink;
use net::route::{Route, RouteChange};

use prometheus_client::registry::Registry;

use super::*;
use crate::events;
use crate::health;
use crate::nodes::Latest;
use crate::ranges::Ranges;
use crate::report::Metrics;
use crate::testing::lab::Lab;
use crate::testing::node;
use crate::unready::Unready;
use crate::wakers::Kernel;

mod away;
mod repair;
mod uplink;

/// More than a repair takes on any machine, less than the loop's own timer, so that somebody told it.
const DEADLINE: Duration = Duration::from_secs(20);

/// Many times what lies between two rounds of a loop that wakes itself.
const PEACE: Duration = Duration::from_millis(300);

/// Less than make a quarrel, in which that is more.
const NEWS: usize = 20;

/// What the loop says of each of its rounds.
type Verdicts = watch::Receiver<Option<Verdict>>;

/// Runs the loop inside the lab beside `scenario`, which is given the Nodes' sender and the verdicts.
fn with_loop<F: Future<Output = ()>>(
    lab: &Lab,
    scenario: impl FnOnce(watch::Sender<Latest>, Verdicts) -> F + Send,
) {
    with_reported_loop(lab, Metrics::new(&mut Registry::default()), scenario);
}

fn with_reported_loop<F: Future<Output = ()>>(
    lab: &Lab,
    metrics: Metrics,
    scenario: impl FnOnce(watch::Sender<Latest>, Verdicts) -> F + Send,
) {
    with_ranges(lab, metrics, |nodes, _, verdicts| scenario(nodes, verdicts));
}

/// As above; `scenario` is given the sender of the cluster's ranges as well.
fn with_ranges<F: Future<Output = ()>>(
    lab: &Lab,
    metrics: Metrics,
    scenario: impl FnOnce(watch::Sender<Latest>, watch::Sender<Ranges>, Verdicts) -> F + Send,
) {
    lab.inside(|| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(beside(lab, metrics, scenario));
    });
}

/// The same inside a runtime that is there, whose clock may be one of its own.
async fn beside<F: Future<Output = ()>>(
    lab: &Lab,
    metrics: Metrics,
    scenario: impl FnOnce(watch::Sender<Latest>, watch::Sender<Ranges>, Verdicts) -> F,
) {
    let (send, nodes) = watch::channel(None);
    let (extend, ranges) = watch::channel(Ranges::default());
    let cluster = Cluster { nodes, ranges };
    let (judge, verdicts) = watch::channel(None);
    let machine = Machine::open(lab.paths()).unwrap();
    let lock = AgentLock::take(&lab.paths()).await.unwrap();
    let worker = Worker::new(machine, lab.config.clone(), lock);
    let (events, _notes) = events::queue();
    let mut report = Report::new(metrics, events, health::checks());
    let knocked = Notify::new();
    tokio::select! {
        ended = run(worker, cluster, judge, &mut report, &knocked) => panic!("{ended:?}"),
        () = scenario(send, extend, verdicts) => {}
    }
}

async fn until(verdicts: &mut Verdicts, expected: Verdict) {
    let there = verdicts.wait_for(|verdict| verdict.as_ref() == Some(&expected));
    tokio::time::timeout(DEADLINE, there).await.unwrap().unwrap();
}

/// Looks after each event of the kernel.
async fn eventually(mut kernel: Kernel, mut probe: impl FnMut() -> bool) {
    let there = async {
        while !probe() {
            kernel.changed().await.unwrap();
        }
    };
    tokio::time::timeout(DEADLINE, there).await.unwrap();
}

fn ours() -> Vec<Route> {
    let routes = Netlink::open().unwrap().routes().unwrap();
    routes.into_iter().filter(|route| route.protocol == names::ROUTE_PROTOCOL).collect()
}

#[test]
fn it_waits_for_the_cluster() {
    let lab = Lab::new();
    with_loop(&lab, async |nodes, mut verdicts| {
        until(&mut verdicts, Err(Unready::NodesUnknown)).await;
        nodes.send_replace(Some(Nodes::default()));
        until(&mut verdicts, Err(Unready::NoNode("me".to_owned()))).await;
        nodes.send_replace(Some(lab.nodes.clone()));
        until(&mut verdicts, Ok(())).await;
    });
}

#[test]
fn the_kernel_and_the_cluster_wake_it() {
    let lab = Lab::new();
    with_loop(&lab, async |nodes, mut verdicts| {
        nodes.send_replace(Some(lab.nodes.clone()));
        until(&mut verdicts, Ok(())).await;

        let kernel = Kernel::subscribe().unwrap();
        let routes = ours();
        let change = RouteChange::Delete(routes[0]);
        Netlink::open().unwrap().change_routes(&[change]).unwrap().remove(0).unwrap();
        eventually(kernel, || ours() == routes).await;

        let kernel = Kernel::subscribe().unwrap();
        net::nft::apply("flush ruleset").unwrap();
        eventually(kernel, || net::nft::list(names::TABLE).unwrap().is_some()).await;

        let kernel = Kernel::subscribe().unwrap();
        let mut fewer = lab.nodes.clone();
        fewer.remove("b");
        nodes.send_replace(Some(fewer));
        eventually(kernel, || ours().is_empty()).await;
    });
}

#[test]
fn a_range_of_a_cluster_cidr_is_followed_while_there_is_one() {
    let lab = Lab::new();
    let peer = node("c 3 10.80.0.0/26 192.0.2.3");
    let destination = "10.80.0.0/26".parse::<common::Prefix>().unwrap();
    let routed = || ours().iter().any(|route| route.destination == destination);
    let inside = || net::nft::list(names::TABLE).unwrap().unwrap().contains("10.80.0.0/24");
    let metrics = Metrics::new(&mut Registry::default());
    with_ranges(&lab, metrics, async |nodes, ranges, mut verdicts| {
        let mut known = lab.nodes.clone();
        known.insert("c".to_owned(), Arc::new(peer));
        nodes.send_replace(Some(known));
        until(&mut verdicts, Ok(())).await;
        assert!(!routed() && !inside());
        let kernel = Kernel::subscribe().unwrap();
        let pods = vec!["10.80.0.0/24".parse().unwrap()];
        ranges.send_replace(Ranges { pods, ..Ranges::default() });
        eventually(kernel, || routed() && inside()).await;
        let kernel = Kernel::subscribe().unwrap();
        ranges.send_replace(Ranges::default());
        eventually(kernel, || !routed() && !inside()).await;
    });
}

#[test]
fn a_range_of_services_is_followed_while_there_is_one() {
    let lab = Lab::new();
    let routed = || ours().iter().any(|route| route.destination.to_string() == "10.244.2.0/24");
    let inside = || net::nft::list(names::TABLE).unwrap().unwrap().contains("10.96.0.0/16");
    let metrics = Metrics::new(&mut Registry::default());
    with_ranges(&lab, metrics, async |nodes, ranges, mut verdicts| {
        nodes.send_replace(Some(lab.nodes.clone()));
        until(&mut verdicts, Ok(())).await;
        assert!(routed() && !inside());
        let kernel = Kernel::subscribe().unwrap();
        let services = ["10.96.0.0/16", "10.244.2.0/25"].map(|cidr| cidr.parse().unwrap()).into();
        ranges.send_replace(Ranges { services, ..Ranges::default() });
        eventually(kernel, || !routed() && inside()).await;
        let kernel = Kernel::subscribe().unwrap();
        ranges.send_replace(Ranges::default());
        eventually(kernel, || routed() && !inside()).await;
    });
}

#[test]
fn the_file_of_what_is_not_masqueraded_is_followed_as_kubelet_swaps_it() {
    let lab = Lab::new();
    let volume = lab.path("masquerade");
    let write = |generation: &str, text: &str| {
        let folder = volume.join(generation);
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("config"), text).unwrap();
        symlink(generation, volume.join("..data_tmp")).unwrap();
        fs::rename(volume.join("..data_tmp"), volume.join("..data")).unwrap();
    };
    write("..1", "nonMasqueradeCIDRs: [198.51.100.0/24]");
    symlink("..data/config", volume.join("config")).unwrap();
    let inside = |cidr: &str| net::nft::list(names::TABLE).unwrap().unwrap().contains(cidr);
    with_loop(&lab, async |nodes, mut verdicts| {
        nodes.send_replace(Some(lab.nodes.clone()));
        until(&mut verdicts, Ok(())).await;
        assert!(inside("198.51.100.0/24") && inside("169.254.0.0/16"));
        let kernel = Kernel::subscribe().unwrap();
        write("..2", "{\"nonMasqueradeCIDRs\": [\"203.0.113.0/24\"], \"masqLinkLocal\": true}");
        eventually(kernel, || inside("203.0.113.0/24")).await;
        assert!(!inside("198.51.100.0/24") && !inside("169.254.0.0/16"));
        // The third is read before the loop is told of the fourth.
        write("..3", "nonMasqueradeCIDRs: [198.51.100.0/40]");
        let kernel = Kernel::subscribe().unwrap();
        let alone = lab.nodes.clone().into_iter().filter(|(name, _)| name == "me");
        nodes.send_replace(Some(alone.collect::<Nodes>()));
        eventually(kernel, || ours().is_empty()).await;
        assert!(inside("203.0.113.0/24"));
    });
}

#[test]
fn a_state_folder_that_is_removed_is_made_anew_with_what_is_known() {
    let lab = Lab::new();
    with_loop(&lab, async |nodes, mut verdicts| {
        nodes.send_replace(Some(lab.nodes.clone()));
        until(&mut verdicts, Ok(())).await;
        let pod = lab.add("c1");
        let lease = format!("state/leases/{}", pod.addresses[0]);
        let made = ["state/agent.lock", "state/kubenet-pods.applied", &lease];
        let made = made.map(|name| lab.path(name));
        fs::remove_dir_all(lab.path("state")).unwrap();
        let all_is_made = async {
            while !made.iter().all(|path| path.exists()) {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        tokio::time::timeout(DEADLINE, all_is_made).await.unwrap();
        until(&mut verdicts, Ok(())).await;
    });
}

#[test]
fn its_own_changes_do_not_keep_it_awake() {
    let lab = Lab::new();
    with_loop(&lab, async |nodes, mut verdicts| {
        nodes.send_replace(Some(lab.nodes.clone()));
        until(&mut verdicts, Ok(())).await;
        let mut kernel = Kernel::subscribe().unwrap();
        // It may still tell of what was before.
        for _ in 0..NEWS {
            if tokio::time::timeout(PEACE, kernel.changed()).await.is_err() {
                return;
            }
        }
        panic!("the kernel always has news");
    });
}
