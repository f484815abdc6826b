//! One connection that never rests: a server writes for as long as somebody reads.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

/// Between two of them.
const PACE: Duration = Duration::from_millis(5);

/// How long one may take to arrive before the connection counts as lost.
const PATIENCE: Duration = Duration::from_secs(10);

/// How many arrived, and the longest time between two.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ticks {
    pub count: usize,
    pub pause: Duration,
}

/// Writes to `stream` until nobody reads any more.
pub(crate) fn write(mut stream: &TcpStream) -> io::Result<()> {
    stream.set_read_timeout(Some(PACE))?;
    loop {
        stream.write_all(b".")?;
        // A reader says nothing but its end.
        match stream.read(&mut [0]) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            ended => return ended.map(drop),
        }
    }
}

/// Passes what `server` writes on to `stream`, by a connection of its own, until one of them ends.
pub(crate) fn relay(server: SocketAddr, mut stream: &TcpStream) -> io::Result<()> {
    let mut from = TcpStream::connect_timeout(&server, PATIENCE)?;
    from.set_read_timeout(Some(PATIENCE))?;
    from.write_all(b"GET /ticks HTTP/1.0\r\n\r\n")?;
    io::copy(&mut from, &mut stream).map(drop)
}

/// Has the server at `pod` read from `server` until `done` says so.
///
/// # Errors
/// That the connection was lost.
pub fn ticks_from(
    pod: SocketAddr,
    server: SocketAddr,
    mut done: impl FnMut() -> bool,
) -> io::Result<Ticks> {
    let mut stream = TcpStream::connect_timeout(&pod, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    write!(stream, "GET /ticks-of?to={server} HTTP/1.0\r\n\r\n")?;
    let mut ticks = Ticks::default();
    let mut last = Instant::now();
    while !done() {
        let count = stream.read(&mut [0; 1024])?;
        if count == 0 {
            return Err(io::Error::other(format!("lost after {} ticks", ticks.count)));
        }
        ticks.count += count;
        ticks.pause = ticks.pause.max(last.elapsed());
        last = Instant::now();
    }
    Ok(ticks)
}
