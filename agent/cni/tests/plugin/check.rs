//! CHECK: each difference is seen.

use std::fs;

use net::link::{LinkChange, Master};
use net::route::RouteChange;
use net::{Mac, Netlink, Netns};
use serde_json::{Value, json};

use crate::lab::{Host, IPV4, IPV6, Outcome, command, pod};

/// An attachment and what ADD said of it.
struct Attached {
    host: Host,
    pod: Netns,
    inside: Netlink,
    result: Value,
}

impl Attached {
    fn new() -> Self {
        let (host, pod) = (Host::new(&[IPV4, IPV6]), pod());
        let result = host.add("c1", &pod).result();
        let inside = pod.run(Netlink::open).unwrap().unwrap();
        Self { host, pod, inside, result }
    }

    fn check(&self) -> Outcome {
        let conf = self.host.conf(&json!({ "prevResult": self.result }));
        self.host.call("CHECK", "c1", Some(&self.pod), &conf)
    }

    fn change_host_link(&mut self, change: &LinkChange) {
        let link = self.host.host_link("c1").unwrap().index;
        self.host.netlink.set_link(link, change).unwrap();
    }

    fn change_eth0(&mut self, change: &LinkChange) -> u32 {
        let link = self.inside.link("eth0").unwrap().unwrap().index;
        self.inside.set_link(link, change).unwrap();
        link
    }
}

#[test]
fn what_add_made_passes_at_each_version() {
    let attached = Attached::new();
    attached.check().succeeded();
    for version in ["0.4.0", "1.0.0"] {
        let conf = json!({ "cniVersion": version, "prevResult": attached.result });
        let conf = attached.host.conf(&conf);
        attached.host.call("CHECK", "c1", Some(&attached.pod), &conf).succeeded();
    }
}

#[test]
fn a_host_link_that_was_changed_is_seen() {
    let mut attached = Attached::new();
    attached.change_host_link(&LinkChange { hairpin: Some(false), ..LinkChange::default() });
    attached.check().failed(103, &["hairpin of veth", "is not true"]);
    attached.change_host_link(&LinkChange { up: Some(false), ..LinkChange::default() });
    let nobody = LinkChange { master: Some(Master::Nobody), ..LinkChange::default() };
    attached.change_host_link(&nobody);
    attached.check().failed(103, &["is down", "is no port of cbr0"]);
    let link = attached.host.host_link("c1").unwrap().index;
    attached.host.netlink.delete_link(link).unwrap();
    attached.check().failed(103, &["host link veth", "eth0 is missing"]);
}

#[test]
fn a_pods_interface_that_was_changed_is_seen() {
    let mut attached = Attached::new();
    let eth0 =
        attached.change_eth0(&LinkChange { mac: Some(Mac([2; 6])), ..LinkChange::default() });
    attached.check().failed(103, &["eth0 has not the MAC address 0a:58:0a:f4:01:02"]);
    attached.inside.delete_address(eth0, "fd00:10:244:1::2".parse().unwrap(), 64).unwrap();
    attached.check().failed(103, &["eth0 lacks address fd00:10:244:1::2"]);
    attached.change_eth0(&LinkChange { up: Some(false), ..LinkChange::default() });
    attached.check().failed(103, &["eth0 is down", "0.0.0.0/0 does not lead to 10.244.1.1"]);
}

#[test]
fn another_interface_of_its_name_is_seen() {
    let attached = Attached::new();
    let script = "ip link set eth0 down && ip link set eth0 name old0 && \
        ip link add eth0 type veth peer name other0";
    let status = attached.pod.run(|| command("sh".as_ref()).args(["-c", script]).status());
    assert!(status.unwrap().unwrap().success());
    attached.check().failed(103, &["eth0 is not the other end of veth"]);
}

#[test]
fn what_a_plugin_behind_changed_and_said_is_no_difference() {
    let mut attached = Attached::new();
    attached.change_eth0(&LinkChange { mac: Some(Mac([2; 6])), ..LinkChange::default() });
    attached.result["interfaces"][2]["mac"] = "02:02:02:02:02:02".into();
    attached.check().succeeded();
}

#[test]
fn an_mtu_that_was_changed_is_seen() {
    let mut attached = Attached::new();
    attached.change_eth0(&LinkChange { mtu: Some(1400), ..LinkChange::default() });
    attached.check().failed(103, &["the MTU of eth0 is 1400, not 1450"]);
    attached.change_host_link(&LinkChange { mtu: Some(1400), ..LinkChange::default() });
    let words = ["the MTU of veth", "is 1400, not 1450; the MTU of eth0 is 1400, not 1450"];
    attached.check().failed(103, &words);
    // A result of 1.0.0 has no MTU; the ends must still agree.
    let previous = attached.result["interfaces"].as_array_mut().unwrap();
    for interface in previous {
        interface.as_object_mut().unwrap().remove("mtu");
    }
    attached.check().succeeded();
    attached.change_host_link(&LinkChange { mtu: Some(1500), ..LinkChange::default() });
    attached.check().failed(103, &["is 1500, not 1400"]);
}

#[test]
fn a_route_that_is_gone_is_seen() {
    let mut attached = Attached::new();
    let routes = attached.inside.routes().unwrap();
    let default = routes.into_iter().filter(|route| route.destination.length() == 0);
    let changes = default.map(RouteChange::Delete).collect::<Vec<_>>();
    attached.inside.change_routes(&changes).unwrap();
    attached.check().failed(103, &["0.0.0.0/0 does not lead", "::/0 does not lead"]);
}

#[test]
fn files_that_are_gone_are_seen() {
    let attached = Attached::new();
    fs::remove_file(attached.host.file("leases/10.244.1.2")).unwrap();
    attached.check().failed(103, &["10.244.1.2 is not leased to c1@eth0"]);
    fs::remove_file(attached.host.file("attachments/c1@eth0")).unwrap();
    attached.check().failed(103, &["c1@eth0 has no record"]);
}

#[test]
fn a_result_of_something_else_is_seen() {
    let mut attached = Attached::new();
    attached.result["ips"][0]["address"] = "10.244.1.9/24".into();
    attached.check().failed(103, &["10.244.1.9 of prevResult", "10.244.1.2 of the record"]);
    attached.result["ips"][0]["address"] = "10.244.1.2/16".into();
    attached.check().failed(103, &["the length of 10.244.1.2 is not 16"]);
    attached.result["ips"][0]["address"] = "10.244.1.2/24".into();
    attached.check().succeeded();
    for (number, name) in ["cbr0", "veth", "eth0"].into_iter().enumerate() {
        let before = attached.result["interfaces"][number]["mac"].take();
        attached.result["interfaces"][number]["mac"] = "02:00:00:00:00:09".into();
        attached.check().failed(103, &[name, "has not the MAC address 02:00:00:00:00:09"]);
        attached.result["interfaces"][number]["mac"] = before;
    }
    let routes = attached.result["routes"].take();
    attached.result["routes"] = json!([{ "dst": "192.0.2.0/24", "gw": "10.244.1.1" }]);
    attached.check().failed(103, &["192.0.2.0/24 does not lead to 10.244.1.1"]);
    attached.result["routes"] = routes;
    attached.result["interfaces"][2]["name"] = "net1".into();
    attached.check().failed(103, &["prevResult has no interface eth0"]);
    attached.result = Value::Null;
    attached.check().failed(7, &["prevResult is missing"]);
}

#[test]
fn a_container_that_is_gone_is_unknown() {
    let attached = Attached::new();
    let mut call = crate::lab::call("CHECK", "c1", None);
    call.netns = Some("/run/netns/gone".to_owned());
    let conf = attached.host.conf(&json!({ "prevResult": attached.result }));
    attached.host.run(&call, conf.to_string().as_bytes()).failed(3, &["/run/netns/gone"]);
}

#[test]
fn a_container_that_was_never_attached_is_unknown() {
    let attached = Attached::new();
    let conf = attached.host.conf(&json!({ "prevResult": attached.result }));
    let check = |id| attached.host.call("CHECK", id, Some(&attached.pod), &conf);
    check("c2").failed(3, &["c2@eth0 is not attached"]);
    attached.host.del("c1").succeeded();
    check("c1").failed(3, &["c1@eth0 is not attached"]);
}
