//! Pure: the names of claims: `v4-10-244-1-0-24` is 10.244.1.0/24.
//!
//! A DNS-1123 label, which may hold neither `/` nor `:`. All eight groups of an IPv6 address are
//! written out: the `::` of its short form could stand in two places.

use std::net::IpAddr;

use common::{PerFamily, Prefix};

/// What names begin with, so that the first character is a letter and the families are told apart.
const STARTS: PerFamily<&str> = PerFamily { v4: "v4", v6: "v6" };

/// The name that claims `block`, and no other.
pub fn encode(block: Prefix) -> String {
    let start = STARTS[block.family()];
    let address = match block.network() {
        IpAddr::V4(address) => address.octets().map(|byte| byte.to_string()).join("-"),
        IpAddr::V6(address) => address.segments().map(|group| format!("{group:x}")).join("-"),
    };
    format!("{start}-{address}-{}", block.length())
}

/// The block that `name` claims; none if no block has this name.
pub fn decode(name: &str) -> Option<Prefix> {
    let (start, rest) = name.split_once('-')?;
    let (address, length) = rest.rsplit_once('-')?;
    let (family, _) = STARTS.iter().find(|(_, known)| **known == start)?;
    let separator = PerFamily { v4: ".", v6: ":" }[family];
    let block = format!("{}/{length}", address.replace('-', separator)).parse::<Prefix>().ok()?;
    // Numbers can be written in more ways than one; a block has one name.
    (encode(block) == name).then_some(block)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[track_caller]
    fn check(block: &str, name: &str) {
        assert_eq!(encode(block.parse().unwrap()), name);
        assert_eq!(decode(name), block.parse().ok(), "{name}");
    }

    #[test]
    fn a_block_has_one_name_and_a_name_one_block() {
        check("10.244.1.0/24", "v4-10-244-1-0-24");
        check("10.244.1.0/25", "v4-10-244-1-0-25");
        check("0.0.0.0/0", "v4-0-0-0-0-0");
        check("fd00:10:244::/64", "v6-fd00-10-244-0-0-0-0-0-64");
        check("::/0", "v6-0-0-0-0-0-0-0-0-0");
        check("::1/128", "v6-0-0-0-0-0-0-0-1-128");
        check("::ffff:10.0.0.0/104", "v6-0-0-0-0-0-ffff-a00-0-104");
    }

    #[test]
    fn what_no_block_is_called_is_no_claim() {
        for name in [
            "",
            "v4",
            "node-7",
            "v4-10-244-1-0",
            "v4-10-244-1-0-33",
            "v4-10-244-1-7-24",
            "v4-10-244-01-0-24",
            "v4-10-244-1-0-024",
            "v4-10-244-1-0-+24",
            "v5-10-244-1-0-24",
            "v6-10-244-1-0-24",
            "v6-fd00-10-244--64",
            "v6-FD00-10-244-0-0-0-0-0-64",
            "v6-0fd-10-244-0-0-0-0-0-64",
        ] {
            assert_eq!(decode(name), None, "{name:?}");
        }
    }

    /// RFC 1123 labels as Kubernetes checks them.
    fn is_dns_label(name: &str) -> bool {
        let good = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        let (first, last) = (name.bytes().next(), name.bytes().last());
        name.len() <= 63
            && first.is_some_and(good)
            && last.is_some_and(good)
            && name.bytes().all(|byte| good(byte) || byte == b'-')
    }

    fn any_block() -> impl Strategy<Value = Prefix> {
        let v4 = (any::<u32>(), 0..=32_u8)
            .prop_map(|(bits, length)| (IpAddr::from(bits.to_be_bytes()), length));
        let v6 = (any::<u128>(), any::<u128>(), 0..=128_u8).prop_map(|(bits, mask, length)| {
            // Long runs of zeros are what short forms stumble over.
            (IpAddr::from((bits & mask & mask.rotate_left(8)).to_be_bytes()), length)
        });
        prop_oneof![v4, v6]
            .prop_map(|(address, length)| Prefix::containing(address, length).unwrap())
    }

    proptest! {
        #[test]
        fn names_are_valid_and_no_two_blocks_share_one(one in any_block(), other in any_block()) {
            let name = encode(one);
            prop_assert!(is_dns_label(&name), "{}", name);
            // What can be read back is shared by nobody.
            prop_assert_eq!(decode(&name), Some(one));
            prop_assert_eq!(name == encode(other), one == other);
        }
    }
}
