//! Pure: the table, with each failure's reason below it.

use std::fmt::Display;
use std::time::Duration;

use crate::ask::{Cell, Outcome};
use crate::matrix::Check;

#[cfg(test)]
mod tests;

const COLUMNS: [&str; 4] = ["IPv4 TCP", "IPv4 UDP", "IPv6 TCP", "IPv6 UDP"];

/// `checks` with what came of them, by machine, and the sum in the last line.
pub(crate) fn render(checks: &[Check], outcomes: &[Outcome]) -> String {
    let width = checks.iter().map(|check| check.what.len() + 2).max().unwrap_or_default();
    let mut text = String::new();
    let mut machine = "";
    for (check, outcome) in checks.iter().zip(outcomes) {
        if machine != check.machine {
            machine = &check.machine;
            line(&mut text, &format!("from {machine}"), width, &COLUMNS);
        }
        let cells = outcome.cells().map(shown).collect::<Vec<_>>();
        line(&mut text, &format!("  {}", check.what), width, &cells);
        for reason in outcome.failures() {
            line(&mut text, &format!("    {reason}"), 0, &[""; 0]);
        }
    }
    text + &sum(outcomes)
}

fn line(text: &mut String, head: &str, width: usize, cells: &[impl Display]) {
    *text += format!("{head:<width$}").as_str();
    for cell in cells {
        *text += format!("  {cell:>9}").as_str();
    }
    text.truncate(text.trim_end_matches(' ').len());
    text.push('\n');
}

fn shown(cell: &Cell) -> String {
    match cell {
        Cell::Took(time) => milliseconds(*time),
        Cell::Failed(_) => "FAILED".to_owned(),
        Cell::Absent => "-".to_owned(),
    }
}

fn milliseconds(time: Duration) -> String {
    format!("{:.1} ms", time.as_secs_f64() * 1000.0)
}

fn sum(outcomes: &[Outcome]) -> String {
    let cells = outcomes.iter().flat_map(Outcome::cells);
    let good = cells.filter(|cell| matches!(cell, Cell::Took(_))).count();
    let bad = outcomes.iter().flat_map(Outcome::failures).count();
    format!("{good} reached, {bad} not\n")
}
