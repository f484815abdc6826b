//! Host ports on 127.0.0.1: there for the machine itself, and no way in for anybody else.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use net::Netns;
use net::route::{Route, RouteChange};
use net::sysctl::Sysctl;
use serde_json::json;

use super::*;
use crate::loopback::{self, Loopback};
use crate::testing::lab::{Born, index};

/// For what must come.
const DEADLINE: Duration = Duration::from_secs(20);

/// For what must not come: all is on one machine.
const SILENCE: Duration = Duration::from_millis(500);

fn lab(loopback: Loopback) -> Lab {
    let mut lab = Lab::new();
    lab.config.loopback = loopback;
    lab.inside(|| {
        let mut netlink = Netlink::open().unwrap();
        let lo = index(&mut netlink, "lo");
        netlink.set_link(lo, &LinkChange { up: Some(true), ..LinkChange::default() }).unwrap();
    });
    lab
}

/// A pod with a host port on all addresses, and one on 127.0.0.1.
fn pod(lab: &Lab) -> Born {
    let mapping = |host_port: u16, host_ip: &str| json!({"hostPort": host_port, "containerPort": 80, "protocol": "tcp", "hostIP": host_ip});
    let mappings = [mapping(8080, ""), mapping(9090, "127.0.0.1")];
    lab.add_with("c1", &json!({ "portMappings": mappings }))
}

/// Listens where another socket has just ceased to: a process that another test is about to start may
/// hold a copy of that until it runs.
fn listen(address: SocketAddr) -> TcpListener {
    let start = Instant::now();
    loop {
        match TcpListener::bind(address) {
            Err(error) if error.kind() == ErrorKind::AddrInUse && start.elapsed() < DEADLINE => {}
            outcome => return outcome.unwrap(),
        }
    }
}

/// Who answers the machine at `address`: "pod" or "machine".
fn answers(lab: &Lab, pod: &Born, address: &str) -> &'static str {
    let address = address.parse::<SocketAddr>().unwrap();
    let its = pod.addresses.iter().find(|its| its.is_ipv4() == address.is_ipv4()).unwrap();
    let pods = pod.netns.run(|| listen((*its, 80).into())).unwrap();
    let machines = lab.inside(|| listen(address));
    let mut stream = lab.inside(|| TcpStream::connect_timeout(&address, DEADLINE).unwrap());
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    for (listener, name) in [(&pods, "pod"), (&machines, "machine")] {
        listener.set_nonblocking(true).unwrap();
        if let Ok((mut server, _)) = listener.accept() {
            server.set_nonblocking(false).unwrap();
            server.write_all(b"hello").unwrap();
            stream.read_exact(&mut [0; 5]).unwrap();
            return name;
        }
    }
    panic!("nobody has the connection to {address}");
}

/// Whether a datagram from `sender` gets to what listens on the machine's 127.0.0.1 only.
fn gets_in(lab: &Lab, sender: &Netns, patience: Duration) -> bool {
    let server = lab.inside(|| UdpSocket::bind("127.0.0.1:0").unwrap());
    server.set_read_timeout(Some(patience)).unwrap();
    let client = sender.run(|| UdpSocket::bind("0.0.0.0:0").unwrap()).unwrap();
    client.send_to(b"crafted", server.local_addr().unwrap()).unwrap();
    server.recv(&mut [0; 16]).is_ok()
}

/// A neighbour on the uplink that takes this machine for the way to everything, 127.0.0.1 too.
fn neighbour(lab: &Lab) {
    lab.switch
        .run(|| {
            let mut netlink = Netlink::open().unwrap();
            let switch = index(&mut netlink, "switch");
            let up = LinkChange { up: Some(true), ..LinkChange::default() };
            netlink.set_link(switch, &up).unwrap();
            netlink.add_address(switch, "192.0.2.9".parse().unwrap(), 24).unwrap();
            let way = Route {
                destination: "0.0.0.0/0".parse().unwrap(),
                via: Some("192.0.2.1".parse().unwrap()),
                link: Some(switch),
                protocol: 4,
                metric: 0,
                mtu: None,
            };
            netlink.change_routes(&[RouteChange::Replace(way)]).unwrap().remove(0).unwrap();
        })
        .unwrap();
}

#[test]
fn the_machine_reaches_a_host_port_by_127_0_0_1() {
    let lab = lab(Loopback::Reached);
    let mut machine = lab.machine();
    lab.converge(&mut machine);
    let pod = pod(&lab);
    for address in ["127.0.0.1:8080", "127.0.0.1:9090", "127.8.0.1:8080"] {
        assert_eq!(answers(&lab, &pod, address), "pod", "{address}");
    }
    // Linux takes no answers for it, so it is left to whoever listens there.
    assert_eq!(answers(&lab, &pod, "[::1]:8080"), "machine");
}

#[test]
fn nobody_else_reaches_127_0_0_1() {
    let lab = lab(Loopback::Reached);
    let mut machine = lab.machine();
    lab.converge(&mut machine);
    neighbour(&lab);
    // As kube-proxy sets it in mode iptables.
    let all = "net/ipv4/conf/all/route_localnet";
    lab.inside(|| Sysctl::default().write(all, "1").unwrap());
    // Without `lo` its datagrams to 127.0.0.1 take the default route.
    let pod = pod(&lab);
    for (who, netns) in [("a pod", &pod.netns), ("a neighbour", &lab.switch)] {
        let guarded = || gets_in(&lab, netns, SILENCE);
        assert!(!guarded(), "{who} gets in");
        lab.inside(|| net::nft::apply("flush chain inet kubenet-pods guard").unwrap());
        assert!(gets_in(&lab, netns, DEADLINE), "it is not the guard that keeps {who} out");
        assert_eq!(lab.converge(&mut machine), 1);
        assert!(!guarded(), "{who} gets in past a guard that was repaired");
    }
}

#[test]
fn where_it_is_turned_off_127_0_0_1_is_the_machines_own() {
    let mut lab = lab(Loopback::Unreached);
    let mut machine = lab.machine();
    let mut looks = Vec::new();
    for loopback in [Loopback::Unreached, Loopback::Reached, Loopback::Unreached] {
        lab.config.loopback = loopback;
        lab.converge(&mut machine);
        looks.push(lab.look());
    }
    assert!(looks[0] == looks[2] && looks[0] != looks[1]);
    assert_eq!(lab.inside(|| Sysctl::default().read(&loopback::key()).unwrap()), "0");
    let pod = pod(&lab);
    assert_eq!(answers(&lab, &pod, "127.0.0.1:8080"), "machine");
    assert_eq!(answers(&lab, &pod, "192.0.2.1:8080"), "pod");
}
