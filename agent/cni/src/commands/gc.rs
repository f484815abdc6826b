//! GC: removes every attachment that the runtime does not know.

use std::collections::BTreeSet;
use std::path::Path;

use common::attachment::AttachmentId;
use net::Netlink;

use super::del::del;
use crate::error::Error;
use crate::state::State;
use crate::veth;

/// Goes on after an error, and reports the first.
pub(crate) fn gc(valid: &BTreeSet<AttachmentId>, state_dir: &Path) -> Result<(), Error> {
    let mut found = State::at(state_dir).ids()?.into_iter().collect::<BTreeSet<_>>();
    // Those whose files are lost.
    found.extend(veth::owners(&mut Netlink::open()?)?);
    let outcomes = found.difference(valid).map(|id| {
        del(id, state_dir).inspect_err(|error| {
            eprintln!("kubenet: cannot remove {id}: {error}");
        })
    });
    outcomes.collect::<Vec<_>>().into_iter().collect()
}
