//! PID 1 of a machine: its own view of the host's files, and its end with the lab's.
//!
//! It is started in fresh mount, network and PID namespaces. With it ends, by the kernel, every
//! process of the machine, and with those its mounts and its network: nothing needs to be found
//! and undone, however the lab ended.

use std::fs;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::thread;

use nix::mount::{MsFlags, mount};

use crate::reap;

/// Said on stdout when the machine's files are in place.
const READY: &[u8] = b"ready\n";

/// Read from stdin: the lab ends and the machine is to stay.
const STAY: u8 = b's';

/// What programs of the machine may write to without the host seeing it.
const WRITABLE: [&str; 4] = ["etc", "opt", "var/lib", "var/log"];

/// What a machine that has never run pods has, and what must not show through from the host.
const EMPTY: [&str; 8] = [
    "/etc/cni/net.d",
    "/opt/cni/bin",
    "/var/lib/cni",
    "/var/lib/containerd",
    "/var/lib/etcd",
    "/var/lib/kubelet",
    "/var/log/containers",
    "/var/log/pods",
];

/// Sysctls without a namespace that a kubelet sets (`setupKernelTunables` in
/// `pkg/kubelet/cm/container_manager_linux.go`). It leaves alone what has its value, so the machine shows it these.
const KUBELET_SYSCTLS: [(&str, &str); 6] = [
    ("vm/overcommit_memory", "1"),
    ("vm/panic_on_oom", "0"),
    ("kernel/panic", "10"),
    ("kernel/panic_on_oops", "1"),
    ("kernel/keys/root_maxkeys", "1000000"),
    ("kernel/keys/root_maxbytes", "25000000"),
];

/// Runs until SIGTERM, or until stdin ends without [`STAY`]: until the lab does.
pub(crate) fn run(name: &str) -> io::Result<()> {
    let signals = reap::block()?;
    nix::unistd::sethostname(name)?;
    own_files()?;
    io::stdout().write_all(READY)?;
    io::stdout().flush()?;
    thread::spawn(|| {
        let mut last_word = Vec::new();
        // An error is an end as well.
        let _ = io::stdin().read_to_end(&mut last_word);
        if last_word.last() != Some(&STAY) {
            std::process::exit(0);
        }
    });
    reap::wait(&signals)
}

fn own_files() -> io::Result<()> {
    let nothing = None::<&str>;
    mount(nothing, "/", nothing, MsFlags::MS_REC | MsFlags::MS_PRIVATE, nothing)?;
    mount(Some("proc"), "/proc", Some("proc"), MsFlags::empty(), nothing)?;
    tmpfs(Path::new("/run"))?;
    for directory in WRITABLE {
        overlay(directory)?;
    }
    for directory in EMPTY.map(Path::new) {
        fs::create_dir_all(directory)?;
        tmpfs(directory)?;
    }
    for (name, value) in KUBELET_SYSCTLS {
        shadow(name, value)?;
    }
    fs::create_dir_all("/run/netns")?;
    // Mounts of containers propagate from and to those of the kubelet.
    mount(nothing, "/", nothing, MsFlags::MS_REC | MsFlags::MS_SHARED, nothing)?;
    Ok(())
}

fn tmpfs(target: &Path) -> io::Result<()> {
    mount(Some("kubenet-lab"), target, Some("tmpfs"), MsFlags::empty(), Some("mode=755"))
        .map_err(|errno| named("mount a tmpfs on", target, &errno.into()))
}

/// Mounts over /`directory` a layer that takes all writes.
fn overlay(directory: &str) -> io::Result<()> {
    let lower = Path::new("/").join(directory);
    let base = Path::new("/run/lab").join(directory);
    let (upper, work) = (base.join("upper"), base.join("work"));
    fs::create_dir_all(&upper)?;
    fs::create_dir_all(&work)?;
    let options = format!(
        "lowerdir={},upperdir={},workdir={}",
        lower.display(),
        upper.display(),
        work.display()
    );
    mount(Some("kubenet-lab"), &lower, Some("overlay"), MsFlags::empty(), Some(options.as_str()))
        .map_err(|errno| named("mount an overlay on", &lower, &errno.into()))
}

/// Shows `value` to whoever reads the sysctl `name`, and keeps what is written to it.
fn shadow(name: &str, value: &str) -> io::Result<()> {
    let sysctl = PathBuf::from("/proc/sys").join(name);
    if !sysctl.exists() {
        return Ok(());
    }
    let file = Path::new("/run/lab").join(name.replace('/', "."));
    fs::write(&file, format!("{value}\n"))?;
    mount(Some(&file), &sysctl, None::<&str>, MsFlags::MS_BIND, None::<&str>)
        .map_err(|errno| named("shadow", &sysctl, &errno.into()))
}

fn named(what: &str, path: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("cannot {what} {}: {error}", path.display()))
}
