//! The agent: makes one machine agree with its Node, and says when it does not.
//!
//! `desired -> observe -> plan -> apply -> report`, woken by Nodes, the kernel and a timer. The files
//! that say `Pure:` decide; `observe` and `apply` touch the machine; `round` is one turn of the loop,
//! `sync` the loop.

pub mod apply;
pub mod attachments;
pub mod before;
pub mod bridge;
pub mod claims;
pub mod cleanup;
pub mod cluster;
pub mod cni_config;
pub mod conntrack;
pub mod estate;
pub mod events;
pub mod exceptions;
pub mod exec_plugins;
pub mod firewall;
mod glance;
pub mod hairpin;
pub mod health;
pub mod ipam;
mod known_routes;
pub mod lock;
pub mod loopback;
pub mod machine;
pub mod mode;
pub mod modprobe;
pub mod mtu;
pub mod network;
pub mod nodes;
pub mod observe;
pub mod others;
pub mod pace;
pub mod peers;
pub mod pod_cidrs;
pub mod ports;
mod programs;
pub mod ranges;
pub mod reaper;
pub mod report;
pub mod round;
pub mod routes;
pub mod run;
pub mod segment;
pub mod selection;
pub mod settings;
pub mod state;
pub mod status;
pub mod sync;
pub mod sysctl;
pub mod unready;
pub mod wakers;

#[cfg(test)]
mod testing;
