//! kill -9 at every seam: before each system call that makes or removes something.
//!
//! strace kills the plugin when it enters the Nth call of a kind, for each N until it survives. The pods
//! want one host port and the range has one address, so that whatever leaks is missed at once.

use std::fs;
use std::os::unix::process::ExitStatusExt;

use common::pods_table::{self, Field};
use serde_json::json;

use crate::hostports::{listing, make_table, mapping};
use crate::lab::{Call, Host, IPV4, IPV6, call, command, pod};

/// The calls that write files, links and netlink messages.
const KINDS: [&str; 7] = ["openat", "write", "linkat", "rename", "unlink", "sendto", "setns"];

const TINY: (&str, &str) = ("10.244.1.0/30", "10.244.1.1");

/// Calls the plugin and kills it at the `number`th call of `kind`; false if there are fewer.
fn killed(host: &Host, call: &Call<'_>, kind: &str, number: u32) -> bool {
    let mut strace = command("strace".as_ref());
    strace.args(["-f", "-qq", "-o", "/dev/null", "-e", &format!("trace={kind}"), "-e"]);
    strace.arg(format!("inject={kind}:signal=KILL:when={number}")).arg(call.program);
    let child = host.execute(strace, call, host.conf.to_string().as_bytes());
    let output = child.wait_with_output().unwrap();
    let killed = output.status.signal() == Some(9);
    assert!(killed || output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    killed
}

/// Does `test` for each seam of a call that `begin` prepares, with a fresh pod.
fn at_each_seam(verb: &str, mut test: impl FnMut(&mut Host, net::Netns)) {
    let mut host = Host::new(&[TINY, IPV6]);
    make_table(&host);
    host.conf["runtimeConfig"] = json!({
        "portMappings": [mapping(8080, 80, "tcp", "")],
        "bandwidth": { "ingressRate": 8_000_000, "egressRate": 8_000_000 },
    });
    let table = listing(&host);
    let mut seams = 0;
    for kind in KINDS {
        for number in 1.. {
            let pod = pod();
            if verb == "DEL" {
                host.add("c1", &pod).result();
            }
            let killed = killed(&host, &call(verb, "c1", Some(&pod)), kind, number);
            test(&mut host, pod);
            assert_eq!(host.traces(), [""; 0], "killed before {kind} number {number}");
            assert_eq!(listing(&host), table, "killed before {kind} number {number}");
            if !killed {
                break;
            }
            seams += 1;
        }
    }
    assert!(seams > 10, "only {seams} seams: strace does not see what it should");
}

#[test]
fn del_cleans_up_after_an_add_that_was_killed() {
    at_each_seam("ADD", |host, _pod| host.del("c1").succeeded());
}

#[test]
fn an_add_that_was_killed_may_be_repeated_or_is_refused() {
    at_each_seam("ADD", |host, pod| {
        let outcome = host.add("c1", &pod);
        if !outcome.success {
            outcome.failed(101, &["DEL comes before another ADD"]);
        }
        host.del("c1").succeeded();
    });
}

#[test]
fn another_add_gets_the_address_of_one_that_was_killed() {
    at_each_seam("ADD", |host, pod| {
        drop(pod);
        host.await_death("c1");
        host.add("c2", &crate::lab::pod()).result();
        host.del("c2").succeeded();
        // A claim without an address is in nobody's way, and goes with the container's DEL.
        host.del("c1").succeeded();
    });
}

#[test]
fn del_finishes_what_a_del_that_was_killed_began() {
    at_each_seam("DEL", |host, _pod| host.del("c1").succeeded());
}

#[test]
fn a_host_port_stays_its_owners_when_an_add_that_wants_it_is_killed() {
    let mut host = Host::new(&[IPV4]);
    make_table(&host);
    host.conf["runtimeConfig"] = json!({ "portMappings": [mapping(8080, 80, "tcp", "")] });
    let owner = pod();
    host.add("owner", &owner).result();
    let table = listing(&host);
    let mut rivals = 0;
    for (kind, number) in
        [("sendto", 3), ("sendto", 4), ("sendto", 5), ("sendto", 6), ("rename", 1)]
    {
        // Its name comes first.
        assert!(killed(&host, &call("ADD", "c1", Some(&pod())), kind, number));
        let entries = fs::read_dir(host.file("attachments")).unwrap();
        let texts = entries.map(|entry| fs::read(entry.unwrap().path()).unwrap());
        let records = texts.map(|text| serde_json::from_slice(&text).unwrap()).collect::<Vec<_>>();
        rivals += records.len() - 1;
        let elements = pods_table::elements_of_all(&records);
        assert_eq!(elements[1].data[0], Field::Address("10.244.1.2".parse().unwrap()));
        assert_eq!(elements.len(), 2, "{elements:?}");
        assert_eq!(listing(&host), table);
    }
    assert!(rivals > 0, "no ADD was killed after its record");
    host.del("c1").succeeded();
}
