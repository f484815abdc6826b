//! kill -9, EIO and ENOSPC at every seam: at each system call that makes or removes something.
//!
//! strace injects them into the Nth call of a kind, for each N until there are no more. The pods want
//! one host port and the range has one address, so that whatever leaks is missed at once.

use std::fs;
use std::process::Output;

use common::pods_table::{self, Field};
use serde_json::json;

use crate::hostports::{listing, make_table, mapping};
use crate::lab::{Call, Host, IPV4, IPV6, call, command, pod};

/// The calls that write files, links and netlink messages.
const KINDS: [&str; 9] =
    ["openat", "mkdir", "write", "pwrite64", "linkat", "rename", "unlink", "sendto", "setns"];

/// The calls that look, lock and wait: they change nothing, and may fail too.
const LOOKS: [&str; 15] = [
    "statx",
    "fstat",
    "statfs",
    "fstatfs",
    "flock",
    "read",
    "pread64",
    "getdents64",
    "lseek",
    "socket",
    "bind",
    "connect",
    "setsockopt",
    "recvfrom",
    "clone3",
];

const TINY: (&str, &str) = ("10.244.1.0/30", "10.244.1.1");

const KILL: &str = "signal=KILL";
const ERRORS: [&str; 2] = ["error=EIO", "error=ENOSPC"];

/// Calls the plugin with `fault` in the `number`th call of `kind`; none if there are fewer.
pub(crate) fn with_fault(
    host: &Host,
    call: &Call<'_>,
    fault: &str,
    kind: &str,
    number: u32,
) -> Option<Output> {
    let trace = tempfile::NamedTempFile::new().unwrap();
    let mut strace = command("strace".as_ref());
    strace.args(["-f", "-qq", "-e", &format!("trace={kind}"), "-o"]).arg(trace.path());
    strace.args(["-e", &format!("inject={kind}:{fault}:when={number}")]).arg(call.program);
    let child = host.execute(strace, call, host.conf.to_string().as_bytes());
    let output = child.wait_with_output().unwrap();
    let trace = fs::read_to_string(trace.path()).unwrap();
    let fired = trace.contains("(INJECTED)") || trace.contains("killed by SIGKILL");
    assert!(fired || output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    fired.then_some(output)
}

/// Does `test` for each seam of a call, with a fresh pod, and what the call came to.
fn at_each_seam(verb: &str, fault: &str, mut test: impl FnMut(&mut Host, net::Netns, &Output)) {
    let mut host = Host::new(&[TINY, IPV6]);
    make_table(&host);
    host.conf["runtimeConfig"] = json!({
        "portMappings": [mapping(8080, 80, "tcp", "")],
        "bandwidth": { "ingressRate": 8_000_000, "egressRate": 8_000_000 },
    });
    host.conf["cni.dev/valid-attachments"] = json!([]);
    let table = listing(&host);
    let mut seams = 0;
    // To be killed between two of the others is to be killed before the second.
    let looks = if fault == KILL { &[][..] } else { &LOOKS };
    for &kind in KINDS.iter().chain(looks) {
        for number in 1.. {
            let pod = pod();
            if verb != "ADD" {
                host.add("c1", &pod).result();
            }
            let output = with_fault(&host, &call(verb, "c1", Some(&pod)), fault, kind, number);
            let seam = format!("{fault} in {kind} number {number}: {output:?}");
            if let Some(output) = &output {
                test(&mut host, pod, output);
            } else {
                host.del("c1").succeeded();
            }
            assert_eq!(host.traces(), [""; 0], "{seam}");
            assert_eq!(listing(&host), table, "{seam}");
            if output.is_none() {
                break;
            }
            seams += 1;
        }
    }
    assert!(seams > 10, "only {seams} seams: strace does not see what it should");
}

#[test]
fn del_cleans_up_after_an_add_that_was_killed() {
    at_each_seam("ADD", KILL, |host, _pod, _| host.del("c1").succeeded());
}

#[test]
fn gc_cleans_up_after_an_add_that_was_killed() {
    at_each_seam("ADD", KILL, |host, _pod, _| gc(host));
}

#[test]
fn an_add_that_was_killed_may_be_repeated_or_is_refused() {
    at_each_seam("ADD", KILL, |host, pod, _| {
        let outcome = host.add("c1", &pod);
        if !outcome.success {
            outcome.failed(101, &["DEL comes before another ADD"]);
        }
        host.del("c1").succeeded();
    });
}

#[test]
fn an_add_that_was_killed_may_be_repeated_in_a_new_namespace() {
    at_each_seam("ADD", KILL, |host, pod, _| {
        drop(pod);
        host.await_death("c1");
        host.add("c1", &crate::lab::pod()).result();
        host.del("c1").succeeded();
    });
}

#[test]
fn another_add_gets_the_address_of_one_that_was_killed() {
    at_each_seam("ADD", KILL, |host, pod, _| {
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
    at_each_seam("DEL", KILL, |host, _pod, _| host.del("c1").succeeded());
}

#[test]
fn gc_finishes_what_a_del_that_was_killed_began() {
    at_each_seam("DEL", KILL, |host, _pod, _| gc(host));
}

#[test]
fn an_add_finishes_what_a_del_that_was_killed_began() {
    at_each_seam("DEL", KILL, |host, pod, _| {
        drop(pod);
        host.await_death("c1");
        host.add("c2", &crate::lab::pod()).result();
        host.del("c2").succeeded();
        host.del("c1").succeeded();
    });
}

fn gc(host: &mut Host) {
    host.call("GC", "", None, &host.conf).succeeded();
}

#[test]
fn gc_finishes_what_a_gc_that_was_killed_began() {
    at_each_seam("GC", KILL, |host, _pod, _| gc(host));
}

#[test]
fn an_add_that_meets_an_error_leaves_nothing_behind() {
    for fault in ERRORS {
        at_each_seam("ADD", fault, |host, _pod, output| {
            // Else it is an error that does not matter, or the answer that could not be written.
            if !output.status.success() && !output.stdout.is_empty() {
                let said = String::from_utf8_lossy(&output.stdout);
                assert!(said.contains("\"msg\":\"") && host.traces().is_empty(), "{said}");
            }
            host.del("c1").succeeded();
        });
    }
}

#[test]
fn a_del_that_meets_an_error_is_finished_by_the_next() {
    for fault in ERRORS {
        at_each_seam("DEL", fault, |host, _pod, _| host.del("c1").succeeded());
    }
}

#[test]
fn a_gc_that_meets_an_error_is_finished_by_the_next() {
    for fault in ERRORS {
        at_each_seam("GC", fault, |host, _pod, _| gc(host));
    }
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
        let pod = pod();
        let call = call("ADD", "c1", Some(&pod));
        assert!(with_fault(&host, &call, KILL, kind, number).is_some());
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
