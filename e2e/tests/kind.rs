//! `make kind` as a process: kubenet on a real kind cluster, through restarts, and what is left of it.

#![expect(clippy::unwrap_used, reason = "what a test can't do is its failure")]

use std::fs;
use std::path::Path;

use e2e::artifacts::{source, target};
use e2e::kubernetes::Kubernetes;
use e2e::program::{command, output, run_for_text};
use e2e::traces::{Logs, Trace};
use e2e::{helm, lab};

/// What of this machine is in no namespace of dockerd's, as e2e/kind/README.md lists it.
const SYSCTLS: [&str; 5] =
    ["vm/overcommit_memory", "kernel/panic", "kernel/panic_on_oops", "fs/file-max", "fs/nr_open"];
const FOLDERS: [&str; 4] = ["/lib/modules", "/opt/containerd", "/run/containerd", "/run/docker"];

/// What dockerd, kubelets and the nodes' systemd could have changed, one a line.
fn machine() -> Vec<String> {
    let mut seen = Vec::new();
    for name in SYSCTLS {
        let value = fs::read_to_string(Path::new("/proc/sys").join(name)).unwrap();
        seen.push(format!("{name} = {}", value.trim()));
    }
    seen.extend(FOLDERS.map(|folder| format!("{folder}: {}", Path::new(folder).exists())));
    let cgroups = fs::read_dir("/sys/fs/cgroup").unwrap().map(|entry| entry.unwrap().path());
    let docker = [Path::new("/sys/fs/cgroup").to_owned()].into_iter().chain(cgroups);
    let docker = docker.map(|folder| folder.join("docker")).filter(|folder| folder.exists());
    seen.extend(docker.map(|folder| folder.display().to_string()));
    for words in [
        &["ip", "-o", "link"][..],
        &["ip", "-4", "route", "show", "table", "all"],
        &["ip", "-6", "route", "show", "table", "all"],
        &["nft", "list", "ruleset"],
        &["sysctl", "net.ipv4.ip_forward", "net.ipv6.conf.all.forwarding"],
    ] {
        let said = output(command(words[0]).args(&words[1..])).unwrap();
        seen.extend(said.lines().map(str::to_owned));
    }
    seen
}

#[test]
fn kubenet_on_kind_is_green_after_each_restart_and_leaves_the_machine_as_it_was() {
    let traces = lab::begin().unwrap();
    let kubernetes = Kubernetes::find_or_build(&traces).unwrap();
    let kube = kubernetes.program("kubelet").unwrap().with_file_name("kube");
    let [_, image] = helm::images(&traces).unwrap();
    let before = machine();
    let folder = target().join("kind");
    traces.note(&Trace::Kind(folder.display().to_string())).unwrap();
    let mut kind = command(source().join("e2e/kind/run.sh"));
    kind.env("W", folder).env("KUBE", kube).env("ARCHIVE", image).env("TAG", helm::NEW);
    for name in ["KEEP", "USE_DOCKER", "RESTARTS"] {
        kind.env_remove(name);
    }
    let (success, said) = run_for_text(&traces, "make kind", "kind", &mut kind).unwrap();
    assert!(success, "{said}");
    for restarted in ["a node restarted", "the control plane restarted", "docker restarted"] {
        assert!(said.contains(&format!("{restarted}: green after ")), "{said}");
    }
    assert_eq!(machine(), before, "{said}");
    traces.end(Logs::Remove).unwrap();
}
