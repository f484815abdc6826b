//! SIGINT, SIGTERM and SIGHUP end the lab before they end us.

use std::thread;

use anyhow::Result;
use nix::sys::signal::{SigSet, Signal};

use crate::say::say;
use crate::traces::Traces;

/// Blocks the signals in this thread, and so in all that it starts from now on.
///
/// To be called before the first thread is started, or a signal would find one that dies of it.
pub fn block() -> Result<()> {
    Ok(signals().thread_block()?)
}

/// Waits for a signal on a thread of its own; then ends the lab, and the process with 128 plus
/// the signal's number, as a shell does.
pub(crate) fn end_lab_when_asked(traces: &Traces) -> Result<()> {
    block()?;
    let traces = traces.clone();
    thread::spawn(move || {
        let Ok(signal) = signals().wait() else { return };
        say(format_args!("{signal}: ending the lab"));
        if let Err(error) = traces.end_for_good() {
            say(format_args!("{error:#}"));
        }
        std::process::exit(128 + signal as i32);
    });
    Ok(())
}

fn signals() -> SigSet {
    SigSet::from_iter([Signal::SIGHUP, Signal::SIGINT, Signal::SIGTERM])
}
