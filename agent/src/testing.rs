//! Links, addresses, routes and Nodes as short text, for the tests beside the pure files.

pub(crate) mod lab;
pub(crate) mod traffic;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::Path;

use common::Prefix;
use common::conflist::Range;
use common::node::NodeView;
use net::addr::Address;
use net::link::{Kind, Link};
use net::route::Route;

/// A link from `NAME[:KIND] MTU [FLAG...]`; words with a slash are ignored.
pub(crate) fn link(index: u32, text: &str) -> Link {
    let words = text.split(' ').collect::<Vec<_>>();
    let (name, kind) = words[0].split_once(':').unwrap_or((words[0], ""));
    let value = |key: &str| words.iter().find_map(|word| word.strip_prefix(key));
    Link {
        index,
        name: name.to_owned(),
        alt_names: Vec::new(),
        kind: match kind {
            "" => Kind::Device,
            "bridge" => Kind::Bridge,
            "veth" => Kind::Veth,
            "ifb" => Kind::Ifb,
            other => Kind::Other(other.to_owned()),
        },
        mtu: words[1].parse().unwrap(),
        mac: value("mac=").map(|mac| mac.parse().unwrap()),
        up: words.contains(&"up"),
        running: words.contains(&"up"),
        loopback: words.contains(&"loopback"),
        point_to_point: words.contains(&"point-to-point"),
        promiscuous: words.contains(&"promiscuous"),
        master: value("master=").map(|index| index.parse().unwrap()),
        alias: None,
        hairpin: value("master=").map(|_| words.contains(&"hairpin")),
        open: value("master=").map(|_| !words.contains(&"isolated")),
        spanning_tree: words.contains(&"stp"),
        vlan_filtering: words.contains(&"vlans"),
        addr_gen: None,
        peer: None,
    }
}

/// An address from `ADDRESS/LENGTH`.
pub(crate) fn address(link: u32, text: &str) -> Address {
    let (address, length) = text.split_once('/').unwrap();
    Address {
        link,
        address: address.parse().unwrap(),
        length: length.parse().unwrap(),
        permanent: true,
        tentative: false,
    }
}

/// A route from `DESTINATION [via ADDRESS] [dev INDEX] [proto NUMBER] [metric NUMBER]`.
pub(crate) fn route(text: &str) -> Route {
    let words = text.split(' ').collect::<Vec<_>>();
    let value =
        |key: &str| words.iter().position(|word| *word == key).map(|position| words[position + 1]);
    Route {
        destination: words[0].parse().unwrap(),
        via: value("via").map(|via| via.parse().unwrap()),
        link: value("dev").map(|link| link.parse().unwrap()),
        protocol: value("proto").map_or(2, |protocol| protocol.parse().unwrap()),
        metric: value("metric").map_or(if words[0].contains(':') { 1024 } else { 0 }, |metric| {
            metric.parse().unwrap()
        }),
        mtu: None,
    }
}

/// A Node from `NAME CREATED [CIDR...] [ADDRESS...]`.
pub(crate) fn node(text: &str) -> NodeView {
    let words = text.split(' ').collect::<Vec<_>>();
    let (ips, cidrs): (Vec<&str>, Vec<&str>) =
        words[2..].iter().copied().partition(|word| word.parse::<IpAddr>().is_ok());
    NodeView {
        name: words[0].to_owned(),
        uid: format!("uid-{}", words[0]),
        created: words[1].parse().unwrap(),
        terminating: false,
        pod_cidrs: cidrs.into_iter().map(str::to_owned).collect(),
        labels: BTreeMap::new(),
        internal_ips: ips.into_iter().map(|ip| ip.parse().unwrap()).collect(),
        network_unavailable: None,
    }
}

/// The range of a PodCIDR.
pub(crate) fn range(text: &str) -> Range {
    let subnet = text.parse::<Prefix>().unwrap();
    Range::new(subnet, subnet.gateway().unwrap())
}

/// Compares `text` with the file of that name in testdata; with `UPDATE_GOLDEN=1` writes it.
#[track_caller]
pub(crate) fn golden(name: &str, text: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/testdata").join(name);
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, text).unwrap();
    }
    assert_eq!(
        std::fs::read_to_string(&path).unwrap(),
        text,
        "{name}; UPDATE_GOLDEN=1 rewrites it"
    );
}
