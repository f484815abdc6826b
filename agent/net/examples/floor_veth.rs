//! A floor of `make bench`: a pod's link, made by a program that does nothing else.
//!
//! `floor_veth NETNS HOST_LINK BRIDGE [ADDRESS LENGTH GATEWAY]...`

use std::error::Error;
use std::net::IpAddr;

use common::{Family, Prefix};
use net::link::{Hairpin, LinkChange, VethSpec};
use net::route::{Route, RouteChange};
use net::shaping::Shaping;
use net::{Mac, Netlink, Netns};

fn main() -> Result<(), Box<dyn Error>> {
    let arguments = std::env::args().skip(1).collect::<Vec<_>>();
    let [netns, host_link, bridge, addresses @ ..] = arguments.as_slice() else {
        return Err("want NETNS HOST_LINK BRIDGE [ADDRESS LENGTH GATEWAY]...".into());
    };
    let netns = Netns::open(netns.as_ref())?;
    let mut host = Netlink::open()?;
    let bridge = host.link(bridge)?.ok_or("the bridge is missing")?;
    let veth = host.create_veth(&VethSpec {
        host_name: host_link,
        host_mac: Mac([2, 0, 0, 0, 0, 2]),
        container_name: "eth0",
        container_mac: Mac([2, 0, 0, 0, 0, 3]),
        netns: &netns,
        mtu: bridge.mtu,
        alias: "floor",
        bridge: bridge.index,
        hairpin: Hairpin::On,
        shaping: Shaping::default(),
    })?;
    let mut pod = netns.run(Netlink::open)??;
    let link = veth.container;
    pod.set_link(link, &LinkChange { up: Some(true), ..LinkChange::default() })?;
    let mut routes = Vec::new();
    for address in addresses.chunks_exact(3) {
        let [address, length, gateway] = address else { continue };
        let (address, gateway) = (address.parse::<IpAddr>()?, gateway.parse()?);
        pod.add_address(link, address, length.parse()?)?;
        let any = Family::from(address).address(0);
        routes.push(RouteChange::Replace(Route {
            destination: Prefix::containing(any, 0)?,
            via: Some(gateway),
            link: Some(link),
            protocol: common::names::ROUTE_PROTOCOL,
            metric: 0,
            mtu: None,
        }));
    }
    Ok(pod.change_routes(&routes)?.into_iter().collect::<Result<(), _>>()?)
}
