//! Pure: the versions of CNI that we speak, and results as each of them spells them.

use std::net::IpAddr;
use std::path::Path;

use common::attachment::Attachment;
use common::conflist::Range;
use common::{Family, Prefix};
use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::request::Dns;

/// A version of the CNI specification.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Version {
    V0_1_0,
    V0_2_0,
    /// The first with interfaces, and with more than one address of a family.
    V0_3_0,
    V0_3_1,
    /// The first with CHECK.
    V0_4_0,
    /// The first whose addresses name no family.
    V1_0_0,
    /// The first with STATUS and GC, and with an interface's and a route's MTU.
    V1_1_0,
}

impl Version {
    pub(crate) const ALL: [Self; 7] = [
        Self::V0_1_0,
        Self::V0_2_0,
        Self::V0_3_0,
        Self::V0_3_1,
        Self::V0_4_0,
        Self::V1_0_0,
        Self::V1_1_0,
    ];
    pub(crate) const NEWEST: Self = Self::V1_1_0;

    pub(crate) fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|version| version.as_str() == text)
    }

    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::V0_1_0 => "0.1.0",
            Self::V0_2_0 => "0.2.0",
            Self::V0_3_0 => "0.3.0",
            Self::V0_3_1 => "0.3.1",
            Self::V0_4_0 => "0.4.0",
            Self::V1_0_0 => "1.0.0",
            Self::V1_1_0 => "1.1.0",
        }
    }
}

/// The answer to VERSION, in the words of `version`.
pub(crate) fn versions(version: Version) -> Value {
    let supported = Version::ALL.map(Version::as_str);
    json!({ "cniVersion": version.as_str(), "supportedVersions": supported })
}

/// What ADD made.
#[derive(Clone, Debug)]
pub(crate) struct Made<'a> {
    pub(crate) record: &'a Attachment,
    pub(crate) netns: &'a Path,
    /// Those of its addresses.
    pub(crate) ranges: &'a [Range],
    pub(crate) dns: Option<&'a Dns>,
    /// In bytes, of both ends.
    pub(crate) mtu: u32,
    /// Of the routes, in bytes; none is the link's.
    pub(crate) route_mtu: Option<u32>,
    /// The bridge's MAC address.
    pub(crate) bridge_mac: String,
    /// The host end's.
    pub(crate) host_mac: String,
}

#[derive(Serialize)]
struct Interface<'a> {
    name: &'a str,
    mac: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    mtu: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sandbox: Option<&'a Path>,
}

#[derive(Serialize)]
struct Ip {
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<&'static str>,
    interface: usize,
    address: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    gateway: Option<IpAddr>,
}

/// The result of ADD: what `previous` plugins of the chain made, and after it what we made.
pub(crate) fn added(version: Version, previous: Option<Value>, made: &Made<'_>) -> Value {
    let mut result = previous.unwrap_or_else(|| json!({ "dns": {} }));
    if let Some(fields) = result.as_object_mut() {
        fields.insert("cniVersion".to_owned(), version.as_str().into());
        fields.extend(made.dns.map(|dns| ("dns".to_owned(), json!(dns))));
    }
    if version < Version::V0_3_0 {
        for (address, range) in made.addresses() {
            result[key_until_0_2_0(address.into())] = Made::until_0_2_0(address, range);
        }
        return result;
    }
    let before = result.get("interfaces").and_then(Value::as_array).map_or(0, Vec::len);
    append(&mut result, "interfaces", made.interfaces(version));
    append(&mut result, "ips", made.ips(version, before + 2));
    append(&mut result, "routes", made.routes(version));
    result
}

/// One interface in the container that somebody else has made: the kernel, or another plugin.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Seen<'a> {
    pub(crate) name: &'a str,
    pub(crate) mac: &'a str,
    pub(crate) netns: &'a Path,
    /// With the lengths of their networks.
    pub(crate) addresses: &'a [(IpAddr, u8)],
}

/// The result that tells of one such interface, as the reference `loopback` does.
pub(crate) fn seen(version: Version, seen: &Seen<'_>) -> Value {
    let Seen { name, mac, netns, addresses } = *seen;
    if version < Version::V0_3_0 {
        let mut result = json!({ "cniVersion": version.as_str(), "dns": {} });
        for &(ip, length) in addresses {
            result[key_until_0_2_0(ip.into())] = json!({ "ip": format!("{ip}/{length}") });
        }
        return result;
    }
    let ips = addresses.iter().map(|&(ip, length)| Ip {
        version: family_of(version, ip),
        interface: 0,
        address: format!("{ip}/{length}"),
        gateway: None,
    });
    let ips = ips.collect::<Vec<_>>();
    let interface = Interface { name, mac, mtu: None, sandbox: Some(netns) };
    json!({ "cniVersion": version.as_str(), "interfaces": [interface], "ips": ips, "dns": {} })
}

/// The answer to a request that failed.
pub(crate) fn failed(version: Version, code: u32, message: &str, details: &str) -> Value {
    let mut answer = json!({ "cniVersion": version.as_str(), "code": code, "msg": message });
    if !details.is_empty() {
        answer["details"] = details.into();
    }
    answer
}

impl Made<'_> {
    fn interfaces(&self, version: Version) -> Vec<Value> {
        let mtu = (version >= Version::V1_1_0).then_some(self.mtu);
        let Attachment { bridge, host_link, ifname, mac, .. } = self.record;
        let interfaces = [
            Interface { name: bridge, mac: &self.bridge_mac, mtu: None, sandbox: None },
            Interface { name: host_link, mac: &self.host_mac, mtu, sandbox: None },
            Interface { name: ifname, mac, mtu, sandbox: Some(self.netns) },
        ];
        interfaces.iter().map(|interface| json!(interface)).collect()
    }

    /// Each address with its range.
    fn addresses(&self) -> impl Iterator<Item = (IpAddr, &Range)> {
        self.record.addresses.iter().filter_map(|&address| {
            let range = self.ranges.iter().find(|range| range.subnet.contains(address))?;
            Some((address, range))
        })
    }

    fn ips(&self, version: Version, interface: usize) -> Vec<Value> {
        let ips = self.addresses().map(|(address, range)| Ip {
            version: family_of(version, address),
            interface,
            address: format!("{address}/{}", range.subnet.length()),
            gateway: Some(range.gateway),
        });
        ips.map(|ip| json!(ip)).collect()
    }

    fn until_0_2_0(address: IpAddr, range: &Range) -> Value {
        json!({
            "ip": format!("{address}/{}", range.subnet.length()),
            "gateway": range.gateway,
            "routes": [route(range)],
        })
    }

    fn routes(&self, version: Version) -> Vec<Value> {
        let mtu = self.route_mtu.filter(|_| version >= Version::V1_1_0);
        let routes = self.ranges.iter().map(|range| {
            let mut route = route(range);
            route.extend(mtu.map(|mtu| ("mtu".to_owned(), mtu.into())));
            route.into()
        });
        routes.collect()
    }
}

/// The default route by `range`.
fn route(range: &Range) -> Map<String, Value> {
    let destination = default_route(range.subnet.family());
    let fields = [("dst", destination.to_string()), ("gw", range.gateway.to_string())];
    fields.map(|(key, text)| (key.to_owned(), text.into())).into_iter().collect()
}

/// Until 0.2.0 a result has room for one address of each family.
const fn key_until_0_2_0(family: Family) -> &'static str {
    match family {
        Family::V4 => "ip4",
        Family::V6 => "ip6",
    }
}

/// Whose place in the result `previous` has taken, of the families of `ranges`.
pub(crate) fn without_room(version: Version, previous: &Value, ranges: &[Range]) -> Option<Family> {
    let mut families = ranges.iter().map(|range| range.subnet.family());
    let taken = families.find(|&family| !previous[key_until_0_2_0(family)].is_null());
    taken.filter(|_| version < Version::V0_3_0)
}

/// `0.0.0.0/0` or `::/0`.
pub(crate) fn default_route(family: Family) -> Prefix {
    let any = family.address(0);
    Prefix::containing(any, 0).unwrap_or(Prefix::host(any))
}

/// Until 0.4.0 an address says its family.
fn family_of(version: Version, address: IpAddr) -> Option<&'static str> {
    let family = if address.is_ipv4() { "4" } else { "6" };
    (version < Version::V1_0_0).then_some(family)
}

fn append(result: &mut Value, list: &str, own: Vec<Value>) {
    match result.get_mut(list).and_then(Value::as_array_mut) {
        Some(there) => there.extend(own),
        None => result[list] = own.into(),
    }
}

#[cfg(test)]
mod tests;
