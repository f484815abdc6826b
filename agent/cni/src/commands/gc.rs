//! GC: removes every attachment to a network that the runtime does not know.

use std::collections::BTreeSet;
use std::path::Path;

use common::attachment::AttachmentId;

use super::del::{self, Whose};
use crate::error::Error;
use crate::kernel::Kernel;
use crate::state::State;
use crate::{removal, veth};

/// Goes on after an error, and reports the first.
pub(crate) fn gc(
    network: &str,
    valid: &BTreeSet<AttachmentId>,
    state_dir: &Path,
) -> Result<(), Error> {
    let (mut kernel, state) = (Kernel::open()?, State::at(state_dir));
    state.refuse_links()?;
    let mut found = state.ids()?.into_iter().collect::<BTreeSet<_>>();
    // Those whose files are lost.
    found.extend(veth::owners(&mut kernel.links)?);
    let mut outcomes = Vec::new();
    for id in found.difference(valid) {
        let begun = del::begin(&mut kernel, state_dir, id, Whose::Networks(network));
        outcomes.push(begun.map(drop).inspect_err(|error| {
            eprintln!("kubenet: cannot remove {id}: {error}");
        }));
    }
    outcomes.push(removal::complete(&mut kernel, &state, Vec::new()).map(drop));
    outcomes.into_iter().collect()
}
