//! The one write to a Node: its podCIDRs, in a PATCH that only this very Node takes.

use std::time::Duration;

use common::names;
use k8s_openapi::api::core::v1::Node;
use kube::api::{Api, Patch, PatchParams};
use kube::core::{PartialObjectMeta, Request, Status};
use serde_json::{Value, json};

use nodeipam::registrar::Assignment;

/// What became of a PATCH.
#[derive(Debug)]
pub enum Reply {
    /// The Node has the podCIDRs.
    Assigned,
    /// The Node is gone, has a successor of its name, or got podCIDRs from somebody else; the
    /// watch tells which.
    Overtaken(PatchError),
    /// Refused or unanswered; it may have been carried out all the same.
    Failed(PatchError),
    /// The server can't be reached or is overloaded; it may have been carried out all the same.
    Unavailable { error: PatchError, patience: Duration },
}

/// Why there is no good answer.
#[derive(Debug, thiserror::Error)]
pub enum PatchError {
    #[error("the API server refuses the PATCH")]
    Refused(#[source] Box<Status>),
    #[error("cannot send the PATCH")]
    Request(#[source] kube::Error),
    #[error("no answer to the PATCH within {} s", .0.as_secs())]
    Timeout(Duration),
}

/// Sends the podCIDRs of one Node, once.
///
/// The server is told to give up after `patience`, so that it carries out nothing after that,
/// whatever becomes of the connection.
pub async fn send(nodes: &Api<Node>, assignment: &Assignment, patience: Duration) -> Reply {
    let request = match request(nodes.resource_url(), assignment, patience) {
        Ok(request) => request,
        Err(error) => return Reply::Failed(PatchError::Request(error)),
    };
    let client = nodes.clone().into_client();
    let answer = tokio::time::timeout(patience, client.request(request)).await;
    answer.map_or(Reply::Failed(PatchError::Timeout(patience)), reply)
}

/// It asks for the answer's metadata alone: a Node can be large, and the watch brings it anyway.
fn request(
    nodes: &str,
    assignment: &Assignment,
    patience: Duration,
) -> kube::Result<http::Request<Vec<u8>>> {
    let parameters =
        PatchParams { field_manager: Some(names::CONTROLLER.to_owned()), ..PatchParams::default() };
    let patch = Patch::Merge(body(assignment));
    let request = Request::new(nodes).patch_metadata(&assignment.node, &parameters, &patch);
    let mut request = request.map_err(kube::Error::BuildRequest)?;
    let uri = format!("{}&timeout={}s", request.uri(), patience.as_secs().max(1));
    *request.uri_mut() =
        uri.parse().map_err(|error| kube::Error::HttpError(http::Error::from(error)))?;
    Ok(request)
}

/// With the UID, so that it can't land on a successor of the same name, which is refused with 422
/// ("field is immutable"). A merge patch replaces the list, where a strategic one would add to it.
fn body(assignment: &Assignment) -> Value {
    let Assignment { uid, cidrs, .. } = assignment;
    let cidrs = cidrs.iter().map(ToString::to_string).collect::<Vec<_>>();
    json!({
        "metadata": { "uid": uid },
        "spec": { "podCIDR": cidrs.first(), "podCIDRs": cidrs },
    })
}

fn reply(answer: kube::Result<PartialObjectMeta<Node>>) -> Reply {
    let status = match answer {
        Ok(_) => return Reply::Assigned,
        Err(kube::Error::Api(status)) => status,
        Err(source) => {
            let error = PatchError::Request(source);
            return Reply::Unavailable { error, patience: Duration::ZERO };
        }
    };
    let details = status.details.as_ref();
    let patience = details.map_or(0, |details| details.retry_after_seconds);
    let patience = Duration::from_secs(patience.into());
    let mut causes = details.iter().flat_map(|details| &details.causes);
    let immutable = |field: &str| matches!(field, "metadata.uid" | "spec.podCIDRs");
    let overtaken = match status.code {
        404 => true,
        422 => causes.any(|cause| immutable(&cause.field)),
        _ => false,
    };
    let code = status.code;
    let error = PatchError::Refused(status);
    match code {
        _ if overtaken => Reply::Overtaken(error),
        429 | 503 => Reply::Unavailable { error, patience },
        _ => Reply::Failed(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_patch_names_this_very_node_and_its_own_end() {
        let cidrs = ["10.0.0.0/24", "fd00::/64"].map(|text| text.parse().unwrap());
        let assignment =
            Assignment { node: "n1".to_owned(), uid: "u1".to_owned(), cidrs: cidrs.to_vec() };
        let sent = request("/api/v1/nodes", &assignment, Duration::from_secs(4)).unwrap();
        let uri = "/api/v1/nodes/n1?&fieldManager=kubenet-controller&timeout=4s";
        assert_eq!(sent.uri().to_string(), uri);
        let expected = json!({
            "metadata": { "uid": "u1" },
            "spec": { "podCIDR": "10.0.0.0/24", "podCIDRs": ["10.0.0.0/24", "fd00::/64"] },
        });
        assert_eq!(body(&assignment), expected);
    }

    /// A Status as the API server sends it, and the word for what it means.
    #[track_caller]
    fn check(status: Value, expected: &str) {
        let status = serde_json::from_value::<Status>(status).unwrap();
        let word = match reply(Err(kube::Error::Api(Box::new(status.clone())))) {
            Reply::Assigned => "assigned".to_owned(),
            Reply::Overtaken(_) => "overtaken".to_owned(),
            Reply::Failed(_) => "failed".to_owned(),
            Reply::Unavailable { patience, .. } => format!("unavailable {}", patience.as_secs()),
        };
        assert_eq!(word, expected, "{status:?}");
    }

    fn invalid(field: &str) -> Value {
        let cause = json!({"reason": "FieldValueInvalid", "message": "no", "field": field});
        json!({"code": 422, "reason": "Invalid", "details": {"causes": [cause]}})
    }

    #[test]
    fn only_what_time_can_cure_is_sent_again() {
        check(json!({"code": 404, "reason": "NotFound"}), "overtaken");
        check(invalid("metadata.uid"), "overtaken");
        check(invalid("spec.podCIDRs"), "overtaken");
        check(invalid("spec.podCIDRs[0]"), "failed");
        check(json!({"code": 403, "reason": "Forbidden"}), "failed");
        check(json!({"code": 409, "reason": "Conflict"}), "failed");
        check(json!({"code": 500, "reason": "InternalError"}), "failed");
        check(json!({"code": 504, "reason": "Timeout"}), "failed");
        check(json!({"code": 429, "details": {"retryAfterSeconds": 7}}), "unavailable 7");
        check(json!({"code": 503}), "unavailable 0");
    }
}
