//! What the kernel tells of changes: enough to wake up and look.

use std::collections::BTreeSet;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::time::Duration;

use common::names;
use netlink_sys::protocols::{NETLINK_NETFILTER, NETLINK_ROUTE};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::attribute::{attribute, text_of};
use crate::connection::{Connection, Message};
use crate::error::During;
use crate::{NetError, Netlink};

/// linux/rtnetlink.h, `enum rtnetlink_groups`: links, and of each family addresses, routes and the
/// settings that the kernel tells of (`RTNLGRP_IPV4_NETCONF`).
const ROUTING: &[u32] = &[1, 5, 7, 9, 11, 24, 25];

/// The same, `RTNLGRP_NEIGH`.
const NEIGHBOURS: &[u32] = &[3];

/// linux/netfilter/nfnetlink.h, `NFNLGRP_NFTABLES`.
const NFTABLES: &[u32] = &[7];

/// `linux/netfilter/nf_tables.h`, `NFTA_TABLE_NAME` and its like.
const NFTA_TABLE: u16 = 1;

/// Datagrams that one call takes: who changes things all the time must not keep it for ever.
const AT_ONCE: usize = 1024;

/// Something changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Event {
    Link,
    Address,
    Route,
    /// A setting under `net/ipv4/conf` or `net/ipv6/conf`; of forwarding, also the one of them all.
    Setting,
    /// A neighbour's MAC address, or the port of a bridge behind which one was seen.
    Neighbour,
    /// An nft table, set, chain or rule.
    Ruleset,
    /// An element of an nft set: for ours, a host port of a pod.
    Element,
    /// More than the socket could hold (`ENOBUFS`): anything may have changed.
    Lost,
}

/// A subscription in the network namespace in which it was opened. Its socket never blocks: wait for
/// it with [`Events::wait`], or with tokio's `AsyncFd` and its `try_io`.
#[derive(Debug)]
pub struct Events {
    connection: Connection,
    event: fn(&Message<'_>) -> Option<Event>,
    /// The port of a socket of whose routes nothing is told.
    untold: Option<u32>,
}

impl Events {
    /// Links, and addresses, routes and settings of both families.
    pub fn of_routing() -> Result<Self, NetError> {
        Self::of(NETLINK_ROUTE, ROUTING, routing).during("subscribe to", "links and routes")
    }

    /// The same without the routes that `netlink` itself has changed, of which whoever has it knows.
    pub fn of_routing_by_others(netlink: &Netlink) -> Result<Self, NetError> {
        let of_others = || -> io::Result<Self> {
            let untold = Some(netlink.port()?);
            Ok(Self { untold, ..Self::of(NETLINK_ROUTE, ROUTING, routing)? })
        };
        of_others().during("subscribe to", "links and routes")
    }

    /// Who is there on links, and behind which ports of bridges.
    pub fn of_neighbours() -> Result<Self, NetError> {
        Self::of(NETLINK_ROUTE, NEIGHBOURS, routing).during("subscribe to", "neighbours")
    }

    /// The nft ruleset: our tables, and the chains of all.
    ///
    /// What others change in their own tables, as kube-proxy with each Service, is not told.
    pub fn of_nftables() -> Result<Self, NetError> {
        Self::of(NETLINK_NETFILTER, NFTABLES, nftables).during("subscribe to", "the nft ruleset")
    }

    fn of(
        protocol: isize,
        groups: &[u32],
        event: fn(&Message<'_>) -> Option<Event>,
    ) -> io::Result<Self> {
        let connection = Connection::open(protocol)?;
        connection.socket().set_non_blocking(true)?;
        groups.iter().try_for_each(|&group| connection.socket().add_membership(group))?;
        Ok(Self { connection, event, untold: None })
    }

    /// What was told since the last call, each once.
    ///
    /// # Errors
    /// [`io::ErrorKind::WouldBlock`] if nothing was.
    #[expect(
        clippy::should_implement_trait,
        reason = "an iterator would end where nothing is told"
    )]
    pub fn next(&mut self) -> io::Result<BTreeSet<Event>> {
        let mut told = BTreeSet::new();
        let news = |message: Message<'_>| {
            let event = (self.event)(&message)?;
            let untold = event == Event::Route && self.untold == Some(message.port);
            (!untold).then_some(event)
        };
        for _ in 0..AT_ONCE {
            match self.connection.receive() {
                Ok(messages) => told.extend(messages.filter_map(news)),
                Err(error) if error.raw_os_error() == Some(Errno::ENOBUFS as i32) => {
                    told.insert(Event::Lost);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock && !told.is_empty() => {
                    break;
                }
                Err(error) => return Err(error),
            }
        }
        Ok(told)
    }

    /// Waits until something is told, and forgets it; for `limit` at most, and less where a signal comes.
    pub fn wait(&mut self, limit: Duration) -> Result<(), NetError> {
        let outcome = self.readable(limit).and_then(|()| self.next().map(drop));
        match outcome {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(()),
            outcome => outcome.during("wait for", "events"),
        }
    }

    fn readable(&self, limit: Duration) -> io::Result<()> {
        // Rounded up, so that nobody spins for the last millisecond.
        let limit = limit.saturating_add(Duration::from_millis(1));
        let mut ready = [PollFd::new(self.as_fd(), PollFlags::POLLIN)];
        match poll(&mut ready, PollTimeout::try_from(limit).unwrap_or(PollTimeout::MAX)) {
            Ok(_) | Err(Errno::EINTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

/// linux/rtnetlink.h: NEW and DEL of each.
fn routing(message: &Message<'_>) -> Option<Event> {
    match message.kind {
        16 | 17 => Some(Event::Link),
        20 | 21 => Some(Event::Address),
        24 | 25 => Some(Event::Route),
        28 | 29 => Some(Event::Neighbour),
        80 | 81 => Some(Event::Setting),
        _ => None,
    }
}

/// `linux/netfilter/nf_tables.h`, `enum nf_tables_msg_types`, in the low byte.
fn nftables(message: &Message<'_>) -> Option<Event> {
    const NEWCHAIN: u16 = 3;
    const DELCHAIN: u16 = 5;
    const NEWSETELEM: u16 = 12;
    const DELSETELEM: u16 = 14;
    let kind = message.kind & 0xff;
    // Of all that there is in a table, the first attribute is the table's name.
    let table = attribute(message.body.get(4..)?, NFTA_TABLE).map(text_of);
    let ours = table.is_some_and(|table| [names::TABLE, names::PODS_TABLE].contains(&&*table));
    match kind {
        NEWCHAIN | DELCHAIN => Some(Event::Ruleset),
        _ if !ours => None,
        NEWSETELEM | DELSETELEM => Some(Event::Element),
        _ => Some(Event::Ruleset),
    }
}

impl AsFd for Events {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.connection.as_fd()
    }
}

impl AsRawFd for Events {
    fn as_raw_fd(&self) -> RawFd {
        self.connection.as_raw_fd()
    }
}

#[cfg(test)]
mod tests;
