//! What goes between two places: pings, datagrams and a TCP transfer, of full size, there and back.

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::thread;
use std::time::{Duration, Instant};

use common::Family;
use net::Netns;
use nix::sys::socket::{AddressFamily, SockFlag, SockProtocol, SockType, socket};

const DEADLINE: Duration = Duration::from_secs(30);

/// The first of full size may only tell its sender that the path takes less.
const PATIENCE: Duration = Duration::from_millis(300);

const TRANSFER: usize = 256 << 10;

const ECHO_REQUEST: [u8; 2] = [8, 128];
const ECHO_REPLY: [u8; 2] = [0, 129];

/// Somebody who sends and answers.
pub(crate) struct Place<'a> {
    pub(crate) name: &'a str,
    pub(crate) netns: &'a Netns,
    pub(crate) addresses: Vec<IpAddr>,
}

/// Each to each other, by each address, with packets of `mtu` bytes.
#[track_caller]
pub(crate) fn all_reach_all(places: &[Place<'_>], mtu: u32) {
    for (from, to) in places.iter().flat_map(|from| places.iter().map(move |to| (from, to))) {
        for &address in to.addresses.iter().filter(|_| from.name != to.name) {
            let way = format!("{} to {} at {address}", from.name, to.name);
            let headers = if address.is_ipv4() { 20 } else { 40 } + 8;
            let payload = usize::try_from(mtu).unwrap() - headers;
            assert!(from.netns.run(|| ping(address, payload)).unwrap(), "no ping from {way}");
            assert!(datagrams(from, to, address, payload), "no datagram from {way}");
            transfer(from, to, address)
                .unwrap_or_else(|error| panic!("no TCP from {way}: {error}"));
        }
    }
}

fn until_done(mut attempt: impl FnMut() -> bool) -> bool {
    let start = Instant::now();
    while start.elapsed() < DEADLINE {
        if attempt() {
            return true;
        }
    }
    false
}

/// Whether `address` answers an echo request with so many bytes of data.
fn ping(address: IpAddr, payload: usize) -> bool {
    let (domain, protocol) = match Family::from(address) {
        Family::V4 => (AddressFamily::Inet, SockProtocol::Icmp),
        Family::V6 => (AddressFamily::Inet6, SockProtocol::IcmpV6),
    };
    let raw = socket(domain, SockType::Raw, SockFlag::SOCK_CLOEXEC, protocol).unwrap();
    let raw = UdpSocket::from(raw);
    raw.set_read_timeout(Some(PATIENCE)).unwrap();
    let family = usize::from(address.is_ipv6());
    let mut request = vec![ECHO_REQUEST[family], 0, 0, 0, 0x6b, 0x6e, 0, 1];
    request.extend(std::iter::repeat_n(b'p', payload));
    if address.is_ipv4() {
        let sum = checksum(&request);
        request[2..4].copy_from_slice(&sum.to_be_bytes());
    }
    let mut answer = vec![0; 1 << 16];
    until_done(|| {
        if raw.send_to(&request, SocketAddr::new(address, 0)).is_err() {
            return false;
        }
        while let Ok((length, sender)) = raw.recv_from(&mut answer) {
            // Of IPv4 the kernel hands over the IP header, too.
            let header = if address.is_ipv4() { usize::from(answer[0] & 0xf) * 4 } else { 0 };
            let message = &answer[header..length];
            let reply = message[0] == ECHO_REPLY[family] && message[4..] == request[4..];
            if reply && sender.ip() == address {
                return true;
            }
        }
        false
    })
}

/// RFC 1071.
fn checksum(data: &[u8]) -> u16 {
    let words = data.chunks(2).map(|pair| match *pair {
        [high, low] => u32::from(u16::from_be_bytes([high, low])),
        _ => u32::from(pair[0]) << 8,
    });
    let sum = words.sum::<u32>();
    let folded = (sum & 0xffff) + (sum >> 16);
    !u16::try_from((folded & 0xffff) + (folded >> 16)).unwrap()
}

/// Whether a datagram with so many bytes arrives, and one of the same size comes back.
fn datagrams(from: &Place<'_>, to: &Place<'_>, address: IpAddr, payload: usize) -> bool {
    let server = to.netns.run(|| UdpSocket::bind((address, 0)).unwrap()).unwrap();
    let any = SocketAddr::new(Family::from(address).address(0), 0);
    let client = from.netns.run(|| UdpSocket::bind(any).unwrap()).unwrap();
    for socket in [&server, &client] {
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
    }
    client.connect(server.local_addr().unwrap()).unwrap();
    let (data, mut received) = (vec![b'u'; payload], vec![0; 1 << 16]);
    until_done(|| {
        let there = client.send(&data).and_then(|_| server.recv_from(&mut received));
        let Ok((length, sender)) = there else { return false };
        let back = server.send_to(&data, sender).and_then(|_| client.recv(&mut received));
        length == payload && back.is_ok_and(|length| length == payload)
    })
}

/// So much there, and as much back.
fn transfer(from: &Place<'_>, to: &Place<'_>, address: IpAddr) -> std::io::Result<()> {
    let listener = to.netns.run(|| TcpListener::bind((address, 0)).unwrap()).unwrap();
    let at = listener.local_addr()?;
    let client = from.netns.run(|| TcpStream::connect_timeout(&at, DEADLINE)).unwrap()?;
    let (server, _) = listener.accept()?;
    for stream in [&client, &server] {
        stream.set_read_timeout(Some(DEADLINE))?;
        stream.set_write_timeout(Some(DEADLINE))?;
    }
    for (sender, receiver) in [(&client, &server), (&server, &client)] {
        let (mut sender, mut receiver) = (sender, receiver);
        thread::scope(|scope| {
            let sending = scope.spawn(move || sender.write_all(&vec![b't'; TRANSFER]));
            receiver.read_exact(&mut vec![0; TRANSFER])?;
            sending.join().unwrap()
        })?;
    }
    Ok(())
}
