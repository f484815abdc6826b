//! Host ports: elements of a table that the test makes in the agent's stead.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::time::Duration;

use net::link::{AddrGen, Hairpin, LinkChange, VethSpec};
use net::nft;
use net::shaping::Shaping;
use net::sysctl::Sysctl;
use net::{Mac, Netlink, Netns};
use serde_json::{Value, json};

use crate::lab::{DEADLINE, ENABLED, Host, IPV4, IPV6, Outcome, await_received, bound, pod};

/// For what must not come: all is on one machine.
const SILENCE: Duration = Duration::from_millis(500);

/// The table as the agent makes it, with the elements of a pod that is none of ours.
const TABLE: &str = include_str!("../../../src/testdata/kubenet-pods.nft");

pub(crate) fn machine() -> Host {
    let host = Host::new(&[IPV4, IPV6]);
    make_table(&host);
    host
}

pub(crate) fn make_table(host: &Host) {
    make_table_with(host, &[]);
}

/// Makes the table with other words in place of some of its own.
pub(crate) fn make_table_with(host: &Host, words: &[(&str, &str)]) {
    let lines = TABLE.lines().filter(|line| !line.contains("element"));
    let empty = lines.collect::<Vec<_>>().join("\n");
    let text = words.iter().fold(empty, |text, (its, other)| {
        assert!(text.contains(its), "{text}");
        text.replace(its, other)
    });
    host.netns.run(|| nft::apply(&text)).unwrap().unwrap();
}

pub(crate) fn listing(host: &Host) -> String {
    host.netns.run(|| nft::list("kubenet-pods")).unwrap().unwrap().unwrap_or_default()
}

pub(crate) fn mapping(host_port: u16, container_port: u16, protocol: &str, host_ip: &str) -> Value {
    json!({
        "hostPort": host_port, "containerPort": container_port, "protocol": protocol,
        "hostIP": host_ip,
    })
}

pub(crate) fn add(host: &Host, id: &str, pod: &Netns, mappings: &[Value]) -> Outcome {
    let conf = host.conf(&json!({ "runtimeConfig": { "portMappings": mappings } }));
    host.call("ADD", id, Some(pod), &conf)
}

/// A machine's neighbour, which knows nothing of pods.
pub(crate) fn client(host: &mut Host, addresses: [(&str, &str, u8); 2]) -> Netns {
    let client = Netns::unnamed().unwrap();
    let uplink = host.netlink.create_bridge("uplink", Mac([2, 0, 0, 0, 0, 1])).unwrap();
    host.netlink.set_link(uplink, &ENABLED).unwrap();
    let veth = host.netlink.create_veth(&VethSpec {
        host_name: "port",
        host_mac: Mac([2, 0, 0, 0, 0, 2]),
        container_name: "eth0",
        container_mac: Mac([2, 0, 0, 0, 0, 3]),
        netns: &client,
        mtu: 1500,
        alias: "uplink",
        bridge: uplink,
        hairpin: Hairpin::Off,
        shaping: Shaping::default(),
    });
    let eth0 = veth.unwrap().container;
    let mut inside = client.run(Netlink::open).unwrap().unwrap();
    inside.set_link(eth0, &LinkChange { addr_gen: Some(AddrGen::None), ..ENABLED }).unwrap();
    for (own, its, length) in addresses {
        host.netlink.add_address(uplink, own.parse().unwrap(), length).unwrap();
        inside.add_address(eth0, its.parse().unwrap(), length).unwrap();
    }
    // Work queues have to come to it.
    host.await_running("uplink");
    for (own, its, _) in addresses {
        await_received(&mut host.netlink, own);
        await_received(&mut inside, its);
    }
    forward(host);
    client
}

pub(crate) fn forward(host: &Host) {
    let keys = ["net/ipv4/ip_forward", "net/ipv6/conf/all/forwarding"];
    host.netns.run(|| keys.map(|key| Sysctl::default().write(key, "1").unwrap())).unwrap();
}

/// Connects from `client` to `host_port` of the machine, and reads what the pod says.
pub(crate) fn ask(
    client: &Netns,
    pod: &Netns,
    container: SocketAddr,
    machine: SocketAddr,
) -> String {
    let listener = pod.run(|| bound(|| TcpListener::bind(container))).unwrap();
    let stream = client.run(|| TcpStream::connect_timeout(&machine, DEADLINE).unwrap()).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    listener.accept().unwrap().0.write_all(b"the pod").unwrap();
    let mut text = String::new();
    (&stream).read_to_string(&mut text).unwrap();
    text
}

/// Sends a datagram from `client` to `host_port` of the machine, and reads what the pod says.
pub(crate) fn ask_by_udp(
    client: &Netns,
    pod: &Netns,
    container: SocketAddr,
    machine: SocketAddr,
) -> String {
    let server = pod.run(|| bound(|| UdpSocket::bind(container))).unwrap();
    let socket = client.run(|| UdpSocket::bind(SocketAddr::new(any_of(machine.ip()), 0)).unwrap());
    let socket = socket.unwrap();
    // Whoever answers from elsewhere is not heard.
    socket.connect(machine).unwrap();
    let mut received = [0; 16];
    for socket in [&server, &socket] {
        socket.set_read_timeout(Some(DEADLINE)).unwrap();
    }
    socket.send(b"who").unwrap();
    let (_, sender) = server.recv_from(&mut received).unwrap();
    server.send_to(b"the pod", sender).unwrap();
    let length = socket.recv(&mut received).unwrap();
    String::from_utf8(received[..length].to_vec()).unwrap()
}

#[test]
fn a_host_port_leads_to_the_pod() {
    let mut host = machine();
    let pair = [("192.0.2.1", "192.0.2.2", 24), ("2001:db8::1", "2001:db8::2", 64)];
    let (client, pod) = (client(&mut host, pair), pod());
    let ports = [mapping(8080, 80, "tcp", ""), mapping(9090, 90, "tcp", "192.0.2.1")];
    let addresses = add(&host, "c1", &pod, &ports).addresses();
    let check = |machine: &str, host_port: u16, address: IpAddr, port: u16| {
        let machine = SocketAddr::new(machine.parse().unwrap(), host_port);
        assert_eq!(ask(&client, &pod, SocketAddr::new(address, port), machine), "the pod");
    };
    check("192.0.2.1", 8080, addresses[0], 80);
    check("2001:db8::1", 8080, addresses[1], 80);
    check("192.0.2.1", 9090, addresses[0], 90);
}

#[test]
fn a_pod_reaches_itself_by_its_host_port() {
    let (host, pod) = (machine(), pod());
    forward(&host);
    for (address, (_, gateway)) in
        add(&host, "c1", &pod, &[mapping(8080, 80, "tcp", "")]).addresses().iter().zip([IPV4, IPV6])
    {
        let machine = SocketAddr::new(gateway.parse().unwrap(), 8080);
        assert_eq!(ask(&pod, &pod, SocketAddr::new(*address, 80), machine), "the pod");
    }
}

/// Sends from always the same port, and says whether `pod` gets it, at `own`, before that falls silent for
/// `patience`.
fn is_heard(
    client: &UdpSocket,
    (pod, own): (&Netns, SocketAddr),
    machine: SocketAddr,
    patience: Duration,
) -> bool {
    let server = pod.run(|| bound(|| UdpSocket::bind(own))).unwrap();
    server.set_read_timeout(Some(patience)).unwrap();
    // An error that came back for what was sent before, to nobody, comes first.
    while client.send_to(b"there", machine).is_err() {}
    server.recv(&mut [0; 8]).is_ok()
}

#[test]
fn stale_udp_conntrack_does_not_black_hole_a_host_port() {
    let mut host = machine();
    let pair = [("192.0.2.1", "192.0.2.2", 24), ("2001:db8::1", "2001:db8::2", 64)];
    let client = client(&mut host, pair);
    for (family, (machine, any)) in
        [("192.0.2.1", "0.0.0.0:5000"), ("2001:db8::1", "[::]:5000")].into_iter().enumerate()
    {
        let machine = SocketAddr::new(machine.parse().unwrap(), 8053);
        let socket = client.run(|| UdpSocket::bind(any).unwrap()).unwrap();
        // A client that never falls silent, also while there is no pod.
        socket.send_to(b"nobody", machine).unwrap();
        for id in ["c1", "c2"] {
            let pod = pod();
            let ports = [mapping(8053, 53, "udp", "")];
            let address = add(&host, id, &pod, &ports).addresses()[family];
            let heard = |netns, own, patience| is_heard(&socket, (netns, own), machine, patience);
            assert!(heard(&pod, (address, 53).into(), DEADLINE), "{id} of {machine}");
            host.del(id).succeeded();
            assert!(!heard(&pod, (any_of(address), 53).into(), SILENCE));
            // The port is the machine's again, also for who has never stopped sending.
            assert!(heard(&host.netns, machine, DEADLINE), "{machine} after {id}");
        }
    }
}

fn any_of(address: IpAddr) -> IpAddr {
    if address.is_ipv4() { [0; 4].into() } else { [0_u16; 8].into() }
}

#[test]
fn del_takes_its_elements_and_only_those() {
    let mut host = machine();
    let before = listing(&host);
    let pods = [pod(), pod()];
    add(&host, "c1", &pods[0], &[mapping(8080, 80, "tcp", "")]).result();
    let with_one = listing(&host);
    assert_ne!(with_one, before);
    add(&host, "c2", &pods[1], &[mapping(8080, 80, "udp", ""), mapping(53, 53, "sctp", "")])
        .result();
    host.del("c2").succeeded();
    assert_eq!(listing(&host), with_one);
    host.del("c1").succeeded();
    host.del("c1").succeeded();
    assert_eq!(listing(&host), before);
    assert_eq!(host.traces(), [""; 0]);
}

#[test]
fn a_port_that_is_taken_is_refused_with_its_owner() {
    let mut host = machine();
    let pods = [pod(), pod()];
    add(&host, "c1", &pods[0], &[mapping(8080, 80, "tcp", "")]).result();
    let (traces, table) = (host.traces(), listing(&host));
    let taken = [mapping(8081, 80, "tcp", ""), mapping(8080, 81, "tcp", "")];
    let words = ["host port tcp 8080 (IPv4) is taken by c1@eth0"];
    add(&host, "c2", &pods[1], &taken).failed(102, &words);
    assert_eq!((host.traces(), listing(&host)), (traces, table));
    add(&host, "c2", &pods[1], &[mapping(8080, 80, "udp", "")]).result();
}

#[test]
fn a_port_of_the_dead_is_free() {
    let mut host = machine();
    let dead = pod();
    add(&host, "dead", &dead, &[mapping(8080, 80, "tcp", "")]).result();
    drop(dead);
    host.await_death("dead");
    let living = pod();
    let address = add(&host, "living", &living, &[mapping(8080, 80, "tcp", "")]).addresses()[0];
    assert!(listing(&host).contains(&format!("tcp . 8080 : {address} . 80")));
    assert!(host.traces().iter().all(|trace| !trace.contains("dead")));
}

#[test]
fn without_a_host_port_no_table_is_needed() {
    let host = Host::new(&[IPV4]);
    add(&host, "c1", &pod(), &[]).result();
    add(&host, "c2", &pod(), &[mapping(0, 80, "tcp", "")]).result();
}

#[test]
fn a_table_that_is_missing_means_later() {
    let mut host = Host::new(&[IPV4]);
    let outcome = add(&host, "c1", &pod(), &[mapping(8080, 80, "tcp", "")]);
    outcome.failed(11, &["kubenet-pods", "kubenet's agent makes it"]);
    assert_eq!(host.traces(), [""; 0]);
}

#[test]
fn a_table_that_comes_soon_is_waited_for() {
    let host = Host::new(&[IPV4, IPV6]);
    let pod = pod();
    let conf = json!({ "runtimeConfig": { "portMappings": [mapping(8080, 80, "tcp", "")] } });
    let stdin = host.conf(&conf).to_string();
    let child = host.start(&crate::lab::call("ADD", "c1", Some(&pod)), stdin.as_bytes());
    // It has tried once when its record is there.
    host.await_file("attachments/c1@eth0");
    make_table(&host);
    let address = Outcome::of(child).addresses()[0];
    assert!(listing(&host).contains(&format!("tcp . 8080 : {address} . 80")));
}

#[test]
fn elements_that_a_rebuild_has_added_are_no_conflict() {
    let host = Host::new(&[IPV4, IPV6]);
    let pod = pod();
    let conf = json!({ "runtimeConfig": { "portMappings": [mapping(8080, 80, "tcp", "")] } });
    let stdin = host.conf(&conf).to_string();
    let child = host.start(&crate::lab::call("ADD", "c1", Some(&pod)), stdin.as_bytes());
    host.await_file("attachments/c1@eth0");
    let elements = "
        table inet kubenet-pods {
            map hostports4 { type inet_proto . inet_service : ipv4_addr . inet_service;
                elements = { tcp . 8080 : 10.244.1.2 . 80 } }
            map hostports6 { type inet_proto . inet_service : ipv6_addr . inet_service;
                elements = { tcp . 8080 : fd00:10:244:1::2 . 80 } }
            set hairpin4 { type ipv4_addr . ipv4_addr; elements = { 10.244.1.2 . 10.244.1.2 } }
            set hairpin6 { type ipv6_addr . ipv6_addr;
                elements = { fd00:10:244:1::2 . fd00:10:244:1::2 } }
        }";
    host.netns.run(|| nft::apply(elements)).unwrap().unwrap();
    Outcome::of(child).result();
}

#[test]
fn the_agents_rebuild_is_waited_for_but_not_forever() {
    let mut host = machine();
    let lock = File::create(host.file("pods-table.lock")).unwrap();
    lock.lock().unwrap();
    let pod = pod();
    let ports = [mapping(8080, 80, "tcp", "")];
    add(&host, "c1", &pod, &ports).failed(11, &["another process has locked"]);
    drop(lock);
    assert_eq!(host.traces(), [""; 0]);
    add(&host, "c1", &pod, &ports).result();
}

#[test]
fn check_sees_elements_that_are_gone() {
    let host = machine();
    let pod = pod();
    let result = add(&host, "c1", &pod, &[mapping(8080, 80, "tcp", "")]).result();
    let conf = host.conf(&json!({ "prevResult": result }));
    let check = || host.call("CHECK", "c1", Some(&pod), &conf);
    check().succeeded();
    let flush = "flush map inet kubenet-pods hostports4";
    host.netns.run(|| nft::apply(flush)).unwrap().unwrap();
    check().failed(103, &["hostports4 lacks tcp 8080 (IPv4)"]);
    host.netns.run(|| nft::apply("flush ruleset")).unwrap().unwrap();
    check().failed(103, &["hostports6 lacks tcp 8080 (IPv6)"]);
}

#[test]
fn del_needs_no_table() {
    let mut host = machine();
    add(&host, "c1", &pod(), &[mapping(8080, 80, "tcp", "")]).result();
    host.netns.run(|| nft::apply("flush ruleset")).unwrap().unwrap();
    host.del("c1").succeeded();
    assert_eq!(host.traces(), [""; 0]);
}

#[test]
fn a_lost_record_is_no_reason_to_take_a_successors_port() {
    let host = machine();
    let pods = [pod(), pod()];
    add(&host, "c1", &pods[0], &[mapping(8080, 80, "tcp", "")]).result();
    // As a rebuild by the agent would see it: c2 was killed between its record and its elements.
    add(&host, "c2", &pods[1], &[mapping(8081, 80, "tcp", "")]).result();
    let record = host.file("attachments/c2@eth0");
    let text = fs::read_to_string(&record).unwrap().replace("8081", "8080");
    fs::write(record, text).unwrap();
    host.del("c2").succeeded();
    assert!(listing(&host).contains("tcp . 8080 : 10.244.1.2 . 80"));
}

#[test]
fn del_waits_while_the_agent_rebuilds() {
    let mut host = machine();
    add(&host, "c1", &pod(), &[mapping(8080, 80, "tcp", "")]).result();
    let lock = File::create(host.file("pods-table.lock")).unwrap();
    lock.lock().unwrap();
    // The link goes all the same; the address stays, because a port leads to it.
    host.del("c1").failed(11, &["another process has locked"]);
    assert!(host.host_link("c1").is_none() && host.file("leases/10.244.1.2").exists());
    drop(lock);
    host.del("c1").succeeded();
    assert_eq!(host.traces(), [""; 0]);
}
