//! A machine that has its IPv6 default route by router advertisement, which a router does not listen to.

use std::net::{Ipv6Addr, SocketAddrV6};
use std::os::fd::AsRawFd;

use net::sysctl::Sysctl;
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, SockaddrIn6, bind, sendto,
    setsockopt, socket, sockopt,
};

use super::*;

/// Until an address of its own is usable.
const DEADLINE: std::time::Duration = std::time::Duration::from_secs(20);

/// RFC 4861, section 4.2: a router for half an hour, and nothing else; the kernel adds the checksum.
const ADVERTISEMENT: [u8; 16] = [134, 0, 0, 0, 64, 0, 0x07, 0x08, 0, 0, 0, 0, 0, 0, 0, 0];

/// Has the router at the other end of the uplink say that it is one.
fn advertise(router: Ipv6Addr, link: u32) -> nix::Result<()> {
    let kind = (AddressFamily::Inet6, SockType::Raw, SockFlag::empty(), SockProtocol::IcmpV6);
    let socket = socket(kind.0, kind.1, kind.2, kind.3)?;
    // Else it may come from far away.
    setsockopt(&socket, sockopt::Ipv6Ttl, &255)?;
    bind(socket.as_raw_fd(), &SockaddrIn6::from(SocketAddrV6::new(router, 0, 0, link)))?;
    let machine = SockaddrIn6::from(SocketAddrV6::new("2001:db8::1".parse().unwrap(), 0, 0, 0));
    sendto(socket.as_raw_fd(), &ADVERTISEMENT, &machine, MsgFlags::empty()).map(drop)
}

fn by_advertisement(lab: &Lab) -> Vec<Route> {
    let routes = lab.inside(|| Netlink::open().unwrap().routes().unwrap());
    let is = |route: &Route| route.protocol == 9 && route.destination.length() == 0;
    routes.into_iter().filter(is).collect()
}

#[test]
fn an_advertised_default_route_outlives_the_machines_becoming_a_router() {
    let lab = Lab::new();
    let outside = lab.outside();
    let deadline = Instant::now() + DEADLINE;
    let router = |netlink: &mut Netlink| {
        let link = index(netlink, "switch");
        let addresses = netlink.addresses_of(link).unwrap();
        let own = addresses.iter().find_map(|held| match held.address {
            IpAddr::V6(ip) if ip.is_unicast_link_local() && !held.tentative => Some(ip),
            _ => None,
        });
        own.map(|own| (own, link))
    };
    while by_advertisement(&lab).is_empty() {
        assert!(Instant::now() < deadline, "no advertisement arrives");
        let told = || {
            let own = router(&mut Netlink::open().unwrap());
            own.is_some_and(|(own, link)| advertise(own, link).is_ok())
        };
        outside.netns.run(told).unwrap();
        std::thread::yield_now();
    }
    let before = by_advertisement(&lab);
    let mut machine = lab.machine();
    lab.converge(&mut machine);
    let read = |key: &str| lab.inside(|| Sysctl::default().read(key).unwrap());
    assert_eq!(read("net/ipv6/conf/all/forwarding"), "1");
    assert_eq!(read("net/ipv6/conf/eth0/accept_ra"), "2");
    assert_eq!(by_advertisement(&lab), before);
}
