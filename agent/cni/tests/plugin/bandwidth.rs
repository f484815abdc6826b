//! Rate limits, measured by TCP from and to a pod.

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use net::Netns;
use serde_json::{Value, json};

use crate::lab::{Host, IPV4, IPV6, Outcome, pod};

/// In bits per second; so low that a busy machine has the time.
const RATE: u32 = 20_000_000;

const SPAN: Duration = Duration::from_secs(5);

/// What containerd says of a pod whose annotations name both rates.
fn both(rate: u32) -> Value {
    json!({
        "IngressRate": rate, "IngressBurst": u32::MAX, "EgressRate": rate, "EgressBurst": u32::MAX,
    })
}

fn add(host: &Host, id: &str, pod: &Netns, bandwidth: &Value) -> Outcome {
    let conf = host.conf(&json!({ "runtimeConfig": { "bandwidth": bandwidth } }));
    host.call("ADD", id, Some(pod), &conf)
}

/// How many bits of payload arrive in a second of [`SPAN`], of all that a sender can send.
fn measure(from: &Netns, to: &Netns, address: IpAddr) -> f64 {
    let listener = to.run(|| TcpListener::bind(SocketAddr::new(address, 0)).unwrap()).unwrap();
    let server = listener.local_addr().unwrap();
    let mut sender = from.run(|| TcpStream::connect(server).unwrap()).unwrap();
    let mut receiver = listener.accept().unwrap().0;
    thread::scope(|scope| {
        scope.spawn(move || while sender.write_all(&[0; 16 << 10]).is_ok() {});
        let (begin, mut bytes) = (Instant::now(), 0_u32);
        let mut buffer = vec![0; 64 << 10];
        while begin.elapsed() < SPAN {
            bytes += u32::try_from(receiver.read(&mut buffer).unwrap()).unwrap();
        }
        let time = begin.elapsed().as_secs_f64();
        drop(receiver);
        f64::from(bytes) * 8.0 / time
    })
}

/// Measures until a rate is what it should be; a machine that is too busy to send may make it less, but
/// nothing makes it more. Were headers counted, it would be 0.97 and 0.96 with the burst that was saved
/// up before, and 0.94 without.
#[track_caller]
fn check(what: &str, measure: impl Fn() -> f64) {
    let mut ratio = 0.0;
    for _ in 0..20 {
        ratio = measure() / f64::from(RATE);
        eprintln!("{what}: {ratio:.3} of the rate");
        assert!(ratio <= 1.05, "{what}: {ratio} of the rate");
        if ratio >= 0.98 {
            return;
        }
    }
    panic!("{what}: {ratio} of the rate");
}

#[test]
fn tcp_gets_the_rate_that_is_set_in_both_directions_and_families() {
    let host = Host::new(&[IPV4, IPV6]);
    let pods = [pod(), pod()];
    let addresses = [("c1", &pods[0]), ("c2", &pods[1])]
        .map(|(id, pod)| add(&host, id, pod, &both(RATE)).addresses());
    let machine = &host.netns;
    thread::scope(|scope| {
        // One pod for each family, beside each other.
        scope.spawn(|| {
            check("IPv4 to the pod", || measure(machine, &pods[0], addresses[0][0]));
            let gateway = IPV4.1.parse::<Ipv4Addr>().unwrap();
            check("IPv4 from the pod", || measure(&pods[0], machine, gateway.into()));
        });
        check("IPv6 to the pod", || measure(machine, &pods[1], addresses[1][1]));
        let gateway = IPV6.1.parse::<Ipv6Addr>().unwrap();
        check("IPv6 from the pod", || measure(&pods[1], machine, gateway.into()));
    });
}

#[test]
fn a_pod_without_rates_has_no_limits() {
    let mut host = Host::new(&[IPV4]);
    add(&host, "c1", &pod(), &json!({ "ingressRate": 0, "ingressBurst": 0 })).result();
    let link = host.host_link("c1").unwrap().index;
    assert_eq!(host.netlink.shaping(link).unwrap(), net::shaping::Shaping::default());
    let limiters = host.traces().into_iter().filter(|trace| trace.starts_with("ifb"));
    assert_eq!(limiters.count(), 0);
}

#[test]
fn limits_go_with_their_pod() {
    let mut host = Host::new(&[IPV4]);
    let pod = pod();
    add(&host, "c1", &pod, &both(RATE)).result();
    assert_eq!(host.traces().iter().filter(|trace| trace.starts_with("ifb")).count(), 1);
    host.del("c1").succeeded();
    assert_eq!(host.traces(), [""; 0]);
    // An ADD right after it.
    add(&host, "c1", &pod, &both(RATE)).result();
    drop(pod);
    host.await_death("c1");
    assert_eq!(host.traces().iter().filter(|trace| trace.starts_with("ifb")).count(), 1);
    host.del("c1").succeeded();
    assert_eq!(host.traces(), [""; 0]);
}

#[test]
fn gc_removes_a_limiter_whose_files_are_lost() {
    let mut host = Host::new(&[IPV4]);
    let pod = pod();
    add(&host, "c1", &pod, &both(RATE)).result();
    drop(pod);
    host.await_death("c1");
    for directory in ["claims", "leases", "attachments"] {
        std::fs::remove_dir_all(host.file(directory)).unwrap();
    }
    let conf = host.conf(&json!({ "cni.dev/valid-attachments": [] }));
    host.call("GC", "", None, &conf).succeeded();
    assert_eq!(host.traces(), [""; 0]);
}

#[test]
fn check_names_a_limit_that_is_gone() {
    let mut host = Host::new(&[IPV4]);
    let pod = pod();
    let result = add(&host, "c1", &pod, &both(RATE)).result();
    let conf = host.conf(&json!({ "prevResult": result }));
    host.call("CHECK", "c1", Some(&pod), &conf).succeeded();
    let limiter = host.traces().into_iter().find(|trace| trace.starts_with("ifb")).unwrap();
    let limiter = host.netlink.link(&limiter).unwrap().unwrap().index;
    host.netlink.delete_link(limiter).unwrap();
    let outcome = host.call("CHECK", "c1", Some(&pod), &conf);
    outcome.failed(103, &["what c1@eth0 sends is not limited to 20000000 bit/s"]);
    assert!(!outcome.stdout.contains("receives"), "{outcome:?}");
}

#[test]
fn a_rate_that_makes_no_sense_is_refused_and_nothing_is_made() {
    let mut host = Host::new(&[IPV4]);
    add(&host, "c1", &pod(), &both(10)).failed(7, &["ingressRate 10", "egressRate 10"]);
    assert_eq!(host.traces(), [""; 0]);
}

#[test]
fn a_repeated_add_does_not_change_the_limits() {
    let mut host = Host::new(&[IPV4]);
    let pod = pod();
    add(&host, "c1", &pod, &both(RATE)).result();
    let link = host.host_link("c1").unwrap().index;
    let (before, traces) = (host.netlink.shaping(link).unwrap(), host.traces());
    add(&host, "c1", &pod, &both(1_000_000)).failed(101, &["DEL comes before another ADD"]);
    assert_eq!((host.netlink.shaping(link).unwrap(), host.traces()), (before, traces));
}
