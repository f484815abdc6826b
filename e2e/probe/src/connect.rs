//! A connection to a server that is no probe, so that nobody is asked anything.

use std::io;
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use crate::http;

/// Connects to `server`, and says how long it took.
pub(crate) fn connect(server: SocketAddr, within: Duration) -> io::Result<Duration> {
    let start = Instant::now();
    TcpStream::connect_timeout(&server, within)?;
    Ok(start.elapsed())
}

/// Has the probe at `pod` connect to `server`.
pub fn connect_from(pod: SocketAddr, server: SocketAddr, within: Duration) -> io::Result<Duration> {
    let path = format!("/connect?to={server}&within={}", within.as_millis());
    let text = http::fetch(pod, &path, within + Duration::from_secs(2))?;
    text.parse().map(Duration::from_micros).map_err(io::Error::other)
}
