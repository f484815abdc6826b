//! The plugin under the reference libcni and cnitool, alone and in chains with the reference plugins.
//!
//! Needs root: each machine and each pod is a network namespace.

#![expect(clippy::unwrap_used, reason = "what a test can't do is its failure")]

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, AsRawFd};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use e2e::program::{command, run};
use e2e::traces::{Logs, Traces};
use e2e::{artifacts, lab, reference};
use net::link::LinkChange;
use net::{Mac, Netlink, Netns};
use serde_json::{Value, json};

/// Where the plugins are, and where libcni and cnitool are.
struct Programs {
    path: [PathBuf; 2],
    libcni: PathBuf,
}

/// Found or built once for all tests of this program.
static PROGRAMS: LazyLock<Programs> = LazyLock::new(|| {
    let traces = lab::begin().unwrap();
    let programs = programs(&traces);
    traces.end(Logs::Remove).unwrap();
    programs.unwrap()
});

fn programs(traces: &Traces) -> anyhow::Result<Programs> {
    let mut cargo = artifacts::cargo();
    cargo.args(["build", "--locked", "-p", "cni"]);
    run(traces, "cargo build of the plugin", "cargo-cni", &mut cargo)?;
    let plugins = reference::plugins(traces, &reference::CHAIN)?;
    let path = [artifacts::target().join("debug"), plugins];
    Ok(Programs { path, libcni: reference::libcni(traces)? })
}

/// A machine with cbr0, and what a runtime keeps on it.
struct Machine {
    netns: Netns,
    folder: PathBuf,
    conflist: Value,
}

fn netns_path(netns: &Netns) -> String {
    format!("/proc/{}/fd/{}", std::process::id(), netns.as_fd().as_raw_fd())
}

impl Machine {
    /// With `before` and `behind` the plugin in its network's list.
    fn new(before: &[Value], behind: &[Value]) -> Self {
        static NUMBER: AtomicUsize = AtomicUsize::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let folder = artifacts::target().join(format!("runtimes-{}-{number}", std::process::id()));
        for name in ["cni", "run", "state", "net.d"] {
            fs::create_dir_all(folder.join(name)).unwrap();
        }
        let netns = Netns::unnamed().unwrap();
        let mut netlink = netns.run(Netlink::open).unwrap().unwrap();
        let up = LinkChange { up: Some(true), ..LinkChange::default() };
        let lo = netlink.link("lo").unwrap().unwrap().index;
        netlink.set_link(lo, &up).unwrap();
        let bridge = netlink.create_bridge("cbr0", Mac([0x0a, 0x58, 10, 244, 1, 1])).unwrap();
        netlink.set_link(bridge, &up).unwrap();
        netlink.add_address(bridge, "10.244.1.1".parse().unwrap(), 24).unwrap();
        netlink.add_address(bridge, "fd00:1::1".parse().unwrap(), 64).unwrap();
        let own = json!({
            "type": "kubenet", "mtu": 1450, "hairpin": true, "stateDir": folder.join("state"),
            "ranges": [{ "subnet": "10.244.1.0/24" }, { "subnet": "fd00:1::/64" }],
            "capabilities": { "ips": true, "mac": true, "dns": true, "ipRanges": true },
        });
        let plugins = [before, &[own], behind].concat();
        let conflist = json!({ "cniVersion": "1.1.0", "name": "pods", "plugins": plugins });
        Self { netns, folder, conflist }
    }

    /// The network's list of plugins, written as it is now.
    fn conflist(&self) -> PathBuf {
        let path = self.folder.join("net.d/10-pods.conflist");
        fs::write(&path, self.conflist.to_string()).unwrap();
        path
    }

    /// `program` on this machine, with files of CNI of its own.
    fn command(&self, program: &Path) -> Command {
        let mounts = "mkdir -p /var/lib/cni /run/cni && mount --bind \"$0/cni\" /var/lib/cni \
            && mount --bind \"$0/run\" /run/cni && exec \"$@\"";
        let mut unshare = command("unshare");
        unshare.args(["--mount", "--propagation", "private", "sh", "-c", mounts]);
        unshare.arg(&self.folder).arg(program);
        unshare
    }

    /// What `command` prints, which is JSON or nothing, and whether it succeeds.
    fn run(&self, mut command: Command, stdin: &str) -> (bool, Value) {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = self.netns.run(|| command.spawn().unwrap()).unwrap();
        child.stdin.take().unwrap().write_all(stdin.as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        let texts = [output.stdout, output.stderr].map(|text| String::from_utf8(text).unwrap());
        let said = serde_json::from_str(&texts[0]).unwrap_or_else(|_| texts.concat().into());
        (output.status.success(), said)
    }

    /// One call of libcni for `id`, with what `more` says.
    fn libcni(&self, verb: &str, id: &str, pod: &Netns, more: &Value) -> (bool, Value) {
        let mut call = json!({
            "verb": verb, "conflist": self.conflist(), "path": PROGRAMS.path,
            "cache": "/var/lib/cni", "containerID": id, "netns": netns_path(pod), "ifname": "eth0",
        });
        for (key, value) in more.as_object().unwrap() {
            call[key] = value.clone();
        }
        let libcni = self.command(&PROGRAMS.libcni.join("libcni"));
        self.run(libcni, &call.to_string())
    }

    #[track_caller]
    fn done(&self, verb: &str, id: &str, pod: &Netns, more: &Value) -> Value {
        let (success, said) = self.libcni(verb, id, pod, more);
        assert!(success, "{verb} at {}: {said}", self.conflist["cniVersion"]);
        said
    }

    fn leases(&self) -> usize {
        fs::read_dir(self.folder.join("state/leases")).map_or(0, Iterator::count)
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.folder).unwrap();
    }
}

fn pod() -> Netns {
    Netns::unnamed().unwrap()
}

#[test]
fn libcni_drives_every_verb_at_every_version() {
    let mut machine = Machine::new(&[], &[]);
    let none = json!({});
    for version in ["0.1.0", "0.2.0", "0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"] {
        machine.conflist["cniVersion"] = version.into();
        let (first, second) = (pod(), pod());
        machine.done("VALIDATE", "c1", &first, &none);
        let result = machine.done("ADD", "c1", &first, &none);
        assert_eq!(result["cniVersion"], version);
        assert_eq!(machine.done("CACHED", "c1", &first, &none), result);
        machine.done("ADD", "c2", &second, &none);
        let (success, refused) = machine.libcni("ADD", "c1", &first, &none);
        assert_eq!((success, &refused["code"]), (false, &json!(101)), "{refused}");
        assert_eq!(machine.leases(), 4);
        if version >= "0.4.0" {
            machine.done("CHECK", "c1", &first, &none);
        }
        if version >= "1.1.0" {
            machine.done("STATUS", "", &first, &none);
            let valid = json!({ "valid": [{ "containerID": "c1", "ifname": "eth0" }] });
            machine.done("GC", "", &first, &valid);
            assert_eq!(machine.leases(), 2);
            machine.done("CHECK", "c1", &first, &none);
        }
        for id in ["c1", "c2", "c1"] {
            machine.done("DEL", id, &first, &none);
        }
        assert_eq!(machine.leases(), 0);
    }
}

#[test]
fn libcni_passes_on_what_a_runtime_asks_for() {
    let (machine, pod) = (Machine::new(&[], &[]), pod());
    let asked = json!({
        "args": [["IgnoreUnknown", "1"], ["K8S_POD_NAMESPACE", "default"], ["K8S_POD_NAME", "web-0"]],
        "capabilities": {
            "ips": ["10.244.1.77"], "mac": "02:00:5e:10:00:01",
            "dns": { "servers": ["10.96.0.10"], "searches": ["svc.cluster.local"] },
            "ipRanges": [[{ "subnet": "fd00:1::/64", "rangeStart": "fd00:1::99" }]],
            "portMappings": [{ "hostPort": 1, "containerPort": 1, "protocol": "tcp" }],
        },
    });
    let result = machine.done("ADD", "c1", &pod, &asked);
    assert_eq!(result["ips"][0]["address"], "10.244.1.77/24");
    assert_eq!(result["ips"][1]["address"], "fd00:1::99/64");
    assert_eq!(result["interfaces"][2]["mac"], "02:00:5e:10:00:01");
    let dns = json!({ "nameservers": ["10.96.0.10"], "search": ["svc.cluster.local"] });
    assert_eq!(result["dns"], dns);
    machine.done("CHECK", "c1", &pod, &asked);
    let (_, refused) = machine.libcni("ADD", "c2", &self::pod(), &asked);
    assert_eq!(refused["code"], 104);
    let text = refused["msg"].as_str().unwrap();
    assert!(text.contains("10.244.1.77 is taken by default/web-0 (c1@eth0)"), "{text}");
    machine.done("DEL", "c1", &pod, &asked);
}

#[test]
fn cnitool_drives_every_verb() {
    let (machine, pod) = (Machine::new(&[], &[]), pod());
    let conflist = machine.conflist();
    let path = PROGRAMS.path.each_ref().map(|folder| folder.display().to_string()).join(":");
    let cnitool = |verb: &str| {
        let mut cnitool = machine.command(&PROGRAMS.libcni.join("cnitool"));
        cnitool.arg(verb).arg("pods").arg(netns_path(&pod));
        cnitool.env("NETCONFPATH", conflist.parent().unwrap()).env("CNI_PATH", &path);
        machine.run(cnitool, "")
    };
    let done = |verb: &str| {
        let (success, said) = cnitool(verb);
        assert!(success, "{verb}: {said}");
        said
    };
    done("status");
    assert_eq!(done("add")["ips"].as_array().map(Vec::len), Some(2));
    done("check");
    done("del");
    assert_eq!(machine.leases(), 0);
    done("add");
    // It calls DEL for what it has cached, and GC without the list of what to keep: that is refused,
    // because everything would go.
    let (success, said) = cnitool("gc");
    assert!(!success && said.to_string().contains("valid-attachments: it is missing"), "{said}");
    assert_eq!(machine.leases(), 0);
}

/// The chain of everything that acts on a pod's interface or address.
fn chain() -> Machine {
    let before = [
        json!({ "type": "loopback" }),
        json!({ "type": "tuning", "sysctl": { "net.core.somaxconn": "500" } }),
    ];
    let behind = [
        json!({
            "type": "tuning", "sysctl": { "net.ipv4.conf.IFNAME.arp_filter": "1" },
            "mac": "02:00:5e:10:00:77",
        }),
        json!({ "type": "portmap", "capabilities": { "portMappings": true }, "snat": true }),
        json!({ "type": "firewall" }),
        json!({ "type": "bandwidth", "capabilities": { "bandwidth": true } }),
    ];
    Machine::new(&before, &behind)
}

#[test]
fn in_a_chain_with_the_reference_plugins_all_of_them_work() {
    let asked = json!({ "capabilities": {
        "portMappings": [{ "hostPort": 8080, "containerPort": 80, "protocol": "tcp" }],
        "bandwidth": { "ingressRate": 8_000_000, "ingressBurst": 800_000,
            "egressRate": 8_000_000, "egressBurst": 800_000 },
    } });
    for version in ["0.4.0", "1.0.0", "1.1.0"] {
        let (mut machine, pod) = (chain(), pod());
        machine.conflist["cniVersion"] = version.into();
        let result = machine.done("ADD", "c1", &pod, &asked);
        let names = result["interfaces"].as_array().unwrap().iter();
        let names = names.map(|interface| interface["name"].as_str().unwrap()).collect::<Vec<_>>();
        assert_eq!((names[0], names[1], names[3]), ("lo", "cbr0", "eth0"), "{names:?}");
        assert!(names[2].starts_with("veth") && names[4].starts_with("bwp"), "{names:?}");
        let own = result["ips"].as_array().unwrap().iter().filter(|ip| ip["interface"] == 3);
        let own = own.map(|ip| ip["address"].as_str().unwrap()).collect::<Vec<_>>();
        assert_eq!(own, ["10.244.1.2/24", "fd00:1::2/64"]);
        assert_eq!(asked_by_host_port(&machine, &pod), "the pod");
        machine.done("CHECK", "c1", &pod, &asked);
        if version == "1.1.0" {
            machine.done("STATUS", "", &pod, &json!({}));
            let valid = json!({ "valid": [{ "containerID": "c1", "ifname": "eth0" }] });
            machine.done("GC", "", &pod, &valid);
            machine.done("CHECK", "c1", &pod, &asked);
        }
        machine.done("DEL", "c1", &pod, &asked);
        assert_eq!(machine.leases(), 0);
        machine.done("DEL", "c1", &pod, &asked);
    }
}

#[test]
fn plugins_of_the_networks_own_folder_come_behind() {
    let (machine, pod) = (Machine::new(&[], &[]), pod());
    let folder = machine.folder.join("net.d/pods");
    fs::create_dir(&folder).unwrap();
    let tuning = json!({ "type": "tuning", "mac": "02:00:5e:10:00:77" });
    fs::write(folder.join("50-tuning.conf"), tuning.to_string()).unwrap();
    let result = machine.done("ADD", "c1", &pod, &json!({}));
    assert_eq!(result["interfaces"][2]["mac"], "02:00:5e:10:00:77");
    for verb in ["CHECK", "DEL"] {
        machine.done(verb, "c1", &pod, &json!({}));
    }
    assert_eq!(machine.leases(), 0);
}

/// What the pod answers on port 8080 of the machine, by the rules of portmap.
fn asked_by_host_port(machine: &Machine, pod: &Netns) -> String {
    let limit = Duration::from_secs(30);
    let listener = pod.run(|| TcpListener::bind("10.244.1.2:80").unwrap()).unwrap();
    let port = "10.244.1.1:8080".parse::<SocketAddr>().unwrap();
    let client = machine.netns.run(|| TcpStream::connect_timeout(&port, limit).unwrap()).unwrap();
    client.set_read_timeout(Some(limit)).unwrap();
    listener.accept().unwrap().0.write_all(b"the pod").unwrap();
    let mut text = String::new();
    (&client).read_to_string(&mut text).unwrap();
    text
}
