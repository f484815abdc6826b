//! What goes between two places: pings, datagrams and a TCP transfer, of full size, there and back.

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::thread;
use std::time::{Duration, Instant};

use common::Family;
use net::Netns;
use probe::ping::Pinger;

const DEADLINE: Duration = Duration::from_secs(30);

/// The first of full size may only tell its sender that the path takes less.
const PATIENCE: Duration = Duration::from_millis(300);

const TRANSFER: usize = 256 << 10;

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
    let mut pinger = Pinger::new(address, 1).unwrap();
    until_done(|| pinger.ping(payload, PATIENCE).is_ok())
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
