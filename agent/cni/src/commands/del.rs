//! DEL: cuts the container off, and succeeds if nothing of it is there.
//!
//! The rest takes the kernel 20 ms, so it is left to the agent; without an answer from one it is done
//! here, with what others have left. DEL needs neither the namespace nor a record: the host link's name
//! follows from the attachment's.

use std::path::Path;
use std::time::Duration;

use common::attachment::AttachmentId;
use common::names;

use crate::error::Error;
use crate::kernel::Kernel;
use crate::state::{Claim, State};
use crate::{removal, veth};

/// The agent answers within a millisecond, unless it is stopped, or the machine has no time for it.
const ANSWER_LIMIT: Duration = Duration::from_millis(20);

pub(crate) fn del(id: &AttachmentId, state_dir: &Path) -> Result<(), Error> {
    let (mut kernel, state) = (Kernel::open()?, State::at(state_dir));
    if begin(&mut kernel, state_dir, id, Whose::Anybodys)? == Left::Nothing {
        return Ok(());
    }
    if net::knock::knock(&state.path(names::AGENT_SOCKET_FILE), ANSWER_LIMIT).unwrap_or(false) {
        return Ok(());
    }
    let own = state.existing_claim(id)?.filter(|_| state.is_buried(id));
    removal::complete(&mut kernel, &state, own.into_iter().collect()).map(drop)
}

/// Which attachments are to go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Whose<'a> {
    Anybodys,
    /// Those to the network of this name, and those of which nobody knows.
    Networks(&'a str),
}

/// What there is to complete.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Left {
    Nothing,
    /// For whoever takes the claim's lock.
    Tombstone,
}

/// Leaves a tombstone; where there is nothing to make one of, all goes at once.
pub(super) fn begin(
    kernel: &mut Kernel,
    state_dir: &Path,
    id: &AttachmentId,
    whose: Whose<'_>,
) -> Result<Left, Error> {
    let state = State::at(state_dir);
    let Some(claim) = claim(kernel, state_dir, id)? else { return Ok(Left::Nothing) };
    // Under the lock: of what an ADD is at, nobody knows whose it is.
    if let Whose::Networks(network) = whose
        && removal::known(kernel, &state, id)?.is_some_and(|record| record.network != network)
    {
        return Ok(Left::Nothing);
    }
    // What goes wrong here is told by what is tried next.
    if removal::bury(kernel, &state, &claim).unwrap_or(false) {
        return Ok(Left::Tombstone);
    }
    removal::remove(kernel, &state, &[claim])?;
    Ok(Left::Nothing)
}

/// The claim of `id`, if there is anything of it; somebody may have removed the claim alone.
fn claim(kernel: &mut Kernel, state_dir: &Path, id: &AttachmentId) -> Result<Option<Claim>, Error> {
    let state = State::at(state_dir);
    state.refuse_links()?;
    if let Some(claim) = state.existing_claim(id)? {
        return Ok(Some(claim));
    }
    if state.last_record(id)?.is_some() {
        let state = State::open(state_dir, || Ok(veth::living(&mut kernel.links)?))?;
        return Ok(Some(state.claim(id)?.0));
    }
    if !veth::has_links(&mut kernel.links, id)? {
        return Ok(None);
    }
    // An ADD may have made them a moment ago: only under the lock they are known to be left over.
    match state.claim(id) {
        Err(Error::Io { .. }) => {
            veth::delete(&mut kernel.links, [id])?;
            Ok(None)
        }
        claim => claim.map(|(claim, _)| Some(claim)),
    }
}
