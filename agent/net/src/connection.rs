//! One netlink socket of any protocol: sends datagrams, and cuts what comes back into messages.
//!
//! What the messages say is for `netlink` (rtnetlink) and `nftables` (nfnetlink).

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::time::Duration;

use netlink_packet_core::{NLM_F_CAPPED, NLM_F_DUMP_INTR, NetlinkBuffer};
use netlink_sys::{Socket, SocketAddr};
use nix::errno::Errno;
use nix::sys::socket::{setsockopt, sockopt};

use crate::attribute::{attribute, text_of};

/// The kernel answers at once; this bounds the wait for an answer that got lost.
const TIMEOUT: Duration = Duration::from_secs(5);

/// A dump's datagram has 32 KiB at most (`netlink_dump` in `net/netlink/af_netlink.c`); one that
/// does not fit would be cut.
const DATAGRAM: usize = 64 << 10;

const HEADER: usize = 16;
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;

/// How often a dump is started again because the table changed meanwhile.
pub(crate) const DUMP_ATTEMPTS: usize = 16;

/// linux/netlink.h, `enum nlmsgerr_attrs`.
const NLMSGERR_ATTR_MSG: u16 = 1;

pub(crate) struct Connection {
    socket: Socket,
    sequence: u32,
    received: Vec<u8>,
}

impl Connection {
    /// Opens a socket into the calling thread's network namespace.
    pub(crate) fn open(protocol: isize) -> io::Result<Self> {
        let socket = Socket::new(protocol)?;
        // Connected to the kernel it can be written to by no other process.
        socket.connect(&SocketAddr::new(0, 0))?;
        socket.set_ext_ack(true)?;
        // A refusal then repeats the header of the request alone.
        socket.set_cap_ack(true)?;
        let time = nix::sys::time::TimeVal::new(TIMEOUT.as_secs().cast_signed(), 0);
        setsockopt(&socket, sockopt::ReceiveTimeout, &time)?;
        Ok(Self { socket, sequence: 0, received: Vec::with_capacity(DATAGRAM) })
    }

    pub(crate) fn socket(&self) -> &Socket {
        &self.socket
    }

    /// By which the kernel knows this socket (`nl_pid` in netlink(7)).
    pub(crate) fn port(&self) -> io::Result<u32> {
        let mut address = SocketAddr::new(0, 0);
        self.socket.get_address(&mut address)?;
        Ok(address.port_number())
    }

    /// A number for the next request, by which its answers are known.
    pub(crate) fn number(&mut self) -> u32 {
        self.sequence = self.sequence.wrapping_add(1);
        self.sequence
    }

    pub(crate) fn send(&self, datagram: &[u8]) -> io::Result<()> {
        self.socket.send(datagram, 0).map(drop)
    }

    /// Waits for the next datagram and returns its messages.
    pub(crate) fn receive(&mut self) -> io::Result<impl Iterator<Item = Message<'_>>> {
        self.received.clear();
        loop {
            match self.socket.recv(&mut self.received, 0) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                result => {
                    result?;
                    break;
                }
            }
        }
        let mut rest = self.received.as_slice();
        Ok(std::iter::from_fn(move || Message::next(&mut rest)))
    }

    /// Waits for the one answer to a request.
    pub(crate) fn answer<T>(
        &mut self,
        number: u32,
        read: impl Fn(&Message<'_>) -> Option<T>,
    ) -> Result<T, Refusal> {
        loop {
            for message in self.receive()? {
                if message.sequence == number {
                    return match message.outcome() {
                        Some(Err(refusal)) => Err(refusal),
                        _ => read(&message).ok_or_else(Refusal::senseless),
                    };
                }
            }
        }
    }

    /// Waits for the whole answer to a dump; none if what is dumped changed meanwhile, so that something
    /// may be missing.
    pub(crate) fn collect<T>(
        &mut self,
        number: u32,
        read: impl Fn(&Message<'_>) -> Option<T>,
    ) -> Result<Option<Vec<T>>, Refusal> {
        let (mut all, mut interrupted) = (Vec::new(), false);
        loop {
            for message in self.receive()? {
                if message.sequence != number {
                    continue;
                }
                interrupted |= message.flags & NLM_F_DUMP_INTR != 0;
                match message.outcome() {
                    Some(Ok(())) => return Ok((!interrupted).then_some(all)),
                    Some(Err(refusal)) => return Err(refusal),
                    None => all.extend(read(&message)),
                }
            }
        }
    }

    /// Waits until the kernel has answered the last of these requests, and says of each how it
    /// ended: well, unless it was refused.
    ///
    /// # Errors
    /// What is refused under the number `all`, if there is such a one, concerns all of them.
    pub(crate) fn outcomes(
        &mut self,
        numbers: &[u32],
        all: Option<u32>,
    ) -> Result<Vec<Result<(), Refusal>>, Refusal> {
        let mut outcomes = numbers.iter().map(|_| Ok(())).collect::<Vec<_>>();
        loop {
            for message in self.receive()? {
                let Some(outcome) = message.outcome() else { continue };
                if all == Some(message.sequence) {
                    outcome?;
                    continue;
                }
                let position = numbers.iter().position(|&number| number == message.sequence);
                if let Some(place) = position.and_then(|position| outcomes.get_mut(position)) {
                    *place = outcome;
                }
                if numbers.last() == Some(&message.sequence) {
                    return Ok(outcomes);
                }
            }
        }
    }
}

impl AsFd for Connection {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl AsRawFd for Connection {
    fn as_raw_fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }
}

impl std::fmt::Debug for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connection").field("socket", &self.socket).finish_non_exhaustive()
    }
}

/// One message from the kernel.
#[derive(Clone, Copy)]
pub(crate) struct Message<'a> {
    pub(crate) kind: u16,
    pub(crate) flags: u16,
    pub(crate) sequence: u32,
    /// The socket whose request it answers, or tells others of; 0 where nobody asked.
    pub(crate) port: u32,
    /// What follows the header.
    pub(crate) body: &'a [u8],
}

impl<'a> Message<'a> {
    fn next(rest: &mut &'a [u8]) -> Option<Self> {
        let header = NetlinkBuffer::new_checked(*rest).ok()?;
        let length = usize::try_from(header.length()).ok()?;
        let (whole, after) = rest.split_at_checked(length)?;
        *rest = after.get(length.next_multiple_of(4) - length..).unwrap_or_default();
        Some(Self {
            kind: header.message_type(),
            flags: header.flags(),
            sequence: header.sequence_number(),
            port: header.port_number(),
            body: whole.get(HEADER..)?,
        })
    }

    /// How the request ended, if this message says so: by an acknowledgement, a refusal, or the end
    /// of a dump.
    pub(crate) fn outcome(&self) -> Option<Result<(), Refusal>> {
        let attributes = match self.kind {
            NLMSG_ERROR => self.after_echo(),
            NLMSG_DONE => self.body.get(4..).unwrap_or_default(),
            _ => return None,
        };
        let code = self.body.first_chunk().copied().map_or(0, i32::from_ne_bytes);
        Some(if code == 0 { Ok(()) } else { Err(Refusal::new(code, attributes)) })
    }

    /// What follows the request that a refusal repeats: its header alone, or all of it.
    fn after_echo(&self) -> &'a [u8] {
        let echo = self.body.get(4..).unwrap_or_default();
        let length = if self.flags & NLM_F_CAPPED == 0 {
            echo.first_chunk().copied().map_or(HEADER, |bytes| u32::from_ne_bytes(bytes) as usize)
        } else {
            HEADER
        };
        echo.get(length.next_multiple_of(4)..).unwrap_or_default()
    }
}

/// What the kernel says when it does not do what it was asked.
#[derive(Debug)]
pub(crate) struct Refusal {
    pub(crate) source: io::Error,
    pub(crate) explanation: Option<String>,
}

impl Refusal {
    fn new(code: i32, attributes: &[u8]) -> Self {
        Self {
            source: io::Error::from_raw_os_error(code.saturating_neg()),
            explanation: attribute(attributes, NLMSGERR_ATTR_MSG).map(text_of),
        }
    }

    pub(crate) fn errno(&self) -> Option<Errno> {
        self.source.raw_os_error().map(Errno::from_raw)
    }

    /// What is dumped never held still.
    pub(crate) fn restless() -> Self {
        io::Error::new(io::ErrorKind::Interrupted, "it changes all the time").into()
    }

    /// An answer that is none.
    pub(crate) fn senseless() -> Self {
        io::Error::new(io::ErrorKind::InvalidData, "the answer makes no sense").into()
    }
}

impl From<io::Error> for Refusal {
    fn from(source: io::Error) -> Self {
        Self { source, explanation: None }
    }
}
