//! Results as the specification's examples have them.

use super::*;

fn record() -> Attachment {
    Attachment {
        container_id: "c".into(),
        ifname: "eth0".into(),
        bridge: "cbr0".into(),
        host_link: "veth0".into(),
        mac: "0a:58:0a:f4:01:05".into(),
        addresses: vec!["10.244.1.5".parse().unwrap(), "fd00:1::5".parse().unwrap()],
        netns_inode: 1,
        ..Attachment::default()
    }
}

fn result(version: &str, previous: Option<Value>) -> Value {
    result_with(version, previous, None)
}

fn result_with(version: &str, previous: Option<Value>, route_mtu: Option<u32>) -> Value {
    let range =
        |subnet: &str, gateway: &str| Range::new(subnet.parse().unwrap(), gateway.parse().unwrap());
    let made = Made {
        record: &record(),
        netns: Path::new("/run/netns/c"),
        ranges: &[range("10.244.1.0/24", "10.244.1.1"), range("fd00:1::/64", "fd00:1::1")],
        dns: None,
        mtu: 1450,
        route_mtu,
        bridge_mac: "0a:58:0a:f4:01:01".into(),
        host_mac: "0a:59:0a:f4:01:05".into(),
    };
    added(Version::parse(version).unwrap(), previous, &made)
}

#[test]
fn versions_are_known_by_their_text() {
    for version in Version::ALL {
        assert_eq!(Version::parse(version.as_str()), Some(version));
    }
    for unknown in ["", "0.1", "0.2.1", "1.1", "1.1.0 ", "9.9.9"] {
        assert_eq!(Version::parse(unknown), None);
    }
    assert!(Version::ALL.is_sorted() && Version::ALL.last() == Some(&Version::NEWEST));
}

#[test]
fn until_0_2_0_there_is_one_address_of_a_family() {
    for version in ["0.1.0", "0.2.0"] {
        let expected = json!({
            "cniVersion": version,
            "ip4": {
                "ip": "10.244.1.5/24", "gateway": "10.244.1.1",
                "routes": [{ "dst": "0.0.0.0/0", "gw": "10.244.1.1" }],
            },
            "ip6": {
                "ip": "fd00:1::5/64", "gateway": "fd00:1::1",
                "routes": [{ "dst": "::/0", "gw": "fd00:1::1" }],
            },
            "dns": {},
        });
        assert_eq!(result(version, None), expected);
    }
}

#[test]
fn before_1_0_0_an_address_says_its_family() {
    for version in ["0.3.0", "0.3.1", "0.4.0"] {
        let expected = json!({
            "cniVersion": version,
            "interfaces": [
                { "name": "cbr0", "mac": "0a:58:0a:f4:01:01" },
                { "name": "veth0", "mac": "0a:59:0a:f4:01:05" },
                { "name": "eth0", "mac": "0a:58:0a:f4:01:05", "sandbox": "/run/netns/c" },
            ],
            "ips": [
                { "version": "4", "interface": 2, "address": "10.244.1.5/24", "gateway": "10.244.1.1" },
                { "version": "6", "interface": 2, "address": "fd00:1::5/64", "gateway": "fd00:1::1" },
            ],
            "routes": [
                { "dst": "0.0.0.0/0", "gw": "10.244.1.1" },
                { "dst": "::/0", "gw": "fd00:1::1" },
            ],
            "dns": {},
        });
        assert_eq!(result(version, None), expected);
    }
}

#[test]
fn from_1_1_0_on_an_interface_says_its_mtu() {
    let old = result("1.0.0", None);
    assert_eq!(old["ips"][0].get("version"), None);
    assert_eq!(old["interfaces"][2].get("mtu"), None);
    let new = result("1.1.0", None);
    let mtus = [0, 1, 2].map(|index| new["interfaces"][index].get("mtu").cloned());
    assert_eq!(mtus, [None, Some(1450.into()), Some(1450.into())]);
}

#[test]
fn a_chain_keeps_what_came_before() {
    let previous = json!({
        "cniVersion": "1.1.0",
        "interfaces": [{ "name": "net0", "sandbox": "/run/netns/c", "pciID": "0000:00:1f.6" }],
        "ips": [{ "interface": 0, "address": "192.0.2.7/24" }],
        "dns": { "nameservers": ["192.0.2.53"] },
    });
    let result = result("1.1.0", Some(previous.clone()));
    assert_eq!(result["interfaces"][0], previous["interfaces"][0]);
    assert_eq!(result["dns"], previous["dns"]);
    let interfaces = result["ips"].as_array().unwrap().iter().map(|ip| ip["interface"].as_u64());
    assert_eq!(interfaces.collect::<Vec<_>>(), [Some(0), Some(3), Some(3)]);
    assert_eq!(result["routes"].as_array().map(Vec::len), Some(2));
}

#[test]
fn lo_has_its_own_addresses() {
    let addresses = [("127.0.0.1".parse().unwrap(), 8), ("::1".parse().unwrap(), 128)];
    let netns = Path::new("/run/netns/c");
    let lo = Seen { name: "lo", mac: "00:00:00:00:00:00", netns, addresses: &addresses };
    let expected = json!({
        "cniVersion": "0.3.1",
        "interfaces": [{ "name": "lo", "mac": "00:00:00:00:00:00", "sandbox": "/run/netns/c" }],
        "ips": [
            { "version": "4", "interface": 0, "address": "127.0.0.1/8" },
            { "version": "6", "interface": 0, "address": "::1/128" },
        ],
        "dns": {},
    });
    assert_eq!(seen(Version::V0_3_1, &lo), expected);
    let expected = json!({
        "cniVersion": "0.2.0", "ip4": { "ip": "127.0.0.1/8" }, "ip6": { "ip": "::1/128" }, "dns": {},
    });
    assert_eq!(seen(Version::V0_2_0, &lo), expected);
}

#[test]
fn details_are_left_out_where_there_are_none() {
    let answer = failed(Version::V1_0_0, 7, "invalid", "");
    assert_eq!(answer, json!({ "cniVersion": "1.0.0", "code": 7, "msg": "invalid" }));
    assert_eq!(failed(Version::V1_0_0, 7, "invalid", "why")["details"], "why");
}

#[test]
fn from_1_1_0_on_a_route_says_its_mtu_where_it_has_one() {
    let of_routes = |version: &str, mtu| {
        let result = result_with(version, None, mtu);
        let routes = result["routes"].as_array().unwrap().iter();
        routes.map(|route| route.get("mtu").cloned()).collect::<Vec<_>>()
    };
    assert_eq!(of_routes("1.1.0", Some(1400)), [Some(json!(1400)), Some(json!(1400))]);
    assert_eq!(of_routes("1.1.0", None), [None, None]);
    assert_eq!(of_routes("1.0.0", Some(1400)), [None, None]);
}
