//! Pure: what requests are to be sent about, how many at once, and when one is sent again.
//!
//! Trouble with one of them delays that one; trouble with the server delays all.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::hash::Hash;
use std::time::{Duration, Instant};

/// The first delay, doubled with each failure.
const FIRST_DELAY: Duration = Duration::from_millis(50);

/// The longest delay before a PATCH is sent again.
const LONGEST_DELAY: Duration = Duration::from_secs(8);

/// How a request ended, as far as sending goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// There is nothing left to send.
    Done,
    /// The next request is to be sent at once.
    Next,
    /// Something is wrong with this one.
    Failed,
    /// Something is wrong with the server, or it asks for this much patience.
    Unavailable(Duration),
}

/// What waits for a request or its outcome.
#[derive(Debug)]
pub struct Queue<K> {
    jobs: HashMap<K, Job>,
    ready: VecDeque<K>,
    later: BTreeSet<(Instant, K)>,
    limit: usize,
    in_flight: usize,
    /// How often in a row the server was unavailable.
    outages: u32,
    paused_until: Option<Instant>,
}

#[derive(Debug)]
struct Job {
    failures: u32,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Ready,
    InFlight,
    Later(Instant),
}

impl<K: Clone + Eq + Hash + Ord> Queue<K> {
    /// Nothing to send; later on, at most `limit` requests at once.
    pub fn new(limit: usize) -> Self {
        Self {
            jobs: HashMap::new(),
            ready: VecDeque::new(),
            later: BTreeSet::new(),
            limit,
            in_flight: 0,
            outages: 0,
            paused_until: None,
        }
    }

    /// Wants a request sent about `key`; one that is wanted already keeps its place and its delay.
    pub fn put(&mut self, key: K) {
        if !self.jobs.contains_key(&key) {
            self.ready.push_back(key.clone());
            self.jobs.insert(key, Job { failures: 0, state: State::Ready });
        }
    }

    /// No longer wants anything sent about `key`; what is under way ends by itself.
    pub fn remove(&mut self, key: &K) {
        self.jobs.remove(key);
    }

    /// Whether something is to be sent about `key`.
    pub fn wants(&self, key: &K) -> bool {
        self.jobs.contains_key(key)
    }

    /// How many have no good answer yet.
    pub fn len(&self) -> usize {
        self.jobs.len()
    }

    pub fn is_empty(&self) -> bool {
        self.jobs.is_empty()
    }

    /// What a request is to be sent about now; [`Self::ended`] or [`Self::spared`] must follow.
    pub fn next(&mut self, now: Instant) -> Option<K> {
        if self.is_busy() || self.paused_until.is_some_and(|until| now < until) {
            return None;
        }
        while self.later.first().is_some_and(|(due, _)| *due <= now) {
            let Some((due, key)) = self.later.pop_first() else { break };
            if let Some(job) = self.jobs.get_mut(&key).filter(|job| job.state == State::Later(due))
            {
                job.state = State::Ready;
                self.ready.push_back(key);
            }
        }
        while let Some(key) = self.ready.pop_front() {
            let job = self.jobs.get_mut(&key).filter(|job| job.state == State::Ready);
            if let Some(job) = job {
                job.state = State::InFlight;
                self.in_flight += 1;
                return Some(key);
            }
        }
        None
    }

    /// Notes that nothing was sent about `key` after all.
    pub fn spared(&mut self, key: &K) {
        self.in_flight = self.in_flight.saturating_sub(1);
        self.jobs.remove(key);
    }

    /// Notes how the request about `key` ended, and says how often it failed so far.
    pub fn ended(&mut self, key: &K, end: End, now: Instant) -> u32 {
        self.in_flight = self.in_flight.saturating_sub(1);
        if let End::Unavailable(patience) = end {
            // One outage ends all requests that are under way.
            if self.paused_until.is_none_or(|until| until <= now) {
                let pause = delay(self.outages).max(patience);
                self.outages += 1;
                self.paused_until = Some(now + pause);
            }
        } else {
            self.outages = 0;
            self.paused_until = None;
        }
        let Some(job) = self.jobs.get_mut(key).filter(|job| job.state == State::InFlight) else {
            return 0;
        };
        match end {
            End::Done => {
                self.jobs.remove(key);
                return 0;
            }
            End::Failed => {
                let due = now + delay(job.failures);
                job.failures += 1;
                job.state = State::Later(due);
                self.later.insert((due, key.clone()));
            }
            End::Next | End::Unavailable(_) => {
                job.state = State::Ready;
                self.ready.push_front(key.clone());
            }
        }
        job.failures
    }

    /// When [`Self::next`] may have something that it has not now; none if only an end can tell.
    pub fn wakes_at(&self) -> Option<Instant> {
        if self.is_busy() || self.jobs.is_empty() {
            return None;
        }
        let due = self.later.first().map(|(due, _)| *due);
        if self.ready.is_empty() { due.max(due.and(self.paused_until)) } else { self.paused_until }
    }

    /// Whether no more requests may be sent; after an outage the first one goes alone.
    fn is_busy(&self) -> bool {
        self.in_flight >= if self.outages > 0 { 1 } else { self.limit }
    }
}

fn delay(failures: u32) -> Duration {
    FIRST_DELAY.saturating_mul(1 << failures.min(16)).min(LONGEST_DELAY)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `+a` puts, `-a` removes, `a.` `a>` `a!` `a~` end as done, next, failed, unavailable; a number lets so
    /// many milliseconds pass; `=ab` is what is sent then.
    #[track_caller]
    fn check(limit: usize, steps: &str) {
        let mut queue = Queue::new(limit);
        let mut now = Instant::now();
        for step in steps.split_whitespace() {
            if let Some(uid) = step.strip_prefix('+') {
                queue.put(uid.to_owned());
            } else if let Some(uid) = step.strip_prefix('-') {
                queue.remove(&uid.to_owned());
            } else if let Some(expected) = step.strip_prefix('=') {
                let sent = std::iter::from_fn(|| queue.next(now));
                assert_eq!(sent.collect::<String>(), expected, "{step} in {steps}");
            } else if let Ok(passed) = step.parse() {
                now += Duration::from_millis(passed);
            } else {
                let (uid, end) = step.split_at(1);
                let end = match end {
                    "." => End::Done,
                    ">" => End::Next,
                    "!" => End::Failed,
                    "~" => End::Unavailable(Duration::ZERO),
                    _ => panic!("{step}"),
                };
                queue.ended(&uid.to_owned(), end, now);
            }
        }
    }

    #[test]
    fn at_most_so_many_are_under_way() {
        check(2, "+a +b +c =ab a. =c b. c. =");
    }

    #[test]
    fn what_is_wanted_twice_is_sent_once() {
        check(9, "+a +a =a +a = a. +a =a");
        check(9, "+a -a +a =a =");
    }

    #[test]
    fn what_is_no_longer_wanted_is_not_sent_again() {
        check(9, "+a +b -a =b");
        check(9, "+a =a -a a! 60000 =");
        check(9, "+a =a a! -a 60000 =");
        check(9, "+a =a a! -a +a =a a. 60000 =");
    }

    #[test]
    fn a_failure_delays_its_own_node_longer_each_time() {
        check(9, "+a +b =ab a! = 49 = 1 =a a! 99 = 1 =a b.");
        check(1, "+a +b =a a! =b b. 50 =a");
    }

    #[test]
    fn who_has_begun_goes_on_before_others_begin() {
        check(1, "+a +b =a a> =a a. =b");
    }

    #[test]
    fn an_outage_delays_all_and_counts_once() {
        check(9, "+a +b =ab a~ b~ +c = 49 = 1 =b b~ 99 = 1 =b b. =ac");
        check(9, "+a +b =ab a~ b. =a");
    }

    #[test]
    fn it_wakes_when_something_is_due() {
        let now = Instant::now();
        let mut queue = Queue::new(1);
        assert_eq!(queue.wakes_at(), None);
        queue.put("a");
        assert_eq!(queue.next(now), Some("a"));
        assert_eq!(queue.wakes_at(), None);
        assert_eq!(queue.ended(&"a", End::Failed, now), 1);
        assert_eq!(queue.wakes_at(), Some(now + FIRST_DELAY));
        let due = now + FIRST_DELAY;
        assert_eq!(queue.next(due), Some("a"));
        queue.ended(&"a", End::Unavailable(Duration::from_secs(3)), due);
        assert_eq!(queue.wakes_at(), Some(due + Duration::from_secs(3)));
    }

    #[test]
    fn delays_have_a_limit() {
        assert_eq!(delay(0), FIRST_DELAY);
        assert_eq!(delay(1), 2 * FIRST_DELAY);
        assert_eq!(delay(u32::MAX), LONGEST_DELAY);
    }
}
