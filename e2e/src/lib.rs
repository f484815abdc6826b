//! The lab: a real Kubernetes on one machine, each machine of it a set of namespaces.
//!
//! Everything in it ends with the process that made it. What the kernel does not end by itself
//! (cgroups, a module, files) is written down in [`traces`] before it is made.

pub mod api;
pub mod api_server;
pub mod artifacts;
pub mod bench;
pub mod bench_agent;
pub mod bench_controller;
pub mod bench_pods;
pub mod cgroup;
pub mod chain;
pub mod checks;
pub mod claims;
pub mod cni_call;
pub mod control_plane;
pub mod demo;
pub mod fake;
pub mod footprint;
pub mod helm;
pub mod host;
pub mod identity;
pub mod image;
pub mod kubernetes;
pub mod lab;
pub mod machine;
pub mod measure;
pub mod network;
pub mod node_ipam;
pub mod pki;
pub mod place;
pub mod program;
pub mod proxy;
pub mod reference;
pub mod report;
pub mod runtime;
pub mod say;
pub mod signals;
pub mod solo;
pub mod stages;
pub mod standalone;
pub mod static_pods;
pub mod traces;
pub mod wait;
pub mod workload;
