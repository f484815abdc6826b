//! `make demo MODE=standalone` as a process: what it shows, and what it leaves.

#![expect(clippy::unwrap_used, reason = "what a test can't do is its failure")]

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};

use e2e::lab;
use e2e::program::command;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// What is said once machines, agents and pods are there.
const PODS: &str = "two pods on each machine";

struct Demo {
    child: Child,
    lines: std::io::Lines<BufReader<std::process::ChildStdout>>,
    said: Vec<String>,
}

impl Demo {
    fn start() -> Self {
        let mut demo = command(env!("CARGO_BIN_EXE_lab"));
        demo.args(["demo", "--mode", "standalone"]);
        let mut child = demo.stdout(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { child, lines, said: Vec::new() }
    }

    /// Reads on until a line has `text`.
    #[track_caller]
    fn says(&mut self, text: &str) {
        for line in self.lines.by_ref() {
            self.said.push(line.unwrap());
            if self.said.last().unwrap().contains(text) {
                return;
            }
        }
        panic!("no {text:?} in\n{}", self.said.join("\n"));
    }

    fn folder(&self) -> PathBuf {
        lab::base().join(self.child.id().to_string())
    }

    /// Waits for its end, and returns its exit code.
    fn code(&mut self) -> Option<i32> {
        self.said.extend(self.lines.by_ref().map(Result::unwrap));
        self.child.wait().unwrap().code()
    }
}

/// The PIDs 1 of the places, as the list of traces has them.
fn inits(folder: &Path) -> Vec<String> {
    let traces = fs::read_to_string(folder.join("traces")).unwrap();
    let machines = traces.lines().filter_map(|line| line.strip_prefix("machine "));
    machines.map(|line| line.split(' ').next().unwrap().to_owned()).collect()
}

#[track_caller]
fn have_ended(inits: &[String]) {
    for init in inits {
        assert!(!Path::new("/proc").join(init).exists(), "process {init} is left");
    }
}

#[test]
fn two_machines_without_kubernetes_and_nothing_is_left_of_them() {
    let mut demo = Demo::start();
    demo.says(PODS);
    let inits = inits(&demo.folder());
    assert!(inits.len() >= 4, "{inits:?}");
    demo.says(" checks passed, 0 failed");
    let passed = demo.said.last().unwrap().split(' ').next().unwrap().parse::<u32>().unwrap();
    assert!(passed >= 46, "only {passed} checks");
    assert_eq!(demo.code(), Some(0), "{}", demo.said.join("\n"));
    have_ended(&inits);
    assert!(!demo.folder().exists());
}

#[test]
fn ctrl_c_leaves_nothing_but_logs() {
    let mut demo = Demo::start();
    demo.says(PODS);
    let inits = inits(&demo.folder());
    kill(Pid::from_raw(demo.child.id().cast_signed()), Signal::SIGINT).unwrap();
    assert_eq!(demo.code(), Some(130), "{}", demo.said.join("\n"));
    have_ended(&inits);
    let left = fs::read_dir(demo.folder()).unwrap().map(|entry| entry.unwrap().file_name());
    assert_eq!(left.collect::<Vec<_>>(), ["logs"]);
    fs::remove_dir_all(demo.folder()).unwrap();
}
