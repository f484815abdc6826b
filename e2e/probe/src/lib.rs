//! The two ends of a check: a server that says who it is and whom it sees, and a client.
//!
//! The same code runs in pods, on machines, and in the lab itself.

pub mod connect;
pub mod datagrams;
pub mod dial;
pub mod full;
pub mod http;
pub mod ping;
pub mod serve;
pub mod stream;
pub mod ticks;

/// The port of every server in the lab, TCP and UDP.
pub const PORT: u16 = 8080;
