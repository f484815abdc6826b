//! Starting other programs: the only place where the lab does.

use std::ffi::OsStr;
use std::fs;
use std::io::Write;
use std::os::unix::process::CommandExt;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::say::say;
use crate::traces::{Trace, Traces};
use crate::wait::eventually;

/// How long a person is left without a word.
const SILENCE: Duration = Duration::from_secs(15);

/// A program to be started.
#[expect(clippy::disallowed_methods, reason = "the one place where the lab starts programs")]
pub fn command(program: impl AsRef<OsStr>) -> Command {
    Command::new(program)
}

/// Runs a short program to its end, and returns what it wrote to stdout.
///
/// # Errors
/// What it wrote to stderr, if it fails.
pub fn output(command: &mut Command) -> Result<String> {
    let output = finished(command)?;
    let name = command.get_program().to_string_lossy();
    String::from_utf8(output.stdout).with_context(|| format!("{name} writes no UTF-8"))
}

/// The same of what it wrote to stdout, and then of what it wrote to stderr.
pub fn words(command: &mut Command) -> Result<String> {
    let output = finished(command)?;
    let [stdout, stderr] =
        [&output.stdout, &output.stderr].map(|text| String::from_utf8_lossy(text));
    Ok(format!("{stdout}{stderr}"))
}

fn finished(command: &mut Command) -> Result<Output> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = command.output().with_context(|| format!("cannot start {name}"))?;
    if !output.status.success() {
        let stderr = String::from_utf8_lossy(&output.stderr);
        let arguments = command.get_args().collect::<Vec<_>>().join(OsStr::new(" "));
        bail!("{name} {}: {}", arguments.to_string_lossy(), stderr.trim_end());
    }
    Ok(output)
}

/// Runs a short program to its end with `input` at its stdin, and returns what it wrote to stdout.
///
/// # Errors
/// What it wrote at all, if it fails.
pub fn converse(command: &mut Command, input: &str) -> Result<String> {
    let name = command.get_program().to_string_lossy().into_owned();
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().with_context(|| format!("cannot start {name}"))?;
    if let Some(mut stdin) = child.stdin.take() {
        stdin.write_all(input.as_bytes())?;
    }
    let output = child.wait_with_output()?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim_end().to_owned();
    if !output.status.success() {
        let arguments = command.get_args().collect::<Vec<_>>().join(OsStr::new(" "));
        let said = [text(&output.stdout), text(&output.stderr)].concat();
        bail!("{name} {}: {said}", arguments.to_string_lossy());
    }
    Ok(text(&output.stdout))
}

/// Runs a long program to its end, as [`run_for_text`] does.
///
/// # Errors
/// The end of what it said, if it fails.
pub fn run(traces: &Traces, what: &str, log: &str, command: &mut Command) -> Result<()> {
    let start = Instant::now();
    let (success, text) = run_for_text(traces, what, log, command)?;
    if !success {
        let lines = text.lines().collect::<Vec<_>>();
        bail!("{what}\n{}", lines[lines.len().saturating_sub(30)..].join("\n"));
    }
    say(format_args!("  {what} ({:.1} s)", start.elapsed().as_secs_f64()));
    Ok(())
}

/// Runs a long program to its end, and says every few seconds that it still runs.
///
/// Returns whether it succeeded, and all that it said, which is also in `log`. It has a process
/// group of its own, which a signal to us ends.
pub fn run_for_text(
    traces: &Traces,
    what: &str,
    log: &str,
    command: &mut Command,
) -> Result<(bool, String)> {
    let start = Instant::now();
    let path = traces.log(log);
    let file = fs::File::create(&path).with_context(|| path.display().to_string())?;
    command.process_group(0).stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file);
    let mut child = traces.leave(|| {
        let name = command.get_program().to_string_lossy().into_owned();
        let child = command.spawn().with_context(|| format!("cannot start {name}"))?;
        let trace = Trace::group(child.id())?;
        Ok((child, trace))
    })?;
    let mut told = start;
    let status = eventually(what, Duration::MAX, || {
        if told.elapsed() > SILENCE {
            told = Instant::now();
            let lines = fs::read_to_string(&path).unwrap_or_default().lines().count();
            let seconds = start.elapsed().as_secs();
            say(format_args!("  {what}: {seconds} s, {lines} lines of {}", path.display()));
        }
        Ok(child.try_wait()?)
    })?;
    let text = fs::read(&path)?;
    Ok((status.success(), String::from_utf8_lossy(&text).into_owned()))
}
