//! One file for each verb, and what they share.

use std::path::Path;

use common::attachment::AttachmentId;
use net::netns::NetnsError;
use net::{Netlink, Netns};

use crate::error::{During, Error};
use crate::state::{Claim, State};
use crate::{hostports, veth};

pub(crate) mod add;
pub(crate) mod check;
pub(crate) mod del;
pub(crate) mod gc;
pub(crate) mod loopback;
pub(crate) mod status;

/// The container's network namespace, which must not be the machine's.
pub(crate) fn container_netns(path: &Path) -> Result<Netns, Error> {
    let refused = |why: String| Error::Environment(vec![format!("CNI_NETNS: {why}")]);
    let netns = match Netns::open(path) {
        Err(error @ NetnsError::Missing(_)) => return Err(Error::UnknownContainer(error)),
        Err(error @ NetnsError::NotNetns(_)) => return Err(refused(error.to_string())),
        Err(NetnsError::Open { path, source }) => {
            return Err(source).during(|| format!("open network namespace {path}"));
        }
        Ok(netns) => netns,
    };
    let is_host = netns.is_current().during(|| "look at the own network namespace".to_owned())?;
    if is_host {
        let path = path.display();
        return Err(refused(format!("{path} is the network namespace of the machine")));
    }
    Ok(netns)
}

/// Removes all that there is of an attachment, in the opposite order of ADD.
///
/// What names the next thing goes after it: whoever is killed here leaves what this finds again. An
/// address is free only when nothing leads to the pod any more.
pub(crate) fn remove(host: &mut Netlink, state: &State, claim: &Claim) -> Result<(), Error> {
    let record = state.record(&claim.id)?;
    let retracted =
        record.as_ref().map_or(Ok(()), |record| hostports::retract(state, &claim.id, record));
    let deleted = veth::delete(host, &claim.id);
    retracted?;
    deleted?;
    state.release(claim, &record.map(|record| record.addresses).unwrap_or_default())
}

/// Removes `id` if it is dead: its host link is gone, and no call about it is in flight.
pub(crate) fn bury(host: &mut Netlink, state: &State, id: &AttachmentId) -> Result<(), Error> {
    match state.idle_claim(id)? {
        Some(claim) if veth::find(host, id)?.is_none() => remove(host, state, &claim),
        _ => Ok(()),
    }
}
