//! Requests as a runtime makes them, well and badly.

use serde_json::json;

use super::*;

fn environment(command: &str, container_id: &str, netns: &str, ifname: &str) -> Environment {
    let variable = |text: &str| (!text.is_empty()).then(|| OsString::from(text));
    Environment {
        command: variable(command),
        container_id: variable(container_id),
        netns: variable(netns),
        ifname: variable(ifname),
        ..Environment::default()
    }
}

fn conf() -> Value {
    json!({
        "cniVersion": "1.1.0", "name": "kubenet", "type": "kubenet", "mtu": 1450, "hairpin": true,
        "ranges": [
            { "subnet": "10.244.1.0/24", "gateway": "10.244.1.1" },
            { "subnet": "fd00:1::/64", "gateway": "fd00:1::1" },
        ],
    })
}

/// `conf()` with the fields of `changes`; null takes one away.
fn changed(changes: &Value) -> Conf {
    let mut conf = conf().as_object().unwrap().clone();
    for (key, value) in changes.as_object().unwrap() {
        conf.remove(key);
        if !value.is_null() {
            conf.insert(key.clone(), value.clone());
        }
    }
    conf
}

#[track_caller]
fn refused(result: Result<impl std::fmt::Debug, Error>, code: u32, parts: &[&str]) {
    let error = result.unwrap_err();
    let message = error.to_string();
    assert_eq!(error.code(), code, "{message}");
    assert!(parts.iter().all(|part| message.contains(part)), "{message}");
}

fn add() -> Call {
    Call::parse(&environment("ADD", "c1", "/run/netns/c1", "eth0")).unwrap()
}

#[test]
fn all_missing_variables_are_named_at_once() {
    let check = |command: &str, parts: &[&str]| {
        refused(Call::parse(&environment(command, "", "", "")), 4, parts);
    };
    check("ADD", &["CNI_CONTAINERID is missing", "CNI_IFNAME is missing", "CNI_NETNS is missing"]);
    check("CHECK", &["CNI_CONTAINERID", "CNI_IFNAME", "CNI_NETNS"]);
    check("DEL", &["CNI_CONTAINERID", "CNI_IFNAME"]);
    check("", &["CNI_COMMAND"]);
    check("add", &["CNI_COMMAND is \"add\"", "VERSION"]);
    for command in ["GC", "STATUS", "VERSION"] {
        assert!(Call::parse(&environment(command, "", "", "")).is_ok());
    }
}

#[test]
fn del_needs_no_netns() {
    let call = Call::parse(&environment("DEL", "c1", "", "eth0")).unwrap();
    assert_eq!(call, Call::Del(AttachmentId::new("c1", "eth0").unwrap(), None));
}

#[test]
fn names_that_lead_elsewhere_are_refused() {
    for id in ["../../etc/passwd", "a/b", ".", "a\nb", &"a".repeat(200)] {
        for command in ["ADD", "DEL", "CHECK"] {
            let call = Call::parse(&environment(command, id, "/n", "eth0"));
            refused(call, 4, &["CNI_CONTAINERID", "is no container id"]);
        }
    }
    for ifname in ["..", "a/b", "eth 0", "a:b", "sixteen-letters-"] {
        let call = Call::parse(&environment("DEL", "c1", "", ifname));
        refused(call, 4, &["CNI_IFNAME", "is no interface name"]);
    }
    let both = Call::parse(&environment("ADD", "../c", "", "../e"));
    refused(both, 4, &["CNI_CONTAINERID", "CNI_IFNAME", "CNI_NETNS"]);
}

#[test]
fn what_is_no_object_is_refused() {
    for text in ["", " \n", "{", "[]", "\"x\"", "not JSON", "\0"] {
        refused(decode(text.as_bytes(), 1 << 20), 6, &["standard input"]);
    }
    refused(decode(&[b' '; 11], 10), 6, &["longer than 10 bytes"]);
    let nested = "[".repeat(100_000);
    refused(decode(nested.as_bytes(), 1 << 20), 6, &[]);
    assert!(decode(b"{}", 10).unwrap().is_empty());
}

#[test]
fn only_versions_that_we_speak_are_taken() {
    let check = |version: Value| super::version(&changed(&json!({ "cniVersion": version })));
    assert_eq!(check("0.3.1".into()).unwrap(), Version::V0_3_1);
    for none in [changed(&json!({ "cniVersion": null })), changed(&json!({ "cniVersion": "" }))] {
        assert_eq!(version(&none).unwrap(), Version::V0_1_0);
    }
    let null = Conf::from_iter([("cniVersion".to_owned(), Value::Null)]);
    assert_eq!(version(&null).unwrap(), Version::V0_1_0);
    let all = "0.1.0, 0.2.0, 0.3.0, 0.3.1, 0.4.0, 1.0.0, 1.1.0";
    refused(check("9.9.9".into()), 1, &["\"9.9.9\"", all]);
    refused(check(json!(1)), 7, &["cniVersion"]);
}

#[test]
fn a_verb_is_refused_before_its_version() {
    let check = |call: Call, since: Version| {
        for version in Version::ALL {
            assert_eq!(call.check_version(version).is_ok(), version >= since, "{version:?}");
        }
    };
    check(add(), Version::V0_1_0);
    check(Call::Check(Target { id: "c@e".parse().unwrap(), netns: "/n".into() }), Version::V0_4_0);
    check(Call::Status, Version::V1_1_0);
    check(Call::Gc, Version::V1_1_0);
    refused(Call::Gc.check_version(Version::V1_0_0), 1, &["GC came with CNI 1.1.0"]);
}

#[test]
fn every_mistake_of_the_configuration_is_named() {
    let check = |changes: Value, code: u32, parts: &[&str]| {
        refused(Request::parse(add(), changed(&changes)), code, parts);
    };
    check(
        json!({
            "name": null, "bridge": "a/b", "stateDir": "run", "mtu": 60,
            "ranges": [{ "subnet": "10.244.1.0/24", "gateway": "10.244.2.1" }],
        }),
        7,
        &["name", "bridge", "stateDir", "mtu", "10.244.1.0/24 has no gateway 10.244.2.1"],
    );
    check(json!({ "ranges": null }), 7, &["ranges: none is given"]);
    check(
        json!({ "ranges": [{ "subnet": "10.244.1.5/24", "gateway": "10.244.1.1" }] }),
        7,
        &["host bits"],
    );
    check(json!({ "mtu": 1279 }), 7, &["1279 is less than IPv6 allows: 1280"]);
    let range = json!({ "subnet": "10.0.0.0/8", "gateway": "10.0.0.1" });
    check(json!({ "ranges": [range, range] }), 7, &["two of 10.0.0.0/8 have addresses in common"]);
    check(json!({ "prevResult": [] }), 7, &["prevResult"]);
    check(json!({ "type": null }), 7, &["type"]);
}

#[test]
fn an_old_result_has_no_room_for_a_second_address() {
    let parse = |version: &str, previous: &Value| {
        let changes = json!({ "cniVersion": version, "prevResult": previous });
        Request::parse(add(), changed(&changes))
    };
    let (there, other) = (json!({ "ip6": { "ip": "fd00::1/64" } }), json!({ "ip6": null }));
    refused(parse("0.2.0", &there), 7, &["an IPv6 address", "CNI 0.2.0"]);
    assert!(parse("0.2.0", &other).is_ok() && parse("0.3.0", &there).is_ok());
}

#[test]
fn what_we_would_not_heed_is_refused() {
    let check = |changes: Value, parts: &[&str]| {
        refused(Request::parse(add(), changed(&changes)), 2, parts);
    };
    check(json!({ "ipam": { "type": "host-local" } }), &["ipam", "host-local"]);
    let foreign = json!({ "runtimeConfig": { "deviceID": "0000:00:1f.6" } });
    check(foreign, &["runtimeConfig.deviceID", "0000:00:1f.6"]);
    for (key, value) in [
        ("vlan", json!(100)),
        ("vlanTrunk", json!([{ "id": 101 }])),
        ("macspoofchk", json!(true)),
        ("portIsolation", json!(true)),
        ("conditionsV4", json!(["-s", "192.0.2.0/24"])),
        ("ingressRate", json!(8000)),
        ("sysctl", json!({ "net.core.somaxconn": "500" })),
    ] {
        check(json!({ key: value }), &[key, &value.to_string()]);
    }
}

#[test]
fn what_says_nothing_and_what_nobody_knows_is_passed_over() {
    let parse = |changes: Value| Request::parse(add(), changed(&changes)).map(drop);
    parse(json!({
        "vlan": 0, "portIsolation": false, "vlanTrunk": [], "conditionsV4": null, "sysctl": {},
        "ipam": { "type": "" }, "isGateway": true, "ipMasq": true, "nobody knows": { "this": 1 },
        "disableCheck": true, "mac": "",
    }))
    .unwrap();
    parse(json!({ "ipam": {} })).unwrap();
}

#[test]
fn check_compares_with_a_result() {
    let target = Target { id: "c@eth0".parse().unwrap(), netns: "/n".into() };
    refused(
        Request::parse(Call::Check(target), changed(&json!({}))),
        7,
        &["prevResult is missing"],
    );
}

#[test]
fn del_works_without_ranges() {
    let id: AttachmentId = "c@eth0".parse().unwrap();
    let check = |changes: Value, expected: &str| match Request::parse(
        Call::Del(id.clone(), None),
        changed(&changes),
    )
    .unwrap()
    {
        Request::Del { state_dir, .. } => assert_eq!(state_dir, PathBuf::from(expected)),
        other => panic!("{other:?}"),
    };
    check(json!({}), "/run/kubenet");
    check(json!({ "ranges": 7, "name": null, "stateDir": "/s" }), "/s");
    refused(
        Request::parse(Call::Del(id.clone(), None), changed(&json!({ "stateDir": "s" }))),
        7,
        &["stateDir"],
    );
}

#[test]
fn gc_keeps_what_is_listed() {
    let check = |list: Value, expected: &[&str]| {
        let conf = changed(&json!({ "cni.dev/valid-attachments": list }));
        match Request::parse(Call::Gc, conf).unwrap() {
            Request::Gc { valid, .. } => {
                assert_eq!(valid.iter().map(ToString::to_string).collect::<Vec<_>>(), expected);
            }
            other => panic!("{other:?}"),
        }
    };
    check(
        json!([{ "containerID": "c1", "ifname": "eth0" }, { "containerID": "../x", "ifname": "e" }]),
        &["c1@eth0"],
    );
    check(json!([]), &[]);
    refused(
        Request::parse(Call::Gc, changed(&json!({}))),
        7,
        &["valid-attachments: it is missing"],
    );
    refused(
        Request::parse(Call::Gc, changed(&json!({ "cni.dev/valid-attachments": ["c1"] }))),
        7,
        &["valid-attachments"],
    );
    let nameless = json!({ "cni.dev/valid-attachments": [], "name": null });
    refused(Request::parse(Call::Gc, changed(&nameless)), 7, &["name of the network is missing"]);
}

#[test]
fn the_list_of_what_gc_keeps_has_two_names() {
    let conf =
        changed(&json!({ "cni.dev/attachments": [{ "containerID": "c1", "ifname": "eth0" }] }));
    let Request::Gc { valid, .. } = Request::parse(Call::Gc, conf).unwrap() else {
        panic!("no GC")
    };
    assert_eq!(valid, ["c1@eth0".parse().unwrap()].into());
}

#[track_caller]
fn ports(mappings: &Value) -> Result<Vec<String>, Error> {
    let conf = changed(&json!({ "runtimeConfig": { "portMappings": mappings } }));
    let Request::Add { config, .. } = Request::parse(add(), conf)? else { panic!("no ADD") };
    Ok(config
        .host_ports
        .iter()
        .map(|p| format!("{:?} {:?} {}>{}", p.protocol, p.host_ip, p.host_port, p.container_port))
        .collect())
}

#[test]
fn port_mappings_are_read_as_runtimes_write_them() {
    let mappings = json!([
        { "hostPort": 8080, "containerPort": 80, "protocol": "tcp" },
        { "hostPort": 8080, "containerPort": 80, "protocol": "TCP", "hostIP": "" },
        { "hostPort": 8080, "containerPort": 80, "protocol": "UDP", "hostIP": "192.0.2.1" },
        { "hostPort": 0, "containerPort": 81, "protocol": "tcp" },
        { "hostPort": 9090, "containerPort": 90, "hostIP": "::" },
        { "HostPort": 7070, "ContainerPort": 70, "Protocol": "tcp", "HostIP": "" },
    ]);
    let expected = [
        "Tcp None 7070>70",
        "Tcp None 8080>80",
        "Tcp Some(::) 9090>90",
        "Udp Some(192.0.2.1) 8080>80",
    ];
    assert_eq!(ports(&mappings).unwrap(), expected);
    assert!(ports(&Value::Null).unwrap().is_empty() && ports(&json!([])).unwrap().is_empty());
}

#[test]
fn bad_port_mappings_are_named() {
    let one = |port: Value, container: Value, protocol: &str, ip: &str| json!({ "hostPort": port, "containerPort": container, "protocol": protocol, "hostIP": ip });
    let bad = json!([
        one(65536.into(), 80.into(), "tcp", ""),
        one(8080.into(), 0.into(), "tcp", ""),
        one(8081.into(), 80.into(), "icmp", ""),
        one(8082.into(), 80.into(), "tcp", "localhost"),
        one(8083.into(), 80.into(), "tcp", ""),
        one(8083.into(), 81.into(), "tcp", ""),
    ]);
    let parts = ["hostPort 65536", "containerPort 0", "icmp", "localhost", "8083 is mapped twice"];
    refused(ports(&bad), 7, &parts);
    refused(ports(&json!([one("x".into(), 1.into(), "tcp", "")])), 7, &["portMappings"]);
    refused(ports(&json!({})), 7, &["portMappings"]);
}
