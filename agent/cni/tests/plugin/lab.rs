//! A machine with its bridge, pods, and a runtime that calls the plugin.

use std::fs;
use std::io::{ErrorKind, Write};
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::os::fd::{AsFd, AsRawFd};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use common::attachment::AttachmentId;
use net::link::{Link, LinkChange};
use net::sysctl::Sysctl;
use net::{Mac, Netlink, Netns};
use serde_json::{Value, json};
use tempfile::TempDir;

pub(crate) const IPV4: (&str, &str) = ("10.244.1.0/24", "10.244.1.1");
pub(crate) const IPV6: (&str, &str) = ("fd00:10:244:1::/64", "fd00:10:244:1::1");

pub(crate) const ENABLED: LinkChange = LinkChange {
    up: Some(true),
    mtu: None,
    master: None,
    mac: None,
    alias: None,
    promiscuous: None,
    hairpin: None,
    spanning_tree: None,
    vlan_filtering: None,
    addr_gen: None,
    open: false,
};

/// For what must come, on a machine that others share.
pub(crate) const DEADLINE: Duration = Duration::from_secs(30);

/// A machine: a network namespace with cbr0, and a directory for the plugin's state.
pub(crate) struct Host {
    pub(crate) netns: Netns,
    pub(crate) netlink: Netlink,
    pub(crate) state: TempDir,
    pub(crate) conf: Value,
}

/// What the plugin said.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) success: bool,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// Who is called, and for whom.
pub(crate) struct Call<'a> {
    pub(crate) program: &'a Path,
    pub(crate) verb: &'a str,
    pub(crate) id: &'a str,
    pub(crate) ifname: &'a str,
    pub(crate) netns: Option<String>,
    pub(crate) args: &'a str,
}

impl Host {
    /// A machine whose bridge has the gateways of `ranges`.
    pub(crate) fn new(ranges: &[(&str, &str)]) -> Self {
        let netns = Netns::unnamed().unwrap();
        let mut netlink = netns.run(Netlink::open).unwrap().unwrap();
        let lo = netlink.link("lo").unwrap().unwrap().index;
        netlink.set_link(lo, &ENABLED).unwrap();
        let bridge = netlink.create_bridge("cbr0", Mac([0x0a, 0x58, 10, 244, 1, 1])).unwrap();
        // As the agent does: while its link-local address is tentative, the machine asks for no
        // neighbour on behalf of others.
        let key = "net/ipv6/conf/cbr0/accept_dad";
        netns.run(|| Sysctl::default().write(key, "0")).unwrap().unwrap();
        netlink.set_link(bridge, &ENABLED).unwrap();
        let mut list = Vec::new();
        for (subnet, gateway) in ranges {
            let length = subnet.split('/').nth(1).unwrap().parse().unwrap();
            netlink.add_address(bridge, gateway.parse().unwrap(), length).unwrap();
            list.push(json!({ "subnet": subnet, "gateway": gateway }));
        }
        // On a disk, most likely, where the marker of the boot counts.
        let state = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let conf = json!({
            "cniVersion": "1.1.0", "name": "kubenet", "type": "kubenet", "bridge": "cbr0",
            "mtu": 1450, "hairpin": true, "ranges": list, "stateDir": state.path(),
            "capabilities": { "portMappings": true },
        });
        Self { netns, netlink, state, conf }
    }

    /// The configuration with `changes`.
    pub(crate) fn conf(&self, changes: &Value) -> Value {
        let mut conf = self.conf.clone();
        for (key, value) in changes.as_object().unwrap() {
            conf[key] = value.clone();
        }
        conf
    }

    pub(crate) fn start(&self, call: &Call<'_>, stdin: &[u8]) -> Child {
        self.execute(command(call.program), call, stdin)
    }

    /// Executes what is to execute the plugin.
    pub(crate) fn execute(&self, mut command: Command, call: &Call<'_>, stdin: &[u8]) -> Child {
        command.env_clear().stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let variables = [
            ("CNI_COMMAND", call.verb),
            ("CNI_CONTAINERID", call.id),
            ("CNI_IFNAME", call.ifname),
            ("CNI_NETNS", call.netns.as_deref().unwrap_or_default()),
            ("CNI_PATH", "/opt/cni/bin"),
            ("CNI_ARGS", call.args),
        ];
        command.envs(variables.into_iter().filter(|(_, value)| !value.is_empty()));
        let mut child = self.netns.run(|| command.spawn().unwrap()).unwrap();
        // One that refuses early does not read it all.
        let written = child.stdin.take().unwrap().write_all(stdin);
        assert!(written.is_ok() || written.unwrap_err().kind() == ErrorKind::BrokenPipe);
        child
    }

    pub(crate) fn run(&self, call: &Call<'_>, stdin: &[u8]) -> Outcome {
        Outcome::of(self.start(call, stdin))
    }

    pub(crate) fn call(
        &self,
        verb: &str,
        id: &str,
        netns: Option<&Netns>,
        conf: &Value,
    ) -> Outcome {
        self.run(&call(verb, id, netns), conf.to_string().as_bytes())
    }

    pub(crate) fn add(&self, id: &str, pod: &Netns) -> Outcome {
        self.call("ADD", id, Some(pod), &self.conf)
    }

    pub(crate) fn del(&self, id: &str) -> Outcome {
        self.call("DEL", id, None, &self.conf)
    }

    /// The host end of a pod's link.
    pub(crate) fn host_link(&mut self, id: &str) -> Option<Link> {
        let id = AttachmentId::new(id, "eth0").unwrap();
        self.netlink.link(&id.host_link()).unwrap()
    }

    /// What is there of all pods: links, and files but for what outlives a pod.
    pub(crate) fn traces(&mut self) -> Vec<String> {
        let links = self.netlink.links().unwrap().into_iter().map(|link| link.name);
        let links = links.filter(|name| name != "lo" && name != "cbr0");
        let files =
            ["claims", "leases", "attachments", "tombstones"].into_iter().flat_map(|directory| {
                let path = self.state.path().join(directory);
                let entries = fs::read_dir(path).into_iter().flatten();
                entries.map(move |entry| {
                    format!("{directory}/{}", entry.unwrap().file_name().to_string_lossy())
                })
            });
        let mut traces = links.chain(files).collect::<Vec<_>>();
        traces.sort();
        traces
    }

    /// Waits until the pod's link is gone: it follows its namespace a moment later.
    pub(crate) fn await_death(&mut self, id: &str) {
        until(&format!("the link of {id} has outlived its namespace"), || {
            self.host_link(id).is_none()
        });
    }

    /// Waits until the plugin has made this file.
    pub(crate) fn await_file(&self, name: &str) {
        let path = self.file(name);
        until(&format!("{} does not come", path.display()), || path.exists());
    }

    /// Waits until a link of the machine sends what it is given.
    pub(crate) fn await_running(&mut self, link: &str) {
        let running = || self.netlink.link(link).unwrap().is_some_and(|link| link.running);
        until(&format!("{link} has no carrier"), running);
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.state.path().join(name)
    }
}

/// Waits until the namespace of `netlink` answers to its own `address`.
pub(crate) fn await_received(netlink: &mut Netlink, address: &str) {
    let ip = address.parse().unwrap();
    until(&format!("{address} is not received"), || netlink.receives(ip).unwrap());
}

/// Binds a socket to an address that another one has just left: a process that another test is about to
/// start may hold a copy of that until it runs.
pub(crate) fn bound<T>(bind: impl Fn() -> std::io::Result<T>) -> T {
    let mut socket = None;
    until("the address is in use", || {
        socket = match bind() {
            Err(error) if error.kind() == ErrorKind::AddrInUse => None,
            outcome => Some(outcome.unwrap()),
        };
        socket.is_some()
    });
    socket.unwrap()
}

/// Waits until `condition` holds; `otherwise` says what is wrong if it never does.
fn until(otherwise: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + DEADLINE;
    while !condition() {
        assert!(Instant::now() < deadline, "{otherwise}");
        std::thread::yield_now();
    }
}

impl Outcome {
    pub(crate) fn of(child: Child) -> Self {
        let output = child.wait_with_output().unwrap();
        Self {
            success: output.status.success(),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }

    /// The result of an ADD that succeeded.
    #[track_caller]
    pub(crate) fn result(&self) -> Value {
        assert!(self.success && self.stderr.is_empty(), "{self:?}");
        serde_json::from_str(&self.stdout).unwrap()
    }

    /// The addresses of an ADD that succeeded.
    #[track_caller]
    pub(crate) fn addresses(&self) -> Vec<IpAddr> {
        let result = self.result();
        let ips = result["ips"].as_array().unwrap().iter();
        ips.map(|ip| ip["address"].as_str().unwrap().split('/').next().unwrap().parse().unwrap())
            .collect()
    }

    #[track_caller]
    pub(crate) fn succeeded(&self) {
        assert!(self.success && self.stdout.is_empty() && self.stderr.is_empty(), "{self:?}");
    }

    /// Asserts an error of `code` whose text has all `parts`.
    #[track_caller]
    pub(crate) fn failed(&self, code: u32, parts: &[&str]) {
        assert!(!self.success, "{self:?}");
        let error: Value = serde_json::from_str(&self.stdout).unwrap();
        let text = format!("{}: {}", error["msg"], error["details"]);
        assert_eq!(error["code"], code, "{text}");
        assert!(parts.iter().all(|part| text.contains(part)), "{text}");
        assert!(error["cniVersion"].is_string(), "{error}");
    }
}

/// A call for `eth0` of container `id`.
pub(crate) fn call<'a>(verb: &'a str, id: &'a str, netns: Option<&Netns>) -> Call<'a> {
    let program = Path::new(env!("CARGO_BIN_EXE_kubenet"));
    Call { program, verb, id, ifname: "eth0", netns: netns.map(path), args: "" }
}

/// Where another process finds the namespace that this one holds open.
pub(crate) fn path(netns: &Netns) -> String {
    format!("/proc/{}/fd/{}", std::process::id(), netns.as_fd().as_raw_fd())
}

pub(crate) fn pod() -> Netns {
    Netns::unnamed().unwrap()
}

/// Sends a datagram there and its answer back, with one ARP or ND exchange before the first.
///
/// The first is not repeated, so one that is lost fails here.
pub(crate) fn round_trip(from: &Netns, to: &Netns, address: IpAddr) {
    let server = to.run(|| UdpSocket::bind(SocketAddr::new(address, 0)).unwrap()).unwrap();
    let unspecified = if address.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
    let client = from.run(|| UdpSocket::bind(unspecified).unwrap()).unwrap();
    for socket in [&server, &client] {
        socket.set_read_timeout(Some(DEADLINE)).unwrap();
    }
    let mut received = [0; 16];
    client.send_to(b"there", server.local_addr().unwrap()).unwrap();
    let (length, sender) = server.recv_from(&mut received).unwrap();
    assert_eq!(&received[..length], b"there");
    server.send_to(b"back", sender).unwrap();
    assert_eq!(client.recv(&mut received).unwrap(), 4);
}

/// As above, and it fails where a question for a neighbour is lost, too: nobody asks again in time.
pub(crate) fn round_trip_at_once(from: &Netns, to: &Netns, address: IpAddr) {
    for netns in [from, to] {
        netns.run(ask_once).unwrap();
    }
    round_trip(from, to, address);
}

/// Has all links of this namespace repeat a question only when tests have given up.
fn ask_once() {
    let pause = (2 * DEADLINE).as_millis().to_string();
    for family in ["net/ipv4/neigh", "net/ipv6/neigh"] {
        for entry in Path::new("/proc/sys").join(family).read_dir().unwrap() {
            let link = entry.unwrap().file_name().into_string().unwrap();
            let key = format!("{family}/{link}/retrans_time_ms");
            match Sysctl::default().write(&key, &pause) {
                // That of a pod which is no more has gone meanwhile.
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                written => drop(written.unwrap()),
            }
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "the test is the runtime that executes the plugin")]
pub(crate) fn command(program: &Path) -> Command {
    Command::new(program)
}
