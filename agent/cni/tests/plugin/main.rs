//! The plugin as a runtime calls it: environment and standard input in, JSON and exit code out.
//!
//! Needs root: each machine and each pod is a network namespace of its own.

#![expect(clippy::unwrap_used, reason = "what a test can't do is its failure")]

mod add;
mod args;
mod asked;
mod bandwidth;
mod chance;
mod check;
mod crash;
mod del;
mod disk;
mod exec;
mod hostports;
mod input;
mod lab;
mod loopback;
mod lost;
mod private;
mod reach;
mod sctp;
mod status;
mod together;
mod tombstones;
