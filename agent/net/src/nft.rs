//! The `nft` program: whole tables as text, each text one transaction.

use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::memfd::{MFdFlags, memfd_create};

/// A table with 5000 elements takes a tenth of a second; on a busy machine nft waits for its turn.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Why `nft` did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum NftError {
    #[error("cannot start nft: install the nftables package")]
    NotInstalled,
    #[error("cannot run nft")]
    Run { source: io::Error },
    #[error("nft gave no answer within {seconds} s")]
    Timeout { seconds: u64 },
    /// Nothing was changed: a text is applied whole or not at all.
    #[error("nft refused: {stderr}")]
    Refused { stderr: String },
}

/// Applies `text` to the calling thread's network namespace as one transaction.
pub fn apply(text: &str) -> Result<(), NftError> {
    run("nft", &["-f", "-"], text, TIMEOUT).map(drop)
}

/// The text of the table `inet TABLE`, without counters; none if there is no such table.
pub fn list(table: &str) -> Result<Option<String>, NftError> {
    found(run("nft", &["--stateless", "list", "table", "inet", table], "", TIMEOUT))
}

/// As [`list`], but without the elements of sets and maps.
pub fn list_terse(table: &str) -> Result<Option<String>, NftError> {
    found(run("nft", &["--stateless", "--terse", "list", "table", "inet", table], "", TIMEOUT))
}

fn found(listed: Result<String, NftError>) -> Result<Option<String>, NftError> {
    match listed {
        // nft has no other way to say it: its exit status is 1 for every error.
        Err(NftError::Refused { stderr }) if stderr.contains("No such file or directory") => {
            Ok(None)
        }
        listed => listed.map(Some),
    }
}

/// Runs `program` with `input` and returns what it prints.
fn run(
    program: &str,
    arguments: &[&str],
    input: &str,
    timeout: Duration,
) -> Result<String, NftError> {
    let failed = |source| NftError::Run { source };
    #[expect(clippy::disallowed_methods, reason = "the one program that runs, of the agent alone")]
    let mut command = Command::new(program);
    // Its errors are looked at.
    command.args(arguments).env("LC_ALL", "C");
    command.stdin(memory(input).map_err(failed)?);
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(|source| match source.kind() {
        io::ErrorKind::NotFound => NftError::NotInstalled,
        _ => failed(source),
    })?;
    let said = outputs(&mut child, Instant::now() + timeout);
    if !matches!(said, Ok(Some(_))) {
        // It has most likely not ended; where it has, there is nothing to kill.
        let _ = child.kill();
    }
    let status = child.wait().map_err(failed)?;
    let seconds = timeout.as_secs();
    let [stdout, stderr] = said.map_err(failed)?.ok_or(NftError::Timeout { seconds })?;
    match status.code() {
        Some(0) => Ok(stdout),
        Some(_) => Err(NftError::Refused { stderr: stderr.trim_end().to_owned() }),
        // By a signal: it said nothing, and may or may not have made the change.
        None => Err(failed(io::Error::other(status.to_string()))),
    }
}

/// A file in memory: unlike a pipe it takes all the text before anybody reads.
fn memory(text: &str) -> io::Result<File> {
    let mut file = File::from(memfd_create("nft", MFdFlags::MFD_CLOEXEC)?);
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
mod tests;
