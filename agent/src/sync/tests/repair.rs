//! Each thing that somebody can break, twenty times on a real kernel: it is put right, or named where
//! it is not ours to put right, each time because somebody told the loop, and within a second.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use net::link::{LinkChange, Master};
use net::program::Call;
use net::{Mac, nft};

use super::*;
use crate::mode::Mode;
use crate::state::Observed;
use crate::testing::lab::{Pod, index};

const TIMES: usize = 20;

/// For all but one of twenty: where others share the machine it may stand still once, and that one time
/// may be anything up to [`DEADLINE`].
const LIMIT: Duration = Duration::from_secs(1);

/// What the agent keeps right, without what the kernel numbers anew.
fn state(observed: &Observed) -> String {
    let bridge = observed.bridge();
    let index = bridge.map(|link| link.index);
    let addresses = observed.addresses.iter().filter(|address| Some(address.link) == index);
    let addresses = addresses.map(|held| (held.address, held.length)).collect::<BTreeSet<_>>();
    let ports = observed.links.iter().filter(|link| crate::ports::owner(link).is_some());
    let ports = ports.map(|port| {
        (&port.name, port.up, port.promiscuous, port.hairpin, port.open, port.master == index)
    });
    let routes = observed.routes.iter().filter(|r| r.protocol == names::ROUTE_PROTOCOL);
    format!(
        "{:?} {:?} {addresses:?} {:?} {:?} {:?} {:?} {:?} {:?} {:?}",
        bridge.map(|link| (&link.name, link.mac, link.mtu, link.up, link.promiscuous)),
        bridge.map(|link| (link.spanning_tree, link.vlan_filtering)),
        ports.collect::<Vec<_>>(),
        observed.files,
        routes.collect::<Vec<_>>(),
        observed.sysctls,
        observed.tables,
        observed.plugins,
        observed.conflist,
    )
}

/// One after the other: what is measured must not wait for what other tests do.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// Runs `scenario` beside a loop that has made the machine right, and returns its metrics as text.
fn beside_the_loop(lab: &Lab, scenario: impl AsyncFnOnce(&mut Machine, &Seen) + Send) -> String {
    let _alone = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let mut registry = Registry::default();
    let metrics = Metrics::new(&mut registry);
    let seen = Arc::new(registry);
    let registry = Arc::clone(&seen);
    with_reported_loop(lab, metrics, async |nodes, mut verdicts| {
        nodes.send_replace(Some(lab.nodes.clone()));
        until(&mut verdicts, Ok(())).await;
        let mut machine = Machine::open(lab.paths()).unwrap();
        scenario(&mut machine, &Seen { verdicts, registry }).await;
    });
    metrics_of(&seen)
}

/// What the loop shows of itself.
struct Seen {
    verdicts: Verdicts,
    registry: Arc<Registry>,
}

/// How long the same thing took, again and again.
#[derive(Default)]
struct Times(Vec<Duration>);

impl Seen {
    fn repairs(&self, kind: &str) -> usize {
        self.count(&format!("kubenet_agent_drift_repaired_total{{kind=\"{kind}\"}} "))
    }

    fn rounds(&self) -> usize {
        self.count("kubenet_agent_sync_duration_seconds_count ")
    }

    /// Asks every millisecond until `there`, and returns how long that took.
    async fn in_time(&self, what: &str, mut there: impl FnMut() -> bool) -> Duration {
        let start = Instant::now();
        while !there() {
            assert!(start.elapsed() < DEADLINE, "{what}");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        start.elapsed()
    }

    fn count(&self, line: &str) -> usize {
        let text = metrics_of(&self.registry);
        text.lines().find_map(|l| l.strip_prefix(line)).map_or(0, |count| count.parse().unwrap())
    }
}

impl Times {
    #[track_caller]
    fn check(mut self, what: &str) {
        self.0.sort();
        let rank = |percent: usize| self.0[(self.0.len() * percent).div_ceil(100) - 1];
        let (p50, p95, p99, most) = (rank(50), rank(95), rank(99), rank(100));
        let text = format!("{} times, p50 {p50:.1?}, p99 {p99:.1?}, most {most:.1?}", self.0.len());
        println!("{what}: {text}");
        assert!(p95 <= LIMIT, "{what}: {text}");
    }
}

/// Looks at the machine as the loop does.
fn look(machine: &mut Machine) -> String {
    state(&machine.observe(&Mode::KUBENET).unwrap())
}

fn metrics_of(registry: &Registry) -> String {
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, registry).unwrap();
    text
}

/// How often each thing is broken: as often as a variable `REPAIRS` says.
fn wanted() -> usize {
    std::env::var("REPAIRS").map_or(TIMES, |text| text.parse().unwrap())
}

/// Breaks something again and again; each time it is right again in time, and counted as `kind`.
///
/// Each twenty on a new machine, as more would be a quarrel.
#[track_caller]
fn check(what: &str, kind: &str, break_it: impl Fn(&mut Netlink, &Path) + Send + Sync) {
    let mut times = Times::default();
    while times.0.len() < wanted() {
        twenty_times(what, kind, &break_it, &mut times);
    }
    times.check(what);
}

fn twenty_times(
    what: &str,
    kind: &str,
    break_it: &(impl Fn(&mut Netlink, &Path) + Send + Sync),
    times: &mut Times,
) {
    let lab = Lab::new();
    let files = lab.path("");
    beside_the_loop(&lab, async |machine, seen| {
        let _pod = Pod::attach(machine, "c1@eth0", "10.244.1.5");
        let before = look(machine);
        // Somebody else's: of what a machine changes itself it is told nothing.
        let mut netlink = Netlink::open().unwrap();
        for number in 1..=TIMES {
            let rounds = seen.rounds();
            break_it(&mut netlink, &files);
            times.0.push(seen.in_time(what, || look(machine) == before).await);
            // The machine is at peace again, and the loop asleep.
            seen.in_time("it is not counted", || seen.repairs(kind) >= number).await;
            seen.in_time("it is not looked at again", || seen.rounds() >= rounds + 2).await;
        }
    });
}

fn cbr0(change: LinkChange) -> impl Fn(&mut Netlink, &Path) + Send + Sync {
    move |netlink, _| {
        let cbr0 = index(netlink, names::BRIDGE);
        netlink.set_link(cbr0, &change).unwrap();
    }
}

fn port(change: LinkChange) -> impl Fn(&mut Netlink, &Path) + Send + Sync {
    move |netlink, _| {
        let port = index(netlink, &Pod::host_link("c1@eth0"));
        netlink.set_link(port, &change).unwrap();
    }
}

fn setting(key: &'static str, value: &'static str) -> impl Fn(&mut Netlink, &Path) + Send + Sync {
    move |_, _| write_setting(key, value)
}

fn write_setting(key: &str, value: &str) {
    fs::write(PathBuf::from("/proc/sys").join(key), value).unwrap();
}

fn unchanged() -> LinkChange {
    LinkChange::default()
}

#[test]
fn the_bridge_is_repaired() {
    check("cbr0 deleted", "bridge", |netlink, _| {
        let cbr0 = index(netlink, names::BRIDGE);
        netlink.delete_link(cbr0).unwrap();
    });
    check("cbr0 renamed", "bridge", |netlink, _| {
        let cbr0 = index(netlink, names::BRIDGE);
        netlink.rename_link(cbr0, "br0").unwrap();
    });
    check("cbr0 down", "link", cbr0(LinkChange { up: Some(false), ..unchanged() }));
    let mac = Mac([2, 0, 0, 0, 0, 9]);
    check("MAC of cbr0", "mac", cbr0(LinkChange { mac: Some(mac), ..unchanged() }));
    check("MTU of cbr0", "mtu", cbr0(LinkChange { mtu: Some(1300), ..unchanged() }));
    let promiscuous = LinkChange { promiscuous: Some(true), ..unchanged() };
    check("cbr0 promiscuous", "promisc", cbr0(promiscuous));
    // VLAN filtering is the same, but not every kernel has it: it is in the tables.
    let spanning_tree = LinkChange { spanning_tree: Some(true), ..unchanged() };
    check("spanning tree", "bridge", cbr0(spanning_tree));
}

#[test]
fn addresses_are_repaired() {
    for (address, length) in [("10.244.1.1", 24), ("fd00:0:0:1::1", 64)] {
        check(address, "address", move |netlink, _| {
            let cbr0 = index(netlink, names::BRIDGE);
            netlink.delete_address(cbr0, address.parse().unwrap(), length).unwrap();
        });
    }
    check("address of nobody", "address", |netlink, _| {
        let cbr0 = index(netlink, names::BRIDGE);
        netlink.add_address(cbr0, "10.9.9.9".parse().unwrap(), 24).unwrap();
    });
}

#[test]
fn ports_are_repaired() {
    let detached = LinkChange { master: Some(Master::Nobody), ..unchanged() };
    check("port detached", "port", port(detached));
    check("port down", "port", port(LinkChange { up: Some(false), ..unchanged() }));
    check("hairpin off", "port", port(LinkChange { hairpin: Some(false), ..unchanged() }));
    let promiscuous = LinkChange { promiscuous: Some(true), ..unchanged() };
    check("port promiscuous", "port", port(promiscuous));
    for flag in ["isolated on", "learning off"] {
        check(flag, "port", move |_, _| {
            let set = ["link", "set", "dev", &Pod::host_link("c1@eth0")];
            let arguments = set.into_iter().chain(flag.split(' ')).collect::<Vec<_>>();
            let (program, timeout) = (Path::new("bridge"), DEADLINE);
            Call { program, arguments: &arguments, input: "", timeout }.run().unwrap();
        });
    }
}

#[test]
fn files_of_pods_are_repaired() {
    let record = "state/attachments/c1@eth0";
    check("record gone", "record", move |_, files| fs::remove_file(files.join(record)).unwrap());
    check("record spoilt", "record", move |_, files| fs::write(files.join(record), "{").unwrap());
    check("lease gone", "record", |_, files| {
        fs::remove_file(files.join("state/leases/10.244.1.5")).unwrap();
    });
}

#[test]
fn routes_are_repaired() {
    let ours = |netlink: &mut Netlink| {
        let routes = netlink.routes().unwrap();
        routes.into_iter().find(|route| route.protocol == names::ROUTE_PROTOCOL).unwrap()
    };
    check("route deleted", "route", move |netlink, _| {
        let route = ours(netlink);
        netlink.change_routes(&[RouteChange::Delete(route)]).unwrap().remove(0).unwrap();
    });
    check("route replaced", "route", move |netlink, _| {
        let route = Route { via: Some("192.0.2.99".parse().unwrap()), ..ours(netlink) };
        netlink.change_routes(&[RouteChange::Replace(route)]).unwrap().remove(0).unwrap();
    });
}

#[test]
fn tables_are_repaired() {
    check("ruleset flushed", "table", |_, _| nft::apply("flush ruleset").unwrap());
    check("foreign rule", "table", |_, _| {
        nft::apply("add rule inet kubenet postrouting accept").unwrap();
    });
}

#[test]
fn kernel_settings_are_repaired() {
    check("ip_forward", "sysctl", setting("net/ipv4/ip_forward", "0"));
    for link in ["cbr0", "eth0"] {
        let forwarding = format!("net/ipv4/conf/{link}/forwarding");
        check(&forwarding.clone(), "sysctl", move |_, _| write_setting(&forwarding, "0"));
    }
    check("IPv6 forwarding", "sysctl", setting("net/ipv6/conf/all/forwarding", "0"));
    check("accept_ra", "sysctl", setting("net/ipv6/conf/cbr0/accept_ra", "1"));
    check("route_localnet", "sysctl", setting("net/ipv4/conf/cbr0/route_localnet", "0"));
}

#[test]
fn bridge_netfilter_is_repaired() {
    check("iptables", "sysctl", setting("net/bridge/bridge-nf-call-iptables", "0"));
    check("ip6tables", "sysctl", setting("net/bridge/bridge-nf-call-ip6tables", "0"));
}

#[test]
fn files_are_repaired() {
    let conflist = "conf/10-kubenet.conflist";
    check("conflist gone", "conflist", move |_, files| {
        fs::remove_file(files.join(conflist)).unwrap();
    });
    check("conflist altered", "conflist", move |_, files| {
        fs::write(files.join(conflist), "{}").unwrap();
    });
    check("plugin gone", "plugin", |_, files| fs::remove_file(files.join("bin/kubenet")).unwrap());
    check("plugin altered", "plugin", |_, files| {
        fs::write(files.join("bin/kubenet"), "virus").unwrap();
    });
    check("folder gone", "plugin", |_, files| fs::remove_dir_all(files.join("bin")).unwrap());
}

#[test]
fn a_config_that_comes_before_ours_is_named_and_pods_are_kept_away() {
    let lab = Lab::new();
    let other = lab.path("conf/05-other.conflist");
    beside_the_loop(&lab, async |_, seen| {
        let is = |expected: &Verdict| seen.verdicts.borrow().as_ref() == Some(expected);
        let shadowed = Err(Unready::Shadowed("05-other.conflist".to_owned()));
        let (mut named, mut forgotten) = (Times::default(), Times::default());
        for _ in 0..wanted() {
            fs::write(&other, r#"{"name": "other", "plugins": [{"type": "bridge"}]}"#).unwrap();
            named.0.push(seen.in_time("it is not named", || is(&shadowed)).await);
            fs::remove_file(&other).unwrap();
            forgotten.0.push(seen.in_time("pods are kept away", || is(&Ok(()))).await);
        }
        named.check("conflist of others");
        forgotten.check("conflist of others gone");
    });
}

#[test]
fn a_forward_policy_of_others_that_drops_is_named() {
    let lab = Lab::new();
    beside_the_loop(&lab, async |_, seen| {
        let complaints = |count: usize| {
            metrics_of(&seen.registry).contains(&format!("\nkubenet_agent_complaints {count}\n"))
        };
        let (mut named, mut forgotten) = (Times::default(), Times::default());
        for _ in 0..wanted() {
            let chain = "{ type filter hook forward priority 0; policy drop; }";
            nft::apply(&format!("table ip filter {{ chain FORWARD {chain}; }}")).unwrap();
            named.0.push(seen.in_time("it is not named", || complaints(2)).await);
            nft::apply("delete table ip filter").unwrap();
            forgotten.0.push(seen.in_time("it is still named", || complaints(1)).await);
        }
        named.check("FORWARD policy of others");
        forgotten.check("FORWARD policy of others gone");
    });
}

#[test]
fn who_never_gives_up_is_answered_ever_more_slowly() {
    let lab = Lab::new();
    beside_the_loop(&lab, async |_, seen| {
        let forward = Path::new("/proc/sys/net/ipv4/ip_forward");
        let undo = async || {
            let repairs = seen.repairs("sysctl");
            fs::write(forward, "0").unwrap();
            let repaired = async {
                while seen.repairs("sysctl") == repairs {
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
            };
            tokio::time::timeout(DEADLINE, repaired).await.unwrap();
        };
        let is_quarrel = || seen.count("kubenet_agent_repair_loop ") == 1;
        while !is_quarrel() {
            undo().await;
        }
        // Of the 31 changes that are too many, some may be those of the start.
        let repairs = seen.repairs("sysctl");
        assert!(repairs >= 28, "a quarrel after {repairs} repairs");
        let start = Instant::now();
        for _ in 0..6 {
            undo().await;
        }
        let took = start.elapsed();
        assert!(took > LIMIT, "six more took {took:?}");
        assert!(is_quarrel());
    });
}
