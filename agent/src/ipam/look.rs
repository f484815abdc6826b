//! Reads the plugin's files, the links, and who holds network namespaces.

use std::fs::{File, TryLockError};
use std::io::{self, ErrorKind};
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use common::attachment::AttachmentId;
use common::names;
use jiff::Timestamp;
use net::Netlink;
use net::holders::Holders;

use super::report::{Claim, Seen};
use crate::machine::Records;

/// All that is to be seen, in the order in which DEL removes it: what goes meanwhile is missed as a
/// whole, and nothing is seen in halves that was there all the time.
pub(super) fn around(state: &Path) -> Result<Seen> {
    let holders = Holders::find().context("cannot look at processes and mounts")?;
    Ok(Seen { holders, ..at_links_and_files(state)? })
}

/// The same, but for who holds network namespaces.
pub(super) fn at_links_and_files(state: &Path) -> Result<Seen> {
    let mut seen = Seen { links: Netlink::open()?.links()?, ..Seen::default() };
    let Records { attachments, unreadable } =
        Records::read(&state.join(names::ATTACHMENTS)).context("cannot read records")?;
    (seen.records, seen.unreadable) = (attachments, unreadable);
    for (path, name) in files(&state.join(names::LEASES))? {
        match name.parse::<IpAddr>() {
            Ok(address) => _ = seen.leases.insert(address, owner(&path)),
            Err(_) => seen.unreadable.push(format!("{} is no address", path.display())),
        }
    }
    for (path, name) in files(&state.join(names::CLAIMS))? {
        if let Ok(id) = name.parse::<AttachmentId>()
            && let Some(claim) = claim(&path)?
        {
            seen.claims.insert(id, claim);
        }
    }
    let dying = files(&state.join(names::TOMBSTONES))?.into_iter();
    seen.dying = dying.filter_map(|(_, name)| name.parse().ok()).collect();
    Ok(seen)
}

fn files(directory: &Path) -> Result<Vec<(PathBuf, String)>> {
    let list = || {
        let entries = match directory.read_dir() {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries?,
        };
        let files = entries.map(|entry| {
            let entry = entry?;
            Ok((entry.path(), entry.file_name().to_string_lossy().into_owned()))
        });
        files.collect::<io::Result<Vec<_>>>()
    };
    list().with_context(|| format!("cannot list {}", directory.display()))
}

/// Whose a lease says that it is, as host-local writes it: `CONTAINERID\r\nIFNAME`.
fn owner(path: &Path) -> Option<AttachmentId> {
    let text = net::file::read(path).ok()??;
    let text = String::from_utf8(text).ok()?;
    let (container_id, ifname) = text.split_once("\r\n")?;
    AttachmentId::new(container_id, ifname).ok()
}

/// None if it is gone by now.
fn claim(path: &Path) -> Result<Option<Claim>> {
    let look = || {
        let file = match File::open(path) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            file => file?,
        };
        let locked = match file.try_lock_shared() {
            Ok(()) => false,
            Err(TryLockError::WouldBlock) => true,
            Err(TryLockError::Error(error)) => return Err(error),
        };
        Ok(Some((file.metadata()?.modified()?, locked)))
    };
    let found = look().with_context(|| format!("cannot look at {}", path.display()))?;
    let claim = found.map(|(time, locked)| {
        Ok::<_, jiff::Error>(Claim { since: Timestamp::try_from(time)?, locked })
    });
    claim.transpose().with_context(|| format!("{} has no time", path.display()))
}
