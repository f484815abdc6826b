//! Datagrams that are answered from the address that they were sent to.
//!
//! A socket that listens on all addresses leaves the choice to the kernel, which takes that of the
//! way back: a machine would answer its own pods as cbr0, and they drop what they did not ask.

use std::io::{self, IoSlice, IoSliceMut};
use std::net::{SocketAddr, SocketAddrV6, UdpSocket};
use std::os::fd::AsRawFd;

use nix::cmsg_space;
use nix::libc::in6_pktinfo;
use nix::sys::socket::{
    ControlMessage, ControlMessageOwned, MsgFlags, SockaddrIn6, recvmsg, sendmsg, setsockopt,
    sockopt,
};

/// A socket of both families.
#[derive(Debug)]
pub struct Datagrams(UdpSocket);

/// Who asked, and at which address of this machine.
#[derive(Clone, Copy, Debug)]
pub struct Asked {
    pub peer: SocketAddr,
    at: Option<in6_pktinfo>,
}

impl Datagrams {
    /// `address` is an IPv6 address; the unspecified one is that of both families.
    pub fn bind(address: SocketAddr) -> io::Result<Self> {
        let socket = UdpSocket::bind(address)?;
        setsockopt(&socket, sockopt::Ipv6RecvPacketInfo, &true)?;
        Ok(Self(socket))
    }

    /// The next one: how much of `buffer` it fills, and who asked.
    pub fn receive(&self, buffer: &mut [u8]) -> io::Result<(usize, Asked)> {
        let mut parts = [IoSliceMut::new(buffer)];
        let mut space = cmsg_space!(in6_pktinfo);
        let socket = self.0.as_raw_fd();
        let message =
            recvmsg::<SockaddrIn6>(socket, &mut parts, Some(&mut space), MsgFlags::empty())?;
        let at = message.cmsgs()?.find_map(|control| match control {
            ControlMessageOwned::Ipv6PacketInfo(at) => Some(at),
            _ => None,
        });
        let peer = message.address.ok_or(io::ErrorKind::InvalidData)?;
        let peer = SocketAddr::V6(SocketAddrV6::from(peer));
        Ok((message.bytes, Asked { peer, at }))
    }

    /// Tells `asked` the answer `text`.
    pub fn answer(&self, asked: Asked, text: &[u8]) -> io::Result<()> {
        let SocketAddr::V6(peer) = asked.peer else {
            return Err(io::ErrorKind::InvalidInput.into());
        };
        // Which way back is the kernel's to find.
        let from = asked.at.map(|at| in6_pktinfo { ipi6_ifindex: 0, ..at });
        let from = from.as_ref().map(ControlMessage::Ipv6PacketInfo);
        let peer = SockaddrIn6::from(peer);
        let (parts, flags) = ([IoSlice::new(text)], MsgFlags::empty());
        sendmsg(self.0.as_raw_fd(), &parts, from.as_slice(), flags, Some(&peer))?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr};
    use std::time::Duration;

    use super::*;

    #[test]
    fn an_answer_comes_from_the_address_that_was_asked() {
        let server = Datagrams::bind((Ipv6Addr::UNSPECIFIED, 0).into()).unwrap();
        let port = server.0.local_addr().unwrap().port();
        for at in ["127.0.0.2", "127.0.0.1", "::1"] {
            let any =
                if at == "::1" { Ipv6Addr::UNSPECIFIED.into() } else { Ipv4Addr::LOCALHOST.into() };
            let client = UdpSocket::bind(SocketAddr::new(any, 0)).unwrap();
            client.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
            client.send_to(b"who?", (at, port)).unwrap();
            let (length, asked) = server.receive(&mut [0; 16]).unwrap();
            assert_eq!(length, 4);
            server.answer(asked, b"me").unwrap();
            let (_, from) = client.recv_from(&mut [0; 16]).unwrap();
            assert_eq!(from.to_string(), SocketAddr::new(at.parse().unwrap(), port).to_string());
        }
    }
}
