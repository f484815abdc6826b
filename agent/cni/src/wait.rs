//! Waiting for another process, never longer than the limit.

use std::time::{Duration, Instant};

/// The first pause, which is short beside an ADD; each is twice as long as the one before.
const SHORTEST: Duration = Duration::from_micros(50);

const LONGEST: Duration = Duration::from_millis(10);

/// Tries until `attempt` gives something; none if it does not within `limit`.
pub(crate) fn until<T, E>(
    limit: Duration,
    mut attempt: impl FnMut() -> Result<Option<T>, E>,
) -> Result<Option<T>, E> {
    let deadline = Instant::now() + limit;
    let mut pause = SHORTEST;
    loop {
        let outcome = attempt()?;
        if outcome.is_some() || Instant::now() >= deadline {
            return Ok(outcome);
        }
        #[expect(clippy::disallowed_methods, reason = "flock(2) knows no time limit")]
        std::thread::sleep(pause);
        pause = LONGEST.min(pause * 2);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_success_ends_it() {
        let mut attempts = 0;
        let outcome = until(Duration::from_mins(1), || {
            attempts += 1;
            Ok::<_, ()>((attempts == 3).then_some("there"))
        });
        assert_eq!((outcome, attempts), (Ok(Some("there")), 3));
    }

    #[test]
    fn it_tries_once_and_ends_in_time() {
        assert_eq!(until(Duration::ZERO, || Ok::<Option<()>, ()>(None)), Ok(None));
        assert_eq!(until(Duration::ZERO, || Ok::<_, ()>(Some(1))), Ok(Some(1)));
        assert_eq!(until(Duration::ZERO, || Err::<Option<()>, _>("no")), Err("no"));
    }
}
