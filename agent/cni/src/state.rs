//! The directory of leases and records, and what of it is void.
//!
//! `claims/ID@IFNAME` is an attachment's own file: its lock, and its content is that of its leases.
//! `leases/ADDRESS` are further names of that file. `attachments/ID@IFNAME` is its record, as JSON.
//! `pools/SUBNET` says which address was given last, `pools/released-BLOCK` when each was released.
//!
//! ADD makes them in this order and DEL removes them in the opposite one, so that a process that is
//! killed leaves nothing without a claim, and whoever finds a claim finds all the rest. Nothing is
//! synced to a disk: the directory is void after a reboot, as the pods are.

use std::fs::{self, DirBuilder, File};
use std::io::{self, ErrorKind, Write};
use std::net::IpAddr;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use common::attachment::AttachmentId;
use common::names;
use net::sysctl::Sysctl;
use nix::fcntl::OFlag;
use nix::sys::statfs::{TMPFS_MAGIC, statfs};

use crate::error::{During, Error};
use crate::wait;

mod attachments;
mod held;
mod leases;
mod released;

pub(crate) use leases::{Claim, Found};
pub(crate) use released::COOL_DOWN;

/// How long another process may hold a lock: an ADD or DEL takes milliseconds, the agent's rebuild
/// of a table some more.
pub(crate) const LOCK_LIMIT: Duration = Duration::from_secs(2);

const POOLS: &str = "pools";

/// Held while the directory is voided or restored.
const LOCK_FILE: &str = "state.lock";

/// What identifies this boot (random(4)).
const BOOT_ID: &str = "kernel/random/boot_id";

/// Leases and records of this boot.
#[derive(Clone, Debug)]
pub(crate) struct State {
    root: PathBuf,
}

impl State {
    /// The state under `root` as DEL finds it: maybe none, maybe that of an earlier boot.
    pub(crate) fn at(root: &Path) -> Self {
        Self { root: root.to_owned() }
    }

    /// The state under `root`, which is made where it is missing; what an earlier boot left is void.
    ///
    /// Where the leases are lost, those of `living` attachments are made anew before another is given:
    /// `leases` is there only with all of them in it.
    pub(crate) fn open(
        root: &Path,
        living: impl FnOnce() -> Result<Vec<(AttachmentId, Vec<IpAddr>)>, Error>,
    ) -> Result<Self, Error> {
        let state = Self::at(root);
        state.refuse_links()?;
        make_directory(root)?;
        if state.is_of_this_boot()? && state.path(names::LEASES).exists() {
            state.make_directories()?;
            return Ok(state);
        }
        // Whoever holds the lock may remove what an earlier boot left: nothing is made beside it.
        let _lock = locked(&state.path(LOCK_FILE), Lock::Exclusive, "the state directory")?;
        if !state.is_of_this_boot()? {
            state.void_earlier_boot()?;
        }
        state.make_directories()?;
        if !state.path(names::LEASES).exists() {
            state.restore(&living()?)?;
        }
        Ok(state)
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    /// Refuses directories that are links: what they lead to is not ours.
    pub(crate) fn refuse_links(&self) -> Result<(), Error> {
        let own = [names::CLAIMS, names::ATTACHMENTS, names::TOMBSTONES, names::LEASES, POOLS];
        let own = own.iter().map(|name| self.path(name)).chain([self.root.clone()]);
        own.into_iter().try_for_each(|path| {
            let is_fine = match fs::symlink_metadata(&path) {
                Ok(found) if !found.is_dir() => Err(ErrorKind::NotADirectory.into()),
                found => missing_is_fine(found.map(drop)),
            };
            is_fine.during(|| format!("use {}", path.display()))
        })
    }

    /// All but that of the leases.
    fn make_directories(&self) -> Result<(), Error> {
        [names::CLAIMS, names::ATTACHMENTS, names::TOMBSTONES, POOLS]
            .iter()
            .try_for_each(|name| make_directory(&self.path(name)))
    }

    /// A tmpfs ends with the boot, and its content with it.
    fn is_of_this_boot(&self) -> Result<bool, Error> {
        let found = statfs(&self.root).map_err(io::Error::from);
        let found = found.during(|| format!("look at {}", self.root.display()))?;
        if found.filesystem_type() == TMPFS_MAGIC {
            return Ok(true);
        }
        let boot = boot_id()?;
        let marked = net::file::read(&self.path(names::BOOT_ID_FILE)).unwrap_or(None);
        Ok(marked.is_some_and(|marked| marked == boot.as_bytes()))
    }

    /// The marker comes last: what a process leaves that is killed here is voided by the next.
    fn void_earlier_boot(&self) -> Result<(), Error> {
        for name in [names::ATTACHMENTS, names::TOMBSTONES, names::LEASES, POOLS, names::CLAIMS] {
            let path = self.path(name);
            let removed = missing_is_fine(fs::remove_dir_all(&path));
            removed.during(|| format!("remove {} of an earlier boot", path.display()))?;
        }
        let marker = self.path(names::BOOT_ID_FILE);
        let new = marker.with_extension("new");
        let written = write_new(&new, boot_id()?.as_bytes());
        let written = written.and_then(|()| fs::rename(&new, &marker));
        written.during(|| format!("write {}", marker.display()))
    }
}

fn boot_id() -> Result<String, Error> {
    Sysctl::default().read(BOOT_ID).during(|| format!("read {BOOT_ID}"))
}

fn make_directory(path: &Path) -> Result<(), Error> {
    let made = DirBuilder::new().recursive(true).mode(0o700).create(path);
    made.during(|| format!("make directory {}", path.display()))
}

/// How a lock is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lock {
    Shared,
    Exclusive,
}

/// Takes the flock(2) on the file at `path`, which is made where it is missing, within
/// [`LOCK_LIMIT`]; it is held until the file is closed.
pub(crate) fn locked(path: &Path, lock: Lock, object: &str) -> Result<File, Error> {
    let file = match lock_options().open(path) {
        // To lock it, it need not be written.
        Err(error) if error.kind() == ErrorKind::ReadOnlyFilesystem => {
            existing_options().open(path)
        }
        opened => opened,
    };
    let file = file.during(|| format!("open {}", path.display()))?;
    let taken = wait::until(LOCK_LIMIT, || try_lock(&file, lock).map(|taken| taken.then_some(())));
    match taken.during(|| format!("lock {object}"))? {
        Some(()) => Ok(file),
        None => Err(busy(object)),
    }
}

pub(crate) fn busy(object: &str) -> Error {
    let seconds = LOCK_LIMIT.as_secs();
    Error::TryLater(format!("another process has locked {object} for more than {seconds} s"))
}

/// Whether the lock was free.
pub(crate) fn try_lock(file: &File, lock: Lock) -> io::Result<bool> {
    let taken = match lock {
        Lock::Shared => file.try_lock_shared(),
        Lock::Exclusive => file.try_lock(),
    };
    match taken {
        Ok(()) => Ok(true),
        Err(fs::TryLockError::WouldBlock) => Ok(false),
        Err(fs::TryLockError::Error(error)) => Err(error),
    }
}

/// For a file that is made where it is missing.
fn lock_options() -> fs::OpenOptions {
    let mut options = existing_options();
    options.write(true).create(true).truncate(false).mode(0o600);
    options
}

/// For a file of ours and not one that a link leads to; a FIFO in its place blocks nobody.
fn existing_options() -> fs::OpenOptions {
    let mut options = File::options();
    options.read(true).custom_flags((OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK).bits());
    options
}

/// Writes a whole file, which is to be renamed.
fn write_new(path: &Path, content: &[u8]) -> io::Result<()> {
    lock_options().truncate(true).open(path)?.write_all(content)
}

/// Removes a file, if it is there.
fn remove_file(path: &Path) -> Result<(), Error> {
    missing_is_fine(fs::remove_file(path)).during(|| format!("remove {}", path.display()))
}

fn missing_is_fine(outcome: io::Result<()>) -> io::Result<()> {
    match outcome {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        outcome => outcome,
    }
}

#[cfg(test)]
mod tests;
