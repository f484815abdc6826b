//! What is asked for as each runtime spells it, and what a network can't give.

use serde_json::json;

use super::*;

fn ranges() -> Vec<Range> {
    let range = |subnet: &str| {
        let subnet: Prefix = subnet.parse().unwrap();
        Range::new(subnet, subnet.gateway().unwrap())
    };
    ["10.244.1.0/24", "10.244.9.0/24", "fd00:1::/64"].map(range).to_vec()
}

fn conf(value: &Value) -> Conf {
    value.as_object().unwrap().clone()
}

/// What `wants` come to, in words; the mistakes where there are any.
fn wants(runtime: &Value, args: &Value, cni_args: &Args) -> Result<Vec<String>, String> {
    let mut mistakes = Vec::new();
    let asked = Asked::parse(&conf(runtime), Some(args), cni_args, &mut mistakes);
    let wants = asked.wants(&ranges(), &mut mistakes);
    if !mistakes.is_empty() {
        return Err(mistakes.join("; "));
    }
    let words = wants.into_iter().map(|want| match want {
        Want::This(ip) => ip.to_string(),
        Want::OneOf(pools) => {
            let ends = pools.iter().map(|pool| {
                let all = pool.after(None).collect::<Vec<_>>();
                format!("{}..{}", all[0], all[all.len() - 1])
            });
            ends.collect::<Vec<_>>().join(" or ")
        }
    });
    Ok(words.collect())
}

const ALL_V4: &str = "10.244.1.2..10.244.1.254 or 10.244.9.2..10.244.9.254";
const ALL_V6: &str = "fd00:1::2..fd00:1::ffff";

#[track_caller]
fn check(runtime: &Value, expected: [&str; 2]) {
    assert_eq!(wants(runtime, &json!({}), &Args::default()).unwrap(), expected);
}

#[track_caller]
fn refused(runtime: &Value, parts: &[&str]) {
    let mistakes = wants(runtime, &json!({}), &Args::default()).unwrap_err();
    assert!(parts.iter().all(|part| mistakes.contains(part)), "{mistakes}");
}

#[test]
fn an_address_may_be_asked_for_in_each_family() {
    check(&json!({}), [ALL_V4, ALL_V6]);
    check(&json!({ "ips": null, "ipRanges": null, "mac": "" }), [ALL_V4, ALL_V6]);
    check(&json!({ "ips": ["10.244.1.9"] }), ["10.244.1.9", ALL_V6]);
    check(&json!({ "ips": ["fd00:1::9/64", "10.244.9.9/16"] }), ["10.244.9.9", "fd00:1::9"]);
    let args = json!({ "cni": { "ips": ["fd00:1::9"] } });
    let cni_args = Args { ip: "10.244.1.9".parse().ok(), ..Args::default() };
    let all = wants(&json!({ "ips": ["10.244.1.9"] }), &args, &cni_args);
    assert_eq!(all.unwrap(), ["10.244.1.9", "fd00:1::9"]);
}

#[test]
fn an_address_that_no_pod_may_have_is_refused() {
    refused(&json!({ "ips": ["10.244.1.1"] }), &["10.244.1.1 is the gateway of 10.244.1.0/24"]);
    refused(&json!({ "ips": ["10.244.1.0"] }), &["is the address of the network"]);
    refused(&json!({ "ips": ["10.244.1.255"] }), &["is the broadcast address"]);
    refused(&json!({ "ips": ["fd00:1::"] }), &["is the address of the network"]);
    refused(&json!({ "ips": ["fd00:1::1:0"] }), &["is not between fd00:1::1 and fd00:1::ffff"]);
    refused(&json!({ "ips": ["10.9.9.9"] }), &["in no range", "[10.244.1.0/24, 10.244.9.0/24]"]);
    refused(&json!({ "ips": ["10.244.1.2", "10.244.9.2"] }), &["2 addresses of IPv4"]);
    refused(&json!({ "ips": ["ten"] }), &["\"ten\" is no address"]);
    for text in
        ["10.244.1.2/33", "fd00:1::2/129", "10.244.1.2/", "10.244.1.2/a", "10.244.1.2/24/24"]
    {
        refused(&json!({ "ips": [text] }), &[&format!("{text:?} is no address")]);
    }
    refused(&json!({ "ips": "10.244.1.2" }), &["ips: invalid type"]);
}

#[test]
fn ranges_narrow_the_networks() {
    let nested = json!({ "ipRanges": [
        [{ "subnet": "10.244.1.0/24", "rangeStart": "10.244.1.8", "rangeEnd": "10.244.1.9" }],
        [{ "subnet": "fd00:1::10/124" }],
    ] });
    check(&nested, ["10.244.1.8..10.244.1.9", "fd00:1::10..fd00:1::1f"]);
    let flat = json!({ "ipRanges": [
        { "Subnet": "10.244.9.0/24", "RangeStart": "", "RangeEnd": "", "Gateway": "10.244.9.1" },
    ] });
    check(&flat, ["10.244.9.2..10.244.9.254", ALL_V6]);
    let both = json!({ "ips": ["10.244.1.9"], "ipRanges": [[{ "subnet": "10.244.1.8/30" }]] });
    check(&both, ["10.244.1.9", ALL_V6]);
}

#[test]
fn a_range_that_the_bridge_can_not_serve_is_refused() {
    let one = |range: Value| json!({ "ipRanges": [[range]] });
    let refused = |range: Value, parts: &[&str]| refused(&one(range), parts);
    refused(json!({ "subnet": "10.9.0.0/24" }), &["10.9.0.0/24 is in no range of the network"]);
    refused(json!({ "subnet": "10.244.0.0/16" }), &["10.244.0.0/16 is in no range"]);
    let gateway = json!({ "subnet": "10.244.1.0/24", "gateway": "10.244.1.254" });
    refused(gateway, &["the gateway of 10.244.1.0/24 is 10.244.1.1"]);
    let start = json!({ "subnet": "10.244.1.0/28", "rangeStart": "10.244.1.16" });
    refused(start, &["10.244.1.16 is not in 10.244.1.0/28"]);
    refused(json!({ "subnet": "10.244.1.0/33" }), &["ipRanges:"]);
    refused(json!({ "rangeStart": "10.244.1.16" }), &["ipRanges:"]);
    let both = json!({ "ips": ["10.244.1.2"], "ipRanges": [[{ "subnet": "10.244.1.8/30" }]] });
    self::refused(&both, &["10.244.1.2 is not between 10.244.1.8 and 10.244.1.11"]);
}

#[test]
fn the_runtimes_mac_comes_first() {
    let mac = |runtime: Value, args: Value, cni_args: &str| {
        let cni_args = Args { mac: cni_args.parse().ok(), ..Args::default() };
        let mut mistakes = Vec::new();
        let asked = Asked::parse(&conf(&runtime), Some(&args), &cni_args, &mut mistakes);
        asked.mac.map(|mac| mac.to_string()).ok_or(mistakes.join("; "))
    };
    let (one, two, three) = ("02:00:00:00:00:01", "02:00:00:00:00:02", "02:00:00:00:00:03");
    let args = json!({ "cni": { "mac": two } });
    assert_eq!(mac(json!({ "mac": one }), args.clone(), three).unwrap(), one);
    assert_eq!(mac(json!({}), args, three).unwrap(), two);
    assert_eq!(mac(json!({}), json!({}), three).unwrap(), three);
    assert_eq!(mac(json!({}), json!(null), "").unwrap_err(), "");
    let bad = |text: &str, part: &str| {
        let mut mistakes = Vec::new();
        let runtime = conf(&json!({ "mac": text }));
        Asked::parse(&runtime, None, &Args::default(), &mut mistakes);
        assert!(mistakes.len() == 1 && mistakes[0].contains(part), "{mistakes:?}");
    };
    bad("02:00", "is no MAC address");
    bad("00:00:00:00:00:00", "no address of one interface");
    bad("03:00:00:00:00:01", "no address of one interface");
    bad("0a:58:0a:f4:01:05", "follow from an IP address");
}
