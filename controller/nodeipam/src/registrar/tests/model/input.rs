//! What can happen to a replica.

use super::world::{Claims, NodeAt, Nodes, Seen};

/// A subject by its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Topic {
    Node(u8),
    Block(u8),
}

/// An answer by its numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Reply {
    Seen(u8, u8),
    Absent,
    Conflict,
    Gone,
    There,
    Settled,
}

/// What can happen to a replica.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Input {
    /// It starts, and lists the claims.
    Start(Claims),
    /// It lists all Nodes.
    List(Nodes),
    /// The claim on a block has changed at the server, to this; if it is `new`, it is another one.
    Changed {
        block: u8,
        seen: Seen,
        new: bool,
    },
    /// Its watches bring all that has happened to claims, or to Nodes.
    Claims(Claims),
    Nodes(Nodes),
    /// Its request is carried out and answered, once or twice.
    Reply {
        topic: Topic,
        reply: Reply,
        twice: bool,
    },
    /// Its watch brings what it has next of a block, whose claim is this by now.
    Claim(u8, Seen),
    /// Its watch brings the next of what happened to a Node.
    Node(u8, NodeAt),
    /// The server has carried out its request for a subject.
    Answered(Topic, Reply),
    /// It hears the answer; it may hear it once more.
    Heard {
        topic: Topic,
        again: bool,
    },
    /// It gives up waiting for an answer.
    Timeout(Topic),
    /// Its watches fall behind.
    Lag,
    /// As much time passes as claims are kept for.
    Wait,
    Crash,
}
