//! `desired` as a table, and `plan` on random machines: it converges, in order, and spares others.

use proptest::prelude::*;
use proptest::sample::{select, subsequence};

use super::*;
use crate::bridge::Held;
use crate::segment::Segment;
use crate::testing::{address, link, node, route};

mod network;

const CBR0: u32 = 7;

fn config() -> Config {
    Config {
        mode: Mode::KUBENET,
        node: "me".to_owned(),
        cluster_cidrs: vec!["10.244.0.0/16".parse().unwrap(), "fd00::/48".parse().unwrap()],
        services: Vec::new(),
        unmasqueraded: Vec::new(),
        routing: Routing::Direct,
        hairpin: Hairpin::Veth,
        loopback: Loopback::Reached,
        take_over: false,
        mtu: None,
        state_dir: PathBuf::from("/run/kubenet"),
    }
}

fn peers(texts: &[&str]) -> Peers {
    let nodes =
        texts.iter().map(|text| (text.split(' ').next().unwrap().to_owned(), node(text).into()));
    Peers::read("me", &nodes.collect(), Peers::default())
}

/// An uplink and nothing of ours.
fn bare() -> Observed {
    let sysctls = [
        ("net/bridge/bridge-nf-call-iptables", "1"),
        ("net/bridge/bridge-nf-call-ip6tables", "0"),
        ("net/ipv4/ip_forward", "0"),
        ("net/ipv6/conf/all/forwarding", "0"),
    ];
    Observed {
        links: vec![link(1, "lo 65536 up loopback"), link(2, "eth0 1450 up")],
        addresses: vec![address(2, "192.0.2.1/24"), address(2, "2001:db8::1/64")],
        routes: ["192.0.2.0/24 dev 2", "2001:db8::/64 dev 2 metric 256"].map(route).to_vec().into(),
        sysctls: sysctls.map(|(key, value)| (key.to_owned(), value.to_owned())).into(),
        plugins: Runtime::Kubenet
            .plugins()
            .iter()
            .map(|&name| (name, Installed::Missing))
            .collect(),
        ..Observed::default()
    }
}

impl Observed {
    /// What a kernel and a disk make of `step`, as far as we look at them.
    fn take(&mut self, step: &Step) {
        match step {
            Step::Bridge(step) => self.take_bridge(step),
            Step::Port(step) => self.take_port(step),
            Step::Restore(id) => {
                self.files.recorded.insert(id.clone());
                self.files.leased.insert("10.244.1.5".parse().unwrap());
            }
            Step::Sysctl(setting) => {
                self.sysctls.insert(setting.key.clone(), setting.value.to_owned());
            }
            Step::Routes(changes) => changes.iter().for_each(|change| self.take_route(change)),
            Step::Table(step) if step.text == step.table.removal() => {
                self.tables.remove(&step.table);
            }
            Step::Table(step) => drop(self.tables.insert(step.table, step.text.clone())),
            Step::Runtime(cni_config::Step::WriteConflist(text)) => {
                self.conflist = Some(text.clone());
            }
            Step::Runtime(cni_config::Step::Disable(name)) => {
                self.earlier.retain(|earlier| earlier != name);
            }
            Step::Runtime(cni_config::Step::Init(_)) => self.initialised = true,
            Step::Runtime(cni_config::Step::InstallPlugin(name)) => {
                let plugin = self.plugins.iter_mut().find(|(plugin, _)| plugin == name);
                plugin.unwrap().1 = Installed::Current;
            }
        }
    }

    fn take_bridge(&mut self, step: &bridge::Step) {
        use bridge::Step;
        if let Step::Create(mac) = step {
            let text = format!("cbr0:bridge 1500 mac={mac}");
            self.links.push(link(CBR0, &text));
            for (name, value) in [("disable_ipv6", "0"), ("accept_ra", "1"), ("accept_dad", "1")] {
                self.sysctls.insert(format!("net/ipv6/conf/cbr0/{name}"), value.to_owned());
            }
            return;
        }
        let bridge = self.links.iter_mut().find(|link| link.index == CBR0).unwrap();
        match step {
            Step::Create(_) => {}
            Step::Rename(_) => bridge.name = "cbr0".to_owned(),
            Step::Release => bridge.master = None,
            Step::SetMac(mac) => bridge.mac = Some(*mac),
            Step::SetMtu(mtu) => bridge.mtu = *mtu,
            Step::SetPromiscuous(on) => bridge.promiscuous = *on,
            Step::StopSpanningTree => bridge.spanning_tree = false,
            Step::StopVlanFiltering => bridge.vlan_filtering = false,
            Step::Enable => bridge.up = true,
            Step::AddAddress(held) => {
                self.addresses.push(address(CBR0, &held.to_string()));
                let network = held.network().unwrap();
                Arc::make_mut(&mut self.routes)
                    .push(route(&format!("{network} dev {CBR0} metric 0")));
            }
            Step::DeleteAddress(held) => {
                self.addresses.retain(|address| Held::from(*address) != *held);
                let network = held.network().unwrap();
                Arc::make_mut(&mut self.routes)
                    .retain(|r| (r.destination, r.link) != (network, Some(CBR0)));
            }
        }
    }

    fn take_port(&mut self, step: &ports::Step) {
        let bridge = self.bridge().unwrap().index;
        let port = self.links.iter_mut().find(|link| link.name == step.id.host_link()).unwrap();
        (port.master, port.hairpin, port.up) = (Some(bridge), Some(step.hairpin), true);
        (port.promiscuous, port.open) = (false, Some(true));
    }

    /// As the kernel does it: whoever has destination and metric is replaced.
    fn take_route(&mut self, change: &RouteChange) {
        match change {
            RouteChange::Delete(route) => {
                Arc::make_mut(&mut self.routes).retain(|there| there != route);
            }
            RouteChange::Replace(route) => {
                let key = |route: &Route| (route.destination, route.metric);
                Arc::make_mut(&mut self.routes).retain(|there| key(there) != key(route));
                Arc::make_mut(&mut self.routes).push(*route);
            }
        }
    }

    /// All that is not ours to change, but for the routes that come with an address of cbr0.
    fn of_others(&self) -> (Vec<Link>, Vec<Address>, Vec<Route>) {
        let ours = |link: &&Link| link.index == CBR0 || ports::owner(link).is_some();
        let links = self.links.iter().filter(|link| !ours(link)).cloned();
        let addresses = self.addresses.iter().filter(|address| address.link != CBR0).copied();
        let foreign =
            |route: &&Route| route.protocol != names::ROUTE_PROTOCOL && route.link != Some(CBR0);
        let mut routes = self.routes.iter().filter(foreign).copied().collect::<Vec<_>>();
        routes.sort();
        (links.collect(), addresses.collect(), routes)
    }
}

/// Where in the order of a plan a step belongs.
fn rank(step: &Step) -> u8 {
    match step {
        Step::Routes(changes) if matches!(changes.first(), Some(RouteChange::Delete(_))) => 0,
        Step::Bridge(bridge::Step::Rename(_) | bridge::Step::DeleteAddress(_)) => 1,
        Step::Bridge(bridge::Step::Create(_)) => 2,
        Step::Sysctl(setting) if loopback::wants_guard(setting) => 8,
        Step::Sysctl(_) => 3,
        Step::Bridge(_) => 4,
        Step::Port(_) | Step::Restore(_) => 5,
        Step::Table(_) => 6,
        Step::Routes(_) => 7,
        Step::Runtime(cni_config::Step::InstallPlugin(_) | cni_config::Step::Init(_)) => 9,
        Step::Runtime(cni_config::Step::WriteConflist(_)) => 10,
        Step::Runtime(cni_config::Step::Disable(_)) => 11,
    }
}

#[track_caller]
fn check(peers: Option<&Peers>, observed: &Observed, expected: &str) {
    let text = match desired(&config(), peers, observed) {
        Ok(desired) => {
            let plan = plan(&desired, observed);
            plan.iter().map(Step::to_string).collect::<Vec<_>>().join("\n")
        }
        Err(unready) => unready.code().to_owned(),
    };
    assert_eq!(text, expected);
}

#[test]
fn nothing_is_planned_before_everything_is_known() {
    let known = |texts: &[&str]| Some(peers(texts));
    check(None, &bare(), "NodesUnknown");
    check(known(&["other 1 10.244.1.0/24"]).as_ref(), &bare(), "NodeMissing");
    check(known(&["me 1 192.0.2.1"]).as_ref(), &bare(), "PodCIDRMissing");
    for cidr in ["10.244.1.0/31", "10.244.1.1/32", "10.244.1.0/33", "pods"] {
        let mut own = node("me 1");
        own.pod_cidrs = vec![cidr.to_owned()];
        let peers = Peers { own: Some(own.into()), claims: Vec::new() };
        check(Some(&peers), &bare(), "PodCIDRInvalid");
    }
    let own = known(&["me 1 10.244.1.0/24"]);
    let taken = Observed { links: vec![link(CBR0, "cbr0 1500 up")], ..bare() };
    check(own.as_ref(), &taken, "BridgeNameTaken");
    let alone = Observed { links: vec![link(1, "lo 65536 up loopback")], ..bare() };
    check(own.as_ref(), &alone, "UplinkMissing");
}

#[test]
fn a_bare_machine_is_made_from_the_bridge_to_the_conflist() {
    let peers = peers(&[
        "me 1 10.244.1.0/24 fd00:0:0:1::/64 192.0.2.1",
        "b 2 10.244.2.0/24 fd00:0:0:2::/64 192.0.2.2 2001:db8::2",
        "c 2 10.244.3.0/24 192.0.2.3",
    ]);
    check(
        Some(&peers),
        &bare(),
        "create cbr0 with MAC 0a:58:0a:f4:01:01\n\
         set net/bridge/bridge-nf-call-ip6tables to 1\n\
         set net/ipv6/conf/cbr0/disable_ipv6 to 0\n\
         set net/ipv6/conf/cbr0/accept_ra to 0\n\
         set net/ipv6/conf/cbr0/accept_dad to 0\n\
         set net/ipv4/ip_forward to 1\n\
         set net/ipv6/conf/all/forwarding to 1\n\
         set MTU of cbr0 to 1450\n\
         set cbr0 up\n\
         add address 10.244.1.1/24 to cbr0\n\
         add address fd00:0:0:1::1/64 to cbr0\n\
         replace nft table inet kubenet\n\
         replace nft table inet kubenet-pods\n\
         set 3 routes\n\
         set net/ipv4/conf/cbr0/route_localnet to 1\n\
         install plugin loopback\n\
         install plugin kubenet\n\
         write 10-kubenet.conflist",
    );
}

#[test]
fn without_br_netfilter_all_is_made_but_the_conflist() {
    let peers = peers(&["me 1 10.244.1.0/24"]);
    let mut observed = bare();
    observed.sysctls.retain(|key, _| !key.starts_with("net/bridge"));
    let desired = desired(&config(), Some(&peers), &observed).unwrap();
    let plan = plan(&desired, &observed);
    assert_eq!(plan.iter().map(rank).max(), Some(9));
    assert!(matches!(obstacle(&desired, &observed), Some(Unready::NoBridgeNetfilter(_))));
}

#[test]
fn the_condition_is_left_to_whoever_else_makes_the_network() {
    let keeps = |bridge, routing| {
        let mode = Mode { bridge, runtime: Runtime::Others };
        Config { mode, routing, ..config() }.keeps_condition()
    };
    assert!(keeps(true, Routing::Direct) && keeps(true, Routing::None));
    // The cloud's route controller keeps it.
    assert!(!keeps(true, Routing::Cloud));
    assert!(!keeps(false, Routing::Direct) && !keeps(false, Routing::None));
}

#[test]
fn a_conflist_of_another_range_goes_first() {
    let peers = peers(&["me 1 10.244.9.0/24"]);
    let ranges = [crate::testing::range("10.244.1.0/24")];
    let old = Offer::kubenet(&ranges, Segment::of(1450, []), true, "/s".as_ref()).conflist;
    let observed = Observed { conflist: Some(old), ..bare() };
    let plan = plan(&desired(&config(), Some(&peers), &observed).unwrap(), &observed);
    let conflists = plan.iter().map(|step| rank(step) == 10).collect::<Vec<_>>();
    assert!(conflists[0] && !conflists[1..].contains(&true));
}

const RANGES: [&str; 3] = ["10.244.1.0/24", "fd00:0:0:1::/64", "10.244.1.0/24 fd00:0:0:1::/64"];

const PEERS: [&str; 9] = [
    "b 2 10.244.2.0/24 fd00:0:0:2::/64 192.0.2.2 2001:db8::2",
    "c 3 10.244.3.0/24 192.0.2.3",
    "d 4 fd00:0:0:4::/64 2001:db8::4",
    "thief 5 10.244.2.0/25 fd00::/56 192.0.2.5 2001:db8::5",
    "all 0 0.0.0.0/0 ::/0 192.0.2.6",
    "far 6 10.244.7.0/24 198.51.100.7",
    "none 7 192.0.2.7",
    "mirror 8 10.244.8.0/24 192.0.2.1",
    "heir 9 10.244.66.0/24 192.0.2.9",
];

const ROUTES: [&str; 10] = [
    "0.0.0.0/0 via 192.0.2.254 dev 2 proto 16",
    "10.244.2.0/24 via 192.0.2.2 dev 2 proto 107",
    "10.244.2.0/24 via 192.0.2.99 dev 2 proto 107 metric 5",
    "10.244.3.0/24 via 192.0.2.99 dev 2 proto 107",
    "10.244.99.0/24 via 192.0.2.99 dev 2 proto 107",
    "fd00:0:0:2::/64 via 2001:db8::99 dev 2 proto 107",
    "fd00:0:0:4::/64 via 2001:db8::4 dev 2 proto 4",
    "fd00:0:0:99::/64 via 2001:db8::99 dev 2 proto 107",
    "10.244.3.0/24 via 192.0.2.98 dev 2 proto 4 metric 9",
    "172.16.0.0/12 via 192.0.2.97 dev 2 proto 4",
];

const CBR0S: [&str; 5] = [
    "",
    "br0:bridge 1450 up mac=0a:58:0a:f4:01:01 master=3 10.244.1.1/24",
    "cbr0:bridge 1450 up mac=0a:58:0a:f4:01:01 10.244.1.1/24 fd00:0:0:1::1/64",
    "cbr0:bridge 9000 stp vlans mac=02:00:00:00:00:01 10.244.66.1/24",
    "cbr0:bridge 1280 up mac=0a:58:0a:f4:42:01 10.244.66.1/24 10.244.1.1/16 fd00:0:0:42::1/64",
];

prop_compose! {
    fn machines()(
        cbr0 in select(&CBR0S[..]),
        uplink in select(&["eth0 1450 up", "eth0 1500", "bond0:bond 9000 up"][..]),
        routes in subsequence(&ROUTES[..], 0..=ROUTES.len()),
        attached in subsequence(&["10.244.66.5", "10.244.1.5", "fd00:0:0:1::5"][..], 0..=3),
        port in select(&["", "1400 up", "1450 hairpin master=7", "1450 up hairpin isolated master=7", "1450 up promiscuous master=3"][..]),
        lost in any::<bool>(),
        values in prop::collection::vec(select(&["", "0", "1", "2"][..]), 4),
        tables in select(&["", "old"][..]),
        conflist in select(&[None, Some(""), Some("{}")][..]),
    ) -> Observed {
        let mut machine = bare();
        machine.links[1] = link(2, uplink);
        Arc::make_mut(&mut machine.routes).extend(routes.into_iter().map(route));
        machine.attached = attached.iter().map(|ip| ip.parse().unwrap()).collect();
        if !cbr0.is_empty() {
            machine.links.push(link(CBR0, cbr0));
            machine.bridge_was = Some(CBR0);
        }
        for held in cbr0.split(' ').filter(|word| word.contains('/')) {
            machine.addresses.push(address(CBR0, held));
            let network = Held::from(address(CBR0, held)).network().unwrap();
            Arc::make_mut(&mut machine.routes).push(route(&format!("{network} dev {CBR0} metric 0")));
        }
        if !port.is_empty() {
            let id = "c1@eth0".parse::<AttachmentId>().unwrap();
            let mut port = link(9, &format!("{}:veth {port}", id.host_link()));
            port.alias = Some("kubenet c1@eth0 10.244.1.5".to_owned());
            machine.links.push(port);
            // What is no port of cbr0 and has no files is nobody's.
            if !lost || cbr0.is_empty() {
                machine.files.recorded = [id].into();
                machine.files.leased = ["10.244.1.5".parse().unwrap()].into();
            }
        }
        let keys = machine.sysctls.keys().cloned().collect::<Vec<_>>();
        for (key, value) in keys.into_iter().zip(values) {
            match value {
                "" => drop(machine.sysctls.remove(&key)),
                value => drop(machine.sysctls.insert(key, value.to_owned())),
            }
        }
        if !tables.is_empty() {
            machine.tables = Table::ALL.map(|table| (table, tables.to_owned())).into();
        }
        machine.conflist = conflist.map(str::to_owned);
        machine
    }
}

proptest! {
    #[test]
    fn a_plan_that_was_carried_out_leaves_an_empty_plan(
        mut machine in machines(),
        ranges in select(&RANGES[..]),
        others in subsequence(&PEERS[..], 0..=PEERS.len()),
        kept in any::<bool>(),
    ) {
        let own = format!("me 1 {ranges} 192.0.2.1 2001:db8::1");
        let peers = peers(&others.into_iter().chain([own.as_str()]).collect::<Vec<_>>());
        let mtu = kept.then_some(1400);
        let config = Config { mtu, ..config() };
        let others = machine.of_others();
        // What goes makes room for others, so that a second round may find more to do.
        for round in 0..3 {
            let Ok(desired) = desired(&config, Some(&peers), &machine) else {
                prop_assert!(!machine.links[1].up && mtu.is_none());
                return Ok(());
            };
            let steps = plan(&desired, &machine);
            prop_assert!(round < 2 || steps.is_empty(), "{steps:?}");
            prop_assert!(steps.is_sorted_by_key(rank), "{steps:?}");
            prop_assert!(
                obstacle(&desired, &machine).is_none() || steps.iter().all(|step| rank(step) < 10)
            );
            for step in &steps {
                machine.take(step);
            }
            let again = plan(&desired, &machine);
            prop_assert!(again.is_empty(), "{again:?} after {steps:?}");
        }
        prop_assert_eq!(machine.of_others(), others);
    }
}
