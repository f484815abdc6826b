//! DEL: removes what is left of an ADD, and succeeds if nothing is.
//!
//! It needs neither the namespace nor a record: the host link's name follows from the attachment's.

use std::path::Path;

use common::attachment::AttachmentId;
use net::Netlink;

use super::remove;
use crate::error::Error;
use crate::state::State;
use crate::veth;

pub(crate) fn del(id: &AttachmentId, state_dir: &Path) -> Result<(), Error> {
    let mut host = Netlink::open()?;
    let state = State::at(state_dir);
    let claim = match state.existing_claim(id)? {
        // Somebody has removed the claim alone.
        None if state.record(id)?.is_some() => {
            let state = State::open(state_dir, || Ok(veth::living(&mut host)?))?;
            Some(state.claim(id)?.0)
        }
        claim => claim,
    };
    match claim {
        Some(claim) => remove(&mut host, &state, &claim),
        None => Ok(veth::delete(&mut host, id)?),
    }
}
