//! Addresses that are held: nobody is given them, and no claim has them.
//!
//! Somebody may have one without our doing, whose link nobody knows. A lease is a further name of a claim;
//! what is held is a file of its own.

use std::fs;
use std::io::ErrorKind;
use std::net::IpAddr;
use std::os::unix::fs::MetadataExt;

use common::attachment::AttachmentId;
use common::names;

use super::leases::{Claim, content};
use super::{State, remove_file, write_new};
use crate::error::{During, Error};

impl State {
    /// Whom the address is held for; none if it is leased by a claim, or free.
    pub(crate) fn holder(&self, address: IpAddr) -> Result<Option<AttachmentId>, Error> {
        let path = self.lease_path(address);
        let is_held = match fs::symlink_metadata(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
            found => found.map(|found| found.nlink() == 1),
        };
        let is_held = is_held.during(|| format!("look at {}", path.display()))?;
        Ok(is_held.then(|| self.lessee(address)).flatten())
    }

    /// Keeps an address from being given, for `id`; nothing if somebody has it.
    pub(crate) fn hold(&self, address: IpAddr, id: &AttachmentId) -> Result<(), Error> {
        // No name of a claim has a space.
        let new = self.path(names::CLAIMS).join(format!("{id} held"));
        let path = self.lease_path(address);
        let what = || format!("hold {}", path.display());
        write_new(&new, content(id).as_bytes()).during(what)?;
        match fs::hard_link(&new, &path) {
            Err(error) if error.kind() != ErrorKind::AlreadyExists => Err(error).during(what)?,
            _ => {}
        }
        remove_file(&new)
    }

    /// Gives `claim` an address that is held, which is free at no time.
    pub(crate) fn take_hold(&self, claim: &Claim, address: IpAddr) -> Result<(), Error> {
        let new = self.path(names::CLAIMS).join(format!("{} held", claim.id));
        remove_file(&new)?;
        let linked = fs::hard_link(self.claim_path(&claim.id), &new);
        let path = self.lease_path(address);
        linked.and_then(|()| fs::rename(&new, &path)).during(|| format!("make {}", path.display()))
    }

    /// Ends what [`Self::hold`] began.
    pub(crate) fn let_go(&self, address: IpAddr) -> Result<(), Error> {
        remove_file(&self.lease_path(address))
    }

    /// The addresses that are held.
    pub(crate) fn held(&self) -> Result<Vec<IpAddr>, Error> {
        let mut held = Vec::new();
        for address in self.all_leases()? {
            held.extend(self.holder(address)?.map(|_| address));
        }
        Ok(held)
    }
}
