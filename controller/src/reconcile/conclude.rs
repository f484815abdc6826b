//! What became of a request, and what is to be done now.

use std::time::Instant;

use process::telemetry::Chain;
use tokio::task::JoinError;
use tracing::{debug, error, info, warn};

use super::{FAILURES_BEFORE_EVENT, Reconciler};
use crate::events;
use crate::queue::End;
use crate::requests::{Ended, Outcome, Trouble};
use nodeipam::registrar::{Answer, Assignment, Command, Subject};

impl Reconciler {
    pub(super) fn conclude(&mut self, ended: Result<Ended, JoinError>) {
        let Ended { subject, command, outcome, took } = match ended {
            Ok(ended) => ended,
            Err(panic) => {
                error!(error = %Chain(&panic), "a request's task broke down");
                return;
            }
        };
        let now = Instant::now();
        self.outlets.metrics.answer.observe(took.as_secs_f64());
        let (answer, end, trouble) = match outcome {
            Outcome::Assigned => {
                info!(?command, "assigned podCIDRs");
                if let Subject::Node(uid) = &subject {
                    self.has_them(uid, now);
                }
                (Answer::Settled, End::Done, None)
            }
            Outcome::Overtaken(error) => {
                info!(?command, error = %Chain(&error), "Node takes no podCIDRs of ours");
                self.outlets.metrics.conflicts.inc();
                (Answer::Settled, End::Done, None)
            }
            // Its own watch is late; the Node is asked for again.
            Outcome::Answered(Answer::There) => (Answer::There, End::Failed, None),
            Outcome::Answered(answer) => {
                debug!(?command, ?answer, "asked about a claim");
                if answer == Answer::Conflict {
                    self.outlets.metrics.claim_conflicts.inc();
                }
                (answer, End::Next, None)
            }
            Outcome::Failed(trouble) => (Answer::Unknown, End::Failed, Some(trouble)),
            Outcome::Unavailable { trouble, patience } => {
                (Answer::Unknown, End::Unavailable(patience), Some(trouble))
            }
        };
        let work = self.registrar.answered(&command, answer, now);
        let next = || self.registrar.command(&subject, now).is_some();
        let end = if end == End::Next && !next() { End::Done } else { end };
        let failures = self.queue.ended(&subject, end, now);
        if let Some(trouble) = trouble {
            let tell = failures == FAILURES_BEFORE_EVENT && end == End::Failed;
            self.complain(&command, &trouble, tell);
        }
        self.carry_out(work);
    }

    fn complain(&self, command: &Command, trouble: &Trouble, tell: bool) {
        self.outlets.metrics.sent_again.inc();
        let reason = events::ASSIGNMENT_FAILED;
        warn!(?command, reason, error = %Chain(trouble), "cannot assign podCIDRs; trying again");
        let (name, uid) = match command {
            Command::Assign(Assignment { node, uid, .. }) => (node, uid),
            Command::Claim { holder, .. } | Command::Adopt { to: holder, .. } => {
                (&holder.name, &holder.uid)
            }
            _ => return,
        };
        if tell {
            self.outlets.events.unassigned(name, uid, reason, Chain(trouble));
        }
    }
}
