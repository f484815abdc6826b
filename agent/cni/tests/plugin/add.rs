//! ADD: what a pod has, and whom it reaches.

use std::time::Duration;

use net::Netlink;
use serde_json::json;

use crate::lab::{Host, IPV4, IPV6, pod, round_trip};

/// Duplicate address detection takes a second, and so does a lost neighbour solicitation.
const AT_ONCE: Duration = Duration::from_millis(500);

#[test]
fn pods_reach_each_other_and_the_gateway_at_once() {
    let host = Host::new(&[IPV4, IPV6]);
    let (first, second) = (pod(), pod());
    let ones = host.add("c1", &first).addresses();
    let others = host.add("c2", &second).addresses();
    assert_eq!(ones.len(), 2);
    for (own, other) in ones.into_iter().zip(others) {
        assert!(round_trip(&first, &second, other) < AT_ONCE);
        assert!(round_trip(&second, &first, own) < AT_ONCE);
    }
    for (_, gateway) in [IPV4, IPV6] {
        assert!(round_trip(&second, &host.netns, gateway.parse().unwrap()) < AT_ONCE);
    }
}

#[test]
fn a_pod_has_what_the_result_says() {
    let mut host = Host::new(&[IPV4, IPV6]);
    let pod = pod();
    let result = host.add("c1", &pod).result();
    let link = host.host_link("c1").unwrap();
    assert_eq!(result["interfaces"][0]["name"], "cbr0");
    assert_eq!(result["interfaces"][1]["name"], json!(link.name));
    assert_eq!(result["interfaces"][2]["mac"], "0a:58:0a:f4:01:02");
    assert_eq!((link.up, link.hairpin, link.mtu), (true, Some(true), 1450));
    let alias = "kubenet c1@eth0 10.244.1.2 fd00:10:244:1::2";
    assert_eq!(link.alias.as_deref(), Some(alias));
    let mut inside = pod.run(Netlink::open).unwrap().unwrap();
    let eth0 = inside.link("eth0").unwrap().unwrap();
    assert_eq!((eth0.up, eth0.mtu), (true, 1450));
    assert_eq!(eth0.mac.unwrap().to_string(), "0a:58:0a:f4:01:02");
    let lease = std::fs::read_to_string(host.file("leases/10.244.1.2")).unwrap();
    assert_eq!(lease, "c1\r\neth0");
}
