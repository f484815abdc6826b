//! The plugin as a runtime calls it: environment and standard input in, JSON and exit code out.
//!
//! Needs root: each machine and each pod is a network namespace of its own.

mod add;
mod check;
mod crash;
mod del;
mod hostports;
mod input;
mod lab;
mod loopback;
mod status;
