//! Pure: what was measured, as tables, and beside what is wanted.

use std::time::Duration;

use crate::report::{ms, percentile};

/// What was measured of one contender in one case.
#[derive(Clone, Debug, Default)]
pub(super) struct Samples {
    pub(super) add: Vec<Duration>,
    pub(super) del: Vec<Duration>,
    /// Of an ADD and a DEL together.
    pub(super) cpu: Vec<Duration>,
    /// How many at a time, how many pods in all, and how long that took.
    pub(super) crowds: Vec<(usize, u16, Duration)>,
    /// How many of them failed at first.
    pub(super) repeated: usize,
}

/// What was measured of all in one case.
#[derive(Clone, Debug, Default)]
pub(super) struct Results {
    /// The start of a static program that does nothing.
    pub(super) exec: Vec<Duration>,
    /// A program that makes the same link and does nothing else.
    pub(super) veth: Vec<Duration>,
    pub(super) ours: Samples,
    pub(super) theirs: Samples,
}

const PERCENTS: [usize; 3] = [50, 90, 99];

impl Samples {
    /// The best of all levels.
    fn pods_per_second(&self) -> f64 {
        let rates = self.crowds.iter().map(|(_, pods, time)| f64::from(*pods) / time.as_secs_f64());
        rates.fold(0.0, f64::max)
    }

    /// How long all took that were started at once.
    fn all_at_once(&self) -> Duration {
        self.crowds.last().map(|(_, _, time)| *time).unwrap_or_default()
    }
}

impl Results {
    pub(super) fn lines(&self, case: &str) -> Vec<String> {
        let heads = ["p50", "p90", "p99", "DEL p50", "p90", "p99", "CPU"];
        let mut lines = vec![format!("\n{case:<34}{}", row(heads.map(str::to_owned)))];
        let floor = |what: &str, times: &Vec<Duration>| {
            let times = PERCENTS.map(|percent| ms(percentile(&mut times.clone(), percent)));
            format!("  {what:<32}{}", row(times))
        };
        lines.push(floor("exec of an empty static program", &self.exec));
        lines.push(floor("least program for the same link", &self.veth));
        for (what, samples) in [("kubenet", &self.ours), ("reference", &self.theirs)] {
            let Samples { add, del, cpu, .. } = samples;
            let cells = [add, del].into_iter().flat_map(|times| {
                PERCENTS.map(|percent| ms(percentile(&mut times.clone(), percent)))
            });
            let cells = cells.chain([ms(percentile(&mut cpu.clone(), 50))]).collect::<Vec<_>>();
            lines.push(format!("  {what:<32}{}", row(cells)));
        }
        for (what, samples) in [("kubenet", &self.ours), ("reference", &self.theirs)] {
            let levels = samples.crowds.iter().map(|(parallel, pods, time)| {
                let rate = f64::from(*pods) / time.as_secs_f64();
                format!("{rate:>6.0} at {parallel:<4}")
            });
            let (levels, all) = (levels.collect::<String>(), ms(samples.all_at_once()));
            let repeated = match samples.repeated {
                0 => String::new(),
                number => format!("  {number} failed at first"),
            };
            lines.push(format!("  {what:<10} pods/s{levels}  all at once {all}{repeated}"));
        }
        lines
    }

    fn add(&self) -> (Duration, Duration, Duration) {
        let p50 = |times: &Vec<Duration>| percentile(&mut times.clone(), 50);
        (p50(&self.veth), p50(&self.ours.add), p50(&self.theirs.add))
    }

    /// How many times the floor our ADD takes.
    pub(super) fn floors(&self) -> f64 {
        let (floor, ours, _) = self.add();
        ratio(ours, floor)
    }

    /// How many times longer their ADD takes.
    pub(super) fn faster(&self) -> f64 {
        let (_, ours, theirs) = self.add();
        ratio(theirs, ours)
    }

    /// How many times more pods start in a second.
    pub(super) fn throughput(&self) -> f64 {
        self.ours.pods_per_second() / self.theirs.pods_per_second()
    }

    pub(super) fn del(&self) -> Duration {
        percentile(&mut self.ours.del.clone(), 50)
    }

    pub(super) fn crowd(&self) -> [Duration; 2] {
        [self.ours.all_at_once(), self.theirs.all_at_once()]
    }

    /// How many times longer our ADD takes than in `other`, both counted in floors of their own time.
    pub(super) fn growth(&self, other: &Self) -> f64 {
        self.floors() / other.floors()
    }
}

fn row(cells: impl IntoIterator<Item = String>) -> String {
    cells.into_iter().map(|cell| format!("{cell:>12}")).collect::<Vec<_>>().concat()
}

fn ratio(a: Duration, b: Duration) -> f64 {
    a.as_secs_f64() / b.as_secs_f64()
}

/// What is wanted of a figure.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Wanted {
    AtMost(f64),
    AtLeast(f64),
}

/// One line: a figure, what is wanted, and whether it is so.
pub(super) fn target(what: &str, figure: f64, wanted: Wanted) -> String {
    let (holds, word, bound) = match wanted {
        Wanted::AtMost(most) => (figure <= most, "at most", most),
        Wanted::AtLeast(least) => (figure >= least, "at least", least),
    };
    let verdict = if holds { "yes" } else { "NO" };
    format!("  {what:<58}{figure:>8.2}  {word} {bound:<5}  {verdict}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn millis(list: &[u64]) -> Vec<Duration> {
        list.iter().copied().map(Duration::from_millis).collect()
    }

    fn results() -> Results {
        let samples = |add: &[u64], crowd| Samples {
            add: millis(add),
            del: millis(&[1, 2, 3]),
            cpu: millis(&[4]),
            crowds: vec![(1, 10, Duration::from_secs(1)), (110, 110, Duration::from_millis(crowd))],
            repeated: 0,
        };
        Results {
            exec: millis(&[1]),
            veth: millis(&[1, 2, 9]),
            ours: samples(&[2, 4, 5], 500),
            theirs: samples(&[30, 40, 50], 5000),
        }
    }

    #[test]
    fn ratios_are_those_of_medians_and_best_rates() {
        let results = results();
        let check = |figure: f64, expected: f64| assert!((figure - expected).abs() < 1e-9);
        check(results.floors(), 2.0);
        check(results.faster(), 10.0);
        check(results.throughput(), 10.0);
        check(results.growth(&results), 1.0);
        assert_eq!(results.del(), Duration::from_millis(2));
        assert_eq!(results.crowd(), [500, 5000].map(Duration::from_millis));
    }

    #[test]
    fn a_case_is_six_lines_and_its_head() {
        let lines = results().lines("dual stack");
        assert_eq!(lines.len(), 7);
        assert!(lines[3].ends_with("3.00 ms     4.00 ms"), "{lines:#?}");
        assert!(
            lines[5].ends_with("10 at 1      220 at 110   all at once 500.00 ms"),
            "{lines:#?}"
        );
    }

    #[test]
    fn a_target_says_whether_it_is_met() {
        assert!(target("x", 2.0, Wanted::AtMost(2.0)).ends_with("at most 2      yes"));
        assert!(target("x", 2.0, Wanted::AtLeast(8.0)).ends_with("at least 8      NO"));
    }
}
