//! Claims and leases: which address is whose, decided by link(2).
//!
//! A lease is complete before it is visible, because it is a further name of a complete file. The lock
//! on that file is held by an ADD until it answers, so whoever takes it knows that no ADD is in flight.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Read, Seek, SeekFrom, Write};
use std::net::IpAddr;
use std::os::unix::fs::{DirEntryExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use common::attachment::AttachmentId;
use common::names;

use super::{
    LOCK_LIMIT, Lock, POOLS, State, busy, existing_options, lock_options, make_directory,
    missing_is_fine, remove_file, try_lock,
};
use crate::error::{During, Error};
use crate::ranges::Pool;
use crate::wait;

const LEASES_NEW: &str = "leases.new";

/// An attachment's file, locked: nobody else makes or removes anything of it.
#[derive(Debug)]
pub(crate) struct Claim {
    file: File,
    pub(crate) id: AttachmentId,
}

/// What a claim stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Found {
    /// Nothing: it was made just now.
    Nothing,
    /// It has leases, or had some.
    Before,
}

impl State {
    /// Locks the claim of `id`, which is made where it is missing.
    pub(crate) fn claim(&self, id: &AttachmentId) -> Result<(Claim, Found), Error> {
        self.make_claim(id).inspect_err(|_| self.forget_empty(id))
    }

    fn make_claim(&self, id: &AttachmentId) -> Result<(Claim, Found), Error> {
        let path = self.claim_path(id);
        let claim = self.lock_claim(id, &lock_options())?;
        let missing = || Err(ErrorKind::NotFound.into());
        let mut claim =
            claim.map_or_else(missing, Ok).during(|| format!("make {}", path.display()))?;
        let what = || format!("write {}", path.display());
        if claim.file.metadata().during(what)?.len() > 0 {
            return Ok((claim, Found::Before));
        }
        let written = claim.file.write_all(content(id).as_bytes());
        if written.is_err() {
            // Maybe a part was.
            let _ = claim.file.set_len(0);
        }
        written.during(what).map(|()| (claim, Found::Nothing))
    }

    /// Removes the claim of `id` if whoever made it got no further; the error that led here says more than
    /// one of this would.
    fn forget_empty(&self, id: &AttachmentId) {
        if let Ok(Some(claim)) = self.idle_claim(id)
            && claim.file.metadata().is_ok_and(|metadata| metadata.len() == 0)
        {
            let _ = fs::remove_file(self.claim_path(id));
        }
    }

    /// Locks the claim of `id`, if there is one.
    pub(crate) fn existing_claim(&self, id: &AttachmentId) -> Result<Option<Claim>, Error> {
        self.lock_claim(id, &existing_options())
    }

    fn lock_claim(&self, id: &AttachmentId, options: &OpenOptions) -> Result<Option<Claim>, Error> {
        let path = self.claim_path(id);
        let file = wait::until(LOCK_LIMIT, || match options.open(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(Some(None)),
            opened => {
                let file = opened?;
                Ok(try_lock_named(&file, &path)?.then_some(Some(file)))
            }
        });
        let file = file.during(|| format!("lock {}", path.display()))?;
        let file = file.ok_or_else(|| busy(&path.display().to_string()))?;
        Ok(file.map(|file| Claim { file, id: id.clone() }))
    }

    /// Locks the claim of `id`, if there is one and no ADD or DEL of it is in flight.
    pub(crate) fn idle_claim(&self, id: &AttachmentId) -> Result<Option<Claim>, Error> {
        let path = self.claim_path(id);
        let Ok(file) = existing_options().open(&path) else { return Ok(None) };
        let taken = try_lock_named(&file, &path).during(|| format!("lock {}", path.display()))?;
        Ok(taken.then(|| Claim { file, id: id.clone() }))
    }

    /// Locks the claim of `id`, which is made where it is missing, unless an ADD or DEL of it is in flight.
    pub(crate) fn free_claim(&self, id: &AttachmentId) -> Result<Option<Claim>, Error> {
        match self.idle_claim(id)? {
            None if !self.claim_path(id).exists() => self.claim(id).map(|(claim, _)| Some(claim)),
            idle => Ok(idle),
        }
    }

    /// Makes claims and leases of attachments that live, and the directory visible with the last.
    ///
    /// Their records stay lost: to make them anew is the agent's, see `recovery`.
    pub(super) fn restore(&self, living: &[(AttachmentId, Vec<IpAddr>)]) -> Result<(), Error> {
        let (new, leases) = (self.path(LEASES_NEW), self.path(names::LEASES));
        let what = || format!("restore {}", leases.display());
        missing_is_fine(fs::remove_dir_all(&new)).during(what)?;
        make_directory(&new)?;
        for (id, addresses) in living {
            let (claim, _) = self.claim(id)?;
            for address in addresses {
                let path = self.claim_path(&claim.id);
                fs::hard_link(path, new.join(address.to_string())).during(what)?;
            }
        }
        fs::rename(&new, &leases).during(what)
    }

    /// Gives `claim` the next free address of the first of `pools` that has one; none if there is none.
    ///
    /// An address rests for `cool_down` after it was released. That is cut short only where no other is
    /// free in any pool: then the one that rests longest is given.
    pub(crate) fn reserve(
        &self,
        claim: &Claim,
        pools: &[Pool],
        cool_down: Duration,
    ) -> Result<Option<IpAddr>, Error> {
        let mut released = self.released(cool_down)?;
        for pool in pools {
            let (mut given, last) = self.last_given(pool)?;
            for address in pool.after(last) {
                if !released.has(address)? && self.lease(claim, address)? {
                    write_last(&mut given, pool, address)?;
                    return Ok(Some(address));
                }
            }
        }
        let in_a_pool = |address: &IpAddr| pools.iter().any(|pool| pool.has(*address));
        for address in released.oldest_first()?.into_iter().filter(in_a_pool) {
            if self.lease(claim, address)? {
                return Ok(Some(address));
            }
        }
        Ok(None)
    }

    /// Gives `claim` this address, also one that rests; false if it is another's.
    pub(crate) fn lease(&self, claim: &Claim, address: IpAddr) -> Result<bool, Error> {
        let lease = self.lease_path(address);
        match fs::hard_link(self.claim_path(&claim.id), &lease) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(false),
            linked => linked.map(|()| true).during(|| format!("make {}", lease.display())),
        }
    }

    /// Who has the lease of `address`; none if that can't be told.
    pub(crate) fn lessee(&self, address: IpAddr) -> Option<AttachmentId> {
        let text = net::file::read(&self.lease_path(address)).ok()??;
        let text = String::from_utf8(text).ok()?;
        let (container_id, ifname) = text.split_once("\r\n")?;
        AttachmentId::new(container_id, ifname).ok()
    }

    /// Which address of `pool` was given last, and the file that says so.
    fn last_given(&self, pool: &Pool) -> Result<(File, Option<IpAddr>), Error> {
        let path = self.path(POOLS).join(pool.name());
        let what = || format!("read the last address of {}", pool.range.subnet);
        let mut file = lock_options().open(path).during(what)?;
        let mut text = Vec::new();
        file.read_to_end(&mut text).during(what)?;
        Ok((file, String::from_utf8_lossy(&text).trim_end().parse().ok()))
    }

    /// Has the first address that is given of `pool` come after `address`, if none was given yet.
    pub(crate) fn begin_behind(&self, pool: &Pool, address: IpAddr) -> Result<(), Error> {
        let (mut given, last) = self.last_given(pool)?;
        match last {
            Some(_) => Ok(()),
            None => write_last(&mut given, pool, address),
        }
    }

    /// Removes all that `claim` stands for, and itself last; its leases are most likely `addresses`.
    pub(crate) fn release(&self, claim: &Claim, addresses: &[IpAddr]) -> Result<(), Error> {
        let leased = |address: &IpAddr| self.is_leased(*address, &claim.id);
        let mut own_leases = addresses.iter().copied().filter(leased).collect::<Vec<_>>();
        let path = self.claim_path(&claim.id);
        let own = claim.file.metadata().during(|| format!("look at {}", path.display()))?;
        let others = own.nlink().saturating_sub(1);
        if usize::try_from(others).is_ok_and(|others| others > own_leases.len()) {
            own_leases = self.leases_of(&own)?;
        }
        if !own_leases.is_empty()
            && let Err(error) = self.note_release(&own_leases)
        {
            // An address without a rest is better than one that is never free again.
            eprintln!("kubenet: {error}");
        }
        for &address in &own_leases {
            remove_file(&self.lease_path(address))?;
        }
        self.remove_record(&claim.id)?;
        remove_file(&path)
    }

    /// All addresses that are leased, whoever's they are.
    pub(crate) fn all_leases(&self) -> Result<Vec<IpAddr>, Error> {
        let names = self.file_names(names::LEASES)?;
        Ok(names.iter().filter_map(|name| name.parse().ok()).collect())
    }

    /// The addresses that are leased to `claim`.
    pub(crate) fn leases(&self, claim: &Claim) -> Result<Vec<IpAddr>, Error> {
        let own = claim.file.metadata().during(|| format!("look at the claim of {}", claim.id))?;
        if own.nlink() > 1 { self.leases_of(&own) } else { Ok(Vec::new()) }
    }

    /// The addresses whose leases are names of the file with this `metadata`.
    fn leases_of(&self, metadata: &fs::Metadata) -> Result<Vec<IpAddr>, Error> {
        let leases = self.path(names::LEASES);
        let what = || format!("list {}", leases.display());
        let mut own = Vec::new();
        for entry in leases.read_dir().during(what)? {
            let entry = entry.during(what)?;
            if entry.ino() == metadata.ino() {
                own.extend(entry.file_name().to_str().and_then(|name| name.parse::<IpAddr>().ok()));
            }
        }
        Ok(own)
    }

    /// Whether `address` is leased to `id`.
    pub(crate) fn is_leased(&self, address: IpAddr, id: &AttachmentId) -> bool {
        let inode = |path: &Path| fs::symlink_metadata(path).map(|metadata| metadata.ino()).ok();
        let lease = inode(&self.lease_path(address));
        lease.is_some() && lease == inode(&self.claim_path(id))
    }

    pub(super) fn claim_path(&self, id: &AttachmentId) -> PathBuf {
        self.path(names::CLAIMS).join(id.to_string())
    }

    pub(super) fn lease_path(&self, address: IpAddr) -> PathBuf {
        self.path(names::LEASES).join(address.to_string())
    }
}

/// What a lease says, as host-local writes it.
pub(super) fn content(id: &AttachmentId) -> String {
    format!("{}\r\n{}", id.container_id(), id.ifname())
}

/// Of one length always, so that nothing of a longer one is left behind it.
fn write_last(given: &mut File, pool: &Pool, address: IpAddr) -> Result<(), Error> {
    let text = format!("{:<39}\n", address.to_string());
    let written = given.seek(SeekFrom::Start(0)).map(drop);
    let written = written.and_then(|()| given.write_all(text.as_bytes()));
    written.during(|| format!("write the last address of {}", pool.range.subnet))
}

/// Whether the lock was free and `file` still has its name.
///
/// Whoever removes a claim holds its lock, so one that was opened before and locked after is nobody's.
fn try_lock_named(file: &File, path: &Path) -> io::Result<bool> {
    let locked = try_lock(file, Lock::Exclusive)?;
    let inode = file.metadata()?.ino();
    Ok(locked && fs::symlink_metadata(path).is_ok_and(|named| named.ino() == inode))
}
