//! Scenarios on real kubelets: one lab, and a claim for each test.
//!
//! See [`e2e::claims`].

mod agents;
mod controllers;
mod flags;
mod modes;
mod nodes;
mod runtimes;
mod traffic;

use std::process::ExitCode;

use e2e::claims::{self, Claim};
use e2e::lab::Lab;
use e2e::runtime::Containerd;
use e2e::workload::{self, Deployed};

/// What scenarios have: the lab, and what was deployed to it.
struct World {
    lab: Lab,
    deployed: Vec<Deployed>,
}

const SCENARIOS: &[Claim<World>] = &[
    ("pods_reach_what_they_must_as_whom_they_must", traffic::matrix),
    ("an_agent_killed_and_started_again_loses_no_packet", traffic::agent_killed),
    ("a_second_start_of_an_agent_changes_nothing", agents::second_start),
    ("a_machine_without_pod_cidrs_says_so_until_it_has_them", agents::without_pod_cidrs),
    ("a_node_with_pod_cidrs_of_somebody_else_keeps_them", nodes::foreign_pod_cidrs),
    ("a_deleted_nodes_route_goes_and_its_pod_cidr_is_given_again", nodes::deleted),
    ("a_controller_killed_while_it_allocates_gives_nothing_twice", nodes::controller_killed),
    (
        "another_controller_takes_over_3_s_after_a_stop_and_20_s_after_a_kill",
        controllers::take_over,
    ),
    ("pods_of_containerd_1_and_2_have_what_they_ask_for", runtimes::pods_that_ask),
    ("in_mode_noop_kube_proxy_sees_the_packets_of_other_plugins_pods", modes::noop),
    ("in_mode_cni_the_first_conf_or_json_counts_and_readiness_follows", modes::cni),
    ("in_mode_exec_a_plugin_of_the_old_protocol_wires_a_pod_and_says_its_address", modes::exec),
    ("with_configure_cbr0_pods_of_the_bridge_plugin_reach_what_kubenets_do", modes::configure_cbr0),
    ("bad_flags_are_all_named_and_exit_64", flags::bad_flags),
];

fn main() -> ExitCode {
    claims::prove(SCENARIOS, |traces| {
        let lab = Lab::of(traces, [Containerd::Installed, Containerd::Built])?;
        let deployed = workload::deploy(&lab)?;
        Ok(World { lab, deployed })
    })
}
