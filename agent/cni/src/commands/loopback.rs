//! `loopback`, which containerd executes for each sandbox: `lo` of the container is up.
//!
//! It stands in for the reference plugin of that name where that is not installed.

use net::link::{Link, LinkChange};
use net::{Mac, Netlink};
use serde_json::Value;

use super::container;
use crate::error::Error;
use crate::request::{Call, Conf, Target};
use crate::spec::{self, Seen, Version};

const LO: &str = "lo";

/// Answers a call; DEL leaves `lo` to end with its namespace.
pub(crate) fn run(call: Call, version: Version, mut conf: Conf) -> Result<Option<Value>, Error> {
    match call {
        Call::Add(target, _) => {
            let previous = conf.remove("prevResult").filter(|previous| !previous.is_null());
            add(version, &target, previous).map(Some)
        }
        Call::Check(target) => check(&target).map(|()| None),
        Call::Version => Ok(Some(spec::versions(version))),
        Call::Del(_) | Call::Gc | Call::Status => Ok(None),
    }
}

fn add(version: Version, target: &Target, previous: Option<Value>) -> Result<Value, Error> {
    let (mut netlink, lo) = find(target)?;
    netlink.set_link(lo.index, &LinkChange { up: Some(true), ..LinkChange::default() })?;
    if let Some(previous) = previous {
        return Ok(previous);
    }
    let addresses = netlink.addresses()?;
    let own = addresses.iter().filter(|address| address.link == lo.index);
    let own = own.map(|address| (address.address, address.length)).collect::<Vec<_>>();
    let mac = lo.mac.unwrap_or(Mac([0; 6])).to_string();
    let seen = Seen { name: LO, mac: &mac, netns: &target.netns, addresses: &own };
    Ok(spec::seen(version, &seen))
}

fn check(target: &Target) -> Result<(), Error> {
    let (_, lo) = find(target)?;
    if lo.up { Ok(()) } else { Err(Error::Differs(vec![format!("{LO} is down")])) }
}

fn find(target: &Target) -> Result<(Netlink, Link), Error> {
    let mut netlink = container(&target.netns)?.links;
    let lo = netlink.link(LO)?;
    let missing = || Error::Differs(vec![format!("{LO} is missing")]);
    lo.map(|lo| (netlink, lo)).ok_or_else(missing)
}
