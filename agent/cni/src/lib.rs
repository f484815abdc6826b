//! The CNI plugin: one attachment at a time, from a runtime's request to the kernel and back.
//!
//! A request is parsed whole (`request`) before a command looks at the machine. What is written stands
//! in an order that makes every step safe to be the last one: see `state` and `commands::add`.

mod answer;
mod bridge;
mod commands;
mod error;
mod exec;
mod heir;
mod hostports;
mod kernel;
mod ranges;
mod recovery;
mod removal;
mod request;
mod spec;
mod state;
mod usage;
mod veth;
mod wait;

pub use answer::{Answer, Plugin, STDIN_MAX, about, answer};
pub use error::Error;
pub use heir::Heir;
pub use removal::Reaper;
pub use request::Environment;
pub use usage::{Usage, usage};
