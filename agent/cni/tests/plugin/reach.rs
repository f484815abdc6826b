//! From where a host port leads to its pod, and what it leaves alone: with the agent's own chains.

use std::net::{IpAddr, SocketAddr};

use net::{Netns, nft};

use crate::hostports::{add, ask, ask_by_udp, client, forward, make_table_with, mapping};
use crate::lab::{Host, IPV4, IPV6, pod};

const UPLINK: [(&str, &str, u8); 2] =
    [("192.0.2.1", "192.0.2.2", 24), ("2001:db8::1", "2001:db8::2", 64)];

/// A machine with a neighbour, and a pod with host port 8080.
fn with_pod() -> (Host, Netns, Netns, Vec<IpAddr>) {
    with_pod_by(&[])
}

/// The same with other words in the table of host ports.
fn with_pod_by(words: &[(&str, &str)]) -> (Host, Netns, Netns, Vec<IpAddr>) {
    let mut host = Host::new(&[IPV4, IPV6]);
    make_table_with(&host, words);
    let (client, pod) = (client(&mut host, UPLINK), pod());
    forward(&host);
    let addresses = add(&host, "c1", &pod, &[mapping(8080, 80, "tcp", "")]).addresses();
    (host, client, pod, addresses)
}

fn at(address: &str, port: u16) -> SocketAddr {
    SocketAddr::new(address.parse().unwrap(), port)
}

#[test]
fn a_host_port_is_reached_from_outside_the_machine_itself_and_other_pods() {
    let mut host = Host::new(&[IPV4, IPV6]);
    make_table_with(&host, &[]);
    let (client, pod, other) = (client(&mut host, UPLINK), pod(), pod());
    let ports = [mapping(8080, 80, "tcp", ""), mapping(8080, 80, "udp", "")];
    let addresses = add(&host, "c1", &pod, &ports).addresses();
    add(&host, "c2", &other, &[]).result();
    for (address, (uplink, gateway)) in
        addresses.iter().zip([("192.0.2.1", IPV4.1), ("2001:db8::1", IPV6.1)])
    {
        let container = SocketAddr::new(*address, 80);
        for ask in [ask, ask_by_udp] {
            for machine in [uplink, gateway] {
                for from in [&host.netns, &other, &pod] {
                    assert_eq!(ask(from, &pod, container, at(machine, 8080)), "the pod");
                }
            }
            assert_eq!(ask(&client, &pod, container, at(uplink, 8080)), "the pod");
        }
    }
}

/// CVE-2025-67499: traffic to others' ports of the same number was taken for the host port's.
#[test]
fn a_port_of_another_machine_is_not_hijacked() {
    let (host, client, pod, _) = with_pod();
    let other = crate::lab::pod();
    add(&host, "c2", &other, &[]).result();
    for (_, neighbour, _) in UPLINK {
        let server = at(neighbour, 8080);
        // The machine's neighbour does not know the way back to pods.
        let back = "table inet test {
            chain c {
                type nat hook postrouting priority 100
                oifname uplink masquerade
            }
        }";
        host.netns.run(|| nft::apply(back)).unwrap().unwrap();
        for from in [&host.netns, &other, &pod] {
            // Whoever listens says so: here it is the neighbour.
            assert_eq!(ask(from, &client, server, server), "the pod");
        }
    }
}

/// A NodePort 8080 as kube-proxy makes it, which leads to port 81 of another pod.
fn node_port(host: &Host) -> (Netns, Vec<IpAddr>) {
    let backend = pod();
    let addresses = add(host, "c2", &backend, &[]).addresses();
    let rules = format!(
        "table inet kube-proxy {{
            chain prerouting {{ type nat hook prerouting priority dstnat;
                fib daddr type local meta nfproto ipv4 tcp dport 8080 dnat ip to {}:81
                fib daddr type local meta nfproto ipv6 tcp dport 8080 dnat ip6 to [{}]:81
            }}
            chain output {{ type nat hook output priority -100;
                fib daddr type local meta nfproto ipv4 tcp dport 8080 dnat ip to {}:81
                fib daddr type local meta nfproto ipv6 tcp dport 8080 dnat ip6 to [{}]:81
            }}
        }}",
        addresses[0], addresses[1], addresses[0], addresses[1]
    );
    host.netns.run(|| nft::apply(&rules)).unwrap().unwrap();
    (backend, addresses)
}

/// CVE-2019-9946: a host port came before kube-proxy's rules.
#[test]
fn a_node_port_of_the_same_number_wins() {
    let (host, client, _pod, _) = with_pod();
    let (backend, addresses) = node_port(&host);
    for (address, (uplink, _, _)) in addresses.iter().zip(UPLINK) {
        for from in [&client, &host.netns] {
            let container = SocketAddr::new(*address, 81);
            assert_eq!(ask(from, &backend, container, at(uplink, 8080)), "the pod");
        }
    }
}

/// A step before kube-proxy's chains in place of one behind them, the host port is what is reached.
#[test]
fn it_wins_by_the_priority_of_the_chains_alone() {
    let words = [("priority dstnat + 1", "priority dstnat - 1"), ("priority -99", "priority -101")];
    let (host, client, pod, addresses) = with_pod_by(&words);
    node_port(&host);
    for (address, (uplink, _, _)) in addresses.iter().zip(UPLINK) {
        for from in [&client, &host.netns] {
            let container = SocketAddr::new(*address, 80);
            assert_eq!(ask(from, &pod, container, at(uplink, 8080)), "the pod");
        }
    }
}
