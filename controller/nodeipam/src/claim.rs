//! Pure: a claim: one small object of the API for each block that is handed out, whose name is the
//! block. The API server takes a name once, so it is the server that refuses the second.

pub mod name;

use std::fmt;

use common::Prefix;
use common::node::NodeView;

/// The Node that a block is claimed for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Holder {
    pub name: String,
    /// A successor of the same name has another one.
    pub uid: String,
}

/// Which state of which object: what a write has to meet, or it is refused.
///
/// With the UID alone a late deletion would meet a claim that has gone to another holder since.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Mark {
    pub uid: String,
    /// `metadata.resourceVersion`.
    pub version: String,
}

/// A claim as it was seen.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Claim {
    pub holder: Holder,
    pub mark: Mark,
    /// `metadata.creationTimestamp`, in seconds: it stays when the holder changes.
    pub created: i64,
}

impl Claim {
    /// Which of several comes first: in the order of the API server, by which also of two that
    /// overlap the earlier one counts. Where versions are no numbers, by their second, then their UID.
    pub fn age(&self) -> (u64, i64, &str) {
        (self.mark.number().unwrap_or(u64::MAX), self.created, &self.mark.uid)
    }
}

impl Mark {
    /// Whether the claim was so before it was as `other` says: versions are numbers that grow
    /// (KEP-5504). False where they are no numbers.
    pub fn is_before(&self, other: &Self) -> bool {
        self.number().zip(other.number()).is_some_and(|(own, other)| own < other)
    }

    fn number(&self) -> Option<u64> {
        self.version.parse().ok()
    }
}

impl From<&NodeView> for Holder {
    fn from(node: &NodeView) -> Self {
        Self { name: node.name.clone(), uid: node.uid.clone() }
    }
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.name, self.uid)
    }
}

/// What was seen of the claim on a block.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Sight {
    /// The watch has shown it, and so all that was written to any claim before.
    Is(Prefix, Claim),
    /// An answer says so; what was written before may not have been seen.
    Told(Prefix, Claim),
    /// The one of this UID is not there any more.
    Was(Prefix, String),
}

impl Sight {
    pub const fn block(&self) -> Prefix {
        match self {
            Self::Is(block, _) | Self::Told(block, _) | Self::Was(block, _) => *block,
        }
    }
}
