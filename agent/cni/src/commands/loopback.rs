//! `loopback`, which containerd executes for each sandbox: `lo` of the container is up.
//!
//! It stands in for the reference plugin of that name where that is not installed.

use std::path::Path;

use net::link::{Link, LinkChange};
use net::{Mac, Netlink};
use serde_json::Value;

use super::container;
use crate::error::Error;
use crate::request::{Call, Conf, Target};
use crate::spec::{self, Seen, Version};

const LO: &str = "lo";

/// Answers a call.
pub(crate) fn run(call: Call, version: Version, mut conf: Conf) -> Result<Option<Value>, Error> {
    match call {
        Call::Add(target, _) => {
            let previous = conf.remove("prevResult").filter(|previous| !previous.is_null());
            add(version, &target, previous).map(Some)
        }
        Call::Check(target) => check(&target).map(|()| None),
        Call::Version => Ok(Some(spec::versions(version))),
        Call::Del(_, netns) => netns.map_or(Ok(()), |netns| del(&netns)).map(|()| None),
        Call::Gc | Call::Status => Ok(None),
    }
}

/// Takes `lo` down, if its namespace is still there.
fn del(netns: &Path) -> Result<(), Error> {
    match find(netns) {
        Err(Error::UnknownContainer(_) | Error::Environment(_)) => Ok(()),
        found => {
            let (mut netlink, lo) = found?;
            Ok(netlink.set_link(lo.index, &enabled(false))?)
        }
    }
}

fn enabled(up: bool) -> LinkChange {
    LinkChange { up: Some(up), ..LinkChange::default() }
}

fn add(version: Version, target: &Target, previous: Option<Value>) -> Result<Value, Error> {
    let (mut netlink, lo) = find(&target.netns)?;
    netlink.set_link(lo.index, &enabled(true))?;
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
    let (_, lo) = find(&target.netns)?;
    if lo.up { Ok(()) } else { Err(Error::Differs(vec![format!("{LO} is down")])) }
}

fn find(netns: &Path) -> Result<(Netlink, Link), Error> {
    let mut netlink = container(netns)?.links;
    let lo = netlink.link(LO)?;
    let missing = || Error::Differs(vec![format!("{LO} is missing")]);
    lo.map(|lo| (netlink, lo)).ok_or_else(missing)
}
