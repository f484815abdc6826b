//! Tables of what another chain has left.

use super::*;
use crate::testing::link;

/// `leases` as `ADDRESS CONTAINER [PORT]` where somebody answers behind the latter, `answers` as `CONTAINER LINK...`, `ports` as `NAME [CONTAINER]` where
/// the latter is whose it is, `ours` as `CONTAINER` that has a record or an address that is held.
#[track_caller]
fn check(leases: &[&str], answers: &[&str], ports: &[&str], ours: &[&str], expected: &[&str]) {
    let id = |container: &str| AttachmentId::new(container, "eth0").unwrap();
    let mut estate = Estate::default();
    for text in leases {
        let words = text.split(' ').collect::<Vec<_>>();
        let address = words[0].parse().unwrap();
        estate.leases.insert(address, id(words[1]));
        let station = |port: &&str| Station { mac: Mac([2; 6]), port: port.parse().unwrap() };
        estate.stations.extend(words.get(2).map(|port| (address, station(port))));
    }
    for text in answers {
        let mut words = text.split(' ').map(str::to_owned);
        let container = words.next().unwrap();
        let (container, host_links) = (container.as_str(), words.collect());
        estate.answers.insert(id(container), Answer { host_links, ..Answer::default() });
    }
    let mut links = vec![link(7, "cbr0:bridge 1500 up")];
    for (text, index) in ports.iter().zip(10..) {
        let (name, owner) = text.split_once(' ').unwrap_or((text, ""));
        let mut port = link(index, &format!("{name}:veth 1500 up master=7"));
        if !owner.is_empty() {
            port.alt_names = vec![id(owner).host_link()];
            port.alias = Some(format!("kubenet {}", id(owner)));
        }
        links.push(port);
    }
    let held = ours.iter().filter_map(|text| text.parse().ok()).collect();
    let recorded = ours.iter().filter(|text| text.parse::<IpAddr>().is_err());
    let recorded = recorded.map(|text| id(text)).collect();
    let networks = ["10.244.1.0/24", "fd00:1::/64"].map(|text| text.parse().unwrap());
    let steps = plan(&estate, &links, &networks, &Owned { recorded, held });
    let texts = steps.iter().map(|step| match step {
        Step::Adopt { record, link } => {
            let addresses = record.addresses.iter().map(ToString::to_string).collect::<Vec<_>>();
            format!("adopt {} {} at {link}", record.container_id, addresses.join(" "))
        }
        Step::Hold { address, id } => format!("hold {address} of {}", id.container_id()),
        Step::LetGo(address) => format!("let go {address}"),
    });
    assert_eq!(texts.collect::<Vec<_>>(), expected);
}

#[test]
fn a_lease_with_a_port_becomes_an_attachment() {
    check(
        &["10.244.1.5 a", "fd00:1::5 a", "10.244.1.6 b"],
        &["a cbr0 vetha", "b cbr0 vethb"],
        &["vethb", "vetha"],
        &[],
        &["adopt a 10.244.1.5 fd00:1::5 at 11", "adopt b 10.244.1.6 at 10"],
    );
}

#[test]
fn what_is_ours_is_left_alone_and_what_was_begun_is_finished() {
    let (leases, answers) = (&["10.244.1.5 a"], &["a cbr0 vetha"]);
    check(leases, answers, &["vetha a"], &["a"], &[]);
    check(leases, answers, &["vetha a"], &[], &["adopt a 10.244.1.5 at 10"]);
}

#[test]
fn a_lease_whose_link_is_gone_is_dead() {
    check(&["10.244.1.5 a"], &["a cbr0 vetha"], &["vethb"], &[], &[]);
}

#[test]
fn a_lease_of_which_nobody_tells_is_held_while_there_are_unknown_ports() {
    let leases = &["10.244.1.5 a", "10.244.1.6 b", "172.17.0.2 c"];
    let answers = &["b cbr0 vethb"];
    let adopt = "adopt b 10.244.1.6 at 10";
    check(leases, answers, &["vethb", "veth9"], &[], &[adopt, "hold 10.244.1.5 of a"]);
    check(leases, answers, &["vethb b", "veth9"], &["b", "10.244.1.5"], &[]);
    check(leases, answers, &["vethb b"], &["b", "10.244.1.5"], &["let go 10.244.1.5"]);
    check(leases, answers, &["vethb"], &[], &[adopt]);
    check(leases, answers, &["vethb"], &["10.244.1.6"], &[adopt]);
}

#[test]
fn who_answers_at_an_address_tells_by_its_port() {
    let (answers, b) = (&["a", "b vethb"], "10.244.1.6 b");
    let adopt = "adopt a 10.244.1.5 at 10";
    check(&["10.244.1.5 a 10", b], answers, &["vetha"], &[], &[adopt]);
    check(&["10.244.1.5 a 10", b], &[], &["vetha"], &["10.244.1.5"], &[adopt]);
    // Nobody answers, or behind another's port.
    let held = "hold 10.244.1.5 of a";
    check(&["10.244.1.5 a", b], answers, &["vetha"], &[], &[held]);
    check(&["10.244.1.5 a 10", b], answers, &["vethc c", "veth9"], &["c"], &[held]);
    let unclear = |ours: &[&str]| {
        let id = |container: &str| AttachmentId::new(container, "eth0").unwrap();
        let answer = Answer { host_links: vec!["vethb".to_owned()], ..Answer::default() };
        let estate = Estate {
            leases: [("10.244.1.5", "a"), ("10.244.1.6", "b")]
                .map(|(ip, container)| (ip.parse().unwrap(), id(container)))
                .into(),
            answers: [(id("b"), answer), (id("a"), Answer::default())].into(),
            ..Estate::default()
        };
        let recorded = ours.iter().map(|container| id(container)).collect();
        estate.unclear(&Owned { recorded, ..Owned::default() })
    };
    assert_eq!(unclear(&[]), ["10.244.1.5".parse::<IpAddr>().unwrap()]);
    assert_eq!(unclear(&["a"]), [] as [IpAddr; 0]);
}

#[test]
fn a_link_that_is_no_port_of_cbr0_is_not_taken() {
    let id = AttachmentId::new("a", "eth0").unwrap();
    let answer = Answer { host_links: vec!["vetha".to_owned()], ..Answer::default() };
    let estate = Estate {
        leases: [("10.244.1.5".parse().unwrap(), id.clone())].into(),
        answers: [(id, answer)].into(),
        ..Estate::default()
    };
    let links = [link(7, "cbr0:bridge 1500 up"), link(8, "vetha:veth 1500 up master=9")];
    assert_eq!(plan(&estate, &links, &[], &Owned::default()), []);
}

#[test]
fn a_lease_names_its_container_and_maybe_its_interface() {
    let check = |text, expected: Option<&str>| {
        assert_eq!(lessee(text).map(|id| id.to_string()).as_deref(), expected, "{text:?}");
    };
    check("c1\r\neth0", Some("c1@eth0"));
    check("c1\r\nnet1\r\n", Some("c1@net1"));
    check("c1\n", Some("c1@eth0"));
    check("", None);
    check("../c1\r\neth0", None);
}

#[test]
fn answers_are_read_as_libcni_keeps_them() {
    let interfaces = r#"[{"name": "cbr0", "mac": "0a:00"}, {"name": "vetha", "mac": "0a:01"},
        {"name": "eth0", "mac": "0a:02", "sandbox": "/run/netns/a"}]"#;
    let bare = format!(r#"{{"cniVersion": "0.3.1", "interfaces": {interfaces}}}"#);
    let whole = format!(
        r#"{{"kind": "cniCacheV1", "containerId": "a", "result": {bare}, "cniArgs":
        [["IgnoreUnknown", "1"], ["K8S_POD_NAMESPACE", "default"], ["K8S_POD_NAME", "web"]]}}"#
    );
    let pod = Pod { namespace: "default".into(), name: "web".into(), uid: String::new() };
    let host_links = vec!["cbr0".to_owned(), "vetha".to_owned()];
    let answer = Answer { host_links, mac: "0a:02".into(), pod: None };
    assert_eq!(Answer::parse(&bare), Some(answer.clone()));
    assert_eq!(Answer::parse(&whole), Some(Answer { pod: Some(pod), ..answer }));
    // As kubelet's own kubenet got it.
    let old = r#"{"kind": "cniCacheV1", "networkName": "kubenet", "result": {"cniVersion": "0.1.0",
        "ip4": {"ip": "10.244.1.5/24", "gateway": "10.244.1.1"}, "dns": {}}}"#;
    assert_eq!(Answer::parse(old), Some(Answer::default()));
    assert_eq!(Answer::parse("half of {"), None);
    assert_eq!(Answer::parse("{}"), None);
}
