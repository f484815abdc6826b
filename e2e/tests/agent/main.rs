//! An agent on a real API server: one machine without a kubelet, and Nodes that are objects alone.
//!
//! See [`e2e::claims`].

mod independence;
mod named;
mod privilege;
mod ranges;
mod routes;

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Result, ensure};
use e2e::claims::{self, Claim};
use e2e::solo::Solo;
use e2e::wait::{PAUSE, eventually};

const PATIENCE: Duration = Duration::from_secs(20);

/// What the agent promises of whatever the API server or the kernel tells.
const LIMIT: Duration = Duration::from_secs(1);

const CLAIMS: &[Claim<Solo>] = &[
    ("a_service_cidr_is_followed_within_a_second", ranges::service_cidr),
    ("a_peer_is_followed_within_a_second", routes::followed),
    ("one_familys_address_may_change_alone", routes::one_family),
    ("a_node_that_is_wrong_or_lies_gets_no_route_and_is_named", routes::hostile),
    ("stale_routes_go_after_a_restart_and_those_of_others_stay", routes::restart),
    ("an_agent_that_starts_without_an_api_server_goes_on", independence::away),
    ("an_agent_without_rights_says_which_and_tries_again_slowly", independence::forbidden),
    ("a_token_that_is_replaced_is_used_without_a_restart", independence::token),
    ("a_client_certificate_that_is_replaced_is_used_without_a_restart", independence::certificate),
    ("an_api_server_is_found_by_its_name", named::found),
    ("an_agent_changes_its_own_nodes_condition_and_nothing_else", privilege::own_node),
];

fn main() -> ExitCode {
    claims::prove(CLAIMS, |traces| {
        let mut solo = Solo::open(traces)?;
        solo.start_agent(&[])?;
        Ok(solo)
    })
}

/// Looks until `look` finds something, which must not take longer than the agent promises.
///
/// What counts are the pauses between looks: of a machine whose processors others have, both the agent
/// and the looks take longer.
fn within_a_second<T>(what: &str, mut look: impl FnMut() -> Result<Option<T>>) -> Result<T> {
    let mut pauses = 0;
    let found = eventually(what, PATIENCE, || {
        let found = look()?;
        pauses += u32::from(found.is_none());
        Ok(found)
    })?;
    ensure!(PAUSE * pauses <= LIMIT, "{what}: after {pauses} looks, with {PAUSE:?} between them");
    Ok(found)
}
