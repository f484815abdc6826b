//! kubenet-controller as a process: its exit codes, and what it says on stderr.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::io::Read;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

/// Until a program that should end counts as one that hangs.
const DEADLINE: Duration = Duration::from_secs(10);

/// A kubeconfig whose server nobody can reach: port 0 is no port.
const NOWHERE: &str = r#"
clusters: [{name: c, cluster: {server: "http://127.0.0.1:0"}}]
users: [{name: u, user: {}}]
contexts: [{name: c, context: {cluster: c, user: u}}]
current-context: c
"#;

#[expect(clippy::disallowed_methods, reason = "a test of the program starts the program")]
fn controller(arguments: &[&str]) -> Child {
    let mut command = Command::new(env!("CARGO_BIN_EXE_kubenet-controller"));
    command.args(arguments).env("RUST_LOG", "info");
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

/// Its exit status and what it wrote to stdout and stderr.
fn ended(arguments: &[&str]) -> (Option<i32>, String, String) {
    let output = controller(arguments).wait_with_output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

#[test]
fn one_message_names_all_mistakes_and_the_exit_code_is_64() {
    let (code, _, text) =
        ended(&["--cluster-cidr=10.0.0.0/26", "--service-cluster-ip-range=x", "--log-format=xml"]);
    assert_eq!(code, Some(64), "{text}");
    let lines = text.lines().collect::<Vec<_>>();
    assert_eq!(lines[0], "kubenet-controller: cannot start with these flags:");
    assert_eq!(lines.len(), 4, "{text}");
    assert_eq!(ended(&["--no-such-flag"]).0, Some(64));
    assert_eq!(ended(&[]).0, Some(64));
}

#[test]
fn version_and_help_are_no_mistakes() {
    let (code, text, _) = ended(&["--version"]);
    assert_eq!(code, Some(0));
    assert_eq!(text, format!("kubenet-controller {}\n", env!("CARGO_PKG_VERSION")));
    let (code, text, _) = ended(&["--help"]);
    assert_eq!(code, Some(0));
    assert!(text.contains("--node-cidr-mask-size-ipv6"), "{text}");
}

#[test]
fn a_kubeconfig_that_is_none_is_named() {
    let (code, _, text) =
        ended(&["--cluster-cidr=10.0.0.0/16", "--kubeconfig=/proc/self/no-such-file"]);
    assert_eq!(code, Some(1));
    assert!(text.contains("cannot use kubeconfig /proc/self/no-such-file"), "{text}");
}

#[test]
fn sigterm_ends_it_with_0_also_while_no_server_answers() {
    let kubeconfig = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(kubeconfig.path(), NOWHERE).unwrap();
    let kubeconfig = format!("--kubeconfig={}", kubeconfig.path().display());
    let hidden = ["--healthz-bind-address=", "--metrics-bind-address="];
    for (flag, trouble) in [
        ("--leader-elect=true", "leader election hangs"),
        ("--leader-elect=false", "watch interrupted"),
    ] {
        let mut arguments = vec!["--cluster-cidr=10.0.0.0/16", &kubeconfig, flag];
        arguments.extend(hidden);
        let mut child = controller(&arguments);
        let lines = read(&mut child);
        wait_for(&lines, trouble);
        terminate(&child);
        wait_for(&lines, "ending");
        assert_eq!(status(&mut child, &lines).code(), Some(0));
    }
}

/// What the program writes to stderr, as it comes.
fn read(child: &mut Child) -> mpsc::Receiver<String> {
    let mut stderr = child.stderr.take().unwrap();
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        let mut buffer = [0; 4096];
        while let Ok(length @ 1..) = stderr.read(&mut buffer) {
            let text = String::from_utf8_lossy(&buffer[..length]).into_owned();
            if sender.send(text).is_err() {
                return;
            }
        }
    });
    receiver
}

fn wait_for(lines: &mpsc::Receiver<String>, words: &str) {
    let end = Instant::now() + DEADLINE;
    let mut all = String::new();
    while !all.contains(words) {
        let left = end.saturating_duration_since(Instant::now());
        all += &lines.recv_timeout(left).unwrap_or_else(|_| panic!("no {words:?} in {all}"));
    }
}

#[expect(clippy::disallowed_methods, reason = "std can only kill; kill(1) can ask")]
fn terminate(child: &Child) {
    assert!(Command::new("kill").arg(child.id().to_string()).status().unwrap().success());
}

/// Its exit status; its stderr closes as it ends.
fn status(child: &mut Child, lines: &mpsc::Receiver<String>) -> ExitStatus {
    let end = Instant::now() + DEADLINE;
    loop {
        match lines.recv_timeout(end.saturating_duration_since(Instant::now())) {
            Ok(_) => {}
            Err(RecvTimeoutError::Disconnected) => return child.wait().unwrap(),
            Err(RecvTimeoutError::Timeout) => {
                child.kill().unwrap();
                panic!("it did not end");
            }
        }
    }
}
