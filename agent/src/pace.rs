//! Pure: when the next round of the loop begins.
//!
//! At once after what changed a quiet machine; but the loop works at most a fifth of the time, and
//! waits longer and longer where it changes something, or fails to, round after round: somebody
//! changes it back, and neither should eat the machine.

use std::time::Duration;

/// What belongs together arrives within this time, and makes one round.
const BURST: Duration = Duration::from_millis(5);

/// For each unit of time that a round takes, the units of rest after it.
const REST: u32 = 4;

/// The pause after the first round that changed something; it doubles with each one that follows.
const PAUSE: Duration = Duration::from_millis(20);

/// The longest pause of a loop that finds no peace.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// A round that failed is tried again after this time even if nothing happens; it doubles, too.
const RETRY: Duration = Duration::from_millis(250);

/// Files and kernel settings tell nobody that they were changed.
const PATROL: Duration = Duration::from_secs(30);

/// How a round went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Went {
    /// Nothing was to be changed.
    Quiet,
    Changed,
    Failed,
}

/// When to begin the next round, counted from the end of the last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wait {
    /// Not before this, whatever happens.
    pub least: Duration,
    /// By then, even if nothing happens.
    pub most: Duration,
    /// So long after the event that woke the loop.
    pub burst: Duration,
}

/// How many rounds in a row were not quiet.
#[derive(Clone, Copy, Debug, Default)]
pub struct Pace {
    unquiet: u32,
}

impl Pace {
    /// The cluster changed: what the next round does is no sign of a quarrel.
    pub fn forgive(&mut self) {
        self.unquiet = 0;
    }

    /// After a round that went so and took `took`.
    pub fn after(&mut self, went: Went, took: Duration) -> Wait {
        let doublings = 1_u32.checked_shl(self.unquiet).unwrap_or(u32::MAX);
        let pause = PAUSE.saturating_mul(doublings).min(LONGEST_PAUSE);
        let rest = took.saturating_mul(REST);
        let (least, most) = match went {
            Went::Quiet => (rest, PATROL),
            Went::Changed => (rest.max(pause), PATROL),
            Went::Failed => (rest.max(pause), RETRY.saturating_mul(doublings).min(PATROL)),
        };
        self.unquiet = if went == Went::Quiet { 0 } else { self.unquiet.saturating_add(1) };
        Wait { least, most: most.max(least), burst: BURST }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Rounds of 1 ms: how they went, and least and most of the wait after each, in milliseconds.
    #[track_caller]
    fn check(rounds: &[(Went, u128, u128)]) {
        let mut pace = Pace::default();
        for (number, &(went, least, most)) in rounds.iter().enumerate() {
            let wait = pace.after(went, Duration::from_millis(1));
            let text = format!("round {number}");
            assert_eq!((wait.least.as_millis(), wait.most.as_millis()), (least, most), "{text}");
        }
    }

    #[test]
    fn a_quiet_machine_is_looked_at_now_and_then() {
        check(&[(Went::Quiet, 4, 30_000), (Went::Changed, 20, 30_000), (Went::Quiet, 4, 30_000)]);
    }

    #[test]
    fn a_quarrel_slows_down() {
        let changed = [20, 40, 80, 160, 320, 640, 1280, 2560, 5000, 5000];
        check(&changed.map(|least| (Went::Changed, least, 30_000)));
    }

    #[test]
    fn a_failure_is_retried_ever_more_slowly() {
        let failed = [(20, 250), (40, 500), (80, 1000), (160, 2000), (320, 4000), (640, 8000)];
        check(&failed.map(|(least, most)| (Went::Failed, least, most)));
        let mut pace = Pace { unquiet: 90 };
        assert_eq!(pace.after(Went::Failed, Duration::ZERO).most, PATROL);
    }

    #[test]
    fn long_rounds_leave_the_machine_to_others() {
        let wait = Pace::default().after(Went::Quiet, Duration::from_millis(100));
        assert_eq!(wait.least, Duration::from_millis(400));
    }

    #[test]
    fn a_change_of_the_cluster_is_no_quarrel() {
        let mut pace = Pace { unquiet: 8 };
        pace.forgive();
        assert_eq!(pace.after(Went::Changed, Duration::ZERO).least, PAUSE);
    }
}
