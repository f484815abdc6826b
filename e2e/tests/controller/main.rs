//! The controller on a real API server, beside the real kube-controller-manager: no machines.
//!
//! See [`e2e::claims`].

mod cluster_cidrs;
mod differences;
mod differential;
mod events;
mod faults;
mod fence;
mod foreign;
mod operations;
mod play;
mod script;

use std::process::ExitCode;

use e2e::claims::{self, Claim};
use e2e::node_ipam::World;

const CLAIMS: &[Claim<World>] = &[
    (
        "nodes_that_come_one_by_one_get_what_kube_controller_manager_gives",
        differential::same_pod_cidrs,
    ),
    ("it_differs_from_kube_controller_manager_as_the_rows_say", differences::as_the_rows_say),
    (
        "a_kube_controller_manager_that_still_allocates_is_named_and_left_alone",
        foreign::named_and_left_alone,
    ),
    ("who_cannot_be_served_is_named_in_one_event", events::one_for_each_node),
    ("a_dry_run_prints_a_table_and_writes_nothing", operations::dry_run),
    ("it_tells_over_http_whether_it_lives_and_is_ready", operations::over_http),
    ("each_line_of_a_json_log_is_an_object", operations::json_logs),
    ("a_late_patch_does_not_land_on_a_successor", faults::late_patch),
    ("a_lost_reply_changes_no_choice_and_loses_no_block", faults::lost_replies),
    ("a_server_that_asks_for_patience_gets_it", faults::too_many_requests),
    ("at_most_24_patches_are_under_way", faults::at_most_so_many_at_once),
    ("internal_errors_lose_no_block", faults::internal_errors),
    ("a_watch_that_is_cut_each_second_misses_nothing", faults::watches_cut),
    ("a_version_that_is_gone_misses_nothing", faults::gone),
    ("nothing_is_given_before_a_slow_list_is_there", faults::slow_list),
    ("an_api_server_that_is_killed_loses_no_block", faults::server_restart),
    ("cluster_cidrs_are_followed_when_their_definition_comes_and_goes", cluster_cidrs::come_and_go),
    ("the_definition_of_cluster_cidrs_refuses_what_can_not_be_used", cluster_cidrs::refused),
    ("a_node_gets_blocks_of_the_cluster_cidr_that_its_labels_ask_for", cluster_cidrs::by_labels),
    ("a_cluster_cidr_says_what_it_has_left_and_what_is_wrong_with_it", cluster_cidrs::status),
    ("a_cluster_cidr_that_is_deleted_waits_for_its_nodes", cluster_cidrs::deleted),
    ("two_leaders_with_the_fence_give_no_block_twice", fence::two_leaders),
    (
        "a_node_that_comes_back_within_the_release_delay_has_its_range_again",
        fence::range_of_a_deleted_node,
    ),
    ("of_two_block_sizes_over_one_range_the_later_gives_nothing_and_says_why", fence::two_sizes),
    ("a_late_patch_never_lands_on_a_successor_of_the_same_name", fence::late_patch),
];

fn main() -> ExitCode {
    claims::prove(CLAIMS, World::new)
}
