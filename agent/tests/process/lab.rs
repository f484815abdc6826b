//! A machine with an agent on it, as a process.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Duration;

use net::Netns;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

pub(crate) const DEADLINE: Duration = Duration::from_secs(20);

const KUBECONFIG: &str = r#"{
  "apiVersion": "v1", "kind": "Config", "current-context": "nobody",
  "clusters": [{"name": "nobody", "cluster": {"server": "http://127.0.0.1:1"}}],
  "contexts": [{"name": "nobody", "context": {"cluster": "nobody", "user": "nobody"}}],
  "users": [{"name": "nobody", "user": {}}]
}"#;

pub(crate) struct Agent {
    pub(crate) child: Child,
    lines: Receiver<String>,
}

impl Agent {
    /// Starts it in `netns`, with its files in `files`.
    pub(crate) fn start(netns: &Netns, files: &Path) -> Self {
        let kubeconfig = files.join("kubeconfig");
        fs::write(&kubeconfig, KUBECONFIG).unwrap();
        let mut command = agent();
        command.args(["--node-name=me", "--cluster-cidr=10.244.0.0/16"]);
        command.arg(format!("--kubeconfig={}", kubeconfig.display())).args(folders(files));
        Self::run(netns, command)
    }

    /// Runs this command line in `netns`.
    pub(crate) fn run(netns: &Netns, mut command: Command) -> Self {
        command.env("RUST_LOG", "info,agent=debug");
        let mut child = netns.run(|| command.stderr(Stdio::piped()).spawn()).unwrap().unwrap();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        let (send, lines) = channel();
        // It ends with the agent.
        thread::spawn(move || {
            stderr.lines().map_while(Result::ok).try_for_each(|line| send.send(line))
        });
        Self { child, lines }
    }

    /// Waits until it logs a line with `text`.
    #[track_caller]
    pub(crate) fn says(&self, text: &str) {
        let mut lines = Vec::new();
        while let Ok(line) = self.lines.recv_timeout(DEADLINE) {
            if line.contains(text) {
                return;
            }
            lines.push(line);
        }
        panic!("no {text:?} in {lines:#?}");
    }

    /// Whether it logs a line with `text` before it falls silent for `patience`.
    pub(crate) fn has_said(&self, text: &str, patience: Duration) -> bool {
        let mut lines = std::iter::from_fn(|| self.lines.recv_timeout(patience).ok());
        lines.any(|line| line.contains(text))
    }

    pub(crate) fn terminate(&mut self) -> ExitStatus {
        self.signal(Signal::SIGTERM);
        self.child.wait().unwrap()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.child.id().cast_signed()), signal).unwrap();
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        // Nothing is left to kill after `terminate`.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[expect(clippy::disallowed_methods, reason = "a test of the program runs the program")]
pub(crate) fn agent() -> Command {
    Command::new(env!("CARGO_BIN_EXE_kubenet-agent"))
}

pub(crate) fn machine() -> (Netns, TempDir) {
    (Netns::unnamed().unwrap(), tempfile::tempdir().unwrap())
}

/// The flags that say where an agent's files are: in `files`.
pub(crate) fn folders(files: &Path) -> [String; 4] {
    let flag = |name: &str, value: &str| format!("--{name}={}", files.join(value).display());
    let plugin = "--plugin=/proc/self/exe".to_owned();
    [flag("state-dir", "state"), flag("cni-bin-dir", "bin"), flag("cni-conf-dir", "conf"), plugin]
}

/// The Node `me` as an earlier agent knew it: what an agent goes on with without an API server.
pub(crate) fn know_a_node(files: &Path) {
    fs::create_dir(files.join("state")).unwrap();
    let me = r#"[{"name": "me", "uid": "u", "created": 1, "terminating": false,
        "pod_cidrs": ["10.244.1.0/24"], "internal_ips": [], "network_unavailable": null}]"#;
    fs::write(files.join("state/nodes.json"), me).unwrap();
}
