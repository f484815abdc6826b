//! One file for each verb, and what they share.

use std::path::Path;

use net::Netns;
use net::netns::NetnsError;

use crate::error::{During, Error};

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
