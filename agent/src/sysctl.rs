//! Pure: the kernel settings that pods need, and which of them differ.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use common::{Family, PerFamily, names};
use net::link::Link;
use net::route::Route;

use crate::loopback;

/// Lets kube-proxy's rules see what crosses the bridge.
pub const BRIDGE_NETFILTER: PerFamily<&str> = PerFamily {
    v4: "net/bridge/bridge-nf-call-iptables",
    v6: "net/bridge/bridge-nf-call-ip6tables",
};

/// Routes between bridge and uplink.
const FORWARDING: PerFamily<&str> =
    PerFamily { v4: "net/ipv4/ip_forward", v6: "net/ipv6/conf/all/forwarding" };

/// Settings of cbr0 where pods have IPv6. Its link-local address, from which it asks for neighbours,
/// is usable from the first packet on.
const ON_BRIDGE: [(&str, &str); 3] =
    [("disable_ipv6", "0"), ("accept_ra", "0"), ("accept_dad", "0")];

/// A router advertisement made the route (`RTPROT_RA` in linux/rtnetlink.h).
const PROTOCOL_RA: u8 = 9;

/// Whether packets of IPv4 that come in by a link are routed.
const FORWARDING_OF: &str = "forwarding";

/// One key under /proc/sys and the value it should have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setting {
    pub key: String,
    pub value: &'static str,
}

/// Values by key; a key that this kernel does not have is absent.
pub type Values = BTreeMap<String, String>;

/// The settings of a machine whose pods have addresses of `families`, in the order to make them.
/// Without families no cbr0 is ours, and kube-proxy's rules are all that there is to care for.
///
/// A pod must not be the machine's router: on cbr0 no advertisement counts, also where pods have
/// IPv4 only (CVE-2020-10749). An interface that has its default route by advertisement would lose
/// it as soon as forwarding is on, unless it has `accept_ra` 2 by then; 0 is somebody's will and
/// stays.
pub fn desired(
    families: &[Family],
    links: &[Link],
    routes: &[Route],
    now: &Values,
) -> Vec<Setting> {
    let netfilter = BRIDGE_NETFILTER.iter().map(|(_, key)| set(*key, "1"));
    let mut settings = netfilter.collect::<Vec<_>>();
    if families.is_empty() {
        return settings;
    }
    if families.contains(&Family::V6) {
        let advertised =
            accept_ra(links, routes).filter(|key| now.get(key).is_some_and(|v| v == "1"));
        settings.extend(advertised.map(|key| set(key, "2")));
        settings.extend(ON_BRIDGE.map(|(name, value)| set(of_link(names::BRIDGE, name), value)));
    } else if now.contains_key(FORWARDING.v6) {
        settings.push(set(of_link(names::BRIDGE, "accept_ra"), "0"));
    }
    settings.extend(families.iter().map(|&family| set(FORWARDING[family], "1")));
    // That of all turns each on; somebody may have turned one off since.
    if families.contains(&Family::V4) && now.get(FORWARDING.v4).is_some_and(|all| all == "1") {
        let stopped =
            forwarding(links, routes).filter(|key| now.get(key).is_some_and(|v| v == "0"));
        settings.extend(stopped.map(|key| set(key, "1")));
    }
    settings
}

/// The keys that [`desired`] may want to know or to set.
pub fn watched(links: &[Link], routes: &[Route]) -> Vec<String> {
    let fixed = [BRIDGE_NETFILTER, FORWARDING].into_iter();
    let fixed = fixed.flat_map(|keys| [keys.v4, keys.v6]).map(str::to_owned);
    let bridge = ON_BRIDGE.map(|(name, _)| of_link(names::BRIDGE, name));
    let fixed = fixed.chain(bridge).chain([loopback::key()]);
    fixed.chain(accept_ra(links, routes)).chain(forwarding(links, routes)).collect()
}

/// Of the links by which packets of pods come: cbr0, and where peers or the rest of the world are.
fn forwarding(links: &[Link], routes: &[Route]) -> impl Iterator<Item = String> {
    let used = routes.iter().filter(|route| {
        let ways = route.destination.length() == 0 || route.protocol == names::ROUTE_PROTOCOL;
        ways && route.destination.family() == Family::V4
    });
    let indexes = used.filter_map(|route| route.link).collect::<BTreeSet<_>>();
    let links = links.iter().filter(move |l| l.name == names::BRIDGE || indexes.contains(&l.index));
    links.map(|link| format!("net/ipv4/conf/{}/{FORWARDING_OF}", link.name))
}

fn accept_ra(links: &[Link], routes: &[Route]) -> impl Iterator<Item = String> {
    let advertised =
        routes.iter().filter(|r| r.protocol == PROTOCOL_RA && r.destination.length() == 0);
    let indexes = advertised.filter_map(|route| route.link).collect::<Vec<_>>();
    let links = links.iter().filter(move |link| indexes.contains(&link.index));
    links.map(|link| of_link(&link.name, "accept_ra"))
}

fn of_link(link: &str, name: &str) -> String {
    format!("net/ipv6/conf/{link}/{name}")
}

fn set(key: impl Into<String>, value: &'static str) -> Setting {
    Setting { key: key.into(), value }
}

/// Those of `desired` that are not so `now`, but for what [`missing`] names.
pub fn plan(desired: &[Setting], now: &Values) -> Vec<Setting> {
    let wrong =
        desired.iter().filter(|setting| now.get(&setting.key).is_none_or(|v| v != setting.value));
    wrong.filter(|setting| !is_missing(setting, now)).cloned().collect()
}

/// The first setting that this kernel lacks, which no write can cure: `br_netfilter` is not loaded.
pub fn missing<'a>(desired: &'a [Setting], now: &Values) -> Option<&'a Setting> {
    desired.iter().find(|setting| is_missing(setting, now))
}

fn is_missing(setting: &Setting, now: &Values) -> bool {
    setting.key.starts_with("net/bridge/") && !now.contains_key(&setting.key)
}

impl fmt::Display for Setting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "set {} to {}", self.key, self.value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{link, route};

    /// `now` as `KEY=VALUE`.
    #[track_caller]
    fn check(families: &[Family], routes: &[&str], now: &[&str], expected: &[&str]) {
        let links = [link(1, "lo 65536 up loopback"), link(2, "eth0 1500 up")];
        let routes = routes.iter().map(|text| route(text)).collect::<Vec<_>>();
        let pairs = now.iter().map(|text| text.split_once('=').unwrap());
        let now = pairs.map(|(key, value)| (key.to_owned(), value.to_owned())).collect();
        let steps = plan(&desired(families, &links, &routes, &now), &now);
        assert_eq!(steps.iter().map(Setting::to_string).collect::<Vec<_>>(), expected);
    }

    const NETFILTER: [&str; 2] =
        ["net/bridge/bridge-nf-call-iptables=1", "net/bridge/bridge-nf-call-ip6tables=1"];

    #[test]
    fn only_what_differs_is_set() {
        let [v4, v6] = NETFILTER;
        check(&[Family::V4], &[], &[v4, v6, "net/ipv4/ip_forward=1"], &[]);
        check(
            &[Family::V4],
            &[],
            &[v4, "net/bridge/bridge-nf-call-ip6tables=0", "net/ipv4/ip_forward=0"],
            &["set net/bridge/bridge-nf-call-ip6tables to 1", "set net/ipv4/ip_forward to 1"],
        );
    }

    #[test]
    fn without_pods_of_ours_only_kube_proxy_is_cared_for() {
        let now = ["net/bridge/bridge-nf-call-iptables=0", "net/ipv6/conf/all/forwarding=0"];
        let now = [now[0], now[1], "net/bridge/bridge-nf-call-ip6tables=1"];
        check(&[], &[], &now, &["set net/bridge/bridge-nf-call-iptables to 1"]);
    }

    #[test]
    fn an_advertised_default_route_survives_forwarding() {
        let [v4, v6] = NETFILTER;
        let bridge = ON_BRIDGE.map(|(name, value)| format!("{}={value}", of_link("cbr0", name)));
        let mut now = vec![v4, v6, "net/ipv6/conf/eth0/accept_ra=1"];
        now.extend(bridge.iter().map(String::as_str));
        let forwarding = "set net/ipv6/conf/all/forwarding to 1";
        let accept = "set net/ipv6/conf/eth0/accept_ra to 2";
        check(&[Family::V6], &["::/0 via fe80::1 dev 2 proto 9"], &now, &[accept, forwarding]);
        check(&[Family::V6], &["::/0 via fe80::1 dev 2 proto 4"], &now, &[forwarding]);
        now[2] = "net/ipv6/conf/eth0/accept_ra=0";
        check(&[Family::V6], &["::/0 via fe80::1 dev 2 proto 9"], &now, &[forwarding]);
    }

    #[test]
    fn a_pod_is_never_the_machines_router() {
        let [v4, v6] = NETFILTER;
        let now = [v4, v6, "net/ipv4/ip_forward=1", "net/ipv6/conf/all/forwarding=0"];
        check(&[Family::V4], &[], &now, &["set net/ipv6/conf/cbr0/accept_ra to 0"]);
        check(&[Family::V4], &[], &now[..3], &[]);
    }

    #[test]
    fn links_of_pods_packets_forward_what_all_do() {
        let [v4, v6] = NETFILTER;
        let of = |link: &str, value: u8| format!("net/ipv4/conf/{link}/forwarding={value}");
        let (on, off) = (of("eth0", 1), of("eth0", 0));
        let now = |all: &'static str, eth0: &'static str| [v4, v6, all, eth0];
        let (on, off) = (on.leak() as &str, off.leak() as &str);
        let world = ["0.0.0.0/0 via 192.0.2.254 dev 2"];
        let peer = ["10.244.2.0/24 via 192.0.2.2 dev 2 proto 107"];
        let step = "set net/ipv4/conf/eth0/forwarding to 1";
        for routes in [&world, &peer] {
            check(&[Family::V4], routes, &now("net/ipv4/ip_forward=1", off), &[step]);
            check(&[Family::V4], routes, &now("net/ipv4/ip_forward=1", on), &[]);
        }
        // Nobody's who comes by it is routed.
        check(&[Family::V4], &["192.0.2.0/24 dev 2"], &now("net/ipv4/ip_forward=1", off), &[]);
        let all = "set net/ipv4/ip_forward to 1";
        check(&[Family::V4], &world, &now("net/ipv4/ip_forward=0", off), &[all]);
    }

    #[test]
    fn a_kernel_without_bridge_netfilter_is_named() {
        let settings = desired(&[Family::V4], &[], &[], &Values::new());
        assert_eq!(missing(&settings, &Values::new()).unwrap().key, BRIDGE_NETFILTER.v4);
        check(&[Family::V4], &[], &["net/ipv4/ip_forward=1"], &[]);
    }

    #[test]
    fn every_key_that_is_set_is_watched() {
        let (links, routes) =
            ([link(2, "eth0 1500 up")], [route("::/0 via fe80::1 dev 2 proto 9")]);
        let keys = watched(&links, &routes);
        let now = Values::from([("net/ipv6/conf/eth0/accept_ra".to_owned(), "1".to_owned())]);
        let settings = desired(&Family::BOTH, &links, &routes, &now);
        assert!(settings.iter().all(|setting| keys.contains(&setting.key)), "{keys:?}");
    }
}
