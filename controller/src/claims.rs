//! The requests about claims: each [`Command`] but the PATCH, and what its answer means.

use std::time::Duration;

use common::{Prefix, names};
use k8s_openapi::api::core::v1::Node;
use kube::Client;
use kube::api::{Api, DeleteParams, ListParams, PostParams, Preconditions};
use kube::core::{ObjectMeta, ResourceExt, Status};
use kube::runtime::watcher::Event;
use process::cidr_claims::{CidrClaim, CidrClaimSpec};

use nodeipam::claim::{Claim, Holder, Mark, Sight, name};
use nodeipam::registrar::{Answer, Command};

/// Why a request has no good answer.
#[derive(Debug, thiserror::Error)]
pub enum ClaimError {
    #[error("the API server refuses it")]
    Refused(#[source] Box<Status>),
    #[error("cannot send it")]
    Request(#[source] kube::Error),
    #[error("no answer within {} s", .0.as_secs())]
    Timeout(Duration),
}

/// What became of a request.
#[derive(Debug)]
pub enum Reply {
    Answered(Answer),
    /// Refused or unanswered; it may have been carried out all the same.
    Failed(ClaimError),
    /// The server can't be reached or is overloaded; it may have been carried out all the same.
    Unavailable {
        error: ClaimError,
        patience: Duration,
    },
}

/// Sends what `command` asks for, once.
pub async fn send(client: Client, command: &Command, patience: Duration) -> Reply {
    let (claims, nodes) = (Api::all(client.clone()), Api::all(client));
    let answer = tokio::time::timeout(patience, carry_out(&claims, &nodes, command)).await;
    answer.map_or(Reply::Failed(ClaimError::Timeout(patience)), |answer| reply(command, answer))
}

async fn carry_out(
    claims: &Api<CidrClaim>,
    nodes: &Api<Node>,
    command: &Command,
) -> kube::Result<Answer> {
    let parameters =
        PostParams { field_manager: Some(names::CONTROLLER.to_owned()), ..PostParams::default() };
    match command {
        Command::Claim { block, holder } => {
            let object = object(*block, holder, None);
            claims.create(&parameters, &object).await.map(seen)
        }
        Command::Read { block, .. } => claims.get(&name::encode(*block)).await.map(seen),
        Command::Adopt { block, mark, to } => {
            let object = object(*block, to, Some(mark));
            claims.replace(&object.name_any(), &parameters, &object).await.map(seen)
        }
        Command::Release { block, mark } => {
            let Mark { uid, version } = mark.clone();
            let met = Preconditions { uid: Some(uid), resource_version: Some(version) };
            let parameters = DeleteParams { preconditions: Some(met), ..DeleteParams::default() };
            let deleted = claims.delete(&name::encode(*block), &parameters).await;
            deleted.map(|_| Answer::Absent)
        }
        Command::Look(Holder { name, uid }) => {
            // A list without a version is as new as its request, and needs no right of its own.
            let named = ListParams::default().fields(&format!("metadata.name={name}"));
            let found = nodes.list_metadata(&named).await?;
            let there = found.items.iter().any(|node| node.metadata.uid.as_ref() == Some(uid));
            Ok(if there { Answer::There } else { Answer::Gone })
        }
        Command::Assign(_) => Ok(Answer::Unknown),
    }
}

fn reply(command: &Command, answer: kube::Result<Answer>) -> Reply {
    let status = match answer {
        Ok(answer) => return Reply::Answered(answer),
        Err(kube::Error::Api(status)) => status,
        Err(source) => {
            let error = ClaimError::Request(source);
            return Reply::Unavailable { error, patience: Duration::ZERO };
        }
    };
    let details = status.details.as_ref();
    let patience = details.map_or(0, |details| details.retry_after_seconds);
    let patience = Duration::from_secs(patience.into());
    // A server that does not know the kind says 404 as well, and names no object.
    let named = details.is_some_and(|details| !details.name.is_empty());
    match (status.code, command) {
        (404, Command::Read { .. } | Command::Adopt { .. } | Command::Release { .. }) if named => {
            Reply::Answered(Answer::Absent)
        }
        (409, Command::Claim { .. } | Command::Adopt { .. } | Command::Release { .. }) => {
            Reply::Answered(Answer::Conflict)
        }
        (429 | 503, _) => Reply::Unavailable { error: ClaimError::Refused(status), patience },
        _ => Reply::Failed(ClaimError::Refused(status)),
    }
}

fn object(block: Prefix, holder: &Holder, mark: Option<&Mark>) -> CidrClaim {
    let Holder { name: node_name, uid: node_uid } = holder.clone();
    let metadata = ObjectMeta {
        name: Some(name::encode(block)),
        uid: mark.map(|mark| mark.uid.clone()),
        resource_version: mark.map(|mark| mark.version.clone()),
        ..ObjectMeta::default()
    };
    CidrClaim { metadata, spec: CidrClaimSpec { cidr: block.to_string(), node_name, node_uid } }
}

fn seen(object: CidrClaim) -> Answer {
    Answer::Seen(claim(object))
}

fn claim(object: CidrClaim) -> Claim {
    let CidrClaim { metadata, spec } = object;
    let mark = Mark {
        uid: metadata.uid.unwrap_or_default(),
        version: metadata.resource_version.unwrap_or_default(),
    };
    let created = metadata.creation_timestamp.map_or(0, |time| time.0.as_second());
    Claim { holder: Holder { name: spec.node_name, uid: spec.node_uid }, mark, created }
}

/// What an event of the watch says.
#[derive(Debug, PartialEq)]
pub enum News {
    Sight(Sight),
    /// All claims that there are.
    Listed(Vec<Sight>),
}

/// The list that the watch is bringing.
#[derive(Debug, Default)]
pub struct Listing(Vec<Sight>);

impl Listing {
    /// Takes the watch's next event. An object whose name is no block is nobody's claim.
    pub fn take(&mut self, event: Event<CidrClaim>) -> Option<News> {
        match event {
            Event::Init => self.0.clear(),
            Event::InitApply(object) => self.0.extend(is(object)),
            Event::InitDone => return Some(News::Listed(std::mem::take(&mut self.0))),
            Event::Apply(object) => return is(object).map(News::Sight),
            Event::Delete(object) => {
                let block = name::decode(&object.name_any())?;
                let uid = object.metadata.uid.unwrap_or_default();
                return Some(News::Sight(Sight::Was(block, uid)));
            }
        }
        None
    }
}

fn is(object: CidrClaim) -> Option<Sight> {
    let block = name::decode(&object.name_any())?;
    Some(Sight::Is(block, claim(object)))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn command(word: &str) -> Command {
        let block = "10.0.0.0/24".parse().unwrap();
        let holder = Holder { name: "n".to_owned(), uid: "u".to_owned() };
        let mark = Mark { uid: "c".to_owned(), version: "7".to_owned() };
        match word {
            "claim" => Command::Claim { block, holder },
            "read" => Command::Read { block, seen: None },
            "adopt" => Command::Adopt { block, mark, to: holder },
            "release" => Command::Release { block, mark },
            _ => Command::Look(holder),
        }
    }

    /// A command, the code of the Status that refuses it and the object that this names.
    #[track_caller]
    fn check(word: &str, code: u16, object: &str, expected: &str) {
        let status = json!({"code": code, "details": {"name": object, "retryAfterSeconds": 7}});
        let status = serde_json::from_value::<Status>(status).unwrap();
        let reply = reply(&command(word), Err(kube::Error::Api(Box::new(status))));
        let text = match reply {
            Reply::Answered(answer) => format!("{answer:?}"),
            Reply::Failed(_) => "failed".to_owned(),
            Reply::Unavailable { patience, .. } => format!("unavailable {}", patience.as_secs()),
        };
        assert_eq!(text, expected, "{word} {code}");
    }

    #[test]
    fn a_refusal_says_how_the_claim_is() {
        check("claim", 409, "v4-10-0-0-0-24", "Conflict");
        check("adopt", 409, "v4-10-0-0-0-24", "Conflict");
        check("release", 409, "v4-10-0-0-0-24", "Conflict");
        for word in ["read", "adopt", "release"] {
            check(word, 404, "v4-10-0-0-0-24", "Absent");
            // The definition is gone, and maybe all claims with it; maybe it only comes late.
            check(word, 404, "", "failed");
        }
        check("claim", 404, "", "failed");
        check("look", 404, "n", "failed");
        check("claim", 403, "v4-10-0-0-0-24", "failed");
        check("claim", 500, "", "failed");
        check("claim", 429, "", "unavailable 7");
        check("release", 503, "", "unavailable 7");
    }

    #[test]
    fn an_object_is_written_with_what_it_must_still_be() {
        let Command::Adopt { block, mark, to } = command("adopt") else { panic!() };
        let written = serde_json::to_value(object(block, &to, Some(&mark))).unwrap();
        let metadata = json!({"name": "v4-10-0-0-0-24", "uid": "c", "resourceVersion": "7"});
        let spec = json!({"cidr": "10.0.0.0/24", "nodeName": "n", "nodeUID": "u"});
        assert_eq!((&written["metadata"], &written["spec"]), (&metadata, &spec));
    }

    #[test]
    fn an_object_whose_name_is_no_block_is_left_alone() {
        let mut object = object(
            "10.0.0.0/24".parse().unwrap(),
            &Holder { name: String::new(), uid: String::new() },
            None,
        );
        assert!(Listing::default().take(Event::Apply(object.clone())).is_some());
        object.metadata.name = Some("mine".to_owned());
        assert_eq!(Listing::default().take(Event::Apply(object.clone())), None);
        assert_eq!(Listing::default().take(Event::Delete(object)), None);
    }
}
