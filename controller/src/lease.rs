//! Pure: who leads, by the rules of client-go's leader election.
//!
//! A lease is over when it has not changed for its duration by the clock of who looks at it, so
//! clocks need not agree; that they run at about the same rate is all that is asked of them.

use std::time::{Duration, Instant};

/// How long things may take, each longer than the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Terms {
    /// Without a renewal for this long, a lease is over.
    pub duration: Duration,
    /// Without a renewal for this long, its holder leads no more.
    pub deadline: Duration,
    /// Between two tries to renew or to get it.
    pub retry: Duration,
}

impl Terms {
    /// How long a write may take that begins while this process leads: it has to end before
    /// another one can, with a second to spare.
    pub fn longest_write(&self) -> Duration {
        let least = Duration::from_secs(1);
        self.duration.saturating_sub(self.deadline).saturating_sub(least).max(least)
    }
}

/// What a Lease says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Record {
    /// Who holds it; empty after a release.
    pub holder: String,
    /// As its holder wants it.
    pub duration: Option<Duration>,
    /// When it was renewed, by the holder's clock, in microseconds of the epoch: it only tells
    /// that there was a renewal.
    pub renewed: Option<i64>,
    /// How often it went from one holder to the next.
    pub transitions: i32,
}

/// What a candidate has to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// There is none: make it.
    Create,
    /// It is free or over: take it, as its holder of this number.
    Take(i32),
    /// It is ours: renew it.
    Renew,
    /// It is another's until then at least, or worth a look then.
    Wait(Instant),
}

/// One of those that want to lead.
#[derive(Clone, Debug)]
pub struct Candidate {
    me: String,
    terms: Terms,
    seen: Option<(Record, Instant)>,
}

impl Candidate {
    pub fn new(me: String, terms: Terms) -> Self {
        Self { me, terms, seen: None }
    }

    pub fn me(&self) -> &str {
        &self.me
    }

    pub fn terms(&self) -> Terms {
        self.terms
    }

    /// What to do about a `lease` that looks like this `now`.
    pub fn step(&mut self, lease: Option<&Record>, now: Instant) -> Step {
        let Some(lease) = lease else { return Step::Create };
        let known = self.seen.take().filter(|(seen, _)| seen == lease);
        let since = known.map_or(now, |(_, since)| since);
        self.seen = Some((lease.clone(), since));
        let over = since + lease.duration.unwrap_or(self.terms.duration);
        match lease.holder.as_str() {
            holder if holder == self.me => Step::Renew,
            "" => Step::Take(lease.transitions.saturating_add(1)),
            _ if over <= now => Step::Take(lease.transitions.saturating_add(1)),
            _ => Step::Wait(over.min(now + self.terms.retry)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TERMS: Terms = Terms {
        duration: Duration::from_secs(15),
        deadline: Duration::from_secs(10),
        retry: Duration::from_secs(2),
    };

    /// `HOLDER@RENEWED*DURATION`, after a second that says when it is read.
    fn record(text: &str) -> Option<Record> {
        let (holder, rest) = text.split_once('@')?;
        let (renewed, duration) = rest.split_once('*').unwrap_or((rest, "15"));
        let duration = Duration::from_secs(duration.parse().unwrap());
        let renewed = Some(renewed.parse().unwrap());
        Some(Record {
            holder: holder.to_owned(),
            duration: Some(duration),
            renewed,
            transitions: 3,
        })
    }

    /// What `me` does as it reads a lease at each of these seconds.
    #[track_caller]
    fn check(rows: &[(u64, &str, &str)]) {
        let start = Instant::now();
        let mut candidate = Candidate::new("me".to_owned(), TERMS);
        for &(second, lease, expected) in rows {
            let now = start + Duration::from_secs(second);
            let step = match candidate.step(record(lease).as_ref(), now) {
                Step::Create => "create".to_owned(),
                Step::Take(transitions) => format!("take {transitions}"),
                Step::Renew => "renew".to_owned(),
                Step::Wait(until) => format!("wait {}", (until - start).as_secs()),
            };
            assert_eq!(step, expected, "{lease:?} at {second} s of {rows:?}");
        }
    }

    #[test]
    fn a_lease_that_nobody_holds_is_taken_at_once() {
        check(&[(0, "none", "create")]);
        check(&[(0, "@7*1", "take 4")]);
        check(&[(0, "other@7", "wait 2"), (2, "@8*1", "take 4")]);
    }

    #[test]
    fn a_lease_is_over_when_nobody_renews_it_by_our_own_clock() {
        // What the other's clock says does not count, be it an hour late or early.
        check(&[(0, "other@0", "wait 2"), (14, "other@0", "wait 15"), (15, "other@0", "take 4")]);
        check(&[(0, "other@0", "wait 2"), (14, "other@9", "wait 16"), (28, "other@9", "wait 29")]);
        check(&[(0, "other@0", "wait 2"), (14, "third@0", "wait 16"), (29, "third@0", "take 4")]);
    }

    #[test]
    fn a_lease_lasts_as_long_as_its_holder_says() {
        check(&[(0, "other@0*60", "wait 2"), (59, "other@0*60", "wait 60")]);
        check(&[(0, "other@0*1", "wait 1"), (1, "other@0*1", "take 4")]);
    }

    #[test]
    fn who_holds_it_renews_it_also_late() {
        check(&[(0, "none", "create"), (2, "me@0", "renew"), (40, "me@0", "renew")]);
        check(&[(0, "me@0", "renew"), (2, "other@0", "wait 4"), (17, "other@0", "take 4")]);
        check(&[(0, "me@0", "renew"), (2, "none", "create")]);
    }

    #[test]
    fn what_begins_while_we_lead_ends_before_another_can() {
        let longest = TERMS.longest_write();
        assert_eq!(longest, Duration::from_secs(4));
        assert!(TERMS.deadline + longest < TERMS.duration);
    }
}
