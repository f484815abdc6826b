//! What /readyz says of this machine: the loop's verdict, and whether Nodes are known.
//!
//! An API server that is away is no reason to be unready: pods go on without.

use process::ready::Readiness;
use tokio::sync::watch;

use crate::nodes::Latest;
use crate::unready::Verdict;

const NETWORK: &str = "network";
const NODES: &str = "nodes";

/// Checks that fail until the loop has something to say.
pub fn checks() -> Readiness {
    let listed = "the list of Nodes has not arrived";
    Readiness::new(&[(NETWORK, "nobody has looked yet"), (NODES, listed)])
}

/// Keeps the checks as `verdicts` and `nodes` say, for ever.
pub async fn follow(
    readiness: &Readiness,
    mut verdicts: watch::Receiver<Option<Verdict>>,
    mut nodes: watch::Receiver<Latest>,
) {
    loop {
        match &*verdicts.borrow_and_update() {
            Some(Ok(())) => readiness.pass(NETWORK),
            Some(Err(unready)) => readiness.fail(NETWORK, unready),
            None => {}
        }
        if nodes.borrow_and_update().is_some() {
            readiness.pass(NODES);
        }
        tokio::select! {
            Ok(()) = verdicts.changed() => {}
            Ok(()) = nodes.changed() => {}
            else => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::unready::Unready;

    #[tokio::test]
    async fn it_is_ready_as_the_loop_says() {
        let readiness = checks();
        let (judge, verdicts) = watch::channel(None);
        let (latest, nodes) = watch::channel(None);
        let expect = |text: &str| assert!(readiness.report(&[]).to_string().contains(text));
        let scenario = async {
            expect("[-]network failed: nobody has looked yet");
            latest.send_replace(Some(Arc::default()));
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
            () = follow(&readiness, verdicts, nodes) => panic!("it ended"),
            () = scenario => {}
        }
    }
}
