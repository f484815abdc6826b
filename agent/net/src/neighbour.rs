//! Who is there on a link: which MAC address answers for an IP address, and behind which port of a
//! bridge it is.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, UdpSocket};

use netlink_packet_route::neighbour::{NeighbourHeader, NeighbourMessage, NeighbourMessageBuffer};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};

use crate::attribute::{attribute, ip_of, u32_of};
use crate::connection::Message;
use crate::error::During;
use crate::{Mac, NetError, Netlink};

/// linux/rtnetlink.h and linux/neighbour.h.
const RTM_NEWNEIGH: u16 = 28;
const NDA_DST: u16 = 1;
const NDA_LLADDR: u16 = 2;
const NDA_MASTER: u16 = 9;

/// "Discard" (RFC 863): where nobody minds what comes.
const DISCARD: u16 = 9;

impl Netlink {
    /// The neighbours on `link` whose MAC address is known.
    pub fn neighbours(&mut self, link: u32) -> Result<BTreeMap<IpAddr, Mac>, NetError> {
        let all = RouteNetlinkMessage::GetNeighbour(NeighbourMessage::default());
        let read = |message: &Message<'_>| {
            let (header, attributes) = parts(message)?;
            let mac = attribute(attributes, NDA_LLADDR)?.try_into().ok().map(Mac)?;
            let ip = attribute(attributes, NDA_DST).and_then(ip_of)?;
            (header.ifindex == link).then_some((ip, mac))
        };
        let known =
            self.dump(&all, read).during("list", format_args!("neighbours on link {link}"))?;
        Ok(known.into_iter().collect())
    }

    /// Behind which port of `bridge` each MAC address was seen.
    pub fn stations(&mut self, bridge: u32) -> Result<BTreeMap<Mac, u32>, NetError> {
        let mut all = NeighbourMessage::default();
        all.header.family = AddressFamily::Bridge;
        let read = |message: &Message<'_>| {
            let (header, attributes) = parts(message)?;
            let mac = attribute(attributes, NDA_LLADDR)?.try_into().ok().map(Mac)?;
            let master = attribute(attributes, NDA_MASTER).and_then(u32_of);
            (master == Some(bridge)).then_some((mac, header.ifindex))
        };
        let known = self.dump(&RouteNetlinkMessage::GetNeighbour(all), read);
        let known = known.during("list", format_args!("stations of bridge {bridge}"))?;
        Ok(known.into_iter().collect())
    }
}

fn parts<'a>(message: &Message<'a>) -> Option<(NeighbourHeader, &'a [u8])> {
    (message.kind == RTM_NEWNEIGH).then_some(())?;
    let header = NeighbourHeader::parse(message.body).ok()?;
    Some((header, message.body.get(size_of::<NeighbourMessageBuffer>()..)?))
}

/// Has the kernel ask who has `ip`, by a datagram to where nobody minds it.
pub fn seek(ip: IpAddr) -> io::Result<()> {
    let any: IpAddr = match ip {
        IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    UdpSocket::bind((any, 0))?.send_to(&[], (ip, DISCARD)).map(drop)
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;
    use crate::events::Events;
    use crate::link::{Hairpin, LinkChange, VethSpec};
    use crate::shaping::Shaping;
    use crate::testing::{MAC, Machine};

    #[test]
    fn who_is_sought_is_found_behind_its_port() {
        let (mut machine, mut pod) = (Machine::new(), Machine::new());
        let mac = Mac([2, 0, 0, 0, 0, 9]);
        let bridge = machine.netlink.create_bridge("cbr0", MAC).unwrap();
        let spec = VethSpec {
            host_name: "veth0",
            host_mac: Mac([2, 0, 0, 0, 0, 8]),
            container_name: "eth0",
            container_mac: mac,
            netns: &pod.netns,
            mtu: 1400,
            alias: "",
            bridge,
            hairpin: Hairpin::On,
            shaping: Shaping::default(),
        };
        let veth = machine.netlink.create_veth(&spec).unwrap();
        let both = ["10.0.0.2", "fd00::2"].map(|ip| ip.parse::<IpAddr>().unwrap());
        let up = LinkChange { up: Some(true), ..LinkChange::default() };
        machine.netlink.set_link(bridge, &up).unwrap();
        pod.netlink.set_link(veth.container, &up).unwrap();
        for (ip, length) in [("10.0.0.1", 24), ("fd00::1", 64)] {
            machine.netlink.add_address(bridge, ip.parse().unwrap(), length).unwrap();
        }
        for (ip, length) in both.into_iter().zip([24, 64]) {
            pod.netlink.add_address(veth.container, ip, length).unwrap();
        }
        let mut news = machine.netns.run(Events::of_neighbours).unwrap().unwrap();
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            machine.netns.run(|| both.map(|ip| seek(ip).unwrap())).unwrap();
            let neighbours = machine.netlink.neighbours(bridge).unwrap();
            let stations = machine.netlink.stations(bridge).unwrap();
            let known = both.iter().all(|ip| neighbours.get(ip) == Some(&mac));
            if let (true, Some(&port)) = (known, stations.get(&mac)) {
                assert_eq!(port, veth.host);
                assert_eq!(machine.netlink.neighbours(veth.host).unwrap(), BTreeMap::new());
                assert_eq!(machine.netlink.stations(veth.host).unwrap(), BTreeMap::new());
                return;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "{neighbours:?} {stations:?}");
            news.wait(left).unwrap();
        }
    }
}
