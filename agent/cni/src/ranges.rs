//! Pure: which addresses of a range a pod may have, and in which order they are tried.

use std::net::IpAddr;

use common::conflist::Range;
use common::{Family, attachment};

/// Of a larger IPv6 range only the first 65536 addresses are given: that many differ in the MAC
/// that is derived from them (`common::attachment::mac`).
const IPV6_SIZE_BITS: u8 = 16;

/// The addresses of a range that are for pods: not the network's, the gateway or IPv4's broadcast.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Pool {
    pub(crate) range: Range,
    /// How far the first one lies behind the network's address: 1 at least.
    first: u128,
    last: u128,
    gateway: Option<u128>,
}

/// What is wanted of one family.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Want {
    /// This address and no other.
    This(IpAddr),
    /// One of these, those of the first pool first.
    OneOf(Vec<Pool>),
}

impl From<Range> for Pool {
    fn from(range: Range) -> Self {
        let family = range.subnet.family();
        let offset = |address: Option<IpAddr>| range.subnet.offset_of(address?);
        // The network's address is the routers' anycast address (RFC 4291, section 2.6.1).
        let first = offset(range.range_start).unwrap_or(1).max(1);
        let all = offset(Some(range.subnet.last())).unwrap_or(0);
        let highest = match family {
            Family::V4 => all.saturating_sub(1),
            Family::V6 => all.min(first.saturating_add((1 << IPV6_SIZE_BITS) - 2)),
        };
        let last = offset(range.range_end).unwrap_or(highest).min(highest);
        let gateway = offset(Some(range.gateway));
        let gateway = gateway.filter(|offset| (first..=last).contains(offset));
        Self { range, first, last, gateway }
    }
}

impl Pool {
    /// How many addresses it has for pods.
    pub(crate) fn size(&self) -> u128 {
        (self.last + 1).saturating_sub(self.first) - u128::from(self.gateway.is_some())
    }

    /// Whether `address` is for a pod.
    pub(crate) fn has(&self, address: IpAddr) -> bool {
        let offset = self.range.subnet.offset_of(address);
        offset.is_some_and(|o| (self.first..=self.last).contains(&o) && Some(o) != self.gateway)
    }

    /// Why no pod may have `address`, which is in the subnet; none if one may.
    fn why_not(&self, address: IpAddr) -> Option<String> {
        let Range { subnet, gateway, .. } = self.range;
        if self.has(address) {
            None
        } else if address == gateway {
            Some(format!("{address} is the gateway of {subnet}"))
        } else if address == subnet.network() {
            Some(format!("{address} is the address of the network {subnet}"))
        } else if address == subnet.last() && address.is_ipv4() {
            Some(format!("{address} is the broadcast address of {subnet}"))
        } else {
            let ends = [self.first, self.last].map(|offset| subnet.nth(offset));
            let [first, last] = ends.map(|end| end.map_or("?".to_owned(), |end| end.to_string()));
            Some(format!("{address} is not between {first} and {last}, of which {subnet} gives"))
        }
    }

    /// Why this and `other` can't be on one bridge.
    fn conflict(&self, other: &Self) -> Option<String> {
        let (one, two) = (self.range.subnet, other.range.subnet);
        let apart = self.last < other.first || other.last < self.first;
        if one == two && self.range.gateway == other.range.gateway {
            return (!apart).then(|| format!("ranges: two of {one} have addresses in common"));
        }
        if one.overlaps(two) {
            return Some(format!("ranges: {one} and {two} overlap"));
        }
        let macs = [self, other].map(|pool| {
            let end = |offset| pool.range.subnet.nth(offset).map(attachment::mac);
            end(pool.first).zip(end(pool.last))
        });
        let [Some((start, end)), Some((others_start, others_end))] = macs else { return None };
        (start <= others_end && others_start <= end).then(|| {
            format!(
                "ranges: {one} and {two} have MAC addresses in common, which follow from theirs"
            )
        })
    }

    /// What distinguishes it from others in the name of a file: `10.244.1.0-24`.
    pub(crate) fn name(&self) -> String {
        let subnet = self.range.subnet.to_string().replace('/', "-");
        self.range.range_start.map_or(subnet.clone(), |start| format!("{subnet}-{start}"))
    }

    /// How many addresses there are, with those that are for no pod.
    pub(crate) fn total(&self) -> u128 {
        let host_bits = self.range.subnet.family().width() - self.range.subnet.length();
        match self.range.subnet.family() {
            Family::V4 => 1 << host_bits,
            Family::V6 => 1 << host_bits.min(IPV6_SIZE_BITS),
        }
    }

    /// The address that is half a round away from `address`; none if that is not of its subnet.
    pub(crate) fn opposite(&self, address: IpAddr) -> Option<IpAddr> {
        let offset = self.range.subnet.offset_of(address)?.clamp(self.first, self.last);
        let round = self.last - self.first + 1;
        self.range.subnet.nth(self.first + (offset - self.first + round / 2) % round)
    }

    /// Each of its addresses once, beginning behind `given`, the one that was given last.
    ///
    /// So an address rests as long as possible before it is somebody else's.
    pub(crate) fn after(&self, given: Option<IpAddr>) -> impl Iterator<Item = IpAddr> + use<> {
        let Self { range, first, last, gateway } = *self;
        let given = given.and_then(|address| range.subnet.offset_of(address));
        let given = given.filter(|offset| (first..=last).contains(offset)).unwrap_or(first - 1);
        let offsets = (given + 1..=last).chain(first..=given);
        offsets
            .filter(move |&offset| Some(offset) != gateway)
            .filter_map(move |o| range.subnet.nth(o))
    }
}

/// What makes `ranges` no ranges of one bridge.
pub(crate) fn mistakes(ranges: &[Range]) -> Vec<String> {
    let mut mistakes = Vec::new();
    for (index, range) in ranges.iter().enumerate() {
        let Range { subnet, gateway, range_start, range_end } = *range;
        if !subnet.contains(gateway) {
            mistakes.push(format!("ranges: {subnet} has no gateway {gateway}"));
        }
        let ends = [range_start, range_end];
        let strange = ends.into_iter().flatten().filter(|end| !subnet.contains(*end));
        mistakes.extend(strange.map(|end| format!("ranges: {end} is not in {subnet}")));
        if let (Some(start), Some(end)) = (range_start, range_end)
            && start > end
        {
            mistakes.push(format!("ranges: {start} comes after {end}"));
        }
        for other in &ranges[..index] {
            mistakes.extend(Pool::from(*range).conflict(&Pool::from(*other)));
        }
    }
    mistakes
}

/// The pools of `family` in `ranges`.
pub(crate) fn pools(ranges: &[Range], family: Family) -> Vec<Pool> {
    let own = ranges.iter().filter(|range| range.subnet.family() == family);
    own.map(|&range| range.into()).collect()
}

/// The ranges that `addresses` are of: the pod's routes lead to their gateways.
pub(crate) fn of_addresses(ranges: &[Range], addresses: &[IpAddr]) -> Vec<Range> {
    let range = |address: &IpAddr| ranges.iter().find(|range| range.subnet.contains(*address));
    addresses.iter().filter_map(range).copied().collect()
}

/// Why no pod may have `address` from `pools`; none if one may.
pub(crate) fn refusal(pools: &[Pool], address: IpAddr) -> Option<String> {
    if pools.iter().any(|pool| pool.has(address)) {
        return None;
    }
    let near = pools.iter().find(|pool| pool.range.subnet.contains(address));
    near.and_then(|pool| pool.why_not(address)).or_else(|| {
        let subnets = pools.iter().map(|pool| pool.range.subnet.to_string()).collect::<Vec<_>>();
        Some(format!("{address} is in no range that there is for it: [{}]", subnets.join(", ")))
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn pool(subnet: &str, gateway: &str) -> Pool {
        Range::new(subnet.parse().unwrap(), gateway.parse().unwrap()).into()
    }

    #[test]
    fn half_a_round_away_is_as_far_as_it_gets() {
        let check = |subnet, gateway, address: &str, expected: &str| {
            let opposite = pool(subnet, gateway).opposite(address.parse().unwrap()).unwrap();
            assert_eq!(opposite, expected.parse::<IpAddr>().unwrap());
        };
        check("10.0.0.0/24", "10.0.0.1", "10.0.0.5", "10.0.0.132");
        check("10.0.0.0/24", "10.0.0.1", "10.0.0.200", "10.0.0.73");
        check("fd00::/64", "fd00::1", "fd00::5", "fd00::8004");
        assert_eq!(pool("10.0.0.0/24", "10.0.0.1").opposite("10.0.9.5".parse().unwrap()), None);
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

    fn written(text: &str) -> Range {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn a_range_may_be_a_part_of_its_subnet() {
        let part = written(
            r#"{"subnet": "10.0.0.0/24", "rangeStart": "10.0.0.1", "rangeEnd": "10.0.0.3"}"#,
        );
        let pool = Pool::from(part);
        let given = |last: &str| pool.after(last.parse().ok()).map(|ip| ip.to_string());
        assert_eq!(given("").collect::<Vec<_>>(), ["10.0.0.2", "10.0.0.3"]);
        assert_eq!(given("10.0.0.2").collect::<Vec<_>>(), ["10.0.0.3", "10.0.0.2"]);
        assert_eq!(given("10.0.0.9").collect::<Vec<_>>(), ["10.0.0.2", "10.0.0.3"]);
        assert_eq!((pool.size(), pool.total()), (2, 256));
        assert_eq!(pool.name(), "10.0.0.0-24-10.0.0.1");
        let high = written(r#"{"subnet": "fd00::/64", "rangeStart": "fd00::1:0:0"}"#);
        let pool = Pool::from(high);
        assert_eq!(pool.after(None).next(), "fd00::1:0:0".parse().ok());
        assert_eq!(pool.size(), 65535);
        let all = written(r#"{"subnet": "10.0.0.0/30", "rangeEnd": "10.0.0.3"}"#);
        assert!(!Pool::from(all).has("10.0.0.3".parse().unwrap()));
    }

    #[test]
    fn ranges_of_one_bridge_are_apart() {
        let check = |texts: &[&str], expected: &str| {
            let ranges = texts.iter().map(|text| written(text)).collect::<Vec<_>>();
            let mistakes = mistakes(&ranges).join("; ");
            assert!(mistakes.contains(expected), "{mistakes}");
            assert!(!expected.is_empty() || mistakes.is_empty(), "{mistakes}");
        };
        let one = r#"{"subnet": "10.0.0.0/24", "rangeEnd": "10.0.0.99"}"#;
        check(&[one, r#"{"subnet": "10.0.0.0/24", "rangeStart": "10.0.0.100"}"#], "");
        check(
            &[one, r#"{"subnet": "10.0.0.0/24"}"#],
            "two of 10.0.0.0/24 have addresses in common",
        );
        check(&[one, r#"{"subnet": "10.0.0.0/16"}"#], "10.0.0.0/16 and 10.0.0.0/24 overlap");
        check(&[one, r#"{"subnet": "10.1.0.0/24"}"#, r#"{"subnet": "fd00::/64"}"#], "");
        check(&[r#"{"subnet": "fd00:0:0:1::/64"}"#, r#"{"subnet": "fd00:0:0:2::/64"}"#], "");
        let alike = [r#"{"subnet": "fd00:1::/64"}"#, r#"{"subnet": "fd00:2::/64"}"#];
        check(&alike, "fd00:2::/64 and fd00:1::/64 have MAC addresses in common");
        check(&[r#"{"subnet": "10.0.0.0/24", "gateway": "10.0.1.1"}"#], "has no gateway 10.0.1.1");
        let strange =
            r#"{"subnet": "10.0.0.0/24", "rangeStart": "10.0.1.9", "rangeEnd": "fd00::1"}"#;
        check(&[strange], "10.0.1.9 is not in 10.0.0.0/24; ranges: fd00::1 is not in 10.0.0.0/24");
        let turned =
            r#"{"subnet": "10.0.0.0/24", "rangeStart": "10.0.0.9", "rangeEnd": "10.0.0.8"}"#;
        check(&[turned], "10.0.0.9 comes after 10.0.0.8");
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
            let pool = Pool::from(Range::new(subnet, gateway));
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
