//! Network namespaces: open one, and run code inside.

use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

/// An open network namespace; it lives at least as long as this.
#[derive(Debug)]
pub struct Netns {
    _file: OwnedFd,
}

/// Why a path leads to no usable network namespace.
#[derive(Debug, thiserror::Error)]
pub enum NetnsError {
    /// It went away, with its container: nothing of it is left to undo.
    #[error("network namespace {0} does not exist")]
    Missing(String),
    #[error("{0} is no network namespace")]
    NotNetns(String),
    #[error("cannot open network namespace {path}")]
    Open { path: String, source: io::Error },
}

impl Netns {
    /// Opens the namespace at `path`, as `/run/netns/NAME` or `/proc/PID/ns/net`.
    pub fn open(_path: &Path) -> Result<Self, NetnsError> {
        unimplemented!()
    }

    /// The namespace of the calling thread.
    pub fn current() -> Result<Self, NetnsError> {
        unimplemented!()
    }

    /// A new, empty namespace, which ends with the last that holds it.
    pub fn unnamed() -> io::Result<Self> {
        unimplemented!()
    }

    /// What identifies it on this machine until it ends.
    pub fn inode(&self) -> io::Result<u64> {
        unimplemented!()
    }

    /// Whether the calling thread is in it.
    pub fn is_current(&self) -> io::Result<bool> {
        unimplemented!()
    }

    /// Runs `f` inside, on a thread of its own, and returns its result.
    pub fn run<T: Send>(&self, _f: impl FnOnce() -> T + Send) -> io::Result<T> {
        unimplemented!()
    }
}
