//! Why a request is not fulfilled, and the code by which a runtime knows it.

use std::net::IpAddr;
use std::{fmt, io};

use common::attachment::{AttachmentId, Pod};
use net::NetError;
use net::netns::NetnsError;
use net::nftables::ElementsError;
use net::program::ProgramError;

/// Whose something is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder {
    pub id: AttachmentId,
    /// Where a runtime has said so.
    pub pod: Option<Pod>,
}

/// What the runtime is told; [`Error::code`] is its reaction to it.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("{0}")]
    IncompatibleVersion(String),
    #[error("unsupported field in the network configuration: {key}: {value}")]
    UnsupportedField { key: String, value: String },
    /// Nothing of the container is left, so the runtime has nothing to clean up either.
    #[error("the container is gone")]
    UnknownContainer(#[source] NetnsError),
    /// CHECK: there is nothing of it at all.
    #[error("{0} is not attached: there is nothing of it")]
    Unattached(AttachmentId),
    #[error("invalid environment: {}", .0.join("; "))]
    Environment(Vec<String>),
    #[error("cannot {what}")]
    Io { what: String, source: io::Error },
    #[error(transparent)]
    Kernel(#[from] NetError),
    #[error(transparent)]
    Elements(#[from] ElementsError),
    #[error("cannot decode {what}: {reason}")]
    Decode { what: &'static str, reason: String },
    #[error("invalid network configuration: {}", .0.join("; "))]
    Config(Vec<String>),
    /// Time cures it: the agent is about to make what is missing, or another call is to end.
    #[error("{0}")]
    TryLater(String),
    /// STATUS: an ADD would fail.
    #[error("{0}")]
    NotReady(String),
    /// STATUS: an ADD would fail, and pods that there are may be cut off.
    #[error("{0}")]
    Limited(String),
    #[error(
        "no address is free in {subnets}: of {total} addresses {} are for no pod, and the other \
         {size} are leased",
        .total - .size
    )]
    Exhausted { subnets: String, total: u128, size: u128 },
    /// ADD: the very address that is asked for is another's.
    #[error("{address} is taken{}", by(.holder.as_deref()))]
    AddressTaken { address: IpAddr, holder: Option<Box<Holder>> },
    #[error("MAC address {mac} is taken{}", by(Some(.holder)))]
    MacTaken { mac: String, holder: Box<Holder> },
    /// ADD: the interface is there. CNI wants a DEL first.
    #[error("{0}")]
    Attached(String),
    #[error("host port {port} is taken{}", by(.owner.as_deref()))]
    HostPortTaken { port: String, owner: Option<Box<Holder>> },
    /// The exec plugin failed, or could not be run.
    #[error(transparent)]
    Program(#[from] ProgramError),
    /// CHECK: the attachment is not as ADD left it.
    #[error("{}", .0.join("; "))]
    Differs(Vec<String>),
}

impl Error {
    /// CNI spec 1.1, section 5, "Error"; from 100 up they are the plugin's own.
    pub(crate) const fn code(&self) -> u32 {
        match self {
            Self::IncompatibleVersion(_) => 1,
            Self::UnsupportedField { .. } => 2,
            Self::UnknownContainer(_) | Self::Unattached(_) => 3,
            Self::Environment(_) => 4,
            Self::Io { .. } | Self::Kernel(_) | Self::Elements(_) => 5,
            Self::Decode { .. } => 6,
            Self::Config(_) => 7,
            Self::TryLater(_) => 11,
            Self::NotReady(_) => 50,
            Self::Limited(_) => 51,
            Self::Exhausted { .. } => 100,
            Self::Attached(_) => 101,
            Self::HostPortTaken { .. } => 102,
            Self::Differs(_) => 103,
            Self::AddressTaken { .. } => 104,
            Self::MacTaken { .. } => 105,
            Self::Program(_) => 106,
        }
    }
}

fn by(owner: Option<&Holder>) -> String {
    owner.map(|owner| format!(" by {owner}")).unwrap_or_default()
}

/// `NAMESPACE/POD (CONTAINERID@IFNAME)`.
impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.pod {
            Some(pod) => write!(f, "{pod} ({})", self.id),
            None => write!(f, "{}", self.id),
        }
    }
}

/// Names what failed.
pub(crate) trait During<T> {
    fn during(self, what: impl FnOnce() -> String) -> Result<T, Error>;
}

impl<T> During<T> for io::Result<T> {
    fn during(self, what: impl FnOnce() -> String) -> Result<T, Error> {
        self.map_err(|source| Error::Io { what: what(), source })
    }
}
