//! As much of HTTP/1.0 as a check needs: one GET, one answer, and the connection ends.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

/// Asks `server` for `path`, and returns the body of a good answer.
///
/// # Errors
/// Also when the answer's status is not 200; the error's text is its body then.
pub fn fetch(server: SocketAddr, path: &str, timeout: Duration) -> io::Result<String> {
    exchange(server, path, 0, timeout).map(|body| body.trim_end().to_owned())
}

/// The same with so many bytes of `padding` in the request, and nothing trimmed from the answer.
pub(crate) fn exchange(
    server: SocketAddr,
    path: &str,
    padding: usize,
    timeout: Duration,
) -> io::Result<String> {
    let deadline = Instant::now() + timeout;
    let mut stream = TcpStream::connect_timeout(&server, timeout)?;
    let left = deadline.saturating_duration_since(Instant::now());
    stream.set_read_timeout(Some(left.max(Duration::from_millis(1))))?;
    stream.set_write_timeout(Some(timeout))?;
    let padding = "x".repeat(padding);
    stream.write_all(format!("GET {path} HTTP/1.0\r\nPadding: {padding}\r\n\r\n").as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    match head.split(' ').nth(1) {
        Some("200") => Ok(body.to_owned()),
        _ => Err(io::Error::other(body.trim_end().to_owned())),
    }
}

/// Reads a request and returns what it asks for: its path, with its query.
pub(crate) fn requested(stream: &TcpStream) -> io::Result<String> {
    let mut lines = BufReader::new(stream).lines();
    let first = lines.next().unwrap_or(Err(io::ErrorKind::UnexpectedEof.into()))?;
    // The head ends with an empty line; a client that still sends would see a reset otherwise.
    for line in lines {
        if line?.is_empty() {
            break;
        }
    }
    Ok(first.split(' ').nth(1).unwrap_or_default().to_owned())
}

/// Answers with `result`: 200 and its text, or 502 and its error.
pub(crate) fn answer(mut stream: &TcpStream, result: io::Result<String>) -> io::Result<()> {
    let (status, body) = match result {
        Ok(body) => ("200 OK", body),
        Err(error) => ("502 Bad Gateway", error.to_string()),
    };
    let length = body.len() + 1;
    write!(stream, "HTTP/1.0 {status}\r\nContent-Length: {length}\r\n\r\n{body}\n")
}

/// The value of `key` in the query of `path`.
pub(crate) fn parameter<'a>(path: &'a str, key: &str) -> io::Result<&'a str> {
    let query = path.split_once('?').map_or("", |(_, query)| query);
    let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
    let value = pairs.filter(|(name, _)| *name == key).map(|(_, value)| value).next();
    value.ok_or_else(|| io::Error::other(format!("the query has no {key}")))
}
