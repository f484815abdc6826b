//! Echo requests of any size (RFC 792, RFC 4443), by a raw socket: that wants `CAP_NET_RAW`.

use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use nix::sys::socket::{AddressFamily, SockFlag, SockProtocol, SockType, socket};

use crate::stream::Count;

/// Between two pings of a stream.
const PACE: Duration = Duration::from_millis(10);

/// How long the last answer may take.
const PATIENCE: Duration = Duration::from_secs(1);

/// What one family has for a number.
struct Kind {
    domain: AddressFamily,
    protocol: SockProtocol,
    request: u8,
    reply: u8,
}

const KINDS: [Kind; 2] = [
    Kind { domain: AddressFamily::Inet, protocol: SockProtocol::Icmp, request: 8, reply: 0 },
    Kind { domain: AddressFamily::Inet6, protocol: SockProtocol::IcmpV6, request: 128, reply: 129 },
];

/// Asks one address again and again.
#[derive(Debug)]
pub struct Pinger {
    raw: UdpSocket,
    address: IpAddr,
    /// Tells its answers from those to others; its own port of nothing.
    identifier: u16,
    sequence: u16,
    answer: Vec<u8>,
}

impl Pinger {
    /// In the network namespace of the calling thread.
    pub fn new(address: IpAddr, identifier: u16) -> io::Result<Self> {
        let Kind { domain, protocol, .. } = kind(address);
        let raw = socket(*domain, SockType::Raw, SockFlag::SOCK_CLOEXEC, *protocol)?;
        let raw = UdpSocket::from(raw);
        Ok(Self { raw, address, identifier, sequence: 0, answer: vec![0; 1 << 16] })
    }

    /// How long the answer to one request with so many bytes of data takes, which must have them too.
    ///
    /// # Errors
    /// Also if none comes within `patience`.
    pub fn ping(&mut self, payload: usize, patience: Duration) -> io::Result<Duration> {
        let start = Instant::now();
        let request = self.send(payload)?;
        loop {
            let left = patience.saturating_sub(start.elapsed());
            if left.is_zero() {
                return Err(io::ErrorKind::TimedOut.into());
            }
            if self.receive(left)?.is_some_and(|message| message[4..] == request[4..]) {
                return Ok(start.elapsed());
            }
        }
    }

    /// Sends small ones at a steady pace until `done` says so, and waits for the last answers.
    pub fn stream(mut self, mut done: impl FnMut() -> bool) -> io::Result<Count> {
        let start = Instant::now();
        let mut count = Count::default();
        while !done() {
            // A refusal is a lost ping like any other.
            let _ = self.send(8);
            count.sent += 1;
            self.count_until(start + PACE * count.sent, &mut count)?;
        }
        let end = Instant::now() + PATIENCE;
        while count.received < count.sent && Instant::now() < end {
            self.count_until(Instant::now() + PACE, &mut count)?;
        }
        Ok(count)
    }

    fn count_until(&mut self, due: Instant, count: &mut Count) -> io::Result<()> {
        loop {
            let left = due.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(());
            }
            count.received += u32::from(self.receive(left)?.is_some());
        }
    }

    fn send(&mut self, payload: usize) -> io::Result<Vec<u8>> {
        let ([high, low], [first, second]) =
            (self.identifier.to_be_bytes(), self.sequence.to_be_bytes());
        self.sequence = self.sequence.wrapping_add(1);
        let mut request = vec![kind(self.address).request, 0, 0, 0, high, low, first, second];
        request.extend(std::iter::repeat_n(b'p', payload));
        // Of IPv6 the kernel does it.
        if self.address.is_ipv4() {
            let sum = checksum(&request);
            request[2..4].copy_from_slice(&sum.to_be_bytes());
        }
        self.raw.send_to(&request, SocketAddr::new(self.address, 0))?;
        Ok(request)
    }

    /// An answer to this one, if one comes within `patience`.
    fn receive(&mut self, patience: Duration) -> io::Result<Option<&[u8]>> {
        self.raw.set_read_timeout(Some(patience))?;
        let Ok((length, sender)) = self.raw.recv_from(&mut self.answer) else { return Ok(None) };
        // Of IPv4 the kernel hands over the IP header, too.
        let header = if self.address.is_ipv4() { usize::from(self.answer[0] & 0xf) * 4 } else { 0 };
        let message = self.answer.get(header..length).unwrap_or_default();
        let is_reply = message.len() >= 8
            && message[0] == kind(self.address).reply
            && message[4..6] == self.identifier.to_be_bytes()
            && sender.ip() == self.address;
        Ok(is_reply.then_some(message))
    }
}

fn kind(address: IpAddr) -> &'static Kind {
    &KINDS[usize::from(address.is_ipv6())]
}

/// RFC 1071.
fn checksum(data: &[u8]) -> u16 {
    let words = data.chunks(2).map(|pair| match *pair {
        [high, low] => u32::from(u16::from_be_bytes([high, low])),
        _ => u32::from(pair[0]) << 8,
    });
    let sum = words.sum::<u32>();
    let folded = (sum & 0xffff) + (sum >> 16);
    let folded = (folded & 0xffff) + (folded >> 16);
    !u16::try_from(folded).unwrap_or(u16::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_checksum_makes_the_sum_of_all_words_full() {
        let data = [8, 0, 0, 0, 0x6b, 0x6e, 0, 1, 0xff, 0xff, 7];
        let mut sealed = data;
        sealed[2..4].copy_from_slice(&checksum(&data).to_be_bytes());
        assert_eq!(checksum(&sealed), 0);
    }

    #[test]
    fn the_loopback_interface_answers() {
        for (address, identifier) in [("127.0.0.1", 1), ("::1", 2)] {
            let mut pinger = Pinger::new(address.parse().unwrap(), identifier).unwrap();
            assert!(pinger.ping(1400, Duration::from_secs(10)).unwrap() < Duration::from_secs(10));
            let mut rest = 0..5;
            let count = pinger.stream(|| rest.next().is_none()).unwrap();
            assert_eq!((count.sent, count.received), (5, 5));
        }
    }
}
