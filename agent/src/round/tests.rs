//! Rounds against a real kernel: a bare machine becomes right, stays untouched when it is, and each
//! thing that somebody breaks is mended by the next round.

mod advertised;
mod hairpin;
mod loopback;
mod masquerade;
mod mtu;
mod pod_cidr;
mod take_over;

use std::fs;
use std::io;
use std::net::IpAddr;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::time::Instant;

use net::events::Events;
use net::link::{LinkChange, Master};
use net::route::{Route, RouteChange};
use net::{Mac, Netlink};

use super::*;
use crate::mode::Mode;
use crate::testing::lab::{Lab, Pod, index};
use crate::testing::node;

mod modes;

#[test]
fn a_bare_machine_becomes_right_in_one_round() {
    let lab = Lab::new();
    let mut machine = lab.machine();
    assert_eq!(lab.converge(&mut machine), 1);
    let observed = lab.inside(|| machine.observe(&Mode::KUBENET).unwrap());
    let cbr0 = observed.bridge().unwrap();
    assert_eq!((cbr0.mtu, cbr0.up), (1450, true));
    assert_eq!(cbr0.mac.unwrap().to_string(), "0a:58:0a:f4:01:01");
    let ours = observed.routes.iter().filter(|route| route.protocol == names::ROUTE_PROTOCOL);
    assert_eq!(ours.count(), 2);
    assert!(lab.path("bin/loopback").is_file() && lab.path("bin/kubenet").is_file());
    assert!(
        fs::read_to_string(lab.path("conf/10-kubenet.conflist")).unwrap().contains("10.244.1.1")
    );
    assert!(!lab.path("state/reason").exists());
}

#[test]
fn a_second_start_changes_nothing() {
    let lab = Lab::new();
    assert_eq!(lab.converge(&mut lab.machine()), 1);
    let names = ["bin/kubenet", "bin/loopback", "conf/10-kubenet.conflist"]
        .into_iter()
        .chain(["state/kubenet.applied", "state/kubenet-pods.applied"]);
    let inodes = names.map(|name| (name, fs::metadata(lab.path(name)).unwrap().ino()));
    let before = inodes.collect::<Vec<_>>();
    let subscribe = || [Events::of_routing().unwrap(), Events::of_nftables().unwrap()];
    let subscriptions = lab.inside(subscribe);
    assert_eq!(lab.converge(&mut lab.machine()), 0);
    for mut events in subscriptions {
        let news = events.next();
        assert_eq!(news.unwrap_err().kind(), io::ErrorKind::WouldBlock);
    }
    for (name, inode) in before {
        assert_eq!(fs::metadata(lab.path(name)).unwrap().ino(), inode, "{name}");
    }
}

/// Breaks something of a machine that is right, and expects the next round to mend it.
#[track_caller]
fn check(lab: &Lab, what: &str, break_it: impl FnOnce(&mut Netlink) + Send) {
    let mut machine = lab.machine();
    lab.converge(&mut machine);
    let before = lab.look();
    lab.inside(|| break_it(&mut Netlink::open().unwrap()));
    let round = lab.round(&mut machine);
    assert_eq!(round.verdict, Ok(()), "{what}");
    assert!(round.changed, "{what} was not noticed");
    assert_eq!(lab.look(), before, "{what}");
}

fn route(destination: &str, via: &str, link: u32) -> Route {
    Route {
        destination: destination.parse().unwrap(),
        via: Some(via.parse().unwrap()),
        link: Some(link),
        protocol: names::ROUTE_PROTOCOL,
        metric: 0,
        mtu: None,
    }
}

#[test]
fn a_round_mends_routes() {
    let lab = Lab::new();
    let change = |changes: fn(u32) -> RouteChange| {
        move |netlink: &mut Netlink| {
            let change = changes(index(netlink, "eth0"));
            netlink.change_routes(&[change]).unwrap().remove(0).unwrap();
        }
    };
    check(
        &lab,
        "v4 route gone",
        change(|eth0| RouteChange::Delete(route("10.244.2.0/24", "192.0.2.2", eth0))),
    );
    check(
        &lab,
        "v6 route gone",
        change(|eth0| RouteChange::Delete(route("fd00:0:0:2::/64", "2001:db8::2", eth0))),
    );
    check(
        &lab,
        "v4 route elsewhere",
        change(|eth0| RouteChange::Replace(route("10.244.2.0/24", "192.0.2.9", eth0))),
    );
    check(
        &lab,
        "v6 route elsewhere",
        change(|eth0| RouteChange::Replace(route("fd00:0:0:2::/64", "2001:db8::9", eth0))),
    );
    check(
        &lab,
        "route to a Node that is gone",
        change(|eth0| RouteChange::Replace(route("10.244.9.0/24", "192.0.2.9", eth0))),
    );
}

#[test]
fn a_round_mends_the_bridge() {
    let lab = Lab::new();
    let change = |change: LinkChange| {
        move |netlink: &mut Netlink| {
            let cbr0 = index(netlink, names::BRIDGE);
            netlink.set_link(cbr0, &change).unwrap();
        }
    };
    let unchanged = LinkChange::default;
    check(&lab, "MTU", change(LinkChange { mtu: Some(1400), ..unchanged() }));
    check(&lab, "MAC", change(LinkChange { mac: Some(Mac([2, 0, 0, 0, 0, 9])), ..unchanged() }));
    check(&lab, "down", change(LinkChange { up: Some(false), ..unchanged() }));
    check(&lab, "renamed", |netlink| {
        let cbr0 = index(netlink, names::BRIDGE);
        netlink.rename_link(cbr0, "br0").unwrap();
    });
    for (address, length) in [("10.244.1.1", 24), ("fd00:0:0:1::1", 64)] {
        check(&lab, address, |netlink| {
            let cbr0 = index(netlink, names::BRIDGE);
            netlink.delete_address(cbr0, address.parse().unwrap(), length).unwrap();
        });
    }
    check(&lab, "address of nobody", |netlink| {
        let cbr0 = index(netlink, names::BRIDGE);
        netlink.add_address(cbr0, "10.9.9.9".parse().unwrap(), 24).unwrap();
    });
}

#[test]
fn a_bridge_that_was_deleted_comes_back() {
    let lab = Lab::new();
    let mut machine = lab.machine();
    lab.converge(&mut machine);
    lab.inside(|| {
        let mut netlink = Netlink::open().unwrap();
        let cbr0 = index(&mut netlink, names::BRIDGE);
        netlink.delete_link(cbr0).unwrap();
    });
    assert_eq!(lab.converge(&mut machine), 1);
}

#[test]
fn a_round_mends_the_tables() {
    let lab = Lab::new();
    for text in [
        "flush ruleset",
        "delete table inet kubenet",
        "delete table inet kubenet-pods",
        "flush chain inet kubenet postrouting",
        "add rule inet kubenet postrouting accept",
        "add set inet kubenet-pods more { type ipv4_addr; }",
        "flush chain inet kubenet-pods hostports",
    ] {
        check(&lab, text, |_| net::nft::apply(text).unwrap());
    }
}

#[test]
fn a_round_mends_kernel_settings_of_its_own_namespace() {
    let lab = Lab::new();
    for (key, value) in [
        ("net/ipv4/ip_forward", "0"),
        ("net/ipv6/conf/all/forwarding", "0"),
        ("net/bridge/bridge-nf-call-iptables", "0"),
        ("net/bridge/bridge-nf-call-ip6tables", "0"),
        ("net/ipv6/conf/cbr0/accept_ra", "1"),
    ] {
        let path = PathBuf::from("/proc/sys").join(key);
        check(&lab, key, |_| fs::write(path, value).unwrap());
    }
}

#[test]
fn a_dying_pod_is_not_put_back_on_the_bridge() {
    let lab = Lab::new();
    let mut machine = lab.machine();
    lab.converge(&mut machine);
    let _pod = lab.inside(|| Pod::attach(&mut machine, "c1@eth0", "10.244.1.5"));
    lab.converge(&mut machine);
    let id = "c1@eth0".parse().unwrap();
    let link = machine.netlink.link(&Pod::host_link("c1@eth0")).unwrap().unwrap();
    let off = LinkChange { master: Some(Master::Nobody), ..LinkChange::default() };
    // A DEL that is at work, between any two of its steps.
    let claim = fs::File::open(machine.paths.claim(&id)).unwrap();
    claim.lock().unwrap();
    let tombstone = lab.path("state/tombstones/c1@eth0");
    fs::create_dir(tombstone.parent().unwrap()).unwrap();
    for buried in [false, true] {
        if buried {
            fs::rename(machine.paths.record(&id), &tombstone).unwrap();
        }
        machine.netlink.set_link(link.index, &off).unwrap();
        lab.round(&mut machine);
        let now = machine.netlink.link(&link.name).unwrap().unwrap();
        assert_eq!((now.index, now.master), (link.index, None));
    }
    // It was killed: the agent completes it. A process that another test is about to start may hold a
    // copy of the file.
    claim.unlock().unwrap();
    lab.round(&mut machine);
    assert!(machine.netlink.link(&link.name).unwrap().is_none() && !tombstone.exists());
}

#[test]
fn a_round_mends_files() {
    let lab = Lab::new();
    let conflist = lab.path("conf/10-kubenet.conflist");
    check(&lab, "conflist gone", |_| fs::remove_file(&conflist).unwrap());
    check(&lab, "conflist altered", |_| fs::write(&conflist, "{}").unwrap());
    check(&lab, "plugin gone", |_| fs::remove_file(lab.path("bin/kubenet")).unwrap());
    check(&lab, "loopback gone", |_| fs::remove_file(lab.path("bin/loopback")).unwrap());
    check(&lab, "plugin altered", |_| fs::write(lab.path("bin/kubenet"), "virus").unwrap());
    check(&lab, "records lost", |_| fs::remove_file(lab.path("state/kubenet.applied")).unwrap());
}

#[test]
fn a_new_plugin_replaces_ours_and_spares_a_foreign_loopback() {
    let lab = Lab::new();
    let mut machine = lab.machine();
    lab.converge(&mut machine);
    fs::write(lab.path("program"), "version two").unwrap();
    lab.converge(&mut machine);
    let read = |name| fs::read_to_string(lab.path(name)).unwrap();
    assert_eq!(
        (read("bin/kubenet"), read("bin/loopback")),
        ("version two".into(), "version two".into())
    );
    fs::write(lab.path("bin/loopback"), "somebody's").unwrap();
    fs::write(lab.path("program"), "version three").unwrap();
    lab.converge(&mut machine);
    assert_eq!(
        (read("bin/kubenet"), read("bin/loopback")),
        ("version three".into(), "somebody's".into())
    );
}

#[test]
fn what_others_made_stays() {
    let lab = Lab::new();
    let foreign = |eth0| Route { protocol: 4, ..route("172.16.0.0/12", "192.0.2.77", eth0) };
    let list = || net::nft::list("others").unwrap();
    let before = lab.inside(|| {
        let mut netlink = Netlink::open().unwrap();
        let eth0 = index(&mut netlink, "eth0");
        netlink.change_routes(&[RouteChange::Replace(foreign(eth0))]).unwrap();
        net::nft::apply("table inet others { chain c { counter; }; }").unwrap();
        list()
    });
    assert!(before.is_some());
    let mut machine = lab.machine();
    lab.converge(&mut machine);
    let (routes, after) = lab.inside(|| (machine.observe(&Mode::KUBENET).unwrap().routes, list()));
    assert_eq!(after, before);
    assert!(routes.iter().any(|route| route.protocol == 4 && route.destination.length() == 12));
}

#[test]
fn a_node_that_goes_takes_its_routes_and_a_machine_without_one_keeps_all() {
    let mut lab = Lab::new();
    let mut machine = lab.machine();
    lab.converge(&mut machine);
    let ours = |machine: &mut Machine| {
        let routes = machine.netlink.routes().unwrap();
        routes.into_iter().filter(|route| route.protocol == names::ROUTE_PROTOCOL).count()
    };
    let unknown = lab.inside(|| machine.round(&lab.config, None, &mut Said::default()));
    assert_eq!((unknown.verdict, unknown.changed), (Err(Unready::NodesUnknown), false));
    assert_eq!(ours(&mut machine), 2);
    lab.nodes.remove("b");
    assert_eq!(lab.converge(&mut machine), 1);
    assert_eq!(ours(&mut machine), 0);
    lab.nodes.clear();
    let gone = lab.round(&mut machine);
    assert_eq!((gone.verdict, gone.changed), (Err(Unready::NoNode("me".to_owned())), false));
    assert!(lab.path("conf/10-kubenet.conflist").is_file());
}

#[test]
fn five_thousand_peers_are_one_batch_and_then_nothing() {
    let mut lab = Lab::new();
    for peer in 0..5000 {
        let (high, low) = (peer / 250, peer % 250 + 2);
        let range = format!("10.{}.{}.0/24", 64 + high, low);
        let text = format!(
            "peer-{peer} 9 {range} fd00:0:0:{:x}::/64 192.0.2.{low} 2001:db8::{low:x}",
            256 + peer
        );
        lab.nodes.insert(format!("peer-{peer}"), node(&text).into());
    }
    lab.config.cluster_cidrs[0] = "10.0.0.0/8".parse().unwrap();
    let mut machine = lab.machine();
    let timed = |machine: &mut Machine| {
        let start = Instant::now();
        let round = lab.round(machine);
        println!("{:?} in {:?}", round, start.elapsed());
        round.changed
    };
    assert!(timed(&mut machine));
    assert!(!timed(&mut machine));
    let routes = machine.netlink.routes().unwrap();
    let ours = routes.iter().filter(|route| route.protocol == names::ROUTE_PROTOCOL);
    assert_eq!(ours.count(), 10_002);
}

#[test]
fn a_failure_is_named_and_leaves_no_conflist() {
    let lab = Lab::new();
    fs::write(lab.path("bin"), "in the way").unwrap();
    let round = lab.round(&mut lab.machine());
    let unready = round.verdict.unwrap_err();
    assert!(
        unready.to_string().starts_with("cannot install plugin loopback: cannot write "),
        "{unready}"
    );
    assert!(!lab.path("conf").exists());
    assert_eq!(fs::read_to_string(lab.path("state/reason")).unwrap(), format!("{unready}\n"));
    fs::remove_file(lab.path("bin")).unwrap();
    lab.converge(&mut lab.machine());
    assert!(!lab.path("state/reason").exists());
}
