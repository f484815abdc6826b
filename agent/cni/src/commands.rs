//! One file for each verb, and what they share.

use std::path::Path;

use net::netns::NetnsError;
use net::{Netlink, Netns};

use crate::error::{During, Error};

pub(crate) mod add;
pub(crate) mod check;
pub(crate) mod del;
pub(crate) mod exec;
pub(crate) mod gc;
pub(crate) mod loopback;
pub(crate) mod status;

/// A container's network namespace, which is not the machine's, and a socket in it.
#[derive(Debug)]
pub(crate) struct Container {
    pub(crate) netns: Netns,
    pub(crate) links: Netlink,
}

/// Opens the network namespace at `path`.
pub(crate) fn container(path: &Path) -> Result<Container, Error> {
    let refused = |why: String| Error::Environment(vec![format!("CNI_NETNS: {why}")]);
    let (netns, links) = match Netns::enter(path, Netlink::open) {
        Err(error @ NetnsError::Missing(_)) => return Err(Error::UnknownContainer(error)),
        Err(error @ NetnsError::NotNetns(_)) => return Err(refused(error.to_string())),
        Err(NetnsError::Open { path, source }) => {
            return Err(source).during(|| format!("open network namespace {path}"));
        }
        Ok(opened) => opened,
    };
    let is_host = netns.is_current().during(|| "look at the own network namespace".to_owned())?;
    if is_host {
        let path = path.display();
        return Err(refused(format!("{path} is the network namespace of the machine")));
    }
    Ok(Container { netns, links: links? })
}
