//! Why the kernel did not do what it was asked.
//!
//! The error number stays a value, so that callers tell a link that exists from one that is missing.

use std::fmt::Display;
use std::io;

use nix::errno::Errno;

use crate::connection::Refusal;

/// A request to the kernel that failed.
#[derive(Debug, thiserror::Error)]
#[error("cannot {operation} {object}{}", remark(.explanation.as_deref()))]
pub struct NetError {
    /// What was asked for: `replace route`.
    pub operation: &'static str,
    /// What it was asked for: `10.0.1.0/24 via 192.0.2.1`.
    pub object: String,
    /// The kernel's own words, where it has some (`NLMSGERR_ATTR_MSG`).
    pub explanation: Option<String>,
    pub source: io::Error,
}

fn remark(explanation: Option<&str>) -> String {
    explanation.map(|text| format!(" ({text})")).unwrap_or_default()
}

impl NetError {
    pub fn kind(&self) -> io::ErrorKind {
        self.source.kind()
    }

    /// The error number; none for what did not come from the kernel, as an answer that makes no sense.
    pub fn errno(&self) -> Option<Errno> {
        self.source.raw_os_error().map(Errno::from_raw)
    }

    /// Whether what should be created was there before.
    pub fn already_exists(&self) -> bool {
        self.errno() == Some(Errno::EEXIST)
    }

    /// Whether the object, or the link it belongs to, is gone: `ENOENT`, `ENODEV`, `ESRCH`,
    /// `EADDRNOTAVAIL`, as each part of the kernel has its own word for it.
    pub fn is_missing(&self) -> bool {
        use Errno::{EADDRNOTAVAIL, ENODEV, ENOENT, ESRCH};
        matches!(self.errno(), Some(ENOENT | ENODEV | ESRCH | EADDRNOTAVAIL))
    }
}

impl Refusal {
    /// Names the request that was refused.
    pub(crate) fn during(self, operation: &'static str, object: impl Display) -> NetError {
        let Self { source, explanation } = self;
        NetError { operation, object: object.to_string(), explanation, source }
    }
}

/// Names the request that failed.
pub(crate) trait During<T> {
    fn during(self, operation: &'static str, object: impl Display) -> Result<T, NetError>;
}

impl<T, E: Into<Refusal>> During<T> for Result<T, E> {
    fn during(self, operation: &'static str, object: impl Display) -> Result<T, NetError> {
        self.map_err(|error| error.into().during(operation, object))
    }
}
