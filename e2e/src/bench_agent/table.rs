//! What was measured, as a table of Markdown.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use super::cluster::Changes;
use crate::report::percentile;

/// From the start of a process to its last route, and what CPU it had taken by then.
#[derive(Clone, Copy, Debug)]
pub(super) struct Start {
    pub(super) time: Duration,
    pub(super) cpu: Duration,
}

/// Of one contender on so many Nodes.
#[derive(Clone, Debug)]
pub(super) struct Figures {
    pub(super) starts: Vec<Start>,
    pub(super) changes: Changes,
    pub(super) idle_cpu: Duration,
    /// In MiB, as the others.
    pub(super) rss: f64,
    pub(super) peak: f64,
    pub(super) anon: f64,
}

/// By the contender's name and the number of Nodes.
#[derive(Debug, Default)]
pub(super) struct Table(BTreeMap<&'static str, BTreeMap<usize, Figures>>);

/// A row's name, and its text of one contender's figures.
type Row = (&'static str, fn(&Figures) -> String);

const ROWS: [Row; 9] = [
    ("cold start to all routes, s", |f| each(f.starts.iter().map(|start| start.time))),
    ("CPU s until then", |f| each(f.starts.iter().map(|start| start.cpu))),
    ("Node added, p50 / p99 ms", |f| percentiles(&f.changes.added)),
    ("address changed, p50 / p99 ms", |f| percentiles(&f.changes.moved)),
    ("Node deleted, p50 / p99 ms", |f| percentiles(&f.changes.deleted)),
    ("60 s of 10 heartbeats a second: CPU s", |f| format!("{:.2}", f.idle_cpu.as_secs_f64())),
    ("RSS after that (VmRSS), MiB", |f| format!("{:.1}", f.rss)),
    ("peak RSS (VmHWM), MiB", |f| format!("{:.1}", f.peak)),
    ("anonymous RSS (RssAnon), MiB", |f| format!("{:.1}", f.anon)),
];

/// The median, and all of them.
fn each(times: impl Iterator<Item = Duration>) -> String {
    let mut times = times.collect::<Vec<_>>();
    let median = percentile(&mut times, 50).as_secs_f64();
    let all = times.iter().map(|time| format!("{:.2}", time.as_secs_f64())).collect::<Vec<_>>();
    format!("{median:.2} ({})", all.join(", "))
}

fn percentiles(times: &[Duration]) -> String {
    let mut times = times.to_vec();
    let mut ms = |percent| percentile(&mut times, percent).as_secs_f64() * 1e3;
    format!("{:.1} / {:.1}", ms(50), ms(99))
}

impl Table {
    pub(super) fn add(&mut self, name: &'static str, size: usize, figures: Figures) {
        self.0.entry(name).or_default().insert(size, figures);
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let columns = || {
            let columns = self.0.iter();
            columns.flat_map(|(name, sizes)| sizes.iter().map(move |(size, f)| (name, size, f)))
        };
        write!(f, "| |")?;
        columns().try_for_each(|(name, size, _)| write!(f, " {name}, {size} |"))?;
        write!(f, "\n|---|")?;
        columns().try_for_each(|_| write!(f, "---:|"))?;
        for (what, text) in ROWS {
            write!(f, "\n| {what} |")?;
            columns().try_for_each(|(_, _, figures)| write!(f, " {} |", text(figures)))?;
        }
        Ok(())
    }
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let texts = ROWS.map(|(what, text)| format!("{what}: {}", text(self)));
        f.write_str(&texts.join("; "))
    }
}
