//! A machine that has had another pod network: its configuration makes way if the operator says so.

use std::time::Duration;

use net::Netns;
use net::link::{Hairpin, VethSpec};
use net::shaping::Shaping;

use super::*;

const DEADLINE: Duration = Duration::from_secs(20);

const OTHER: &str = r#"{"name": "other", "plugins": [{"type": "bridge"}]}"#;

fn names(lab: &Lab) -> Vec<String> {
    let entries = lab.path("conf").read_dir().unwrap();
    let mut names = entries
        .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
        .collect::<Vec<_>>();
    names.sort();
    names
}

#[test]
fn another_networks_config_makes_way_once_ours_is_there() {
    let mut lab = Lab::new();
    fs::create_dir_all(lab.path("conf")).unwrap();
    fs::write(lab.path("conf/05-other.conflist"), OTHER).unwrap();
    let shadowed = Err(Unready::Shadowed("05-other.conflist".to_owned()));
    assert_eq!(lab.round(&mut lab.machine()).verdict, shadowed);
    assert_eq!(names(&lab), ["05-other.conflist", "10-kubenet.conflist"]);
    lab.config.take_over = true;
    assert_eq!(lab.round(&mut lab.machine()).verdict, Ok(()));
    assert_eq!(names(&lab), ["05-other.conflist.kubenet-disabled", "10-kubenet.conflist"]);
    let text = fs::read_to_string(lab.path("conf/05-other.conflist.kubenet-disabled"));
    assert_eq!(text.unwrap(), OTHER);
}

#[test]
fn who_answers_at_a_leased_address_is_taken_over() {
    let mut lab = Lab::new();
    lab.config.take_over = true;
    let mut machine = lab.machine();
    lab.converge(&mut machine);
    let pod = Netns::unnamed().unwrap();
    let spec = VethSpec {
        host_name: "vethforeign",
        host_mac: Mac([2, 0, 0, 0, 0, 8]),
        container_name: "eth0",
        container_mac: Mac([2, 0, 0, 0, 0, 9]),
        netns: &pod,
        mtu: 1450,
        alias: "",
        bridge: index(&mut machine.netlink, names::BRIDGE),
        hairpin: Hairpin::On,
        shaping: Shaping::default(),
    };
    let veth = machine.netlink.create_veth(&spec).unwrap();
    let mut inside = pod.run(Netlink::open).unwrap().unwrap();
    let up = LinkChange { up: Some(true), ..LinkChange::default() };
    inside.set_link(veth.container, &up).unwrap();
    inside.add_address(veth.container, "10.244.1.7".parse().unwrap(), 24).unwrap();
    // Kubelet's own kubenet got answers that name no link.
    fs::create_dir_all(lab.path("data/networks/kubenet")).unwrap();
    fs::write(lab.path("data/networks/kubenet/10.244.1.7"), "c9").unwrap();
    let start = Instant::now();
    while !lab.path("state/attachments/c9@eth0").exists() {
        assert!(start.elapsed() < DEADLINE, "it is not taken over");
        assert_eq!(lab.round(&mut machine).verdict, Ok(()));
    }
    let host_link = machine.netlink.link(&Pod::host_link("c9@eth0")).unwrap().unwrap();
    assert_eq!(host_link.index, veth.host);
}
