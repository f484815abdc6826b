//! One question to a server, over TCP or UDP: who are you, and whom do you see?

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::str::FromStr;
use std::time::{Duration, Instant};

use crate::http;

/// How to ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    Tcp,
    Udp,
}

/// What the server said, and how long it took.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The server's hostname.
    pub name: String,
    /// The client's address, as the server saw it.
    pub seen: IpAddr,
    pub time: Duration,
}

/// Asks `server` once.
///
/// A lost datagram is not sent again: what one packet can't do is a failure here.
pub fn dial(protocol: Protocol, server: SocketAddr, timeout: Duration) -> io::Result<Answer> {
    let start = Instant::now();
    let text = match protocol {
        Protocol::Tcp => http::fetch(server, "/", timeout)?,
        Protocol::Udp => datagram(server, timeout)?,
    };
    let time = start.elapsed();
    let (name, seen) = identity(&text)?;
    Ok(Answer { name, seen, time })
}

/// Has the server at `pod` ask `server`, and returns what it was told.
pub fn dial_from(
    pod: SocketAddr,
    protocol: Protocol,
    server: SocketAddr,
    timeout: Duration,
) -> io::Result<Answer> {
    let path = format!("/dial?by={protocol}&to={server}&within={}", timeout.as_millis());
    let text = http::fetch(pod, &path, timeout + Duration::from_secs(2))?;
    text.parse()
}

fn datagram(server: SocketAddr, timeout: Duration) -> io::Result<String> {
    let socket = UdpSocket::bind(any(server))?;
    socket.connect(server)?;
    socket.set_read_timeout(Some(timeout))?;
    socket.send(b"?")?;
    let mut answer = [0; 512];
    let length = socket.recv(&mut answer)?;
    Ok(String::from_utf8_lossy(&answer[..length]).into_owned())
}

/// The wildcard address of `server`'s family.
pub(crate) fn any(server: SocketAddr) -> SocketAddr {
    match server {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    }
}

/// What a server says of itself and of whom it sees.
pub(crate) fn identity(text: &str) -> io::Result<(String, IpAddr)> {
    let parsed = text.split_once(' ').and_then(|(name, seen)| Some((name, seen.parse().ok()?)));
    let (name, seen) =
        parsed.ok_or_else(|| io::Error::other(format!("{text:?} is no answer of a probe")))?;
    Ok((name.to_owned(), seen))
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        })
    }
}

impl FromStr for Protocol {
    type Err = io::Error;

    fn from_str(text: &str) -> io::Result<Self> {
        match text {
            "tcp" => Ok(Self::Tcp),
            "udp" => Ok(Self::Udp),
            _ => Err(io::Error::other(format!("{text:?} is neither tcp nor udp"))),
        }
    }
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}", self.time.as_micros(), self.name, self.seen)
    }
}

impl FromStr for Answer {
    type Err = io::Error;

    fn from_str(text: &str) -> io::Result<Self> {
        let parsed = text.split_once(' ').and_then(|(time, rest)| Some((time.parse().ok()?, rest)));
        let (micros, rest) =
            parsed.ok_or_else(|| io::Error::other(format!("{text:?} is no relayed answer")))?;
        let (name, seen) = identity(rest)?;
        Ok(Self { name, seen, time: Duration::from_micros(micros) })
    }
}
