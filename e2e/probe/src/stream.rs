//! A steady stream of datagrams and their echoes: what a break of any length loses.

use std::fmt;
use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::str::FromStr;
use std::time::{Duration, Instant};

use crate::{dial, http};

/// Between two datagrams.
const PACE: Duration = Duration::from_millis(5);

/// How long the last echo may take.
const PATIENCE: Duration = Duration::from_secs(1);

/// Datagrams sent, and echoes that came back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Count {
    pub sent: u32,
    pub received: u32,
}

/// Sends datagrams to `server` for as long as `time`, and waits for the last echoes.
pub fn stream(server: SocketAddr, time: Duration) -> io::Result<Count> {
    let socket = UdpSocket::bind(dial::any(server))?;
    socket.connect(server)?;
    let start = Instant::now();
    let mut count = Count::default();
    while start.elapsed() < time {
        // A refusal (ICMP) is a lost datagram like any other.
        let _ = socket.send(&count.sent.to_be_bytes());
        count.sent += 1;
        let due = start + PACE * count.sent;
        count.received += echoes(&socket, due, count.sent - count.received)?;
    }
    let due = Instant::now() + PATIENCE;
    count.received += echoes(&socket, due, count.sent - count.received)?;
    Ok(count)
}

/// Has the server at `pod` send the stream to `server`.
pub fn stream_from(pod: SocketAddr, server: SocketAddr, time: Duration) -> io::Result<Count> {
    let path = format!("/stream?to={server}&within={}", time.as_millis());
    http::fetch(pod, &path, time + PATIENCE + Duration::from_secs(5))?.parse()
}

/// Counts echoes until `due`, at most `missing` where nothing else is to be done meanwhile.
fn echoes(socket: &UdpSocket, due: Instant, missing: u32) -> io::Result<u32> {
    let mut received = 0;
    let mut buffer = [0; 512];
    loop {
        let left = due.saturating_duration_since(Instant::now());
        if left.is_zero() || (received == missing && left > PACE) {
            return Ok(received);
        }
        socket.set_read_timeout(Some(left))?;
        if socket.recv(&mut buffer).is_ok() {
            received += 1;
        }
    }
}

impl fmt::Display for Count {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.sent, self.received)
    }
}

impl FromStr for Count {
    type Err = io::Error;

    fn from_str(text: &str) -> io::Result<Self> {
        let parsed = text
            .split_once(' ')
            .and_then(|(sent, received)| Some((sent.parse().ok()?, received.parse().ok()?)));
        let (sent, received) =
            parsed.ok_or_else(|| io::Error::other(format!("{text:?} is no count")))?;
        Ok(Self { sent, received })
    }
}
