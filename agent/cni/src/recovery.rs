//! Files of an attachment that lives, made anew where they were lost: what they said, the kernel tells.
//!
//! Addresses, MAC address, namespace and pod stand in the host link's alias, limits in its token
//! buckets, host ports in the table; only the pod's UID and whatever was flushed are told by nobody.

use common::attachment::{Attachment, AttachmentId};
use common::bandwidth::Bandwidth;
use common::{names, pods_table};
use net::link::Link;

use crate::error::{Error, Holder};
use crate::kernel::Kernel;
use crate::removal;
use crate::state::{Claim, State};
use crate::veth;

/// Makes claim, leases and record of `id` anew, but for what there is of them, if it lives and nobody is
/// at it.
///
/// # Errors
/// [`Error::AddressTaken`] if another has got one of its addresses meanwhile.
pub(crate) fn restore(kernel: &mut Kernel, state: &State, id: &AttachmentId) -> Result<(), Error> {
    let state = State::open(state.root(), || Ok(veth::living(&mut kernel.links)?))?;
    let Some(claim) = state.free_claim(id)? else { return Ok(()) };
    if state.is_buried(id) {
        return Ok(());
    }
    let link = veth::find(&mut kernel.links, id)?;
    let told = link.as_ref().and_then(|link| Attachment::of_alias(link.alias.as_deref()?));
    let Some((link, told)) = link.zip(told) else {
        // It has ended since, and its claim may be the one that was just made.
        return removal::remove(kernel, &state, &[claim]);
    };
    lease(&state, &claim, &told)?;
    if state.record(id)?.is_some() {
        return Ok(());
    }
    state.write_record(id, &record(kernel, id, &link, told)?)
}

fn lease(state: &State, claim: &Claim, told: &Attachment) -> Result<(), Error> {
    told.addresses.iter().try_for_each(|&address| {
        if state.is_leased(address, &claim.id) || state.lease(claim, address)? {
            return Ok(());
        }
        let holder = state.lessee(address).map(|id| Box::new(Holder { id, pod: None }));
        Err(Error::AddressTaken { address, holder })
    })
}

/// What was `told` by the alias, with host ports and limits.
fn record(
    kernel: &mut Kernel,
    id: &AttachmentId,
    link: &Link,
    told: Attachment,
) -> Result<Attachment, Error> {
    let elements = kernel.nftables()?.elements_to(names::PODS_TABLE, &told.addresses)?;
    let host_ports = pods_table::host_ports(&told.addresses, &elements);
    let outside = kernel.links.shaping(link.index)?;
    let limiter = veth::limiter(&mut kernel.links, id)?;
    let limiter = limiter.map(|limiter| kernel.links.shaping(limiter.index)).transpose()?;
    let bandwidth =
        Bandwidth { ingress: outside.limit, egress: limiter.and_then(|limiter| limiter.limit) };
    Ok(Attachment { host_ports, bandwidth, ..told })
}
