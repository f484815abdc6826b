//! A pod reaches itself through a Service as the mode says, and nothing arrives twice.

use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;

use super::*;
use crate::hairpin::Hairpin;
use crate::testing::lab::Born;

/// Of a Service whose one endpoint is the pod, as kube-proxy leads to it.
const SERVICE: &str = "10.96.0.1:80";

/// For what must come.
const DEADLINE: Duration = Duration::from_secs(20);

/// For what must not come: all is on one machine.
const SILENCE: Duration = Duration::from_millis(500);

fn serve_by(lab: &Lab, pod: &Born) -> UdpSocket {
    let address = pod.addresses.iter().find(|address| address.is_ipv4()).unwrap();
    let server = pod.netns.run(|| UdpSocket::bind((*address, 0)).unwrap()).unwrap();
    let endpoint = server.local_addr().unwrap();
    let text = format!(
        "table ip service {{
            chain pre {{
                type nat hook prerouting priority dstnat;
                ip daddr 10.96.0.1 udp dport 80 dnat to {endpoint}
            }}
            chain post {{
                type nat hook postrouting priority srcnat;
                ip saddr {address} ip daddr {address} masquerade
            }}
        }}"
    );
    lab.inside(|| net::nft::apply(&text).unwrap());
    server
}

/// How often one datagram from `pod` to `to` arrives, if it is to arrive at all.
fn arrivals(pod: &Born, to: SocketAddr, server: &UdpSocket, expected: bool) -> usize {
    let client = pod.netns.run(|| UdpSocket::bind("0.0.0.0:0").unwrap()).unwrap();
    client.send_to(b"once", to).unwrap();
    let mut received = [0; 16];
    let mut count = 0;
    let mut patience = if expected { DEADLINE } else { SILENCE };
    loop {
        server.set_read_timeout(Some(patience)).unwrap();
        if server.recv(&mut received).is_err() {
            return count;
        }
        (count, patience) = (count + 1, SILENCE);
    }
}

#[track_caller]
fn check(hairpin: Hairpin, to_itself: usize) {
    let mut lab = Lab::new();
    lab.config.hairpin = hairpin;
    let mut machine = lab.machine();
    lab.converge(&mut machine);
    let (pod, other) = (lab.add("pod"), lab.add("other"));
    // The port flags are the plugin's to set, by the conflist.
    assert_eq!(lab.converge(&mut machine), 0);
    let server = serve_by(&lab, &pod);
    let direct = server.local_addr().unwrap();
    let service = SERVICE.parse().unwrap();
    assert_eq!(arrivals(&other, direct, &server, true), 1, "{hairpin:?}: from pod to pod");
    assert_eq!(arrivals(&other, service, &server, true), 1, "{hairpin:?}: by the Service");
    let count = arrivals(&pod, service, &server, to_itself > 0);
    assert_eq!(count, to_itself, "{hairpin:?}: to itself by the Service");
}

#[test]
fn a_pod_reaches_itself_by_its_ports_flag() {
    check(Hairpin::Veth, 1);
}

#[test]
fn a_pod_reaches_itself_by_a_promiscuous_bridge_and_nothing_comes_twice() {
    check(Hairpin::PromiscuousBridge, 1);
}

#[test]
fn a_pod_does_not_reach_itself_without_hairpin() {
    check(Hairpin::None, 0);
}

#[test]
fn a_mode_that_changes_leaves_nothing_of_the_one_before() {
    let mut lab = Lab::new();
    let mut machine = lab.machine();
    let mut looks = Vec::new();
    for hairpin in [Hairpin::Veth, Hairpin::PromiscuousBridge, Hairpin::Veth] {
        lab.config.hairpin = hairpin;
        lab.converge(&mut machine);
        looks.push(lab.look());
    }
    let dedup = || net::nft::list_of_bridge(names::DEDUP_TABLE).unwrap();
    assert_eq!(lab.inside(dedup), None);
    assert!(looks[0] == looks[2] && looks[0] != looks[1]);
}
