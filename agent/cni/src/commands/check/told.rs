//! Pure: what a result tells of an attachment. It is that of the whole chain: plugins behind us may have
//! changed what we made, and said so.

use std::net::IpAddr;

use common::Prefix;
use common::attachment::Attachment;
use serde_json::Value;

use crate::request::Target;

/// What is told of the interface, of the links outside that it hangs on, and of the ways out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Told {
    pub(super) mac: Option<String>,
    /// In bytes; results have one from CNI 1.1.0 on.
    pub(super) mtu: Option<u32>,
    /// With the lengths of their networks.
    pub(super) addresses: Vec<(IpAddr, u8)>,
    /// By gateways, in the main table.
    pub(super) routes: Vec<(Prefix, IpAddr)>,
    /// Each link of the machine with its MAC address.
    pub(super) outside: Vec<(String, String)>,
}

impl Told {
    /// None where `previous` has no interface of that name in that namespace.
    pub(super) fn of(previous: &Value, target: &Target) -> Option<Self> {
        let (name, sandbox) = (target.id.ifname(), target.netns.to_string_lossy());
        let interfaces = list(previous, "interfaces");
        let index = interfaces.iter().position(|interface| {
            interface["name"] == name && interface["sandbox"].as_str() == Some(&sandbox)
        })?;
        let outside = interfaces.iter().filter(|it| text(it, "sandbox").is_none());
        let outside = outside.filter_map(|it| Some((text(it, "name")?, text(it, "mac")?)));
        let ips = list(previous, "ips").iter();
        let own = ips.filter(|ip| ip["interface"].as_u64() == u64::try_from(index).ok());
        let routes = list(previous, "routes").iter().filter(|route| is_main(&route["table"]));
        let mtu = interfaces[index]["mtu"].as_u64();
        Some(Self {
            mac: text(&interfaces[index], "mac"),
            mtu: mtu.and_then(|mtu| mtu.try_into().ok()),
            addresses: own.filter_map(address).collect(),
            routes: routes.filter_map(route).collect(),
            outside: outside.collect(),
        })
    }

    /// The addresses of which only this or only the record tells.
    pub(super) fn differences(&self, record: &Attachment) -> Vec<String> {
        let named = self.addresses.iter().map(|(ip, _)| *ip).collect::<Vec<_>>();
        let unknown = named.iter().filter(|ip| !record.addresses.contains(ip));
        let unknown = unknown.map(|ip| format!("{ip} of prevResult is not in the record"));
        let unnamed = record.addresses.iter().filter(|ip| !named.contains(ip));
        let unnamed = unnamed.map(|ip| format!("{ip} of the record is not in prevResult"));
        unknown.chain(unnamed).collect()
    }
}

fn list<'a>(value: &'a Value, key: &str) -> &'a [Value] {
    value.get(key).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// None where it is empty.
fn text(value: &Value, key: &str) -> Option<String> {
    value[key].as_str().filter(|text| !text.is_empty()).map(str::to_owned)
}

fn address(ip: &Value) -> Option<(IpAddr, u8)> {
    let (ip, length) = ip["address"].as_str()?.split_once('/')?;
    Some((ip.parse().ok()?, length.parse().ok()?))
}

fn route(route: &Value) -> Option<(Prefix, IpAddr)> {
    let [destination, gateway] = ["dst", "gw"].map(|key| route[key].as_str());
    Some((destination?.parse().ok()?, gateway?.parse().ok()?))
}

/// `RT_TABLE_MAIN` (linux/rtnetlink.h), or none said.
fn is_main(table: &Value) -> bool {
    const MAIN: u64 = 254;
    table.as_u64().is_none_or(|table| [0, MAIN].contains(&table))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn told(changes: &Value) -> Option<Told> {
        let mut result = json!({
            "interfaces": [
                { "name": "lo", "mac": "00:00:00:00:00:00", "sandbox": "/n" },
                { "name": "cbr0", "mac": "0a:58:0a:f4:01:01" },
                { "name": "veth0", "mac": "", "sandbox": "" },
                { "name": "eth0", "mac": "02:00:00:00:00:01", "mtu": 1450, "sandbox": "/n" },
            ],
            "ips": [
                { "interface": 0, "address": "127.0.0.1/8" },
                { "interface": 3, "address": "10.244.1.2/24" },
                { "address": "192.0.2.7/24" },
            ],
            "routes": [
                { "dst": "0.0.0.0/0", "gw": "10.244.1.1" },
                { "dst": "192.0.2.0/24" },
                { "dst": "198.51.100.0/24", "gw": "10.244.1.9", "table": 100 },
                { "dst": "203.0.113.0/24", "gw": "10.244.1.9", "table": 254 },
            ],
        });
        for (key, value) in changes.as_object().unwrap() {
            result[key] = value.clone();
        }
        let target = Target { id: "c@eth0".parse().unwrap(), netns: "/n".into() };
        Told::of(&result, &target)
    }

    #[test]
    fn a_result_tells_of_our_interface_and_of_nobody_elses() {
        let expected = Told {
            mac: Some("02:00:00:00:00:01".to_owned()),
            mtu: Some(1450),
            addresses: vec![("10.244.1.2".parse().unwrap(), 24)],
            routes: [("0.0.0.0/0", "10.244.1.1"), ("203.0.113.0/24", "10.244.1.9")]
                .map(|(to, by)| (to.parse().unwrap(), by.parse().unwrap()))
                .to_vec(),
            outside: vec![("cbr0".to_owned(), "0a:58:0a:f4:01:01".to_owned())],
        };
        assert_eq!(told(&json!({})), Some(expected));
    }

    #[test]
    fn without_our_interface_it_tells_nothing() {
        for interfaces in [
            json!(null),
            json!([]),
            json!([{ "name": "eth0" }]),
            json!([{ "name": "eth0", "sandbox": "/other" }]),
            json!([{ "name": "net1", "sandbox": "/n" }]),
        ] {
            assert_eq!(told(&json!({ "interfaces": interfaces })), None);
        }
        let bare = told(&json!({ "ips": null, "routes": "x" })).unwrap();
        assert!(bare.addresses.is_empty() && bare.routes.is_empty());
    }

    #[test]
    fn addresses_of_one_side_alone_are_named() {
        let record =
            Attachment { addresses: vec!["10.244.1.3".parse().unwrap()], ..Attachment::default() };
        let differences = told(&json!({})).unwrap().differences(&record);
        let expected = [
            "10.244.1.2 of prevResult is not in the record",
            "10.244.1.3 of the record is not in prevResult",
        ];
        assert_eq!(differences, expected);
    }
}
