//! The bridge that the agent makes, and whether pods can be put on it.

use net::link::{Kind, Link};
use net::{NetError, Netlink};

use crate::request::Config;

/// The bridge of `config`, or why no pod can be put on it.
///
/// A network configuration outlives a reboot, and the ranges that it was written for: a bridge without
/// its gateways has other pods, or none yet.
pub(crate) fn find(
    netlink: &mut Netlink,
    config: &Config,
) -> Result<Result<Link, String>, NetError> {
    let name = &config.bridge;
    let Some(link) = netlink.link(name)? else {
        return Ok(Err(format!("bridge {name} is missing: kubenet's agent makes it")));
    };
    if link.kind != Kind::Bridge {
        return Ok(Err(format!("{name} is no bridge")));
    }
    if !link.up {
        return Ok(Err(format!("bridge {name} is down")));
    }
    let addresses = netlink.addresses_of(link.index)?;
    let held = |gateway| addresses.iter().any(|a| a.address == gateway);
    let missing = config.ranges.iter().filter(|range| !held(range.gateway));
    let missing = missing.map(|range| range.gateway.to_string()).collect::<Vec<_>>();
    Ok(if missing.is_empty() {
        Ok(link)
    } else {
        Err(format!("bridge {name} lacks its gateway {}", missing.join(" and ")))
    })
}
