//! A state directory that is full or can't be written, and records that make no sense.

use std::fs;
use std::path::PathBuf;

use nix::mount::{MsFlags, mount, umount};
use serde_json::json;

use crate::hostports::{listing, make_table, mapping};
use crate::lab::{Host, IPV4, IPV6, pod};

/// A machine whose state is on a small file system of its own.
struct Disk {
    host: Host,
    path: PathBuf,
}

impl Disk {
    fn new() -> Self {
        let mut host = Host::new(&[IPV4, IPV6]);
        make_table(&host);
        host.conf["runtimeConfig"] = json!({ "portMappings": [mapping(8080, 80, "tcp", "")] });
        host.conf["cni.dev/valid-attachments"] = json!([]);
        let path = host.state.path().to_owned();
        let disk = Self { host, path };
        disk.mount(MsFlags::empty(), "size=64k");
        disk
    }

    fn mount(&self, flags: MsFlags, options: &str) {
        mount(Some("none"), &self.path, Some("tmpfs"), flags, Some(options)).unwrap();
    }

    fn remount(&self, flags: MsFlags) {
        self.mount(MsFlags::MS_REMOUNT | flags, "");
    }

    #[track_caller]
    fn is_clean(&mut self, table: &str) {
        assert_eq!((self.host.traces(), listing(&self.host).as_str()), (Vec::new(), table));
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        umount(&self.path).unwrap();
    }
}

#[test]
fn a_full_state_directory_refuses_pods_and_lets_them_go() {
    let mut disk = Disk::new();
    let table = listing(&disk.host);
    let pods = [pod(), pod()];
    disk.host.add("c1", &pods[0]).result();
    let before = disk.host.traces();
    // Written until nothing is left; what could be written stays.
    let full = fs::write(disk.host.file("filler"), vec![0; 1 << 20]).unwrap_err();
    assert_eq!(full.kind(), std::io::ErrorKind::StorageFull);
    disk.host.add("c2", &pods[1]).failed(5, &["claims/c2@eth0", "No space left on device"]);
    assert_eq!(disk.host.traces(), before);
    let outcome = disk.host.del("c1");
    assert!(outcome.success, "{outcome:?}");
    disk.is_clean(&table);
}

#[test]
fn del_does_what_it_can_where_the_state_is_read_only_and_gc_heals() {
    let mut disk = Disk::new();
    let table = listing(&disk.host);
    let pods = [pod(), pod()];
    disk.host.add("c1", &pods[0]).result();
    disk.remount(MsFlags::MS_RDONLY);
    disk.host.add("c2", &pods[1]).failed(5, &["c2@eth0", "Read-only file system"]);
    disk.host.del("c1").failed(5, &["c1@eth0", "Read-only file system"]);
    assert!(disk.host.host_link("c1").is_none());
    assert_eq!(listing(&disk.host), table);
    disk.remount(MsFlags::empty());
    disk.host.call("GC", "", None, &disk.host.conf).succeeded();
    disk.is_clean(&table);
}

#[test]
fn a_record_that_makes_no_sense_hides_no_host_port() {
    let texts: [&[u8]; 5] = [b"", b"{", b"\xff\xfe\0", b"[1]", br#"{"containerId": "c1"}"#];
    for (number, text) in texts.into_iter().enumerate() {
        let mut disk = Disk::new();
        let table = listing(&disk.host);
        let pod = pod();
        disk.host.conf["runtimeConfig"] = json!({ "portMappings": [
            mapping(8080, 80, "tcp", ""), mapping(9090, 90, "sctp", "192.0.2.1"),
        ] });
        disk.host.add("c1", &pod).result();
        fs::write(disk.host.file("attachments/c1@eth0"), text).unwrap();
        let outcome = if number % 2 == 0 {
            disk.host.del("c1")
        } else {
            disk.host.call("GC", "", None, &disk.host.conf)
        };
        assert!(outcome.success && outcome.stderr.contains("cannot read"), "{outcome:?}");
        disk.is_clean(&table);
    }
}

#[test]
fn a_lost_record_hides_no_host_port() {
    let mut disk = Disk::new();
    let table = listing(&disk.host);
    let pods = [pod(), pod()];
    disk.host.add("c1", &pods[0]).result();
    disk.host.conf["runtimeConfig"] = json!({ "portMappings": [mapping(8081, 80, "udp", "")] });
    disk.host.add("c2", &pods[1]).result();
    fs::remove_file(disk.host.file("attachments/c1@eth0")).unwrap();
    disk.host.del("c1").succeeded();
    let left = listing(&disk.host);
    assert!(left.contains("udp . 8081") && !left.contains("tcp . 8080"), "{left}");
    disk.host.del("c2").succeeded();
    disk.is_clean(&table);
}
