//! Kernel settings under /proc/sys, or where else that is mounted.

use std::io;
use std::path::PathBuf;

/// A tree of kernel settings.
#[derive(Clone, Debug)]
pub struct Sysctl {
    _root: PathBuf,
}

/// Whether a write was needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Written {
    Changed,
    Unchanged,
}

impl Default for Sysctl {
    /// The kernel's own: `/proc/sys`.
    fn default() -> Self {
        Self::at("/proc/sys")
    }
}

impl Sysctl {
    pub fn at(root: impl Into<PathBuf>) -> Self {
        Self { _root: root.into() }
    }

    /// The value of `key`, as `net/ipv4/ip_forward`, without the line's end.
    pub fn read(&self, _key: &str) -> io::Result<String> {
        unimplemented!()
    }

    /// Gives `key` the value; one that it has is not written.
    pub fn write(&self, _key: &str, _value: &str) -> io::Result<Written> {
        unimplemented!()
    }
}
