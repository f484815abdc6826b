//! Pure: when the next round of the loop begins.
//!
//! At once after what changed a quiet machine; but short rounds take a fifth of the time at most, and
//! where it repairs again and again somebody undoes what it does: then it waits longer and longer,
//! because such a quarrel is not won by who is faster, and should not eat the machine.

use std::time::{Duration, Instant};

/// What belongs together on the machine arrives within this time, and makes one round.
const BURST: Duration = Duration::from_millis(5);

/// A fifth of the time may be work: each unit of it is paid off by so many that pass.
const PRICE: u32 = 5;

/// What may be owed before there has to be a rest, so that what happens now and then waits for none: a second of
/// work, as thousands of routes at once are.
const CREDIT: Duration = Duration::from_secs(5);

/// The longest rest: a change is to be followed within a second, also after a round of thousands of routes.
/// What took much longer was no work, but a machine that stood still, or a program that was waited for.
const LONGEST_REST: Duration = Duration::from_millis(500);

/// The pause after a round that changed something, after which the machine is looked at again.
const PAUSE: Duration = Duration::from_millis(20);

/// So many changes are no quarrel yet; with each more the pause doubles.
const PATIENCE: u32 = 30;

/// Each so long forgives one change: a quarrel ends up with one change in this time.
const CALM: Duration = Duration::from_secs(5);

/// A round that failed is tried again after this time even if nothing happens; it doubles, too.
const RETRY: Duration = Duration::from_millis(250);

/// The longest pause of a loop that finds no peace.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// Some of what can be changed on a machine nobody is told of.
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
    /// So long after the event on the machine that woke the loop.
    pub burst: Duration,
}

/// How much the loop has had to do lately.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// Time that has to pass until all work is paid off, as of `last`.
    owed: Duration,
    last: Instant,
    /// Changes that are not forgiven yet, and until when they were counted.
    changes: u32,
    counted: Instant,
    /// Failed rounds in a row.
    failures: u32,
    /// The next change is the cluster's.
    excused: bool,
}

impl Pace {
    pub const fn new(now: Instant) -> Self {
        Self {
            owed: Duration::ZERO,
            last: now,
            changes: 0,
            counted: now,
            failures: 0,
            excused: true,
        }
    }

    /// The cluster changed: what the next round does is no sign of a quarrel.
    pub const fn excuse(&mut self) {
        self.excused = true;
    }

    /// Whether the next change would be the cluster's.
    pub const fn is_excused(&self) -> bool {
        self.excused
    }

    /// Whether somebody undoes what the loop does.
    pub const fn is_quarrel(&self) -> bool {
        self.changes > PATIENCE
    }

    /// After a round that went so, took `took` and ended `now`.
    pub fn after(&mut self, went: Went, took: Duration, now: Instant) -> Wait {
        self.forgive(now);
        if went == Went::Changed && !self.excused {
            self.changes = self.changes.saturating_add(1);
        }
        self.excused = false;
        self.failures = if went == Went::Failed { self.failures.saturating_add(1) } else { 0 };
        let paid = self.owed.saturating_sub(now.duration_since(self.last));
        let owed = paid.saturating_add(took.saturating_mul(PRICE));
        (self.owed, self.last) = (owed.min(CREDIT + LONGEST_REST), now);
        let rest = self.owed.saturating_sub(CREDIT);
        let (least, most) = match went {
            Went::Quiet => (rest, PATROL),
            Went::Changed => {
                let pause = doubled(PAUSE, self.changes.saturating_sub(PATIENCE), LONGEST_PAUSE);
                (rest.max(pause), pause)
            }
            Went::Failed => {
                let pause = doubled(PAUSE, self.failures - 1, LONGEST_PAUSE);
                (rest.max(pause), doubled(RETRY, self.failures - 1, PATROL))
            }
        };
        Wait { least, most: most.max(least), burst: BURST }
    }

    fn forgive(&mut self, now: Instant) {
        while self.changes > 0 && now.duration_since(self.counted) >= CALM {
            self.changes -= 1;
            self.counted += CALM;
        }
        if self.changes == 0 {
            self.counted = now;
        }
    }
}

fn doubled(duration: Duration, times: u32, limit: Duration) -> Duration {
    duration.saturating_mul(1_u32.checked_shl(times).unwrap_or(u32::MAX)).min(limit)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// Rounds of 1 ms: how they went, and least and most of the wait after each, in milliseconds.
    #[track_caller]
    fn check(rounds: &[(Went, u128, u128)]) {
        let start = Instant::now();
        let mut pace = Pace::new(start);
        for (number, &(went, least, most)) in rounds.iter().enumerate() {
            let wait = pace.after(went, Duration::from_millis(1), start);
            let text = format!("round {number}");
            assert_eq!((wait.least.as_millis(), wait.most.as_millis()), (least, most), "{text}");
        }
    }

    /// The pause of the last of `count` changes that come one after the other, `apart`.
    fn pause(count: u32, apart: Duration) -> u128 {
        let mut now = Instant::now();
        let mut pace = Pace::new(now);
        pace.after(Went::Changed, Duration::ZERO, now);
        let mut pause = Duration::ZERO;
        for _ in 0..count {
            now += apart.max(pause);
            pause = pace.after(Went::Changed, Duration::ZERO, now).least;
        }
        pause.as_millis()
    }

    #[test]
    fn a_quiet_machine_is_looked_at_now_and_then_and_a_changed_one_again() {
        check(&[(Went::Quiet, 0, 30_000), (Went::Changed, 20, 20), (Went::Quiet, 0, 30_000)]);
    }

    #[test]
    fn what_breaks_often_is_repaired_at_once_and_a_quarrel_slows_down() {
        assert_eq!(pause(30, Duration::ZERO), 20);
        assert_eq!(pause(34, Duration::ZERO), 320);
        assert_eq!(pause(200, Duration::ZERO), 5000);
        assert_eq!(pause(30, SECOND), 20);
        assert!(pause(100, SECOND) > 1000);
        assert_eq!(pause(1000, CALM), 20);
    }

    #[test]
    fn a_quarrel_is_forgiven_in_time() {
        let start = Instant::now();
        let mut pace = Pace { changes: 40, ..Pace::new(start) };
        assert!(pace.is_quarrel());
        pace.after(Went::Quiet, Duration::ZERO, start + 9 * CALM);
        assert_eq!((pace.is_quarrel(), pace.changes), (true, 31));
        pace.after(Went::Quiet, Duration::ZERO, start + 99 * CALM);
        assert_eq!((pace.is_quarrel(), pace.changes), (false, 0));
    }

    #[test]
    fn a_failure_is_retried_ever_more_slowly() {
        let failed = [(20, 250), (40, 500), (80, 1000), (160, 2000), (320, 4000), (640, 8000)];
        check(&failed.map(|(least, most)| (Went::Failed, least, most)));
        let now = Instant::now();
        let mut pace = Pace { failures: 90, ..Pace::new(now) };
        assert_eq!(pace.after(Went::Failed, Duration::ZERO, now).most, PATROL);
    }

    #[test]
    fn long_rounds_leave_the_machine_to_others() {
        let mut now = Instant::now();
        let (mut pace, took) = (Pace::new(now), Duration::from_millis(100));
        let mut rests = Vec::new();
        for _ in 0..16 {
            now += took;
            let wait = pace.after(Went::Quiet, took, now);
            rests.push(wait.least.as_millis());
            now += wait.least;
        }
        assert_eq!(rests[..12], [0; 12]);
        assert_eq!(rests[12..], [300, 400, 400, 400]);
    }

    #[test]
    fn a_machine_that_stood_still_is_looked_at_soon() {
        let start = Instant::now();
        let mut pace = Pace::new(start);
        let wait = pace.after(Went::Quiet, 60 * SECOND, start + 60 * SECOND);
        assert_eq!(wait.least, LONGEST_REST);
        let wait = pace.after(Went::Changed, Duration::ZERO, start + 60 * SECOND + wait.least);
        assert_eq!(wait.least, PAUSE);
    }

    #[test]
    fn a_change_of_the_cluster_is_no_quarrel() {
        let now = Instant::now();
        let mut pace = Pace { changes: 30, ..Pace::new(now) };
        pace.after(Went::Changed, Duration::ZERO, now);
        assert!(!pace.is_quarrel());
        pace.after(Went::Changed, Duration::ZERO, now);
        assert!(pace.is_quarrel());
    }
}
