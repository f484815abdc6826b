//! What /readyz says of this machine: the loop's verdict, and whether Nodes are known.
//!
//! An API server that is away is no reason to be unready: pods go on without.

use std::collections::BTreeSet;
use std::convert::Infallible;

use jiff::Timestamp;
use process::contact::Outage;
use process::ready::Readiness;
use tokio::sync::watch;

use crate::nodes::Latest;
use crate::unready::Verdict;

const NETWORK: &str = "network";
const NODES: &str = "nodes";
const COMPLAINTS: &str = "complaints";

const NOT_LISTED: &str = "the list of Nodes has not arrived";

/// Of many complaints, how many are shown; the log has more.
const SHOWN: usize = 5;

/// Checks that fail until the loop has something to say.
pub fn checks() -> Readiness {
    let readiness = Readiness::new(&[(NETWORK, "nobody has looked yet"), (NODES, NOT_LISTED)]);
    readiness.pass(COMPLAINTS);
    readiness
}

/// Says what is wrong without keeping pods from starting.
pub fn complain(readiness: &Readiness, complaints: &BTreeSet<String>) {
    match complaints.len() {
        0 => readiness.pass(COMPLAINTS),
        1..=SHOWN => readiness.pass_with(COMPLAINTS, joined(complaints)),
        all => readiness.pass_with(
            COMPLAINTS,
            format_args!("{}; and {} more", joined(complaints), all - SHOWN),
        ),
    }
}

fn joined(complaints: &BTreeSet<String>) -> String {
    complaints.iter().take(SHOWN).map(String::as_str).collect::<Vec<_>>().join("; ")
}

/// Keeps the checks as `verdicts` and `nodes` say, for ever; what was said last stays when nobody says
/// anything any more.
///
/// Nodes that are known at the call are those of an earlier start: stale `since` then, until a list
/// arrives. Later they are stale as long as there is an outage.
pub async fn follow(
    readiness: &Readiness,
    mut since: Option<Timestamp>,
    mut verdicts: watch::Receiver<Option<Verdict>>,
    mut nodes: watch::Receiver<Latest>,
    mut outage: watch::Receiver<Option<Outage>>,
) -> Infallible {
    loop {
        match &*verdicts.borrow_and_update() {
            Some(Ok(())) => readiness.pass(NETWORK),
            Some(Err(unready)) => readiness.fail(NETWORK, unready),
            None => {}
        }
        // Here, as another branch may have woken the loop.
        if nodes.has_changed().unwrap_or(false) {
            since = None;
        }
        let away = outage.borrow_and_update().clone();
        match (nodes.borrow_and_update().is_some(), since, away) {
            (true, None, None) => readiness.pass(NODES),
            (true, Some(since), None) => {
                readiness.pass_with(NODES, format_args!("stale since {since}"));
            }
            (true, earlier, Some(Outage { since, why })) => {
                let since = earlier.unwrap_or(since);
                readiness.pass_with(NODES, format_args!("stale since {since}: {why}"));
            }
            (false, _, Some(Outage { why, .. })) => {
                readiness.fail(NODES, format_args!("{NOT_LISTED}: {why}"));
            }
            (false, _, None) => readiness.fail(NODES, NOT_LISTED),
        }
        tokio::select! {
            Ok(()) = verdicts.changed() => {}
            Ok(()) = nodes.changed() => nodes.mark_changed(),
            Ok(()) = outage.changed() => {}
            else => return std::future::pending().await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::Nodes;
    use crate::unready::Unready;

    #[tokio::test]
    async fn it_is_ready_as_the_loop_says() {
        let readiness = checks();
        let (judge, verdicts) = watch::channel(None);
        let (latest, nodes) = watch::channel(None);
        let (_away, outage) = watch::channel(None);
        let expect = |text: &str| assert!(readiness.report(&[]).to_string().contains(text));
        let scenario = async {
            expect("[-]network failed: nobody has looked yet");
            latest.send_replace(Some(Nodes::default()));
            judge.send_replace(Some(Err(Unready::NoUplink)));
            tokio::task::yield_now().await;
            expect("[-]network failed: no enabled normal interface");
            expect("[+]nodes ok");
            judge.send_replace(Some(Ok(())));
            tokio::task::yield_now().await;
            expect("readyz check passed");
        };
        tokio::select! {
            biased;
            never = follow(&readiness, None, verdicts, nodes, outage) => match never {},
            () = scenario => {}
        }
    }

    #[tokio::test]
    async fn nodes_of_an_earlier_start_are_stale_until_a_list_arrives() {
        let readiness = checks();
        let (judge, verdicts) = watch::channel(Some(Ok(())));
        let (latest, nodes) = watch::channel(Some(Nodes::default()));
        let (_away, outage) = watch::channel(None);
        let scenario = async {
            let text = readiness.report(&[]).to_string();
            assert!(text.contains("[+]nodes ok: stale since 1970-01-01T00:00:00Z"), "{text}");
            assert!(readiness.report(&[]).is_ready());
            latest.send_replace(Some(Nodes::default()));
            judge.send_replace(Some(Ok(())));
            tokio::task::yield_now().await;
            assert!(readiness.report(&[]).to_string().contains("[+]nodes ok\n"));
        };
        tokio::select! {
            biased;
            never = follow(&readiness, Some(Timestamp::UNIX_EPOCH), verdicts, nodes, outage) => {
                match never {}
            }
            () = scenario => {}
        }
    }

    #[tokio::test]
    async fn nodes_are_stale_while_the_api_server_is_away_and_why_is_said() {
        let readiness = checks();
        let (_judge, verdicts) = watch::channel(Some(Ok(())));
        let (latest, nodes) = watch::channel(None);
        let (away, outage) = watch::channel(None);
        let expect = |text: &str| assert!(readiness.report(&[]).to_string().contains(text));
        let refused = Outage { since: Timestamp::UNIX_EPOCH, why: "refused".to_owned() };
        let scenario = async {
            away.send_replace(Some(refused.clone()));
            tokio::task::yield_now().await;
            expect("[-]nodes failed: the list of Nodes has not arrived: refused\n");
            away.send_replace(None);
            latest.send_replace(Some(Nodes::default()));
            tokio::task::yield_now().await;
            expect("[+]nodes ok\n");
            away.send_replace(Some(refused));
            tokio::task::yield_now().await;
            expect("[+]nodes ok: stale since 1970-01-01T00:00:00Z: refused\n");
            assert!(readiness.report(&[]).is_ready());
            away.send_replace(None);
            tokio::task::yield_now().await;
            expect("[+]nodes ok\n");
        };
        tokio::select! {
            biased;
            never = follow(&readiness, None, verdicts, nodes, outage) => match never {},
            () = scenario => {}
        }
    }
}
