//! DEL and GC: nothing is left, whatever is gone already.

use std::fs;

use net::Netns;
use serde_json::{Value, json};

use crate::lab::{Host, IPV4, IPV6, pod};

fn attached() -> (Host, Netns) {
    let (host, pod) = (Host::new(&[IPV4, IPV6]), pod());
    host.add("c1", &pod).result();
    (host, pod)
}

#[test]
fn del_leaves_nothing_and_may_be_repeated() {
    let (mut host, pod) = attached();
    for version in ["0.3.1", "1.1.0", "1.1.0"] {
        let conf = host.conf(&json!({ "cniVersion": version }));
        host.call("DEL", "c1", Some(&pod), &conf).succeeded();
        assert_eq!(host.traces(), [""; 0]);
    }
}

#[test]
fn del_without_netns_frees_the_address() {
    let (mut host, pod) = attached();
    host.del("c1").succeeded();
    assert_eq!(host.traces(), [""; 0]);
    drop(pod);
    let (mut host, pod) = attached();
    drop(pod);
    host.await_death("c1");
    let mut call = crate::lab::call("DEL", "c1", None);
    call.netns = Some("/run/netns/gone".to_owned());
    host.run(&call, host.conf.to_string().as_bytes()).succeeded();
    assert_eq!(host.traces(), [""; 0]);
}

#[test]
fn del_needs_no_ranges() {
    let (mut host, _pod) = attached();
    let conf = host.conf(&json!({ "ranges": null, "mtu": "x", "prevResult": null }));
    host.call("DEL", "c1", None, &conf).succeeded();
    assert_eq!(host.traces(), [""; 0]);
}

#[test]
fn del_needs_no_record() {
    let (mut host, _pod) = attached();
    fs::remove_file(host.file("attachments/c1@eth0")).unwrap();
    host.del("c1").succeeded();
    assert_eq!(host.traces(), [""; 0]);
}

#[test]
fn a_record_that_is_no_json_is_named_and_goes() {
    let (mut host, _pod) = attached();
    fs::write(host.file("attachments/c1@eth0"), "{").unwrap();
    let outcome = host.del("c1");
    assert!(outcome.success && outcome.stderr.contains("cannot read"), "{outcome:?}");
    assert_eq!(host.traces(), [""; 0]);
}

#[test]
fn del_needs_no_claim() {
    let (mut host, _pod) = attached();
    fs::remove_file(host.file("claims/c1@eth0")).unwrap();
    for lease in ["10.244.1.2", "fd00:10:244:1::2"] {
        fs::remove_file(host.file("leases").join(lease)).unwrap();
    }
    host.del("c1").succeeded();
    assert_eq!(host.traces(), [""; 0]);
}

#[test]
fn del_needs_no_state() {
    let (mut host, _pod) = attached();
    fs::remove_dir_all(host.state.path()).unwrap();
    host.del("c1").succeeded();
    assert!(!host.state.path().exists() && host.traces().is_empty());
    fs::create_dir(host.state.path()).unwrap();
}

#[test]
fn lost_state_of_the_living_is_made_anew() {
    let (mut host, pod) = attached();
    fs::remove_dir_all(host.state.path()).unwrap();
    host.add("c1", &pod).failed(101, &["attached already"]);
    let other = crate::lab::pod();
    assert_eq!(host.add("c2", &other).addresses()[0].to_string(), "10.244.1.3");
    for id in ["c1", "c2"] {
        host.del(id).succeeded();
    }
    assert_eq!(host.traces(), [""; 0]);
}

#[test]
fn del_spares_others() {
    let (mut host, _pod) = attached();
    let other = pod();
    host.add("c2", &other).result();
    host.del("c1").succeeded();
    assert!(host.host_link("c2").is_some());
    assert_eq!(host.traces().len(), 5, "{:?}", host.traces());
}

#[test]
fn what_was_written_before_a_reboot_is_void() {
    let (mut host, _pod) = attached();
    // As after a reboot: files, and nothing in the kernel.
    let link = host.host_link("c1").unwrap().index;
    host.netlink.delete_link(link).unwrap();
    let marker = host.file("boot-id");
    assert!(marker.exists(), "the target directory is a tmpfs: this test needs a disk");
    fs::write(marker, "another boot").unwrap();
    let pod = pod();
    assert_eq!(host.add("c2", &pod).addresses()[0].to_string(), "10.244.1.2");
    assert!(host.traces().iter().all(|trace| !trace.contains("c1@eth0")));
}

#[test]
fn gc_of_a_network_takes_nothing_of_another() {
    let mut host = Host::new(&[IPV4]);
    let pods = ["c1", "c2", "c3"].map(|id| (id, pod()));
    let other = host.conf(&json!({ "name": "other", "cni.dev/valid-attachments": [] }));
    host.call("ADD", "c1", Some(&pods[0].1), &host.conf).result();
    host.call("ADD", "c2", Some(&pods[1].1), &other).result();
    host.call("ADD", "c3", Some(&pods[2].1), &other).result();
    // Also where its host link alone tells whose it is.
    for lost in ["attachments/c2@eth0", "claims/c2@eth0", "leases/10.244.1.3"] {
        fs::remove_file(host.file(lost)).unwrap();
    }
    let links = ["c1", "c2", "c3"].map(|id| host.host_link(id).unwrap().index);
    gc(&host, &json!([])).succeeded();
    assert!(host.host_link("c1").is_none());
    assert_eq!(["c2", "c3"].map(|id| host.host_link(id).unwrap().index), links[1..]);
    assert!(host.file("leases/10.244.1.4").exists());
    let valid = json!([{ "containerID": "c3", "ifname": "eth0" }]);
    let some = host.conf(&json!({ "name": "other", "cni.dev/valid-attachments": valid }));
    host.call("GC", "", None, &some).succeeded();
    assert!(host.host_link("c2").is_none() && host.host_link("c3").is_some());
    // DEL is for whoever it names, by whatever name of the network.
    host.del("c3").succeeded();
    assert_eq!(host.traces(), [""; 0]);
}

fn gc(host: &Host, valid: &Value) -> crate::lab::Outcome {
    host.call("GC", "", None, &host.conf(&json!({ "cni.dev/valid-attachments": valid })))
}

#[test]
fn gc_removes_what_the_runtime_does_not_know() {
    let mut host = Host::new(&[IPV4]);
    let pods = ["c1", "c2", "c3"].map(|id| (id, pod()));
    for (id, pod) in &pods {
        host.add(id, pod).result();
    }
    // One whose files are lost, and one whose link is.
    fs::remove_file(host.file("attachments/c2@eth0")).unwrap();
    fs::remove_file(host.file("claims/c2@eth0")).unwrap();
    fs::remove_file(host.file("leases/10.244.1.3")).unwrap();
    let link = host.host_link("c3").unwrap().index;
    host.netlink.delete_link(link).unwrap();
    gc(&host, &json!([{ "containerID": "c1", "ifname": "eth0" }])).succeeded();
    let link = host.host_link("c1").unwrap().name;
    let expected = ["attachments/c1@eth0", "claims/c1@eth0", "leases/10.244.1.2", &link];
    assert_eq!(host.traces(), expected);
    gc(&host, &json!([])).succeeded();
    assert_eq!(host.traces(), [""; 0]);
    gc(&host, &json!("all")).failed(7, &["valid-attachments"]);
}
