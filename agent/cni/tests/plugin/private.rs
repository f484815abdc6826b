//! The state is root's alone, and nothing in it leads elsewhere.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use serde_json::json;

use crate::hostports::{make_table, mapping};
use crate::lab::{Host, IPV4, IPV6, pod};

fn machine() -> Host {
    let mut host = Host::new(&[IPV4, IPV6]);
    make_table(&host);
    host.conf["runtimeConfig"] = json!({ "portMappings": [mapping(8080, 80, "tcp", "")] });
    host.conf["cni.dev/valid-attachments"] = json!([]);
    host
}

/// Files and directories with their modes, below `path`.
fn modes(path: &Path) -> Vec<(String, u32)> {
    let mut all = Vec::new();
    for entry in fs::read_dir(path).unwrap() {
        let path = entry.unwrap().path();
        let metadata = fs::symlink_metadata(&path).unwrap();
        all.push((path.display().to_string(), metadata.permissions().mode() & 0o7777));
        if metadata.is_dir() {
            all.extend(modes(&path));
        }
    }
    all
}

#[test]
fn the_state_is_for_nobody_else() {
    let mut host = machine();
    host.conf["stateDir"] = json!(host.file("made/here"));
    let pods = [pod(), pod()];
    host.add("c1", &pods[0]).result();
    host.add("c2", &pods[1]).failed(102, &["taken"]);
    let modes = modes(&host.file("."));
    assert!(modes.len() > 10, "{modes:?}");
    for (path, mode) in modes {
        let expected = if Path::new(&path).is_dir() { 0o700 } else { 0o600 };
        assert_eq!(mode, expected, "{path}");
    }
    host.del("c1").succeeded();
}

#[test]
fn no_link_in_the_state_is_followed() {
    let files = [
        "claims/c1@eth0",
        "claims/c1@eth0 new",
        "pools/lock",
        "pools/released-10.244.0.0",
        "pods-table.lock",
    ];
    let directories = ["claims", "attachments", "tombstones", "leases", "pools"];
    for name in files.iter().chain(&directories) {
        let host = machine();
        let (first, second) = (pod(), pod());
        host.add("c0", &first).result();
        host.del("c0").succeeded();
        let elsewhere = tempfile::tempdir().unwrap();
        let (path, target) = (host.file(name), elsewhere.path().join("target"));
        if directories.contains(name) {
            fs::remove_dir_all(&path).unwrap();
            fs::create_dir(&target).unwrap();
        } else {
            let _ = fs::remove_file(&path);
            fs::write(&target, "precious").unwrap();
        }
        symlink(&target, &path).unwrap();
        let outcome = host.add("c1", &second);
        assert!(!outcome.success, "{name}: {outcome:?}");
        // They may fail, but touch nothing.
        host.del("c1");
        host.call("GC", "", None, &host.conf);
        if directories.contains(name) {
            assert_eq!(fs::read_dir(&target).unwrap().count(), 0, "{name}");
        } else {
            assert_eq!(fs::read_to_string(&target).unwrap(), "precious", "{name}");
        }
    }
}

#[test]
fn a_record_that_is_a_link_is_not_read() {
    let mut host = machine();
    let pod = pod();
    host.add("c1", &pod).result();
    let (record, elsewhere) = (host.file("attachments/c1@eth0"), host.file("elsewhere"));
    fs::rename(&record, &elsewhere).unwrap();
    symlink(&elsewhere, &record).unwrap();
    let outcome = host.del("c1");
    assert!(outcome.success && outcome.stderr.contains("no regular file"), "{outcome:?}");
    assert!(elsewhere.exists() && host.traces().is_empty());
}
