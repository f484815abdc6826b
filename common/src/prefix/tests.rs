//! Tables and properties of [`Prefix`].

use proptest::prelude::*;

use super::*;

fn prefix(text: &str) -> Prefix {
    text.parse().unwrap()
}

#[test]
fn parses_only_networks() {
    for good in ["10.244.0.0/16", "0.0.0.0/0", "::/0", "fd00:10:244::/56", "10.0.0.1/32"] {
        assert_eq!(prefix(good).to_string(), good);
    }
    for (bad, reason) in [
        ("10.244.0.0", "want ADDRESS/LENGTH"),
        ("10.244.0/16", "is no CIDR"),
        ("10.244.0.0/x", "its length is no number"),
        ("10.244.0.0/33", "too long for IPv4"),
        ("fd00::/129", "too long for IPv6"),
        ("10.244.0.1/16", "the network is 10.244.0.0/16"),
    ] {
        let error = bad.parse::<Prefix>().unwrap_err().to_string();
        assert!(error.contains(reason), "{bad}: {error}");
    }
}

#[test]
fn masks_host_bits_where_asked() {
    assert_eq!(Prefix::parse_masking("10.1.2.3/16").unwrap(), prefix("10.1.0.0/16"));
    assert_eq!(Prefix::parse_masking("2001:beef::1/48").unwrap(), prefix("2001:beef::/48"));
}

#[test]
fn counts_subnets_to_the_last() {
    let cluster = prefix("10.244.0.0/16");
    assert_eq!(cluster.subnet(24, 0), Some(prefix("10.244.0.0/24")));
    assert_eq!(cluster.subnet(24, 255), Some(prefix("10.244.255.0/24")));
    assert_eq!(cluster.subnet(24, 256), None);
    assert_eq!(cluster.subnet(16, 0), Some(cluster));
    assert_eq!(cluster.subnet(16, 1), None);
    assert_eq!(cluster.subnet(15, 0), None);
    assert_eq!(cluster.subnet(33, 0), None);
    assert_eq!(prefix("::/0").subnet(128, u128::MAX).unwrap().last(), prefix("::/0").last());
    assert_eq!(prefix("::/0").subnet(0, 0), Some(prefix("::/0")));
}

#[test]
fn the_gateway_is_the_first_address() {
    assert_eq!(prefix("10.244.3.0/24").gateway(), Some("10.244.3.1".parse().unwrap()));
    assert_eq!(prefix("fd00:1::/64").gateway(), Some("fd00:1::1".parse().unwrap()));
    assert_eq!(prefix("10.0.0.1/32").gateway(), None);
}

#[test]
fn families_never_meet() {
    assert!(!prefix("0.0.0.0/0").overlaps(prefix("::/0")));
    assert!(!prefix("::/0").contains("10.0.0.1".parse().unwrap()));
}

fn any_prefix() -> impl Strategy<Value = Prefix> {
    let v4 = (any::<u32>(), 0..=32_u8).prop_map(|(bits, length)| (Family::V4, bits.into(), length));
    let v6 = (any::<u128>(), 0..=128_u8).prop_map(|(bits, length)| (Family::V6, bits, length));
    prop_oneof![v4, v6].prop_map(|(family, bits, length)| {
        Prefix::containing(family.address(bits), length).unwrap()
    })
}

proptest! {
    #[test]
    fn text_round_trips(prefix in any_prefix()) {
        prop_assert_eq!(prefix.to_string().parse::<Prefix>().unwrap(), prefix);
        let json = serde_json::to_string(&prefix).unwrap();
        prop_assert_eq!(serde_json::from_str::<Prefix>(&json).unwrap(), prefix);
    }

    #[test]
    fn holds_its_own_ends_and_nothing_beyond(prefix in any_prefix()) {
        prop_assert!(prefix.contains(prefix.network()) && prefix.contains(prefix.last()));
        prop_assert_eq!(prefix.offset_of(prefix.network()), Some(0));
        let size = prefix.offset_of(prefix.last()).unwrap();
        prop_assert_eq!(prefix.nth(size), Some(prefix.last()));
        prop_assert_eq!(size.checked_add(1).and_then(|beyond| prefix.nth(beyond)), None);
    }

    #[test]
    fn a_subnet_is_covered_and_its_neighbour_is_apart(
        prefix in any_prefix(), longer in 1..=16_u8, index in any::<u128>()
    ) {
        let length = prefix.length().saturating_add(longer);
        prop_assume!(length <= prefix.family().width());
        let last = (1_u128 << longer) - 1;
        let index = index & last;
        let subnet = prefix.subnet(length, index).unwrap();
        prop_assert!(prefix.covers(subnet) && !subnet.covers(prefix));
        if index < last {
            prop_assert!(!subnet.overlaps(prefix.subnet(length, index + 1).unwrap()));
        }
    }
}
