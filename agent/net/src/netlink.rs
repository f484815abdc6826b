//! The rtnetlink socket of one network namespace: requests, batches of them, and dumps.
//!
//! What is asked stands in `link`, `addr` and `route`.

use std::fmt::Display;
use std::io;

use netlink_packet_core::{
    NLM_F_ACK, NLM_F_DUMP, NLM_F_DUMP_INTR, NLM_F_REQUEST, NetlinkHeader, NetlinkMessage,
    NetlinkPayload,
};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_sys::protocols::NETLINK_ROUTE;

use crate::NetError;
use crate::connection::{Connection, Message, Refusal};
use crate::error::During;

/// How often a dump is started again because the table changed meanwhile.
const DUMP_ATTEMPTS: usize = 16;

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
            let mut connection = Connection::open(NETLINK_ROUTE)?;
            // Lets the kernel filter dumps (NETLINK_GET_STRICT_CHK).
            connection.socket().set_netlink_get_strict_chk(true)?;
            Ok::<_, io::Error>(connection)
        };
        Ok(Self { connection: open().during("open", "a netlink socket")? })
    }

    /// Asks for one change and waits until it is made.
    pub(crate) fn change(
        &mut self,
        request: Request,
        operation: &'static str,
        object: impl Display,
    ) -> Result<(), NetError> {
        let outcome = self.batch(vec![request]).during(operation, &object)?;
        outcome.into_iter().collect::<Result<(), _>>().map_err(|r| r.during(operation, object))
    }

    /// Asks for one object.
    pub(crate) fn get(
        &mut self,
        message: RouteNetlinkMessage,
    ) -> Result<RouteNetlinkMessage, Refusal> {
        let sequence = self.connection.number();
        let mut datagram = Vec::new();
        encode(&mut datagram, Request { message, flags: 0 }, sequence);
        self.connection.send(&datagram)?;
        loop {
            for message in self.connection.receive()? {
                match message.outcome() {
                    _ if message.sequence != sequence => {}
                    Some(Err(refusal)) => return Err(refusal),
                    Some(Ok(())) => {}
                    None => return Ok(decode(message)?),
                }
            }
        }
    }

    /// Asks for all objects like `message`, and returns those that `keep` makes something of.
    pub(crate) fn dump<T>(
        &mut self,
        message: &RouteNetlinkMessage,
        mut keep: impl FnMut(RouteNetlinkMessage) -> Option<T>,
    ) -> Result<Vec<T>, Refusal> {
        for _ in 0..DUMP_ATTEMPTS {
            if let Some(all) = self.dump_once(message.clone(), &mut keep)? {
                return Ok(all);
            }
        }
        Err(io::Error::new(io::ErrorKind::Interrupted, "the table changes all the time").into())
    }

    /// None if the table changed meanwhile, so that something may be missing.
    fn dump_once<T>(
        &mut self,
        message: RouteNetlinkMessage,
        keep: &mut impl FnMut(RouteNetlinkMessage) -> Option<T>,
    ) -> Result<Option<Vec<T>>, Refusal> {
        let sequence = self.connection.number();
        let mut datagram = Vec::new();
        encode(&mut datagram, Request { message, flags: NLM_F_DUMP }, sequence);
        self.connection.send(&datagram)?;
        let (mut all, mut interrupted) = (Vec::new(), false);
        loop {
            for message in self.connection.receive()? {
                if message.sequence != sequence {
                    continue;
                }
                interrupted |= message.flags & NLM_F_DUMP_INTR != 0;
                match message.outcome() {
                    Some(Ok(())) => return Ok((!interrupted).then_some(all)),
                    Some(Err(refusal)) => return Err(refusal),
                    None => all.extend(keep(decode(message)?)),
                }
            }
        }
    }

    /// Asks for all changes, many in a datagram, and says of each how it ended.
    pub(crate) fn batch(&mut self, requests: Vec<Request>) -> io::Result<Vec<Result<(), Refusal>>> {
        let mut outcomes = Vec::with_capacity(requests.len());
        let mut requests = requests.into_iter().peekable();
        while requests.peek().is_some() {
            let first = outcomes.len();
            let mut datagram = Vec::new();
            let mut numbers = Vec::with_capacity(BATCH);
            for mut request in requests.by_ref().take(BATCH) {
                numbers.push(self.connection.number());
                // Refusals come unasked: only the last one's success must be told.
                if numbers.len() == BATCH || outcomes.len() + 1 == outcomes.capacity() {
                    request.flags |= NLM_F_ACK;
                }
                encode(&mut datagram, request, *numbers.last().unwrap_or(&0));
                outcomes.push(Ok(()));
            }
            self.connection.send(&datagram)?;
            self.collect(&numbers, outcomes.get_mut(first..).unwrap_or_default())?;
        }
        Ok(outcomes)
    }

    /// Receives what the kernel has to say about the requests of these numbers.
    fn collect(&mut self, numbers: &[u32], outcomes: &mut [Result<(), Refusal>]) -> io::Result<()> {
        loop {
            for message in self.connection.receive()? {
                let Some(position) = numbers.iter().position(|&n| n == message.sequence) else {
                    continue;
                };
                if let (Some(outcome), Some(place)) =
                    (message.outcome(), outcomes.get_mut(position))
                {
                    *place = outcome;
                    if position + 1 == numbers.len() {
                        return Ok(());
                    }
                }
            }
        }
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

fn decode(message: Message<'_>) -> io::Result<RouteNetlinkMessage> {
    let decoded = NetlinkMessage::<RouteNetlinkMessage>::deserialize(message.whole)
        .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
    match decoded.payload {
        NetlinkPayload::InnerMessage(inner) => Ok(inner),
        _ => Err(io::Error::new(io::ErrorKind::InvalidData, "an answer without content")),
    }
}
