//! The rtnetlink socket of one network namespace: requests, batches of them, and dumps.
//!
//! What is asked stands in `link`, `addr` and `route`.

use std::fmt::Display;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use netlink_packet_core::{
    NLM_F_ACK, NLM_F_DUMP, NLM_F_REQUEST, NetlinkHeader, NetlinkMessage, NetlinkPayload,
};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_sys::protocols::NETLINK_ROUTE;

use crate::NetError;
use crate::connection::{Connection, DUMP_ATTEMPTS, Message, Refusal};
use crate::error::During;

/// Requests in one datagram: if all are refused, the refusals fit the default receive buffer of
/// 208 KiB, in which the kernel counts about 1 KiB for each.
const BATCH: usize = 128;

/// Talks to the network namespace in which it was opened, from whatever thread.
#[derive(Debug)]
pub struct Netlink {
    connection: Connection,
}

/// One change to ask for.
pub(crate) struct Request {
    pub(crate) message: RouteNetlinkMessage,
    /// Beside `NLM_F_REQUEST`.
    pub(crate) flags: u16,
}

impl Netlink {
    /// Opens a socket into the calling thread's network namespace.
    pub fn open() -> Result<Self, NetError> {
        let open = || {
            let connection = Connection::open(NETLINK_ROUTE)?;
            // Lets the kernel filter dumps, and refuse filters that it does not know.
            connection.socket().set_netlink_get_strict_chk(true)?;
            Ok::<_, io::Error>(connection)
        };
        Ok(Self { connection: open().during("open", "a netlink socket")? })
    }

    /// By which what the kernel tells of this socket's changes is known.
    pub(crate) fn port(&self) -> io::Result<u32> {
        self.connection.port()
    }

    /// Asks for one change and waits until it is made.
    pub(crate) fn change(
        &mut self,
        request: Request,
        operation: &'static str,
        object: impl Display,
    ) -> Result<(), NetError> {
        let outcome = self.batch([request]).during(operation, &object)?;
        outcome.into_iter().collect::<Result<(), _>>().map_err(|r| r.during(operation, object))
    }

    /// Asks for one object.
    pub(crate) fn find<T>(
        &mut self,
        message: RouteNetlinkMessage,
        read: impl Fn(&Message<'_>) -> Option<T>,
    ) -> Result<T, Refusal> {
        let sequence = self.connection.number();
        let mut datagram = Vec::new();
        encode(&mut datagram, Request { message, flags: 0 }, sequence);
        self.connection.send(&datagram)?;
        self.connection.answer(sequence, read)
    }

    /// Asks for all objects like `message`, and returns those that `read` makes something of.
    pub(crate) fn dump<T>(
        &mut self,
        message: &RouteNetlinkMessage,
        read: impl Fn(&Message<'_>) -> Option<T>,
    ) -> Result<Vec<T>, Refusal> {
        for _ in 0..DUMP_ATTEMPTS {
            if let Some(all) = self.dump_once(message.clone(), &read)? {
                return Ok(all);
            }
        }
        Err(Refusal::restless())
    }

    /// None if the table changed meanwhile, so that something may be missing.
    fn dump_once<T>(
        &mut self,
        message: RouteNetlinkMessage,
        read: impl Fn(&Message<'_>) -> Option<T>,
    ) -> Result<Option<Vec<T>>, Refusal> {
        let sequence = self.connection.number();
        let mut datagram = Vec::new();
        encode(&mut datagram, Request { message, flags: NLM_F_DUMP }, sequence);
        self.connection.send(&datagram)?;
        self.connection.collect(sequence, read)
    }

    /// Asks for all changes in order, many in a datagram, and says of each how it ended.
    pub(crate) fn batch(
        &mut self,
        requests: impl IntoIterator<Item = Request>,
    ) -> Result<Vec<Result<(), Refusal>>, Refusal> {
        let mut outcomes = Vec::new();
        let mut requests = requests.into_iter().peekable();
        while requests.peek().is_some() {
            let mut numbers = Vec::with_capacity(BATCH);
            let mut datagram = Vec::new();
            while let Some(mut request) = requests.next_if(|_| numbers.len() < BATCH) {
                // Refusals come unasked: only the last one's success must be told.
                if requests.peek().is_none() || numbers.len() + 1 == BATCH {
                    request.flags |= NLM_F_ACK;
                }
                let number = self.connection.number();
                numbers.push(number);
                encode(&mut datagram, request, number);
            }
            self.connection.send(&datagram)?;
            outcomes.extend(self.connection.outcomes(&numbers, None)?);
        }
        Ok(outcomes)
    }
}

impl AsFd for Netlink {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.connection.as_fd()
    }
}

fn encode(datagram: &mut Vec<u8>, request: Request, sequence: u32) {
    let mut header = NetlinkHeader::default();
    header.flags = NLM_F_REQUEST | request.flags;
    header.sequence_number = sequence;
    let mut message = NetlinkMessage::new(header, NetlinkPayload::from(request.message));
    message.finalize();
    let start = datagram.len();
    datagram.resize(start + message.buffer_len().next_multiple_of(4), 0);
    message.serialize(datagram.get_mut(start..).unwrap_or_default());
}

#[cfg(test)]
mod tests;
