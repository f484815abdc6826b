//! Pure: what can be wrong with podCIDRs that somebody else gave a Node.
//!
//! None of it stops the controller or keeps another Node waiting; each has one reason word, the
//! same in log and Event.

use common::Prefix;
use common::prefix::PrefixError;

/// Something to know about one podCIDR of a Node.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Oddity {
    #[error("podCIDR cannot be used, and is not held: {0}")]
    Malformed(PrefixError),
    #[error("podCIDR {0} is not within the cluster CIDRs or a ClusterCIDR")]
    Outside(Prefix),
    #[error("podCIDR {cidr} overlaps the Service CIDR {service}")]
    Service { cidr: Prefix, service: Prefix },
    #[error("podCIDR {cidr} overlaps one of Node {with}")]
    Shared { cidr: Prefix, with: String },
    #[error("podCIDR {text} has host bits set or zeros in front; {cidr} is held")]
    HostBits { text: String, cidr: Prefix },
}

impl Oddity {
    /// Whether it ends with the Node of this name.
    pub fn is_with(&self, name: &str) -> bool {
        matches!(self, Self::Shared { with, .. } if with == name)
    }

    /// The word for it in log, Event and metric.
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::Malformed(_) => "CIDRMalformed",
            Self::Outside(_) => "CIDROutOfRange",
            Self::Service { .. } => "CIDROverlapsServices",
            Self::Shared { .. } => "CIDRShared",
            Self::HostBits { .. } => "CIDRNotCanonical",
        }
    }
}
