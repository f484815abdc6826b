//! SIGHUP, SIGINT and SIGTERM end the lab before they end us.

use std::thread;

use anyhow::Result;
use futures::FutureExt;
use tokio::runtime;
use tokio::signal::unix::{SignalKind, signal};

use crate::say::say;
use crate::traces::Traces;

/// Catches the signals from now on; the first ends the lab, and the process with 128 plus the
/// signal's number, as a shell does.
///
/// They are caught, not blocked: a blocked signal is inherited by all programs that are started.
pub(crate) fn end_lab_when_asked(traces: &Traces) -> Result<()> {
    let traces = traces.clone();
    let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
    let caught = {
        let _entered = runtime.enter();
        let kinds = [SignalKind::hangup(), SignalKind::interrupt(), SignalKind::terminate()];
        let streams = kinds.map(|kind| signal(kind).map(|stream| (kind, stream)));
        streams.into_iter().collect::<Result<Vec<_>, _>>()?
    };
    thread::spawn(move || {
        let kind = runtime.block_on(async {
            let mut caught = caught;
            let signals =
                caught.iter_mut().map(|(kind, stream)| stream.recv().map(|_| *kind).boxed());
            futures::future::select_all(signals).await.0
        });
        say(format_args!("signal {}: ending the lab", kind.as_raw_value()));
        if let Err(error) = traces.end_for_good() {
            say(format_args!("{error:#}"));
        }
        std::process::exit(128 + kind.as_raw_value());
    });
    Ok(())
}
