//! The Node's condition NetworkUnavailable: keeps it as the loop's verdict says.
//!
//! A task of its own, so that an API server that is away or slow holds up no repair.

use std::sync::Arc;
use std::time::Duration;

use common::names;
use common::node::{Condition, NodeView};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::Client;
use kube::api::{Api, Patch, PatchParams};
use kube::runtime::watcher::DefaultBackoff;
use process::nodes::Node;
use process::telemetry::Chain;
use serde_json::{Value, json};
use tokio::sync::watch;
use tracing::{info, warn};

use crate::nodes::Latest;
use crate::unready::{Unready, Verdict};

const NETWORK_UNAVAILABLE: &str = "NetworkUnavailable";

/// Of a machine that can start pods.
const READY: &str = "KubenetReady";

/// For one PATCH and its answer.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Why the condition could not be set; it is tried again.
#[derive(Debug, thiserror::Error)]
enum PatchError {
    #[error("the API server refused or could not be reached")]
    Request(#[from] kube::Error),
    #[error("no answer within {} s", TIMEOUT.as_secs())]
    Timeout(#[from] tokio::time::error::Elapsed),
}

/// Keeps the condition of the Node `name` as `verdicts` says, for ever.
pub async fn follow(
    client: Client,
    name: &str,
    mut verdicts: watch::Receiver<Option<Verdict>>,
    mut nodes: watch::Receiver<Latest>,
) {
    let nodes_api = Api::<Node>::all(client);
    let mut backoff = DefaultBackoff::default();
    // The Node as it was known when the condition was sent: until the watch tells of another one,
    // it is not sent again.
    let mut sent = None::<(Arc<NodeView>, Condition)>;
    loop {
        let own = nodes.borrow_and_update().as_ref().and_then(|nodes| nodes.get(name).cloned());
        let wanted = verdicts.borrow_and_update().as_ref().and_then(condition);
        if let (Some(own), Some(wanted)) = (own, wanted)
            && own.network_unavailable.as_ref() != Some(&wanted)
            && sent.as_ref().is_none_or(|(node, was)| !Arc::ptr_eq(node, &own) || *was != wanted)
        {
            let patch = patch(&own, &wanted, Timestamp::now());
            match send(&nodes_api, name, &patch).await {
                Ok(()) => {
                    info!(status = %wanted.status, reason = %wanted.reason, "set {NETWORK_UNAVAILABLE}");
                    backoff = DefaultBackoff::default();
                    sent = Some((own, wanted));
                }
                Err(error) => {
                    warn!(node = name, error = %Chain(&error), "cannot set {NETWORK_UNAVAILABLE}");
                    tokio::time::sleep(backoff.next().unwrap_or(TIMEOUT)).await;
                    continue;
                }
            }
        }
        tokio::select! {
            Ok(()) = verdicts.changed() => {}
            Ok(()) = nodes.changed() => {}
            // Both are gone when the program ends.
            else => return,
        }
    }
}

async fn send(nodes: &Api<Node>, name: &str, patch: &Value) -> Result<(), PatchError> {
    let parameters =
        PatchParams { field_manager: Some(names::AGENT.to_owned()), ..PatchParams::default() };
    let patch = Patch::Strategic(patch);
    tokio::time::timeout(TIMEOUT, nodes.patch_status(name, &parameters, &patch)).await??;
    Ok(())
}

/// None while the loop has yet to see the Node, which is there if a condition can be set at all.
fn condition(verdict: &Verdict) -> Option<Condition> {
    let (status, reason, message) = match verdict {
        Err(Unready::NodesUnknown | Unready::NoNode(_)) => return None,
        Ok(()) => {
            ("False", READY, format!("{} is in place and pods can be started", names::BRIDGE))
        }
        Err(unready) => ("True", unready.code(), unready.to_string()),
    };
    Some(Condition { status: status.to_owned(), reason: reason.to_owned(), message })
}

/// A strategic merge patch of the Node's status, which leaves the other conditions alone: they are
/// merged by their type. With its UID it can't land on a successor of the same name.
fn patch(own: &NodeView, wanted: &Condition, now: Timestamp) -> Value {
    let mut condition = json!({
        "type": NETWORK_UNAVAILABLE,
        "status": wanted.status,
        "reason": wanted.reason,
        "message": wanted.message,
        "lastHeartbeatTime": Time(now),
    });
    let before = own.network_unavailable.as_ref();
    if before.is_none_or(|before| before.status != wanted.status) {
        condition["lastTransitionTime"] = json!(Time(now));
    }
    json!({"metadata": {"uid": own.uid}, "status": {"conditions": [condition]}})
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{golden, node};
    fn patches(before: Option<&Verdict>, now: &Verdict) -> Value {
        let own = NodeView {
            network_unavailable: before.and_then(condition),
            ..node("n1 1 10.244.1.0/24")
        };
        patch(&own, &condition(now).unwrap(), Timestamp::UNIX_EPOCH)
    }

    #[test]
    fn the_patches_read_as_they_should() {
        let missing = Err(Unready::NoPodCidr("n1".to_owned()));
        golden("not-ready.json", &format!("{:#}\n", patches(None, &missing)));
        golden("ready.json", &format!("{:#}\n", patches(Some(&missing), &Ok(()))));
    }

    #[test]
    fn a_node_that_is_missing_has_no_condition() {
        assert_eq!(condition(&Err(Unready::NodesUnknown)), None);
        assert_eq!(condition(&Err(Unready::NoNode("n".into()))), None);
    }

    #[test]
    fn only_a_new_status_is_a_transition() {
        let conditions = |patch: &Value| patch["status"]["conditions"][0].clone();
        let again = patches(Some(&Err(Unready::NoUplink)), &Err(Unready::NoPodCidr("n".into())));
        let again = conditions(&again);
        assert_eq!(again["lastTransitionTime"], Value::Null);
        assert_eq!(again["reason"], "PodCIDRMissing");
        let first = conditions(&patches(None, &Ok(())));
        assert_eq!(first["lastTransitionTime"], "1970-01-01T00:00:00Z");
    }
}
