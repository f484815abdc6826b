//! One request, whatever it is about, and how it ended.

use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::Node;
use kube::api::Api;

use crate::claims::{self, ClaimError};
use crate::patch::{self, PatchError};
use nodeipam::registrar::{Answer, Command, Subject};

/// Why a request has to be sent again.
#[derive(Debug, thiserror::Error)]
pub enum Trouble {
    #[error(transparent)]
    Patch(PatchError),
    #[error("a request about a claim: {0}")]
    Claim(#[from] ClaimError),
}

/// What became of a request.
#[derive(Debug)]
pub enum Outcome {
    Answered(Answer),
    /// The Node has the podCIDRs.
    Assigned,
    /// The Node will never take them.
    Overtaken(PatchError),
    Failed(Trouble),
    Unavailable {
        trouble: Trouble,
        patience: Duration,
    },
}

/// A request that has ended.
#[derive(Debug)]
pub struct Ended {
    pub subject: Subject,
    pub command: Command,
    pub outcome: Outcome,
    pub took: Duration,
}

/// Sends what `command` asks for, once, and waits for the answer no longer than `patience`.
pub async fn send(
    nodes: Api<Node>,
    subject: Subject,
    command: Command,
    patience: Duration,
) -> Ended {
    let begun = Instant::now();
    let outcome = match &command {
        Command::Assign(assignment) => patch::send(&nodes, assignment, patience).await.into(),
        _ => claims::send(nodes.into_client(), &command, patience).await.into(),
    };
    Ended { subject, command, outcome, took: begun.elapsed() }
}

impl From<patch::Reply> for Outcome {
    fn from(reply: patch::Reply) -> Self {
        match reply {
            patch::Reply::Assigned => Self::Assigned,
            patch::Reply::Overtaken(error) => Self::Overtaken(error),
            patch::Reply::Failed(error) => Self::Failed(Trouble::Patch(error)),
            patch::Reply::Unavailable { error, patience } => {
                Self::Unavailable { trouble: Trouble::Patch(error), patience }
            }
        }
    }
}

impl From<claims::Reply> for Outcome {
    fn from(reply: claims::Reply) -> Self {
        match reply {
            claims::Reply::Answered(answer) => Self::Answered(answer),
            claims::Reply::Failed(error) => Self::Failed(error.into()),
            claims::Reply::Unavailable { error, patience } => {
                Self::Unavailable { trouble: error.into(), patience }
            }
        }
    }
}
