//! Pure: cbr0, with its MAC, its MTU and its addresses.
//!
//! An address that is no gateway any more stays as long as an attachment lives in its range; a MAC
//! that pods may have learned stays as long as there are any. Sysctls of the bridge are in `sysctl`.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};

use common::conflist::Range;
use common::{Prefix, attachment, names};
use net::Mac;
use net::addr::Address;
use net::link::{Kind, Link};

use crate::hairpin::Hairpin;

/// The bridge as it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bridge {
    pub mac: Mac,
    /// In bytes.
    pub mtu: u32,
    /// The gateway of each range.
    pub addresses: Vec<Held>,
    /// Whether it takes every frame that it sees.
    pub promiscuous: bool,
}

/// An address with the length of its network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Held {
    pub address: IpAddr,
    pub length: u8,
}

impl From<Address> for Held {
    fn from(address: Address) -> Self {
        Self { address: address.address, length: address.length }
    }
}

impl From<Range> for Held {
    fn from(range: Range) -> Self {
        Self { address: range.gateway, length: range.subnet.length() }
    }
}

/// One change of the bridge; safe to repeat.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Somebody has renamed the link of this index, with all that hangs on it.
    Rename(u32),
    DeleteAddress(Held),
    /// The MAC is given at birth, so that nobody thinks it is random and replaces it.
    Create(Mac),
    SetMac(Mac),
    /// Always a change of its own: the MTU of a bridge made with it follows the smallest port.
    SetMtu(u32),
    SetPromiscuous(bool),
    /// A bridge with nothing but pods has no loops, and new pods would wait for half a minute.
    StopSpanningTree,
    /// The pods are one segment.
    StopVlanFiltering,
    Enable,
    /// A bond or a VRF that has it takes what is addressed to it.
    Release,
    AddAddress(Held),
}

/// The bridge for these `ranges`, whose MAC pods have `learned`, if any.
pub fn desired(ranges: &[Range], mtu: u32, hairpin: Hairpin, learned: Option<Mac>) -> Bridge {
    let gateways = || ranges.iter().map(|range| range.gateway);
    let first = gateways().find(IpAddr::is_ipv4).or_else(|| gateways().next());
    Bridge {
        mac: learned.or(first.map(derived)).unwrap_or(Mac([0; 6])),
        mtu,
        addresses: ranges.iter().copied().map(Held::from).collect(),
        promiscuous: hairpin == Hairpin::PromiscuousBridge,
    }
}

/// The MAC by which `attached` pods know the bridge that is so `now`: with another one it would be deaf
/// to them until they ask again.
///
/// It is the one that was `kept` at a take-over, or one that follows from an address, maybe of an older
/// range.
pub fn learned(now: Option<&Link>, attached: &[IpAddr], kept: Option<Mac>) -> Option<Mac> {
    let now = || now.and_then(|link| link.mac).filter(|&mac| is_derived(mac));
    kept.or_else(now).filter(|_| !attached.is_empty())
}

fn derived(address: IpAddr) -> Mac {
    Mac(attachment::mac(address))
}

/// Whether it may come from an address: kubenet's begin all alike.
fn is_derived(mac: Mac) -> bool {
    mac.0.first_chunk::<2>() == attachment::mac(Ipv4Addr::UNSPECIFIED.into()).first_chunk()
}

/// The addresses of `link` that were given by hand: all but link-local ones.
pub fn held(link: &Link, addresses: &[Address]) -> impl Iterator<Item = Held> + use<> {
    let index = link.index;
    let own = addresses.iter().filter(move |address| address.link == index && address.permanent);
    let global = own.filter(|address| match address.address {
        IpAddr::V4(ip) => !ip.is_link_local(),
        IpAddr::V6(ip) => !ip.is_unicast_link_local(),
    });
    global.copied().map(Held::from).collect::<Vec<_>>().into_iter()
}

/// Steps that turn `now`, cbr0 as it is, into `desired`; none once they agree.
///
/// An address whose network holds one of `attached` stays.
pub fn plan(
    desired: &Bridge,
    now: Option<&Link>,
    addresses: &[Address],
    attached: &[IpAddr],
) -> Vec<Step> {
    let Some(link) = now.filter(|link| link.kind == Kind::Bridge) else {
        let steps = [Step::Create(desired.mac), Step::SetMtu(desired.mtu), Step::Enable];
        return steps
            .into_iter()
            .chain(desired.addresses.iter().copied().map(Step::AddAddress))
            .collect();
    };
    let held = held(link, addresses).collect::<Vec<_>>();
    let stale = desired.stale(link, addresses);
    let unused = stale.filter(|&held| !desired.keeps(held, attached));
    let renamed = (link.name != names::BRIDGE).then_some(Step::Rename(link.index));
    let mut steps = renamed.into_iter().collect::<Vec<_>>();
    steps.extend(unused.map(Step::DeleteAddress));
    if link.mac != Some(desired.mac) {
        steps.push(Step::SetMac(desired.mac));
    }
    if link.mtu != desired.mtu {
        steps.push(Step::SetMtu(desired.mtu));
    }
    if link.promiscuous != desired.promiscuous {
        steps.push(Step::SetPromiscuous(desired.promiscuous));
    }
    if link.spanning_tree {
        steps.push(Step::StopSpanningTree);
    }
    if link.vlan_filtering {
        steps.push(Step::StopVlanFiltering);
    }
    if !link.up {
        steps.push(Step::Enable);
    }
    if link.master.is_some() {
        steps.push(Step::Release);
    }
    let missing = desired.addresses.iter().filter(|wanted| !held.contains(wanted));
    steps.extend(missing.copied().map(Step::AddAddress));
    steps
}

impl Bridge {
    /// Addresses of `link` that are no gateway any more.
    pub fn stale(&self, link: &Link, addresses: &[Address]) -> impl Iterator<Item = Held> {
        held(link, addresses).filter(|held| !self.addresses.contains(held))
    }

    /// Whether a stale address stays, for the sake of `attached`; but a gateway of another length is
    /// in the way of the right one.
    pub fn keeps(&self, held: Held, attached: &[IpAddr]) -> bool {
        held.is_used(attached) && self.addresses.iter().all(|wanted| wanted.address != held.address)
    }
}

impl Held {
    /// The network that the address is in; none if its length is impossible.
    pub fn network(self) -> Option<Prefix> {
        Prefix::containing(self.address, self.length).ok()
    }

    /// Whether one of the `attached` pods has it as its gateway.
    pub fn is_used(self, attached: &[IpAddr]) -> bool {
        self.network().is_some_and(|network| attached.iter().any(|&pod| network.contains(pod)))
    }
}

impl Step {
    /// What is repaired by it, in one word.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Create(_)
            | Self::Rename(_)
            | Self::StopSpanningTree
            | Self::StopVlanFiltering => "bridge",
            Self::AddAddress(_) | Self::DeleteAddress(_) => "address",
            Self::SetMac(_) => "mac",
            Self::SetMtu(_) => "mtu",
            Self::SetPromiscuous(_) => "promisc",
            Self::Enable | Self::Release => "link",
        }
    }
}

impl fmt::Display for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.length)
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bridge = names::BRIDGE;
        match self {
            Self::Rename(link) => write!(f, "name link {link} {bridge} again"),
            Self::DeleteAddress(held) => write!(f, "delete address {held} of {bridge}"),
            Self::Create(mac) => write!(f, "create {bridge} with MAC {mac}"),
            Self::SetMac(mac) => write!(f, "set MAC of {bridge} to {mac}"),
            Self::SetMtu(mtu) => write!(f, "set MTU of {bridge} to {mtu}"),
            Self::SetPromiscuous(true) => write!(f, "set {bridge} promiscuous"),
            Self::SetPromiscuous(false) => write!(f, "set {bridge} not promiscuous"),
            Self::StopSpanningTree => write!(f, "switch spanning tree of {bridge} off"),
            Self::StopVlanFiltering => write!(f, "switch VLAN filtering of {bridge} off"),
            Self::Enable => write!(f, "set {bridge} up"),
            Self::Release => write!(f, "make {bridge} nobody's port"),
            Self::AddAddress(held) => write!(f, "add address {held} to {bridge}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{address, link, range};

    const CBR0: &str = "cbr0:bridge 1500 up mac=0a:58:0a:f4:01:01 10.244.1.1/24";

    /// `now` is a link with its addresses; empty, there is none.
    #[track_caller]
    fn check(ranges: &[&str], now: &str, attached: &[&str], expected: &[&str]) {
        let ranges = ranges.iter().map(|text| range(text)).collect::<Vec<_>>();
        let words = now.split(' ').filter(|word| word.contains('/'));
        let addresses = words.map(|word| address(7, word)).collect::<Vec<_>>();
        let now = (!now.is_empty()).then(|| link(7, now));
        let attached = attached.iter().map(|ip| ip.parse().unwrap()).collect::<Vec<_>>();
        let learned = learned(now.as_ref(), &attached, None);
        let desired = desired(&ranges, 1500, Hairpin::Veth, learned);
        let steps = plan(&desired, now.as_ref(), &addresses, &attached);
        assert_eq!(steps.iter().map(Step::to_string).collect::<Vec<_>>(), expected);
    }

    #[test]
    fn a_missing_bridge_is_made() {
        check(
            &["10.244.1.0/24", "fd00:1::/64"],
            "",
            &[],
            &[
                "create cbr0 with MAC 0a:58:0a:f4:01:01",
                "set MTU of cbr0 to 1500",
                "set cbr0 up",
                "add address 10.244.1.1/24 to cbr0",
                "add address fd00:1::1/64 to cbr0",
            ],
        );
    }

    #[test]
    fn what_agrees_is_left_alone() {
        check(&["10.244.1.0/24"], CBR0, &[], &[]);
        check(&["10.244.1.0/24"], &format!("{CBR0} fe80::1/64"), &[], &[]);
    }

    #[test]
    fn what_was_broken_is_repaired() {
        let range = &["10.244.1.0/24"];
        let steps = &["set MAC of cbr0 to 0a:58:0a:f4:01:01"];
        check(range, "cbr0:bridge 1500 up mac=02:00:00:00:00:01 10.244.1.1/24", &[], steps);
        let steps = &["set MTU of cbr0 to 1500", "set cbr0 up"];
        check(range, "cbr0:bridge 1400 mac=0a:58:0a:f4:01:01 10.244.1.1/24", &[], steps);
        let curious = "cbr0:bridge 1500 up promiscuous mac=0a:58:0a:f4:01:01 10.244.1.1/24";
        check(range, curious, &[], &["set cbr0 not promiscuous"]);
        check(range, &format!("{CBR0} stp"), &[], &["switch spanning tree of cbr0 off"]);
        check(range, &format!("{CBR0} vlans"), &[], &["switch VLAN filtering of cbr0 off"]);
        let steps = &["add address 10.244.1.1/24 to cbr0"];
        check(range, "cbr0:bridge 1500 up mac=0a:58:0a:f4:01:01", &[], steps);
        check(range, &format!("{CBR0} master=9"), &[], &["make cbr0 nobody's port"]);
        let renamed = CBR0.replace("cbr0:", "br0:");
        check(range, &renamed, &[], &["name link 7 cbr0 again"]);
    }

    #[test]
    fn a_gateway_with_another_length_makes_room() {
        let wide = "cbr0:bridge 1500 up mac=0a:58:00:01:00:01 fd00:0:0:1::1/56";
        let steps =
            ["delete address fd00:0:0:1::1/56 of cbr0", "add address fd00:0:0:1::1/64 to cbr0"];
        check(&["fd00:0:0:1::/64"], wide, &["fd00:0:0:1::5"], &steps);
    }

    #[test]
    fn an_old_range_lives_as_long_as_its_pods() {
        let new = &["10.244.9.0/24"];
        let add = "add address 10.244.9.1/24 to cbr0";
        check(new, CBR0, &["10.244.1.5"], &[add]);
        check(new, CBR0, &["10.244.7.5"], &["delete address 10.244.1.1/24 of cbr0", add]);
        let both = format!("{CBR0} 10.244.9.1/24");
        check(new, &both, &["10.244.1.5"], &[]);
        let gone = "delete address 10.244.1.1/24 of cbr0";
        check(new, &both, &["10.244.9.5"], &[gone]);
        check(new, &both, &[], &[gone, "set MAC of cbr0 to 0a:58:0a:f4:09:01"]);
    }

    #[test]
    fn the_mac_of_a_take_over_stays_while_pods_live() {
        let (foreign, pod) =
            ("12:34:56:78:9a:bc".parse::<Mac>().unwrap(), ["10.244.1.5".parse().unwrap()]);
        let cbr0 = link(7, CBR0);
        assert_eq!(learned(Some(&cbr0), &pod, Some(foreign)), Some(foreign));
        assert_eq!(learned(Some(&cbr0), &[], Some(foreign)), None);
        assert_eq!(learned(Some(&cbr0), &pod, None), cbr0.mac);
    }
}
