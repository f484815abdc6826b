//! The server of the checks: TCP and UDP on one port, both families on one socket each.
//!
//! `GET /` and any datagram are answered with hostname and client address, `GET /filled` and a
//! large datagram with as much behind it as came in. `GET /dial`, `/full`, `/connect`, `/stream` and
//! `/ticks-of` make the server a client, so that a check starts inside a pod.

use std::io;
use std::net::{Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

use crate::connect::connect;
use crate::datagrams::Datagrams;
use crate::dial::dial;
use crate::full::{self, dial_full};
use crate::http::{self, parameter};
use crate::stream::stream;
use crate::ticks;

/// Serves until the process ends.
pub fn serve(name: &str, port: u16) -> io::Result<()> {
    let everywhere = SocketAddr::from((Ipv6Addr::UNSPECIFIED, port));
    let (listener, socket) = (TcpListener::bind(everywhere)?, Datagrams::bind(everywhere)?);
    thread::scope(|scope| {
        scope.spawn(|| datagrams(name, &socket));
        for stream in listener.incoming() {
            let Ok(stream) = stream else { continue };
            // A client that is gone has nothing to be told.
            scope.spawn(move || converse(name, &stream).ok());
        }
    });
    Ok(())
}

fn datagrams(name: &str, socket: &Datagrams) {
    let mut request = vec![0; 1 << 16];
    loop {
        if let Ok((length, asked)) = socket.receive(&mut request) {
            let answer = filled(&identity(name, asked.peer), length);
            // A client that is gone has nothing to be told.
            let _ = socket.answer(asked, answer.as_bytes());
        }
    }
}

fn converse(name: &str, stream: &TcpStream) -> io::Result<()> {
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    let path = http::requested(stream)?;
    match path.split('?').next() {
        Some("/ticks") => return ticks::write(stream),
        Some("/ticks-of") => return ticks::relay(server(&path)?, stream),
        _ => {}
    }
    let result = match path.split('?').next() {
        Some("/dial") => dialled(&path),
        Some("/full") => fully(&path),
        Some("/connect") => connected(&path),
        Some("/filled") => Ok(filled(&identity(name, stream.peer_addr()?), full::STREAM)),
        Some("/stream") => streamed(&path),
        _ => Ok(identity(name, stream.peer_addr()?)),
    };
    http::answer(stream, result)
}

fn dialled(path: &str) -> io::Result<String> {
    let protocol = parameter(path, "by")?.parse()?;
    dial(protocol, server(path)?, within(path)?).map(|answer| answer.to_string())
}

fn fully(path: &str) -> io::Result<String> {
    let protocol = parameter(path, "by")?.parse()?;
    dial_full(protocol, server(path)?, within(path)?).map(|answer| answer.to_string())
}

fn connected(path: &str) -> io::Result<String> {
    connect(server(path)?, within(path)?).map(|time| time.as_micros().to_string())
}

fn streamed(path: &str) -> io::Result<String> {
    stream(server(path)?, within(path)?).map(|count| count.to_string())
}

fn server(path: &str) -> io::Result<SocketAddr> {
    parameter(path, "to")?.parse().map_err(io::Error::other)
}

fn within(path: &str) -> io::Result<Duration> {
    parameter(path, "within")?.parse().map(Duration::from_millis).map_err(io::Error::other)
}

fn identity(name: &str, peer: SocketAddr) -> String {
    format!("{name} {}", peer.ip().to_canonical())
}

/// `text` with as many spaces behind it as make it `size` bytes long.
fn filled(text: &str, size: usize) -> String {
    let missing = size.saturating_sub(text.len());
    format!("{text}{}", " ".repeat(missing))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::connect::connect_from;
    use crate::dial::{Protocol, dial_from};
    use crate::full::dial_full_from;
    use crate::stream::stream_from;
    use crate::ticks::ticks_from;

    #[test]
    fn answers_both_protocols_and_relays() {
        let port = TcpListener::bind("[::1]:0").unwrap().local_addr().unwrap().port();
        thread::spawn(move || serve("me", port));
        let limit = Duration::from_secs(10);
        for address in ["127.0.0.1", "::1"] {
            let server = SocketAddr::new(address.parse().unwrap(), port);
            let deadline = std::time::Instant::now() + limit;
            while dial(Protocol::Tcp, server, limit).is_err() {
                assert!(std::time::Instant::now() < deadline, "no server");
            }
            for protocol in [Protocol::Tcp, Protocol::Udp] {
                let answer = dial(protocol, server, limit).unwrap();
                assert_eq!((answer.name.as_str(), answer.seen), ("me", server.ip()));
                let relayed = dial_from(server, protocol, server, limit).unwrap();
                assert_eq!((relayed.name.as_str(), relayed.seen), ("me", server.ip()));
                let full = dial_full_from(server, protocol, server, limit).unwrap();
                assert_eq!((full.name.as_str(), full.seen), ("me", server.ip()));
            }
            assert!(connect_from(server, server, limit).unwrap() < limit);
            let count = stream_from(server, server, Duration::from_millis(50)).unwrap();
            assert!(count.sent >= 5 && count.received == count.sent, "{count}");
            let mut reads = 0..5;
            let ticks = ticks_from(server, server, || reads.next().is_none()).unwrap();
            assert!(ticks.count >= 5, "{ticks:?}");
        }
    }
}
