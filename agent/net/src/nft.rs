//! The `nft` program: whole tables as text, each text one transaction.

use std::time::Duration;

use crate::program::{Call, ProgramError};

/// A table with 5000 elements takes a tenth of a second; on a busy machine nft waits for its turn.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Why `nft` did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum NftError {
    #[error("cannot start nft: install the nftables package")]
    NotInstalled,
    #[error(transparent)]
    Run(ProgramError),
    /// Nothing was changed: a text is applied whole or not at all.
    #[error("nft refused: {stderr}")]
    Refused { stderr: String },
}

/// Applies `text` to the calling thread's network namespace as one transaction.
pub fn apply(text: &str) -> Result<(), NftError> {
    run(&["-f", "-"], text).map(drop)
}

/// The text of the table `inet TABLE`, without counters; none if there is no such table.
pub fn list(table: &str) -> Result<Option<String>, NftError> {
    found(run(&["--stateless", "list", "table", "inet", table], ""))
}

/// As [`list`], of the table `bridge TABLE`.
pub fn list_of_bridge(table: &str) -> Result<Option<String>, NftError> {
    found(run(&["--stateless", "list", "table", "bridge", table], ""))
}

/// As [`list`], but without the elements of sets and maps.
pub fn list_terse(table: &str) -> Result<Option<String>, NftError> {
    found(run(&["--stateless", "--terse", "list", "table", "inet", table], ""))
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

fn run(arguments: &[&str], input: &str) -> Result<String, NftError> {
    let call = Call { program: "nft".as_ref(), arguments, input, timeout: TIMEOUT };
    match call.run() {
        Ok(stdout) => Ok(stdout),
        Err(ProgramError::Missing { .. }) => Err(NftError::NotInstalled),
        Err(ProgramError::Failed { stderr, .. }) => Err(NftError::Refused { stderr }),
        Err(error) => Err(NftError::Run(error)),
    }
}

#[cfg(test)]
mod tests;
