//! The `nft` program: whole tables as text, each text one transaction.

use std::io;

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
pub fn apply(_text: &str) -> Result<(), NftError> {
    unimplemented!()
}

/// The text of the table `inet TABLE`; none if there is no such table.
pub fn list(_table: &str) -> Result<Option<String>, NftError> {
    unimplemented!()
}

/// As [`list`], but without the elements of sets and maps (`nft --terse`).
pub fn list_terse(_table: &str) -> Result<Option<String>, NftError> {
    unimplemented!()
}
