//! Pure: which addresses of a range a pod may have, and in which order they are tried.

use std::net::IpAddr;

use common::Family;
use common::conflist::Range;

/// Of a larger IPv6 range only the first 65536 addresses are given: that many differ in the MAC
/// that is derived from them (`common::attachment::mac`).
const IPV6_SIZE_BITS: u8 = 16;

/// The addresses of a range that are for pods: not the network's, the gateway or IPv4's broadcast.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Pool {
    pub(crate) range: Range,
    /// How far the last one lies behind the network's address; the first lies 1 behind.
    last: u128,
    gateway: Option<u128>,
}

impl From<Range> for Pool {
    fn from(range: Range) -> Self {
        let family = range.subnet.family();
        let host_bits = family.width() - range.subnet.length();
        let last = match family {
            Family::V4 => ((1_u128 << host_bits) - 1).saturating_sub(1),
            // The network's address is the routers' anycast address (RFC 4291, section 2.6.1).
            Family::V6 => (1 << host_bits.min(IPV6_SIZE_BITS)) - 1,
        };
        let gateway = range.subnet.offset_of(range.gateway);
        Self { range, last, gateway: gateway.filter(|offset| (1..=last).contains(offset)) }
    }
}

impl Pool {
    /// How many addresses it has for pods.
    pub(crate) fn size(&self) -> u128 {
        self.last - u128::from(self.gateway.is_some())
    }

    /// Whether `address` is for a pod.
    pub(crate) fn has(&self, address: IpAddr) -> bool {
        let offset = self.range.subnet.offset_of(address);
        offset.is_some_and(|o| (1..=self.last).contains(&o) && Some(o) != self.gateway)
    }

    /// How many addresses there are, with those that are for no pod.
    pub(crate) fn total(&self) -> u128 {
        let host_bits = self.range.subnet.family().width() - self.range.subnet.length();
        match self.range.subnet.family() {
            Family::V4 => 1 << host_bits,
            Family::V6 => 1 << host_bits.min(IPV6_SIZE_BITS),
        }
    }

    /// Each of its addresses once, beginning behind `given`, the one that was given last.
    ///
    /// So an address rests as long as possible before it is somebody else's.
    pub(crate) fn after(&self, given: Option<IpAddr>) -> impl Iterator<Item = IpAddr> + use<> {
        let Self { range, last, gateway } = *self;
        let given = given.and_then(|address| range.subnet.offset_of(address));
        let given = given.filter(|&offset| offset <= last).unwrap_or(0);
        let offsets = (given + 1..=last).chain(1..=given);
        offsets
            .filter(move |&offset| Some(offset) != gateway)
            .filter_map(move |o| range.subnet.nth(o))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn pool(subnet: &str, gateway: &str) -> Pool {
        Range { subnet: subnet.parse().unwrap(), gateway: gateway.parse().unwrap() }.into()
    }

    #[track_caller]
    fn check(subnet: &str, gateway: &str, given: &str, expected: &[&str]) {
        let pool = pool(subnet, gateway);
        let given = (!given.is_empty()).then(|| given.parse().unwrap());
        let addresses = pool.after(given).map(|address| address.to_string()).collect::<Vec<_>>();
        assert_eq!(addresses, expected);
        assert_eq!(u128::try_from(expected.len()), Ok(pool.size()));
    }

    #[test]
    fn the_next_one_follows_the_last_and_wraps() {
        let (subnet, gateway) = ("10.0.0.0/29", "10.0.0.1");
        let all = ["10.0.0.2", "10.0.0.3", "10.0.0.4", "10.0.0.5", "10.0.0.6"];
        check(subnet, gateway, "", &all);
        check(subnet, gateway, "10.0.0.1", &all);
        check(subnet, gateway, "10.0.0.6", &all);
        check(subnet, gateway, "10.0.0.7", &all);
        check(subnet, gateway, "192.0.2.1", &all);
        check(subnet, gateway, "fd00::1", &all);
        let turned = ["10.0.0.5", "10.0.0.6", "10.0.0.2", "10.0.0.3", "10.0.0.4"];
        check(subnet, gateway, "10.0.0.4", &turned);
    }

    #[test]
    fn the_gateway_may_be_anywhere() {
        check(
            "10.0.0.0/29",
            "10.0.0.3",
            "10.0.0.4",
            &["10.0.0.5", "10.0.0.6", "10.0.0.1", "10.0.0.2", "10.0.0.4"],
        );
        check("10.0.0.0/30", "10.0.0.0", "", &["10.0.0.1", "10.0.0.2"]);
        check("fd00::/126", "fd00::3", "", &["fd00::1", "fd00::2"]);
    }

    #[test]
    fn a_tiny_range_has_no_address() {
        check("10.0.0.0/31", "10.0.0.1", "", &[]);
        check("10.0.0.0/32", "10.0.0.0", "", &[]);
        check("fd00::/128", "fd00::", "", &[]);
        check("fd00::/127", "fd00::1", "", &[]);
    }

    #[test]
    fn a_large_ipv6_range_wraps_where_macs_would_repeat() {
        let pool = pool("fd00:1::/48", "fd00:1::1");
        assert_eq!(pool.size(), 65534);
        let last = "fd00:1::ffff".parse().unwrap();
        assert_eq!(pool.after(Some(last)).next(), Some("fd00:1::2".parse().unwrap()));
        assert!(pool.after(None).all(|address| address <= last));
    }

    proptest! {
        #[test]
        fn each_address_for_pods_comes_once(
            v4: bool, host_bits in 0_u8..9, gateway in 0_u128..512, given in 0_u128..600,
        ) {
            let (base, width) = if v4 { ("10.0.2.0", 32) } else { ("fd00::a:200", 128) };
            let subnet = format!("{base}/{}", width - host_bits).parse::<common::Prefix>().unwrap();
            let gateway = subnet.nth(gateway % (1 << host_bits)).unwrap();
            let pool = Pool::from(Range { subnet, gateway });
            let addresses = pool.after(subnet.nth(given)).collect::<Vec<_>>();
            let distinct = addresses.iter().copied().collect::<BTreeSet<_>>();
            prop_assert_eq!(distinct.len(), addresses.len());
            prop_assert!(addresses.iter().all(|&address| pool.has(address)));
            prop_assert!(!pool.has(gateway) && !pool.has(subnet.network()));
            let all = (0..1 << host_bits).filter_map(|offset| subnet.nth(offset));
            let expected = all.filter(|&address| {
                let broadcast = v4 && address == subnet.last();
                address != subnet.network() && address != gateway && !broadcast
            });
            prop_assert_eq!(&distinct, &expected.collect::<BTreeSet<_>>());
        }
    }
}
