//! Removes attachments, in two halves of which the second may be another process's.
//!
//! [`bury`] takes the pod off the bridge within a fraction of a millisecond and leaves a tombstone.
//! [`remove`] deletes elements and link, and the kernel takes 20 ms for that, of however many pods; then
//! it frees the addresses. What names the next thing goes after it: whoever is killed here leaves what
//! the next one finds, and an address is free only when nothing leads to the pod any more.

use std::collections::HashSet;
use std::path::Path;

use common::attachment::{Attachment, AttachmentId};
use net::NetError;
use net::link::Link;

use crate::error::Error;
use crate::kernel::Kernel;
use crate::state::{Claim, State};
use crate::{hostports, recovery, veth};

/// So many at once: each holds a file open.
const BATCH: usize = 256;

/// The agent's part: completes DELs, removes what nobody has called DEL for, and keeps the files of the
/// rest.
#[derive(Debug)]
pub struct Reaper {
    kernel: Kernel,
    state: State,
}

impl Reaper {
    /// Works in the network namespace of the calling thread, on the state in `state_dir`.
    pub fn open(state_dir: &Path) -> Result<Self, NetError> {
        Ok(Self { kernel: Kernel::open()?, state: State::at(state_dir) })
    }

    /// Removes what has a tombstone, but for what another process is at; returns what it removed.
    pub fn complete(&mut self) -> Result<Vec<AttachmentId>, Error> {
        complete(&mut self.kernel, &self.state, Vec::new())
    }

    /// Removes what has no host link among `links` and none that is newer, but for what another process
    /// is at; returns what it removed.
    pub fn remove_dead(&mut self, links: &[Link]) -> Result<Vec<AttachmentId>, Error> {
        remove_dead(&mut self.kernel, &self.state, links)
    }

    /// Makes anew what is lost of the files of `id`, if it lives and nobody is at it.
    pub fn restore(&mut self, id: &AttachmentId) -> Result<(), Error> {
        recovery::restore(&mut self.kernel, &self.state, id)
    }
}

/// What is known of `id`: its record, or where that was lost what its host link's alias tells.
pub(crate) fn known(
    kernel: &mut Kernel,
    state: &State,
    id: &AttachmentId,
) -> Result<Option<Attachment>, Error> {
    if let Some(record) = state.last_record(id)? {
        return Ok(Some(record));
    }
    let link = veth::find(&mut kernel.links, id)?;
    Ok(link.and_then(|link| Attachment::of_alias(&link.alias?)))
}

/// What has become of an attachment.
#[derive(Debug)]
pub(crate) enum Fate {
    /// It lives, or another process is at it.
    Alive,
    /// It is to be removed, by whoever has its claim.
    Dead(Claim),
    /// Another process has removed it.
    Gone,
}

/// Cuts an attachment off, and leaves a tombstone to whoever completes it; false if it has no record.
pub(crate) fn bury(kernel: &mut Kernel, state: &State, claim: &Claim) -> Result<bool, Error> {
    let buried = state.bury(&claim.id)?;
    veth::unhook(&mut kernel.links, &claim.id)?;
    Ok(buried)
}

/// Removes all that there is of these attachments.
///
/// # Errors
/// The first; what could be removed in spite of it is.
pub(crate) fn remove(kernel: &mut Kernel, state: &State, claims: &[Claim]) -> Result<(), Error> {
    let mut failures = Vec::new();
    let (mut records, mut lost) = (Vec::new(), Vec::new());
    for claim in claims {
        failures.extend(state.bury(&claim.id).err());
        let record = state.last_record(&claim.id);
        let record = record.unwrap_or_else(|error| {
            failures.push(error);
            None
        });
        if record.is_none() {
            lost.extend(state.leases(claim).unwrap_or_default());
        }
        records.push(record);
    }
    let retracted = hostports::retract(kernel, state, records.iter().flatten(), &lost);
    failures.extend(retracted.err());
    let deleted = veth::delete(&mut kernel.links, claims.iter().map(|claim| &claim.id));
    failures.extend(deleted.map_err(Error::from).err());
    if failures.is_empty() {
        let released = claims.iter().zip(records).map(|(claim, record)| {
            state.release(claim, &record.map(|record| record.addresses).unwrap_or_default())
        });
        failures.extend(released.filter_map(Result::err));
    }
    failures.into_iter().next().map_or(Ok(()), Err)
}

/// Removes `own` and what else has a tombstone, but for what another process is at.
pub(crate) fn complete(
    kernel: &mut Kernel,
    state: &State,
    own: Vec<Claim>,
) -> Result<Vec<AttachmentId>, Error> {
    remove_those(kernel, state, own, &state.tombstones()?, |_, id| Ok(state.is_buried(id)))
}

/// Removes what has no host link among `links` and none that is newer, but for what another process is
/// at.
pub(crate) fn remove_dead(
    kernel: &mut Kernel,
    state: &State,
    links: &[Link],
) -> Result<Vec<AttachmentId>, Error> {
    let names = links.iter().flat_map(Link::names).collect::<HashSet<_>>();
    let mut ids = state.ids()?;
    ids.retain(|id| !names.contains(id.host_link().as_str()));
    remove_those(kernel, state, Vec::new(), &ids, |kernel, id| is_dead(kernel, state, id))
}

/// Whether `id` is dead; one that another process is completing is waited for.
pub(crate) fn fate(kernel: &mut Kernel, state: &State, id: &AttachmentId) -> Result<Fate, Error> {
    if state.is_buried(id) {
        return Ok(match state.existing_claim(id)? {
            None => Fate::Gone,
            Some(claim) if state.is_buried(id) => Fate::Dead(claim),
            Some(_) => Fate::Alive,
        });
    }
    Ok(match state.idle_claim(id)? {
        Some(claim) if is_dead(kernel, state, id)? => Fate::Dead(claim),
        _ => Fate::Alive,
    })
}

/// Its host link is gone, or is about to be.
fn is_dead(kernel: &mut Kernel, state: &State, id: &AttachmentId) -> Result<bool, Error> {
    Ok(state.is_buried(id) || veth::find(&mut kernel.links, id)?.is_none())
}

/// Removes those of `claims`, and of `ids` those that nobody else is at and that, looked at again,
/// `are_to_go`.
fn remove_those(
    kernel: &mut Kernel,
    state: &State,
    mut claims: Vec<Claim>,
    ids: &[AttachmentId],
    mut are_to_go: impl FnMut(&mut Kernel, &AttachmentId) -> Result<bool, Error>,
) -> Result<Vec<AttachmentId>, Error> {
    let mut removed = Vec::new();
    for id in ids {
        if let Some(claim) = state.idle_claim(id)?
            && are_to_go(kernel, id)?
        {
            claims.push(claim);
        }
        if claims.len() == BATCH {
            remove(kernel, state, &claims)?;
            removed.extend(claims.drain(..).map(|claim| claim.id));
        }
    }
    remove(kernel, state, &claims)?;
    removed.extend(claims.into_iter().map(|claim| claim.id));
    Ok(removed)
}
