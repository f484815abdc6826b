//! `kubenet-exec`: a plugin of kubelet's exec protocol behind CNI.
//!
//! The protocol has no network namespace: the plugin finds it in its environment, which is the
//! runtime's, as `CNI_NETNS`, and the interface's name as `CNI_IFNAME`. Nothing is kept here: what the
//! plugin makes is its own.

use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;

use common::attachment::{AttachmentId, Pod};
use common::conflist::ExecConfig;
use net::addr::Address;
use net::link::Link;
use net::program;
use serde::Deserialize;
use serde_json::Value;

use super::{container, status};
use crate::error::Error;
use crate::exec::{self, Verb};
use crate::request::{Call, Conf, Target};
use crate::spec::{self, Seen, Version};

/// What kubelet gave the plugins of one pod, for all that they do.
const TIMEOUT: Duration = Duration::from_secs(220);

/// Answers a call for the container of `pod`.
pub(crate) fn run(
    call: Call,
    pod: &Pod,
    version: Version,
    conf: Conf,
) -> Result<Option<Value>, Error> {
    let config = ExecConfig::deserialize(Value::Object(conf));
    let config = config.map_err(|error| Error::Config(vec![error.to_string()]))?;
    let plugin = Plugin { program: Path::new(&config.program), pod };
    match call {
        Call::Add(target, ..) => plugin.add(version, &target).map(Some),
        Call::Check(target) => plugin.find(&target).map(|_| None),
        Call::Del(id, _) => plugin.call(Verb::Teardown, &id).map(|_| None),
        Call::Status => match status::agents_reason(Path::new(&config.state_dir)) {
            Some(reason) => Err(Error::NotReady(reason)),
            None => Ok(None),
        },
        Call::Version => Ok(Some(spec::versions(version))),
        // The protocol has no such thing.
        Call::Gc => Ok(None),
    }
}

struct Plugin<'a> {
    program: &'a Path,
    pod: &'a Pod,
}

/// What it made in the container.
struct Found {
    link: Link,
    addresses: Vec<(IpAddr, u8)>,
}

impl Plugin<'_> {
    fn call(&self, verb: Verb, id: &AttachmentId) -> Result<String, Error> {
        let Pod { namespace, name, .. } = self.pod;
        let arguments = [verb.as_str(), namespace, name, id.container_id()];
        let call = program::Call {
            program: self.program,
            arguments: &arguments,
            input: "",
            timeout: TIMEOUT,
        };
        Ok(call.run()?)
    }

    fn add(&self, version: Version, target: &Target) -> Result<Value, Error> {
        container(&target.netns)?;
        let found = self.call(Verb::Setup, &target.id).and_then(|_| self.find(target));
        let found = found.inspect_err(|_| {
            if let Err(error) = self.call(Verb::Teardown, &target.id) {
                eprintln!("kubenet-exec: cannot undo a failed ADD: {error}");
            }
        })?;
        Ok(spec::seen(
            version,
            &Seen {
                name: &found.link.name,
                mac: &found.link.mac.map(|mac| mac.to_string()).unwrap_or_default(),
                netns: &target.netns,
                addresses: &found.addresses,
            },
        ))
    }

    /// The interface, with the address that the plugin's status says, or all where it says none.
    fn find(&self, target: &Target) -> Result<Found, Error> {
        let said = exec::address(&self.call(Verb::Status, &target.id)?)?;
        let mut netlink = container(&target.netns)?.links;
        let ifname = target.id.ifname();
        let missing =
            |what: String| Error::Differs(vec![format!("the exec plugin made no {what}")]);
        let link = netlink.link(ifname)?.ok_or_else(|| missing(format!("interface {ifname}")))?;
        let mut addresses = of_link(&link, &netlink.addresses()?);
        if let Some(said) = said {
            addresses.retain(|(ip, _)| *ip == said);
            if addresses.is_empty() {
                return Err(missing(format!("address {said}, of which its status tells")));
            }
        }
        if addresses.is_empty() {
            return Err(missing(format!("address of {ifname}")));
        }
        Ok(Found { link, addresses })
    }
}

/// All but link-local ones.
fn of_link(link: &Link, addresses: &[Address]) -> Vec<(IpAddr, u8)> {
    let own = addresses.iter().filter(|address| address.link == link.index && address.permanent);
    let global = own.filter(|address| match address.address {
        IpAddr::V4(ip) => !ip.is_link_local(),
        IpAddr::V6(ip) => !ip.is_unicast_link_local(),
    });
    global.map(|address| (address.address, address.length)).collect()
}
