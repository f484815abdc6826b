//! Asks whether somebody is there to take something over: a connection to a Unix socket, and one byte back.

use std::io::{self, ErrorKind, Read};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use nix::sys::socket::{AddressFamily, SockFlag, SockType, UnixAddr, connect, socket};

/// Whether who listens at `path` answers within `limit`; it need not read anything.
///
/// # Errors
/// Where nobody listens, or too many wait already.
pub fn knock(path: &Path, limit: Duration) -> io::Result<bool> {
    // A process that is stopped accepts nobody, and connect(2) waits once its queue is full.
    let mut stream = connected(path)?;
    stream.set_nonblocking(false)?;
    stream.set_read_timeout(Some(limit))?;
    match stream.read(&mut [0]) {
        Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(false),
        length => Ok(length? > 0),
    }
}

fn connected(path: &Path) -> io::Result<UnixStream> {
    let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
    let socket = socket(AddressFamily::Unix, SockType::Stream, flags, None)?;
    connect(socket.as_raw_fd(), &UnixAddr::new(path)?)?;
    Ok(socket.into())
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::os::unix::net::UnixListener;
    use std::thread;

    use nix::sys::socket::{Shutdown, shutdown};

    use super::*;

    const LIMIT: Duration = Duration::from_millis(20);

    #[test]
    fn who_answers_is_there() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("socket");
        let listener = UnixListener::bind(&path).unwrap();
        thread::scope(|scope| {
            scope.spawn(|| listener.accept().unwrap().0.write_all(b"!").unwrap());
            assert!(knock(&path, Duration::from_secs(10)).unwrap());
            scope.spawn(|| drop(listener.accept().unwrap()));
            assert!(!knock(&path, Duration::from_secs(10)).unwrap());
        });
    }

    #[test]
    fn nobody_is_waited_for_longer_than_the_limit() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("socket");
        assert_eq!(knock(&path, LIMIT).unwrap_err().kind(), ErrorKind::NotFound);
        let listener = UnixListener::bind(&path).unwrap();
        assert!(!knock(&path, LIMIT).unwrap());
        // Its queue is full.
        let mut waiting = Vec::new();
        let error = loop {
            match connected(&path) {
                Ok(stream) => waiting.push(stream),
                Err(error) => break error,
            }
        };
        assert_eq!(error.kind(), ErrorKind::WouldBlock);
        assert_eq!(knock(&path, LIMIT).unwrap_err().kind(), ErrorKind::WouldBlock);
        // Closing it is not enough: a process that another test is about to start may hold a copy.
        shutdown(listener.as_raw_fd(), Shutdown::Both).unwrap();
        assert_eq!(knock(&path, LIMIT).unwrap_err().kind(), ErrorKind::ConnectionRefused);
    }
}
