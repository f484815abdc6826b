//! Packets as large as the way takes them, there and back.
//!
//! What a small question can't show: a machine on the way that drops what is larger than its link
//! without a word, or whose "too big" never arrives (RFC 2923, "Path MTU Discovery black holes").

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use rustix::net::sockopt::{ip_mtu, ipv6_mtu};

use crate::dial::{self, Answer, Protocol};
use crate::http;

/// What a TCP connection carries each way: many full segments, and more than a window.
pub(crate) const STREAM: usize = 256 << 10;

/// Bytes of an IPv4 packet, whose length has 16 bits.
const LARGEST: usize = 65_535;

/// A datagram is sent as often: the first one may be answered by "too big", which teaches the sender.
const ATTEMPTS: u32 = 3;

/// Bytes of the IP and UDP headers (RFC 791 without options, RFC 8200, RFC 768).
const fn headers(server: SocketAddr) -> usize {
    (if server.is_ipv4() { 20 } else { 40 }) + 8
}

/// Asks `server` once with full packets and is answered with full packets.
pub fn dial_full(protocol: Protocol, server: SocketAddr, within: Duration) -> io::Result<Answer> {
    let start = Instant::now();
    let text = match protocol {
        Protocol::Tcp => stream(server, within)?,
        Protocol::Udp => datagram(server, within / ATTEMPTS)?,
    };
    let time = start.elapsed();
    let (name, seen) = dial::identity(text.trim_end())?;
    Ok(Answer { name, seen, time })
}

/// Has the server at `pod` ask `server`, and returns what it was told.
pub fn dial_full_from(
    pod: SocketAddr,
    protocol: Protocol,
    server: SocketAddr,
    within: Duration,
) -> io::Result<Answer> {
    let path = format!("/full?by={protocol}&to={server}&within={}", within.as_millis());
    http::fetch(pod, &path, within + Duration::from_secs(2))?.parse()
}

fn stream(server: SocketAddr, within: Duration) -> io::Result<String> {
    let text = http::exchange(server, "/filled", STREAM, within)?;
    complete(text, STREAM)
}

fn datagram(server: SocketAddr, within: Duration) -> io::Result<String> {
    let socket = UdpSocket::bind(dial::any(server))?;
    socket.connect(server)?;
    socket.set_read_timeout(Some(within))?;
    let mut outcome = Err(io::ErrorKind::TimedOut.into());
    for _ in 0..ATTEMPTS {
        outcome = echo(&socket, server);
        if outcome.is_ok() {
            break;
        }
    }
    outcome
}

/// One datagram of what the kernel takes for the way's MTU now, and its echo.
fn echo(socket: &UdpSocket, server: SocketAddr) -> io::Result<String> {
    let mtu = usize::try_from(path_mtu(socket, server)?).map_err(io::Error::other)?;
    let size = mtu.min(LARGEST) - headers(server);
    socket.send(&vec![b' '; size])?;
    let mut answer = vec![0; 1 << 16];
    let length = socket.recv(&mut answer)?;
    complete(String::from_utf8_lossy(&answer[..length]).into_owned(), size)
}

/// `IP_MTU` (ip(7)) or `IPV6_MTU` (ipv6(7)) of a connected socket, in bytes.
fn path_mtu(socket: &UdpSocket, server: SocketAddr) -> io::Result<u32> {
    let mtu = if server.is_ipv4() { ip_mtu(socket) } else { ipv6_mtu(socket) };
    Ok(mtu?)
}

fn complete(text: String, size: usize) -> io::Result<String> {
    if text.len() < size {
        return Err(io::Error::other(format!("{} bytes of {size} came back", text.len())));
    }
    Ok(text)
}
