//! Other programs: started, given their input, read to their end, and ended if they take too long.

use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::memfd::{MFdFlags, memfd_create};

/// A program to be run, in the environment of this process, but in English.
#[derive(Clone, Copy, Debug)]
pub struct Call<'a> {
    /// A path, or a name that PATH leads to.
    pub program: &'a Path,
    pub arguments: &'a [&'a str],
    /// What it reads from standard input.
    pub input: &'a str,
    pub timeout: Duration,
}

/// Why a program did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum ProgramError {
    #[error("{program} does not exist")]
    Missing { program: String },
    #[error("cannot run {program}")]
    Run { program: String, source: io::Error },
    #[error("{program} gave no answer within {seconds} s")]
    Timeout { program: String, seconds: u64 },
    #[error("{program} exits with {code}: {stderr}")]
    Failed { program: String, code: i32, stderr: String },
}

impl Call<'_> {
    /// What it prints to stdout; whatever is no UTF-8 in it is replaced.
    pub fn run(&self) -> Result<String, ProgramError> {
        let program = || self.program.display().to_string();
        let failed = |source| ProgramError::Run { program: program(), source };
        #[expect(clippy::disallowed_methods, reason = "the one place that starts programs")]
        let mut command = Command::new(self.program);
        // Its errors are looked at.
        command.args(self.arguments).env("LC_ALL", "C");
        command.stdin(memory(self.input).map_err(failed)?);
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().map_err(|source| match source.kind() {
            io::ErrorKind::NotFound => ProgramError::Missing { program: program() },
            _ => failed(source),
        })?;
        let said = outputs(&mut child, Instant::now() + self.timeout);
        if !matches!(said, Ok(Some(_))) {
            // It has most likely not ended; where it has, there is nothing to kill.
            let _ = child.kill();
        }
        let status = child.wait().map_err(failed)?;
        let seconds = self.timeout.as_secs();
        let late = || ProgramError::Timeout { program: program(), seconds };
        let [stdout, stderr] = said.map_err(failed)?.ok_or_else(late)?;
        match status.code() {
            Some(0) => Ok(stdout),
            Some(code) => {
                let stderr = stderr.trim_end().to_owned();
                Err(ProgramError::Failed { program: program(), code, stderr })
            }
            // By a signal: it said nothing, and may or may not have made the change.
            None => Err(failed(io::Error::other(status.to_string()))),
        }
    }
}

/// A file in memory: unlike a pipe it takes all the text before anybody reads.
fn memory(text: &str) -> io::Result<File> {
    let mut file = File::from(memfd_create("input", MFdFlags::MFD_CLOEXEC)?);
    file.write_all(text.as_bytes())?;
    file.rewind()?;
    Ok(file)
}

/// What the program writes to stdout and to stderr until it closes both; none if it does not in time.
///
/// Both are read as they fill up: who reads one to its end first may wait for a program that waits
/// for a reader of the other.
fn outputs(child: &mut Child, deadline: Instant) -> io::Result<Option<[String; 2]>> {
    let [stdout, stderr] =
        [child.stdout.take().map(OwnedFd::from), child.stderr.take().map(OwnedFd::from)];
    let mut streams = [stdout, stderr].map(|fd| (fd.map(File::from), Vec::new()));
    let mut block = vec![0; 16 << 10];
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let mut ready = streams.iter().filter_map(|(file, _)| file.as_ref());
        let mut ready = [ready.next(), ready.next()]
            .into_iter()
            .flatten()
            .map(|file| PollFd::new(file.as_fd(), PollFlags::POLLIN))
            .collect::<Vec<_>>();
        if ready.is_empty() {
            return Ok(Some(streams.map(|(_, said)| String::from_utf8_lossy(&said).into_owned())));
        }
        // Rounded up, so that it does not spin for the last millisecond.
        let left =
            PollTimeout::try_from(left + Duration::from_millis(1)).unwrap_or(PollTimeout::MAX);
        match poll(&mut ready, left) {
            Ok(0) => return Ok(None),
            Ok(_) | Err(nix::errno::Errno::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
        let mut ready =
            ready.iter().map(|fd| fd.any() == Some(true)).collect::<Vec<_>>().into_iter();
        for (file, said) in &mut streams {
            let Some(open) = file else { continue };
            if ready.next() == Some(true) {
                let length = open.read(&mut block)?;
                said.extend_from_slice(block.get(..length).unwrap_or_default());
                if length == 0 {
                    *file = None;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(program: &str, arguments: &[&str], timeout: Duration) -> Result<String, ProgramError> {
        Call { program: program.as_ref(), arguments, input: "", timeout }.run()
    }

    const LONG: Duration = Duration::from_mins(1);

    #[test]
    fn a_program_that_hangs_is_ended() {
        let started = Instant::now();
        let error = run("sleep", &["60"], Duration::from_millis(50)).unwrap_err();
        assert!(matches!(error, ProgramError::Timeout { .. }), "{error:?}");
        assert!(started.elapsed() < Duration::from_secs(30));
    }

    #[test]
    fn a_program_that_is_killed_is_told_from_one_that_refuses() {
        let error = run("sh", &["-c", "kill -9 $$"], LONG).unwrap_err();
        let ProgramError::Run { source, .. } = error else { panic!("{error:?}") };
        assert!(source.to_string().contains("signal: 9"), "{source}");
        let error = run("sh", &["-c", "echo no >&2; exit 3"], LONG).unwrap_err();
        assert_eq!(error.to_string(), "sh exits with 3: no");
    }

    #[test]
    fn a_program_that_fills_both_outputs_is_read_to_its_end() {
        let script =
            "for i in 1 2 3; do head -c 200000 /dev/zero; head -c 200000 /dev/zero >&2; done";
        assert_eq!(run("sh", &["-c", script], LONG).unwrap().len(), 600_000);
    }

    #[test]
    fn a_missing_program_is_named() {
        let error = run("no-such-program", &[], LONG).unwrap_err();
        assert!(matches!(error, ProgramError::Missing { .. }), "{error:?}");
    }
}
