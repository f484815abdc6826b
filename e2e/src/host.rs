//! What the host must have before a lab can be: root, programs, modules.

use std::fs;
use std::path::Path;

use anyhow::{Result, bail};
use nix::unistd::geteuid;

use crate::cgroup;
use crate::program::{command, output, run};
use crate::say::say;
use crate::traces::{Trace, Traces};

/// Programs, and the Debian packages that have them. Building needs a C compiler and a static libc.
const PROGRAMS: [(&str, &str); 4] =
    [("ip", "iproute2"), ("nft", "nftables"), ("modprobe", "kmod"), ("cc", "gcc")];

/// For a cluster and its tests: the plugin's kill it with strace where they want to, and reference
/// plugins need iptables.
const MORE_PROGRAMS: [(&str, &str); 4] = [
    ("containerd", "containerd"),
    ("runc", "runc"),
    ("iptables", "iptables"),
    ("strace", "strace"),
];

const STATIC_LIBC: (&str, &str) = ("libc.a", "libc6-dev");

/// Installs what a cluster lacks, and loads what the kernel does.
pub fn prepare(traces: &Traces) -> Result<()> {
    prepare_machines(traces, &MORE_PROGRAMS)?;
    say_what_this_host_cannot_show()
}

/// The same for machines without a cluster, which need these `more` programs.
pub fn prepare_machines(traces: &Traces, more: &[(&str, &str)]) -> Result<()> {
    if !geteuid().is_root() {
        bail!("the lab makes network namespaces and mounts: run it as root");
    }
    install(traces, more)?;
    load_br_netfilter(traces)
}

fn install(traces: &Traces, more: &[(&str, &str)]) -> Result<()> {
    let mut missing = PROGRAMS
        .iter()
        .chain(more)
        .filter(|(program, _)| find(program).is_none())
        .map(|(_, package)| *package)
        .collect::<Vec<_>>();
    let libc = output(command("cc").arg(format!("-print-file-name={}", STATIC_LIBC.0)));
    if !libc.is_ok_and(|path| Path::new(path.trim()).is_absolute()) {
        missing.push(STATIC_LIBC.1);
    }
    if missing.is_empty() {
        return Ok(());
    }
    let mut update = command("apt-get");
    run(traces, "apt-get update", "apt-update", update.args(["-q", "update"]))?;
    let mut install = command("apt-get");
    install.args(["-q", "-y", "install", "--no-install-recommends"]).args(&missing);
    install.env("DEBIAN_FRONTEND", "noninteractive");
    let what = format!("apt-get install {}", missing.join(" "));
    run(traces, &what, "apt-install", &mut install)
}

/// The program of that name on PATH, or where PATH of a plain user has no system programs.
pub fn find(program: &str) -> Option<std::path::PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let system = ["/usr/local/sbin", "/usr/sbin", "/sbin"].map(std::path::PathBuf::from);
    let folders = std::env::split_paths(&path).chain(system);
    folders.map(|folder| folder.join(program)).find(|file| file.is_file())
}

/// Bridged packets reach kube-proxy's rules only through `br_netfilter`.
fn load_br_netfilter(traces: &Traces) -> Result<()> {
    if Path::new("/proc/sys/net/bridge").exists() {
        return Ok(());
    }
    traces.note(&Trace::Module("br_netfilter".to_owned()))?;
    output(command("modprobe").arg("br_netfilter"))?;
    say("  loaded br_netfilter; it is unloaded at the end");
    Ok(())
}

fn say_what_this_host_cannot_show() -> Result<()> {
    let modules = fs::read_to_string("/proc/modules").unwrap_or_default();
    let module = modules.lines().any(|line| line.starts_with("br_netfilter "));
    let (has, lacks) = match cgroup::version()? {
        cgroup::Version::V1 => ("v1", "v2"),
        cgroup::Version::V2 => ("v2", "v1"),
    };
    let (is, is_not) = if module { ("a module", "built in") } else { ("built in", "a module") };
    say(format_args!("  this host has cgroup {has} and br_netfilter {is}"));
    say(format_args!("  not tried here: cgroup {lacks}, br_netfilter as {is_not}"));
    Ok(())
}
