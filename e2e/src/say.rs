//! What a person who waits is told.

use std::fmt::Display;
use std::time::Instant;

/// Prints one line.
#[expect(clippy::print_stdout, reason = "talking is what the lab's program is for")]
pub fn say(line: impl Display) {
    println!("{line}");
}

/// Does `work`, and says what it was and how long it took.
pub fn timed<T, E>(what: &str, work: impl FnOnce() -> Result<T, E>) -> Result<T, E> {
    let start = Instant::now();
    let result = work();
    let outcome = if result.is_ok() { "" } else { ": failed" };
    say(format_args!("  {what}{outcome} ({:.1} s)", start.elapsed().as_secs_f64()));
    result
}
