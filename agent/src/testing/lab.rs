//! A machine to break: a network namespace with an uplink, its files, and the Nodes of its cluster.

use std::fs;
use std::net::IpAddr;
use std::os::fd::{AsFd, AsRawFd};
use std::path::PathBuf;

use cni::{Answer, Environment, Plugin};
use common::attachment::{Attachment, AttachmentId};
use common::names;
use net::link::{AddrGen, Hairpin as PortHairpin, LinkChange, VethSpec};
use net::route::{Route, RouteChange};
use net::shaping::Shaping;
use net::{Mac, Netlink, Netns};
use serde_json::Value;
use tempfile::TempDir;

use super::traffic::Place;
use super::{node, route};
use crate::hairpin::Hairpin;
use crate::loopback::Loopback;
use crate::machine::{Machine, Paths};
use crate::mode::Mode;
use crate::peers::Peers;
use crate::round::{Round, Said};
use crate::routes::Routing;
use crate::state::{Config, Nodes};

/// A machine with an uplink, in a network namespace of its own.
pub(crate) struct Lab {
    pub(crate) netns: Netns,
    /// Where the other end of the uplink is.
    pub(crate) switch: Netns,
    files: TempDir,
    pub(crate) config: Config,
    pub(crate) nodes: Nodes,
}

const NODES: [&str; 3] = [
    "me 1 10.244.1.0/24 fd00:0:0:1::/64 192.0.2.1 2001:db8::1",
    "b 2 10.244.2.0/24 fd00:0:0:2::/64 192.0.2.2 2001:db8::2",
    "bad 3 10.244.1.0/25 192.0.2.3",
];

impl Lab {
    pub(crate) fn new() -> Self {
        let (netns, switch) = (Netns::unnamed().unwrap(), Netns::unnamed().unwrap());
        uplink(&netns, &switch);
        let files = tempfile::tempdir().unwrap();
        fs::create_dir(files.path().join("state")).unwrap();
        fs::write(files.path().join("program"), "the plugin").unwrap();
        let nodes =
            NODES.map(|text| (text.split(' ').next().unwrap().to_owned(), node(text).into()));
        let config = Config {
            mode: Mode::KUBENET,
            node: "me".to_owned(),
            cluster_cidrs: ["10.244.0.0/16", "fd00::/48"].map(|cidr| cidr.parse().unwrap()).into(),
            services: Vec::new(),
            unmasqueraded: Vec::new(),
            routing: Routing::Direct,
            hairpin: Hairpin::Veth,
            loopback: Loopback::Reached,
            take_over: false,
            mtu: None,
            state_dir: files.path().join("state"),
        };
        Self { netns, switch, files, config, nodes: nodes.into() }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.files.path().join(name)
    }

    pub(crate) fn paths(&self) -> Paths {
        Paths {
            sysctl: PathBuf::from("/proc/sys"),
            state: self.path("state"),
            bin: self.path("bin"),
            other_bins: Vec::new(),
            conf: self.path("conf"),
            data: self.path("data"),
            plugin: self.path("program"),
            exceptions: Some(self.path("masquerade/config")),
        }
    }

    pub(crate) fn inside<T: Send>(&self, f: impl FnOnce() -> T + Send) -> T {
        self.netns.run(f).unwrap()
    }

    /// As an agent's start does it.
    pub(crate) fn machine(&self) -> Machine {
        self.inside(|| Machine::open(self.paths()).unwrap())
    }

    pub(crate) fn round(&self, machine: &mut Machine) -> Round {
        let peers = Peers::read(&self.config.node, &self.nodes, Peers::default());
        self.inside(|| machine.round(&self.config, Some(&peers), &mut Said::default()))
    }

    /// Rounds until one finds nothing to do; returns how many did something.
    #[track_caller]
    pub(crate) fn converge(&self, machine: &mut Machine) -> usize {
        for rounds in 0..4 {
            let round = self.round(machine);
            assert_eq!(round.verdict, Ok(()));
            if !round.changed {
                return rounds;
            }
        }
        panic!("it never ends");
    }

    /// The machine itself, as somebody to talk to.
    pub(crate) fn host(&self) -> Place<'_> {
        let addresses = ["192.0.2.1", "2001:db8::1"].map(|text| text.parse().unwrap());
        Place { name: "host", netns: &self.netns, addresses: addresses.into() }
    }

    /// Gives the outside, at the other end of the uplink, addresses and routes to this machine's pods.
    pub(crate) fn outside(&self) -> Place<'_> {
        let addresses = ["192.0.2.9", "2001:db8::9"].map(|text| text.parse().unwrap());
        let mut netlink = self.switch.run(Netlink::open).unwrap().unwrap();
        let switch = index(&mut netlink, "switch");
        let up = LinkChange { up: Some(true), ..LinkChange::default() };
        netlink.set_link(switch, &up).unwrap();
        for (address, length) in addresses.into_iter().zip([24, 64]) {
            netlink.add_address(switch, address, length).unwrap();
        }
        let routes = [("10.244.0.0/16", "192.0.2.1"), ("fd00::/48", "2001:db8::1")];
        let routes = routes.map(|(to, via)| {
            RouteChange::Replace(Route { link: Some(switch), ..route(&format!("{to} via {via}")) })
        });
        for outcome in netlink.change_routes(&routes).unwrap() {
            outcome.unwrap();
        }
        Place { name: "outside", netns: &self.switch, addresses: addresses.into() }
    }

    /// A pod by the plugin, as a runtime calls it with the configuration that the agent wrote.
    #[track_caller]
    pub(crate) fn add(&self, id: &str) -> Born {
        self.add_with(id, &Value::Null)
    }

    /// As above, with these capabilities.
    #[track_caller]
    pub(crate) fn add_with(&self, id: &str, asked: &Value) -> Born {
        let netns = Netns::unnamed().unwrap();
        let answer = self.call("ADD", id, Some(&netns), asked);
        let Answer::Done(Some(text)) = &answer else { panic!("{answer:?}") };
        let result = serde_json::from_str::<Value>(text).unwrap();
        let ips = result["ips"].as_array().unwrap().iter();
        let texts = ips.map(|ip| ip["address"].as_str().unwrap().split('/').next().unwrap());
        Born { addresses: texts.map(|text| text.parse().unwrap()).collect(), netns }
    }

    #[track_caller]
    pub(crate) fn del(&self, id: &str) {
        assert_eq!(self.call("DEL", id, None, &Value::Null), Answer::Done(None));
    }

    fn call(&self, verb: &str, id: &str, pod: Option<&Netns>, asked: &Value) -> Answer {
        let list = fs::read(self.path("conf").join(names::CONFLIST)).unwrap();
        let list = serde_json::from_slice::<Value>(&list).unwrap();
        let mut conf = list["plugins"][0].clone();
        conf["cniVersion"] = "1.1.0".into();
        conf["name"] = list["name"].clone();
        if !asked.is_null() {
            conf["runtimeConfig"] = asked.clone();
        }
        let path = |pod: &Netns| {
            format!("/proc/{}/fd/{}", std::process::id(), pod.as_fd().as_raw_fd()).into()
        };
        let environment = Environment {
            command: Some(verb.into()),
            container_id: Some(id.into()),
            netns: pod.map(path),
            ifname: Some("eth0".into()),
            ..Environment::default()
        };
        let stdin = conf.to_string();
        self.inside(|| cni::answer(Plugin::Kubenet, &environment, stdin.as_bytes()))
    }

    /// What can be seen of the machine that is not counted by anybody.
    pub(crate) fn look(&self) -> String {
        let mut machine = self.machine();
        let observed = self.inside(|| machine.observe(&self.config.mode).unwrap());
        format!("{observed:#?}")
    }
}

/// A pod that the plugin made.
pub(crate) struct Born {
    pub(crate) netns: Netns,
    pub(crate) addresses: Vec<IpAddr>,
}

impl Born {
    pub(crate) fn place<'a>(&'a self, name: &'a str) -> Place<'a> {
        Place { name, netns: &self.netns, addresses: self.addresses.clone() }
    }
}

/// A veth pair to a bridge in another namespace.
fn uplink(netns: &Netns, switch: &Netns) {
    let mut outside = switch.run(Netlink::open).unwrap().unwrap();
    let bridge = outside.create_bridge("switch", Mac([2, 0, 0, 0, 0, 1])).unwrap();
    let spec = VethSpec {
        host_name: "port",
        host_mac: Mac([2, 0, 0, 0, 0, 2]),
        container_name: "eth0",
        container_mac: Mac([2, 0, 0, 0, 0, 3]),
        netns,
        mtu: 1450,
        alias: "",
        bridge,
        hairpin: PortHairpin::Off,
        shaping: Shaping::default(),
    };
    let eth0 = outside.create_veth(&spec).unwrap().container;
    let mut inside = netns.run(Netlink::open).unwrap().unwrap();
    // An address of its own would be seen first tentative, then not.
    let quiet = Some(AddrGen::None);
    let up = LinkChange { up: Some(true), addr_gen: quiet, ..LinkChange::default() };
    inside.set_link(eth0, &up).unwrap();
    inside.add_address(eth0, "192.0.2.1".parse().unwrap(), 24).unwrap();
    inside.add_address(eth0, "2001:db8::1".parse().unwrap(), 64).unwrap();
}

/// The index of a link that is there.
pub(crate) fn index(netlink: &mut Netlink, name: &str) -> u32 {
    netlink.link(name).unwrap().unwrap().index
}

/// A pod on cbr0, as the plugin leaves it.
pub(crate) struct Pod {
    _netns: Netns,
}

impl Pod {
    pub(crate) fn host_link(id: &str) -> String {
        id.parse::<AttachmentId>().unwrap().host_link()
    }

    /// On a machine that is right, seen from inside.
    pub(crate) fn attach(machine: &mut Machine, id: &str, address: &str) -> Self {
        let id = id.parse::<AttachmentId>().unwrap();
        let netns = Netns::unnamed().unwrap();
        let record = Attachment {
            container_id: id.container_id().to_owned(),
            ifname: id.ifname().to_owned(),
            bridge: names::BRIDGE.to_owned(),
            host_link: id.host_link(),
            mac: "0a:58:0a:f4:01:05".to_owned(),
            addresses: vec![address.parse().unwrap()],
            netns_inode: netns.inode().unwrap(),
            ..Attachment::default()
        };
        let owner = format!("{}\r\n{}", id.container_id(), id.ifname());
        for (path, text) in [
            (machine.paths.claim(&id), owner.clone()),
            (machine.paths.state.join(names::LEASES).join(address), owner),
            (machine.paths.record(&id), serde_json::to_string(&record).unwrap()),
        ] {
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        let bridge = machine.netlink.link(names::BRIDGE).unwrap().unwrap();
        let spec = VethSpec {
            host_name: &record.host_link,
            host_mac: Mac([2, 0, 0, 0, 0, 5]),
            container_name: id.ifname(),
            container_mac: Mac([2, 0, 0, 0, 0, 6]),
            netns: &netns,
            mtu: bridge.mtu,
            alias: &record.alias(),
            bridge: bridge.index,
            hairpin: PortHairpin::On,
            shaping: Shaping::default(),
        };
        machine.netlink.create_veth(&spec).unwrap();
        Self { _netns: netns }
    }
}
