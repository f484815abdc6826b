//! What leaves the machine carries its address, and a port by chance.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::time::Duration;

use super::*;

const DEADLINE: Duration = Duration::from_secs(20);

/// From where a pod asks all of them.
const PORT: u16 = 5353;

/// More than are alike by chance.
const SERVERS: usize = 8;

#[test]
fn what_leaves_has_the_machines_address_and_a_port_by_chance() {
    let lab = Lab::new();
    let mut machine = lab.machine();
    lab.converge(&mut machine);
    let (outside, host, pod) = (lab.outside(), lab.host(), lab.add("c1"));
    for is_ipv4 in [true, false] {
        let of = |addresses: &[IpAddr]| *addresses.iter().find(|a| a.is_ipv4() == is_ipv4).unwrap();
        let (server, own) = (of(&outside.addresses), of(&pod.addresses));
        let client = pod.netns.run(|| UdpSocket::bind((own, PORT)).unwrap()).unwrap();
        let mut ports = BTreeSet::new();
        for _ in 0..SERVERS {
            let socket = outside.netns.run(|| UdpSocket::bind((server, 0)).unwrap()).unwrap();
            socket.set_read_timeout(Some(DEADLINE)).unwrap();
            client.send_to(b"who am I", socket.local_addr().unwrap()).unwrap();
            let (_, seen): (usize, SocketAddr) = socket.recv_from(&mut [0; 16]).unwrap();
            assert_eq!(seen.ip(), of(&host.addresses));
            ports.insert(seen.port());
        }
        // Each flow would keep the pod's own port, for none is in the way of another.
        assert!(ports.len() > SERVERS / 2, "{ports:?}");
    }
}
