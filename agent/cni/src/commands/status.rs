//! STATUS: whether an ADD would succeed now, and if not, why.

use std::fs::File;
use std::path::Path;

use common::names;
use net::Netlink;

use crate::bridge;
use crate::error::Error;
use crate::request::Config;
use crate::state::{Lock, try_lock};
use crate::veth;

pub(crate) fn status(config: &Config) -> Result<(), Error> {
    let mut netlink = Netlink::open()?;
    let of_bridge = bridge::find(&mut netlink, config)?.err();
    let limited = of_bridge.is_some() && !veth::living(&mut netlink)?.is_empty();
    let told = cleaning(&config.state_dir).or_else(|| agents_reason(&config.state_dir));
    let reasons = [told, of_bridge].into_iter().flatten().collect::<Vec<_>>().join(": ");
    match reasons {
        none if none.is_empty() => Ok(()),
        reasons if limited => Err(Error::Limited(reasons)),
        reasons => Err(Error::NotReady(reasons)),
    }
}

/// What whoever is removing kubenet from this machine has to say, if anybody is.
pub(crate) fn cleaning(state_dir: &Path) -> Option<String> {
    let reason = text(&state_dir.join(names::CLEANING_FILE))?;
    Some(reason.trim().to_owned())
}

/// Why the agent finds this machine's network not ready.
///
/// It counts only while an agent lives, which its lock tells: one that is merely absent is no reason.
pub(crate) fn agents_reason(state_dir: &Path) -> Option<String> {
    let lock = File::open(state_dir.join(names::AGENT_LOCK_FILE)).ok()?;
    let alive = matches!(try_lock(&lock, Lock::Shared), Ok(false));
    let reason = text(&state_dir.join(names::REASON_FILE))?;
    let reason = reason.trim();
    (alive && !reason.is_empty()).then(|| reason.to_owned())
}

fn text(path: &Path) -> Option<String> {
    String::from_utf8(net::file::read(path).ok()??).ok()
}
