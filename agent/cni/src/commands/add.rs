//! ADD: gives the container an interface with an address of each range, or leaves nothing behind.
//!
//! Claim, leases, record, elements, veth pair: each step names what the next one makes, and the
//! runtime's DEL, or the next ADD that lacks an address, finds it.

use std::net::IpAddr;
use std::slice;

use common::attachment::{Attachment, AttachmentId};
use common::bandwidth::{Bandwidth, Limit};
use net::link::{Hairpin, Link};
use serde_json::Value;

use super::{Container, container, status};
use crate::error::{During, Error, Holder};
use crate::kernel::Kernel;
use crate::ranges::{self, Pool, Want};
use crate::removal::Fate;
use crate::request::{Args, Config, Rates, Target};
use crate::spec::{self, Made, Version};
use crate::state::{COOL_DOWN, Claim, Found, LOCK_LIMIT, State};
use crate::{bridge, hostports, removal, veth, wait};

/// The parts of the machine that an ADD works on.
struct Machine {
    kernel: Kernel,
    bridge: Link,
    state: State,
    container: Container,
}

pub(crate) fn add(
    version: Version,
    target: &Target,
    args: Args,
    config: &Config,
    previous: Option<Value>,
) -> Result<Value, Error> {
    let container = container(&target.netns)?;
    let mut kernel = Kernel::open()?;
    let bridge = bridge::find(&mut kernel.links, config)?.map_err(|reason| {
        let more = status::agents_reason(&config.state_dir).unwrap_or_default();
        let separator = if more.is_empty() { "" } else { ": " };
        Error::TryLater(format!("{reason}{separator}{more}"))
    })?;
    let state = State::open(&config.state_dir, || Ok(veth::living(&mut kernel.links)?))?;
    let mut machine = Machine { kernel, bridge, state, container };
    let claim = machine.claim(target)?;
    let attached = machine.attach(&claim, config, args);
    if attached.is_err()
        && let Err(error) =
            removal::remove(&mut machine.kernel, &machine.state, slice::from_ref(&claim))
    {
        eprintln!("kubenet: cannot undo a failed ADD: {error}");
    }
    let record = attached?;
    let made = Made {
        record: &record,
        netns: &target.netns,
        ranges: &ranges::of_addresses(&config.ranges, &record.addresses),
        dns: config.dns.as_ref(),
        mtu: machine.mtu(config),
        route_mtu: config.route_mtu,
        bridge_mac: machine.bridge.mac.map(|mac| mac.to_string()).unwrap_or_default(),
        host_mac: veth::host_mac(&record.addresses).to_string(),
    };
    Ok(spec::added(version, previous, &made))
}

impl Machine {
    /// Claims the attachment; one that is there is refused and stays as it is.
    fn claim(&mut self, target: &Target) -> Result<Claim, Error> {
        let (claim, found) = self.state.claim(&target.id)?;
        let vacant = self.vacant(&claim.id);
        if found == Found::Nothing {
            if vacant.is_err() {
                self.state.release(&claim, &[])?;
            }
            return vacant.map(|()| claim);
        }
        vacant?;
        // Left by an ADD that was killed, or by a pod whose namespace took the link along.
        removal::remove(&mut self.kernel, &self.state, &[claim])?;
        self.state.claim(&target.id).map(|(claim, _)| claim)
    }

    /// Whether there is no host link yet; of one that is being removed it may still stand.
    fn vacant(&mut self, id: &AttachmentId) -> Result<(), Error> {
        if self.state.is_buried(id) {
            return Ok(());
        }
        let Some(link) = self.kernel.links.link(&id.host_link())? else { return Ok(()) };
        Err(Error::Attached(if veth::is_of(&link, id) {
            let holder = self.holder(id.clone())?;
            format!("{holder} is attached already: DEL comes before another ADD")
        } else {
            format!("the name {} for the host link of {id} is taken", link.name)
        }))
    }

    fn attach(&mut self, claim: &Claim, config: &Config, args: Args) -> Result<Attachment, Error> {
        // After the claim: whoever cleans up waits for all that were made before its mark was.
        if let Some(reason) = status::cleaning(&config.state_dir) {
            return Err(Error::TryLater(reason));
        }
        let addresses = config.wants.iter().map(|want| match want {
            Want::This(address) => self.lease(claim, *address),
            Want::OneOf(pools) => self.reserve(claim, pools),
        });
        let addresses = addresses.collect::<Result<Vec<_>, _>>()?;
        let mac = config.mac.unwrap_or_else(|| veth::container_mac(&addresses));
        let record = Attachment {
            addresses,
            mac: mac.to_string(),
            pod: args.pod,
            ..self.record(claim, config)?
        };
        self.publish(claim, &record)?;
        if config.mac.is_some() {
            self.refuse_a_second(&record)?;
        }
        let plan = veth::Plan {
            id: &claim.id,
            record: &record,
            netns: &self.container.netns,
            ranges: &ranges::of_addresses(&config.ranges, &record.addresses),
            mac,
            bridge: self.bridge.index,
            mtu: self.mtu(config),
            route_mtu: config.route_mtu,
            hairpin: if config.hairpin { Hairpin::On } else { Hairpin::Off },
        };
        plan.apply(&mut self.kernel.links, &mut self.container.links)?;
        Ok(record)
    }

    /// This address, if need be from an attachment that is dead.
    fn lease(&mut self, claim: &Claim, address: IpAddr) -> Result<IpAddr, Error> {
        while !self.state.lease(claim, address)? {
            let lessee = self.state.lessee(address);
            let fate = lessee.as_ref().map(|id| removal::fate(&mut self.kernel, &self.state, id));
            match fate.transpose()? {
                Some(Fate::Gone) => {}
                Some(Fate::Dead(dead)) => {
                    removal::remove(&mut self.kernel, &self.state, slice::from_ref(&dead))?;
                }
                None | Some(Fate::Alive) => {
                    let holder = lessee.map(|id| self.holder(id)).transpose()?;
                    return Err(Error::AddressTaken { address, holder: holder.map(Box::new) });
                }
            }
        }
        Ok(address)
    }

    fn holder(&mut self, id: AttachmentId) -> Result<Holder, Error> {
        let known = removal::known(&mut self.kernel, &self.state, &id)?;
        Ok(Holder { id, pod: known.and_then(|record| record.pod) })
    }

    /// Refuses a MAC address that the bridge or another living attachment has, of whoever comes second.
    ///
    /// The record is there, so of two that ask at once each sees the other.
    fn refuse_a_second(&mut self, record: &Attachment) -> Result<(), Error> {
        if self.bridge.mac.is_some_and(|mac| mac.to_string() == record.mac) {
            return Err(Error::Config(vec![format!("mac: {} has {}", record.bridge, record.mac)]));
        }
        for id in self.state.ids()? {
            let Some(other) = removal::known(&mut self.kernel, &self.state, &id)? else { continue };
            let own = (&record.container_id, &record.ifname);
            let is_own = (&other.container_id, &other.ifname) == own;
            if other.mac == record.mac
                && !is_own
                && veth::find(&mut self.kernel.links, &id)?.is_some()
            {
                let holder = Box::new(Holder { id, pod: other.pod });
                return Err(Error::MacTaken { mac: other.mac, holder });
            }
        }
        Ok(())
    }

    /// An address of `pools`, if need be that of an attachment that is dead.
    fn reserve(&mut self, claim: &Claim, pools: &[Pool]) -> Result<IpAddr, Error> {
        if let Some(address) = self.state.reserve(claim, pools, COOL_DOWN)? {
            return Ok(address);
        }
        let Self { kernel, state, .. } = self;
        // Another process may be at one of the dead.
        let freed = wait::until(LOCK_LIMIT, || {
            removal::complete(kernel, state, Vec::new())?;
            let links = kernel.links.links()?;
            removal::remove_dead(kernel, state, &links)?;
            Ok::<_, Error>(match state.reserve(claim, pools, COOL_DOWN)? {
                None if !state.tombstones()?.is_empty() => None,
                reserved => Some(reserved),
            })
        })?;
        freed.flatten().ok_or_else(|| {
            let subnets = pools.iter().map(|pool| pool.range.subnet.to_string());
            Error::Exhausted {
                subnets: subnets.collect::<Vec<_>>().join(" and "),
                total: pools.iter().map(Pool::total).sum(),
                size: pools.iter().map(Pool::size).sum(),
            }
        })
    }

    /// All that does not depend on addresses.
    fn record(&self, claim: &Claim, config: &Config) -> Result<Attachment, Error> {
        let inode = self.container.netns.inode();
        let inode = inode.during(|| "look at the container's namespace".to_owned())?;
        Ok(Attachment {
            container_id: claim.id.container_id().to_owned(),
            ifname: claim.id.ifname().to_owned(),
            bridge: config.bridge.clone(),
            host_link: claim.id.host_link(),
            netns_inode: inode,
            network: config.network.clone(),
            host_ports: config.host_ports.clone(),
            bandwidth: self.bandwidth(config),
            ..Attachment::default()
        })
    }

    /// Writes the record with its host ports; dead attachments give up those that they have.
    fn publish(&mut self, claim: &Claim, record: &Attachment) -> Result<(), Error> {
        let Self { kernel, state, .. } = self;
        let (mut dead, mut records) = (Vec::new(), Vec::new());
        let mut asked_again = false;
        loop {
            match hostports::publish(kernel, state, &claim.id, record, &records) {
                // Its owner went between two looks, if it has ever had one.
                Err(Error::HostPortTaken { owner: None, .. }) if !asked_again => {
                    asked_again = true;
                }
                Err(Error::HostPortTaken { port, owner: Some(owner) }) => {
                    match removal::fate(kernel, state, &owner.id)? {
                        // Its elements went before its record, since they were found in our way.
                        Fate::Alive if state.last_record(&owner.id)?.is_none() => {}
                        Fate::Alive => {
                            return Err(Error::HostPortTaken { port, owner: Some(owner) });
                        }
                        Fate::Gone => {}
                        Fate::Dead(claim) => {
                            records.extend(state.last_record(&claim.id)?);
                            dead.push(claim);
                        }
                    }
                }
                Err(error) => return Err(error),
                Ok(()) => return removal::remove(kernel, state, &dead),
            }
        }
    }

    fn bandwidth(&self, config: &Config) -> Bandwidth {
        let limit = |rate| Limit::new(rate, self.mtu(config));
        let Rates { ingress, egress } = config.rates;
        Bandwidth { ingress: ingress.map(limit), egress: egress.map(limit) }
    }

    fn mtu(&self, config: &Config) -> u32 {
        config.mtu.unwrap_or(self.bridge.mtu)
    }
}
