//! What PID 1 of a PID namespace owes it: to bury orphans, and to end when asked.

use std::io;

use nix::errno::Errno;
use nix::sys::signal::{SigSet, Signal};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};

/// Buries orphans until SIGTERM or SIGINT.
pub(crate) fn until_asked_to_end() -> io::Result<()> {
    wait(&block()?)
}

/// Keeps the signals for [`wait`]; threads that are started later inherit it.
pub(crate) fn block() -> io::Result<SigSet> {
    let signals = SigSet::from_iter([Signal::SIGCHLD, Signal::SIGINT, Signal::SIGTERM]);
    signals.thread_block()?;
    Ok(signals)
}

/// Buries orphans until SIGTERM or SIGINT, which the calling thread and all others [`block`].
pub(crate) fn wait(signals: &SigSet) -> io::Result<()> {
    loop {
        match signals.wait()? {
            Signal::SIGCHLD => bury()?,
            _ => return Ok(()),
        }
    }
}

/// One signal may stand for many children.
fn bury() -> io::Result<()> {
    loop {
        match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
            Ok(WaitStatus::StillAlive) | Err(Errno::ECHILD) => return Ok(()),
            Ok(_) | Err(Errno::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}
