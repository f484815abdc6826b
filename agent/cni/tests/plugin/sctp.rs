//! SCTP host ports on a kernel whose netfilter knows SCTP while its sockets may not: an association whose
//! packets are made here and sent by raw sockets.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::time::Duration;

use net::Netns;
use nix::sys::socket::{AddressFamily, SockFlag, SockProtocol, SockType, socket};

use crate::hostports::{add, client, listing, machine, mapping};
use crate::lab::pod;

const HOST_PORT: u16 = 8132;
const CONTAINER_PORT: u16 = 132;
const CLIENT_PORT: u16 = 40132;

/// Who sends a chunk.
#[derive(Clone, Copy)]
enum Side {
    Client,
    Server,
}

/// A whole association: opened, data both ways, closed (RFC 9260, sections 3.3 and 5.1). Of each chunk all
/// fields that the protocol wants; INIT goes by tag 0, all others by the one that its receiver named.
const TALK: [(Side, &[u8]); 11] = [
    (Side::Client, &[1, 0, 0, 20, 0x6b, 0x75, 0x62, 0x65, 0, 1, 0, 0, 0, 1, 0, 1, 0, 0, 0, 1]),
    // With a cookie, which the client sends back.
    (
        Side::Server,
        &[
            2, 0, 0, 28, 0x6e, 0x65, 0x74, 0x21, 0, 1, 0, 0, 0, 1, 0, 1, 0, 0, 0, 1, 0, 7, 0, 8, 1,
            2, 3, 4,
        ],
    ),
    (Side::Client, &[10, 0, 0, 8, 1, 2, 3, 4]),
    (Side::Server, &[11, 0, 0, 4]),
    (Side::Client, &[0, 3, 0, 20, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, b'p', b'i', b'n', b'g']),
    (Side::Server, &[3, 0, 0, 16, 0, 0, 0, 1, 0, 1, 0, 0, 0, 0, 0, 0]),
    (Side::Server, &[0, 3, 0, 20, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, b'p', b'o', b'n', b'g']),
    (Side::Client, &[3, 0, 0, 16, 0, 0, 0, 1, 0, 1, 0, 0, 0, 0, 0, 0]),
    (Side::Client, &[7, 0, 0, 8, 0, 0, 0, 1]),
    (Side::Server, &[8, 0, 0, 4]),
    (Side::Client, &[14, 0, 0, 4]),
];
const TAG_OF_CLIENT: u32 = 0x6b75_6265;
const TAG_OF_SERVER: u32 = 0x6e65_7421;

/// A packet of SCTP (RFC 9260, section 3) with its checksum.
fn packet(from: u16, to: u16, tag: u32, chunk: &[u8]) -> Vec<u8> {
    let header = [&from.to_be_bytes()[..], &to.to_be_bytes(), &tag.to_be_bytes(), &[0; 4]];
    let mut packet = [header.concat().as_slice(), chunk].concat();
    let sum = crc32c(&packet);
    packet[8..12].copy_from_slice(&sum.to_le_bytes());
    packet
}

/// RFC 9260, appendix A.
fn crc32c(data: &[u8]) -> u32 {
    let step = |crc: u32| if crc & 1 == 0 { crc >> 1 } else { crc >> 1 ^ 0x82f6_3b78 };
    let byte = |crc: u32, byte: &u8| (0..8).fold(crc ^ u32::from(*byte), |crc, _| step(crc));
    !data.iter().fold(!0, byte)
}

/// Sends and gets packets of SCTP.
fn raw(netns: &Netns, address: IpAddr) -> UdpSocket {
    let family = if address.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
    let open = || socket(family, SockType::Raw, SockFlag::SOCK_CLOEXEC, SockProtocol::Sctp);
    let raw = UdpSocket::from(netns.run(open).unwrap().unwrap());
    raw.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    raw
}

/// The next packet and its sender; of IPv4 the kernel hands over the IP header, too.
fn receive(raw: &UdpSocket) -> (Vec<u8>, IpAddr) {
    let mut received = [0; 1500];
    let (length, sender) = raw.recv_from(&mut received).unwrap();
    let header = if sender.is_ipv4() { usize::from(received[0] & 0xf) * 4 } else { 0 };
    (received[header..length].to_vec(), sender.ip())
}

#[test]
fn an_association_through_a_host_port_lives_from_its_first_packet_to_its_last() {
    let mut host = machine();
    let pair = [("192.0.2.1", "192.0.2.2", 24), ("2001:db8::1", "2001:db8::2", 64)];
    let (client, pod) = (client(&mut host, pair), pod());
    let ports = [mapping(HOST_PORT, CONTAINER_PORT, "sctp", "")];
    let addresses = add(&host, "c1", &pod, &ports).addresses();
    let element = format!("sctp . {HOST_PORT} : {} . {CONTAINER_PORT}", addresses[0]);
    assert!(listing(&host).contains(&element), "{}", listing(&host));
    for (address, (uplink, its, _)) in addresses.into_iter().zip(pair) {
        let (uplink, its) = (uplink.parse::<IpAddr>().unwrap(), its.parse::<IpAddr>().unwrap());
        let (asking, answering) = (raw(&client, its), raw(&pod, address));
        for (number, (side, chunk)) in TALK.into_iter().enumerate() {
            let tag = match side {
                Side::Client if number == 0 => 0,
                Side::Client => TAG_OF_SERVER,
                Side::Server => TAG_OF_CLIENT,
            };
            // The port is another on each side of the machine, so the checksum is too.
            let on_its_way = |port: u16| match side {
                Side::Client => packet(CLIENT_PORT, port, tag, chunk),
                Side::Server => packet(port, CLIENT_PORT, tag, chunk),
            };
            let (from, to, sent, got, sender, receiver) = match side {
                Side::Client => (&asking, &answering, HOST_PORT, CONTAINER_PORT, its, uplink),
                Side::Server => (&answering, &asking, CONTAINER_PORT, HOST_PORT, uplink, its),
            };
            from.send_to(&on_its_way(sent), SocketAddr::new(receiver, 0)).unwrap();
            assert_eq!(receive(to), (on_its_way(got), sender), "chunk {number}");
        }
    }
    host.del("c1").succeeded();
    assert!(!listing(&host).contains("sctp . 8132"));
}
