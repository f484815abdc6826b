//! Waiting for a condition that nothing tells of, with a deadline.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

/// Between two looks.
pub const PAUSE: Duration = Duration::from_millis(20);

/// Looks until `look` finds something.
///
/// # Errors
/// What `look` fails with at once; or that `what` did not happen within `patience`.
pub fn eventually<T>(
    what: &str,
    patience: Duration,
    mut look: impl FnMut() -> Result<Option<T>>,
) -> Result<T> {
    let start = Instant::now();
    loop {
        if let Some(found) = look()? {
            return Ok(found);
        }
        if start.elapsed() > patience {
            bail!("{what}: not within {} s", patience.as_secs());
        }
        thread::park_timeout(PAUSE);
    }
}
