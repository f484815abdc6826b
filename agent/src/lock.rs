//! What makes this the machine's one agent: a lock on a file of the folder of leases and records, which
//! is made here, and made anew where somebody has removed it.

use std::fs::{self, DirBuilder, File, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use tracing::{info, warn};

use crate::machine::Paths;

/// How often to look whether the other agent is gone.
const RETRY: Duration = Duration::from_millis(200);

/// Held as long as it is there.
#[derive(Debug)]
pub struct AgentLock {
    file: File,
    path: PathBuf,
}

impl AgentLock {
    /// Waits until no other agent holds it. What a cleanup that has ended said holds no longer then.
    pub async fn take(paths: &Paths) -> anyhow::Result<Self> {
        let (state, path) = (&paths.state, paths.agent_lock());
        private_folder(state).with_context(|| format!("cannot create {}", state.display()))?;
        let cannot = || format!("cannot lock {}", path.display());
        let file = open(&path).with_context(cannot)?;
        let mut attempts = 0_u64;
        while !taken(&file).with_context(cannot)? {
            attempts += 1;
            // The first time it may be a plugin that looks whether there is an agent.
            if attempts == 2 {
                warn!(path = %path.display(), "another agent runs on this machine; waiting for its end");
            }
            tokio::time::sleep(RETRY).await;
        }
        lift(&paths.cleaning())?;
        Ok(Self { file, path })
    }

    /// Whether what is at its path is what is locked: else its folder is gone, or another's.
    fn is_there(&self) -> io::Result<bool> {
        let held = self.file.metadata()?;
        let same = |there: fs::Metadata| (there.dev(), there.ino()) == (held.dev(), held.ino());
        match fs::symlink_metadata(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            there => there.map(same),
        }
    }

    /// Takes it again if somebody has removed it, with its folder or without.
    ///
    /// # Errors
    /// If that can't be: another agent has it, or the folder is one that nobody else sees, as that of a
    /// container whose mount was removed on the machine. Only a new start helps then.
    pub(crate) fn keep(&mut self) -> io::Result<()> {
        if self.is_there()? {
            return Ok(());
        }
        warn!(path = %self.path.display(), "somebody has removed it; making it anew");
        self.path.parent().map_or(Ok(()), private_folder)?;
        let file = open(&self.path)?;
        if !taken(&file)? {
            return Err(io::Error::new(io::ErrorKind::WouldBlock, "another agent has locked it"));
        }
        self.file = file;
        Ok(())
    }
}

/// Makes the folder, for root alone, also where a service manager has made it for all to see.
fn private_folder(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o700))
}

fn open(path: &Path) -> io::Result<File> {
    File::options().create(true).append(true).open(path)
}

/// Takes the machine back from a cleanup that kept what living pods need: one that is under way would
/// hold the lock, so the file at `marker` is this agent's.
fn lift(marker: &Path) -> anyhow::Result<()> {
    match fs::remove_file(marker) {
        Ok(()) => {
            info!("an earlier cleanup has ended: this machine takes pods again");
            Ok(())
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed.with_context(|| format!("cannot remove {}", marker.display())),
    }
}

fn taken(file: &File) -> io::Result<bool> {
    match file.try_lock() {
        Ok(()) => Ok(true),
        Err(TryLockError::WouldBlock) => Ok(false),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::lab::Lab;

    #[tokio::test]
    async fn a_folder_that_is_removed_is_made_anew_and_locked() {
        let lab = Lab::new();
        let paths = lab.paths();
        let mut lock = AgentLock::take(&paths).await.unwrap();
        let held = || !taken(&open(&paths.agent_lock()).unwrap()).unwrap();
        lock.keep().unwrap();
        assert!(held());
        fs::remove_dir_all(&paths.state).unwrap();
        lock.keep().unwrap();
        assert!(held());
        assert_eq!(fs::metadata(&paths.state).unwrap().permissions().mode() & 0o777, 0o700);
        // Somebody else was faster.
        fs::remove_file(paths.agent_lock()).unwrap();
        let other = AgentLock::take(&paths).await.unwrap();
        assert_eq!(lock.keep().unwrap_err().kind(), io::ErrorKind::WouldBlock);
        drop(other);
        lock.keep().unwrap();
        assert!(held());
    }
}
