//! When to look at what tells nobody of its changes: everybody at the same moments, so that an idle
//! processor is woken once for all of them.

use std::sync::OnceLock;
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

/// Between two looks, each of which takes microseconds.
pub(crate) const INTERVAL: Duration = Duration::from_millis(500);

/// Until the next of those moments: for an interval at most.
pub(crate) async fn next() {
    static FIRST: OnceLock<Instant> = OnceLock::new();
    let now = Instant::now();
    let past = now.saturating_duration_since(*FIRST.get_or_init(|| now));
    sleep_until(now + rest(past)).await;
}

/// Pure: what is left of the interval, of which the first began so long ago.
fn rest(past: Duration) -> Duration {
    let begun = past.as_nanos() % INTERVAL.as_nanos();
    INTERVAL.saturating_sub(Duration::from_nanos_u128(begun))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_look_at_the_same_moments() {
        let ms = Duration::from_millis;
        for (past, left) in [(0, 500), (1, 499), (499, 1), (500, 500), (1_700, 300)] {
            assert_eq!(rest(ms(past)), ms(left), "{past}");
        }
    }
}
