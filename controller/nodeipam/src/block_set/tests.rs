//! Tables of what kube-controller-manager does, and random sequences against a naive model.

use proptest::prelude::*;

use super::*;

fn prefix(text: &str) -> Prefix {
    Prefix::parse_masking(text).unwrap()
}

fn set(network: &str, length: u8) -> BlockSet {
    BlockSet::new(Range::new(prefix(network), length).unwrap())
}

fn take(set: &mut BlockSet) -> Option<String> {
    let block = set.next_free()?;
    set.take(block);
    Some(block.to_string())
}

/// Occupies, releases and takes as `steps` say; each word is followed by what came of it: the
/// number of held blocks, or the block that was taken.
#[track_caller]
fn check(network: &str, length: u8, steps: &str) {
    let mut set = set(network, length);
    for step in steps.split_whitespace() {
        let (action, expected) = step.split_once('=').unwrap();
        let got = match action.split_at(1) {
            ("+", range) => {
                set.occupy(prefix(range));
                set.used().to_string()
            }
            ("-", range) => {
                set.release(prefix(range));
                set.used().to_string()
            }
            ("?", "") => take(&mut set).unwrap_or_else(|| "none".to_owned()),
            _ => panic!("{step}"),
        };
        assert_eq!(got, expected, "{step} in {network} of /{length}: {steps}");
    }
}

#[test]
fn a_full_set_gives_the_released_block() {
    check(
        "127.123.234.0/30",
        30,
        "?=127.123.234.0/30 ?=none -127.123.234.0/30=0 ?=127.123.234.0/30 ?=none",
    );
    check(
        "beef:1234::/30",
        30,
        "?=beef:1234::/30 ?=none -beef:1234::/30=0 ?=beef:1234::/30 ?=none",
    );
    check("127.0.0.0/8", 32, "?=127.0.0.0/32 ?=127.0.0.1/32");
    check("2001:beef:1234:369b::/60", 64, "?=2001:beef:1234:3690::/64 ?=2001:beef:1234:3691::/64");
}

#[test]
fn the_next_block_comes_after_the_one_taken_last() {
    check(
        "10.244.0.0/22",
        24,
        "?=10.244.0.0/24 ?=10.244.1.0/24 ?=10.244.2.0/24 -10.244.0.0/24=2 ?=10.244.3.0/24 ?=10.244.0.0/24",
    );
    check(
        "10.244.0.0/16",
        24,
        "+10.244.0.0/24=1 +10.244.2.0/24=2 ?=10.244.1.0/24 ?=10.244.3.0/24 ?=10.244.4.0/24",
    );
    check(
        "127.123.234.0/28",
        30,
        "+127.123.234.4/30=1 +127.123.234.8/30=2 +127.123.234.12/30=3 ?=127.123.234.0/30 \
         -127.123.234.0/30=3 ?=127.123.234.0/30 ?=none",
    );
    check(
        "127.123.234.0/28",
        30,
        "+127.123.234.0/30=1 +127.123.234.4/30=2 +127.123.234.8/30=3 +127.123.234.12/30=4 ?=none \
         -127.123.234.4/30=3 ?=127.123.234.4/30 ?=none",
    );
}

#[test]
fn a_range_holds_every_block_that_it_touches() {
    check("10.0.0.0/16", 24, "+10.0.3.128/26=1 -10.0.3.128/26=0");
    check("10.0.0.0/16", 24, "+10.0.0.0/17=128 ?=10.0.128.0/24");
    check("127.123.234.0/24", 30, "+127.123.234.0/26=16 ?=127.123.234.64/30");
    check("10.0.0.0/16", 24, "+10.0.0.0/8=256 ?=none -10.0.0.0/8=0");
    check("10.0.0.0/16", 24, "+11.0.0.0/8=0 +fd00::/8=0");
    check("2001:db8::/48", 64, "+2001:db8::/48=65536 ?=none");
}

#[test]
fn ranges_that_overlap_are_released_one_by_one() {
    // kube-controller-manager's bits forget the second holder: there the last but one says 4.
    check(
        "10.42.0.0/16",
        24,
        "+10.42.5.0/24=1 +10.42.9.0/24=2 +10.42.8.0/22=5 +10.42.9.0/24=5 -10.42.9.0/24=5 \
         -10.42.9.0/24=5 -10.42.8.0/22=1",
    );
    let mut set = set("10.42.0.0/16", 24);
    for text in ["10.42.5.0/24", "10.42.9.0/24", "10.42.8.0/22"] {
        set.occupy(prefix(text));
    }
    set.release(prefix("10.42.9.0/24"));
    let rest = std::iter::from_fn(|| take(&mut set)).collect::<Vec<_>>();
    assert_eq!(rest.len(), 256 - 5);
    assert!(rest.iter().all(|block| !prefix("10.42.8.0/22").overlaps(prefix(block))));
}

#[test]
fn a_range_is_the_blocks_that_it_was() {
    #[track_caller]
    fn check(network: &str, length: u8, range: &str, expected: RangeInclusive<u128>) {
        assert_eq!(set(network, length).touched_by(prefix(range)), Some(expected), "{range}");
    }
    check("127.0.0.0/8", 16, "127.0.0.0/8", 0..=255);
    check("2001:beef:1200::/40", 48, "2001:beef:1200::/40", 0..=255);
    check("127.0.0.0/8", 16, "127.0.0.0/2", 0..=255);
    check("2001:beef:1200::/40", 48, "2001:beef:1234::/34", 0..=255);
    check("127.0.0.0/8", 16, "127.0.0.0/16", 0..=0);
    check("2001:beef:1200::/40", 48, "2001:beef:1200::/48", 0..=0);
    check("127.0.0.0/8", 32, "127.0.0.0/16", 0..=65535);
    check("2001:beef:1200::/48", 64, "2001:beef:1200::/48", 0..=65535);
    check("127.0.0.0/7", 16, "127.0.0.0/15", 256..=257);
    check("2001:beef:7f00::/39", 48, "2001:beef:7f00::/47", 256..=257);
    check("127.0.0.0/7", 15, "127.0.0.0/15", 128..=128);
    check("2001:beef:7f00::/39", 47, "2001:beef:7f00::/47", 128..=128);
    check("127.0.0.0/7", 18, "127.0.0.0/15", 1024..=1031);
    check("2001:beef:7f00::/39", 50, "2001:beef:7f00::/47", 1024..=1031);
    check("127.0.0.0/8", 24, "127.123.234.0/26", 31722..=31722);
    check("127.0.0.0/8", 16, "127.123.0.0/16", 123..=123);
    check("127.0.0.0/8", 16, "127.168.0.0/16", 168..=168);
    check("127.0.0.0/8", 16, "127.224.0.0/16", 224..=224);
    check("be00::/8", 16, "be00::/16", 0..=0);
    check("be00::/8", 16, "beef::/16", 0xef..=0xef);
    check("be00::/8", 16, "be68::/16", 0x68..=0x68);
    check("be00::/8", 16, "be24::/16", 0x24..=0x24);
    check("192.168.0.0/16", 24, "192.168.12.0/24", 12..=12);
    check("192.168.0.0/16", 24, "192.168.151.0/24", 151..=151);
    check("beef::/16", 24, "beef:1200::/24", 0x12..=0x12);
    check("beef::/16", 24, "beef:9700::/24", 0x97..=0x97);
    check("::/0", 128, "::/0", 0..=u128::MAX);
    assert_eq!(set("192.168.0.0/16", 24).touched_by(prefix("127.168.224.0/24")), None);
    assert_eq!(set("beef::/16", 24).touched_by(prefix("2001:db00::/24")), None);
}

#[test]
fn blocks_are_numbered_from_the_start_of_the_network() {
    #[track_caller]
    fn check(network: &str, length: u8, index: u128, expected: &str) {
        let mut set = set(network, length);
        set.cursor = index;
        assert_eq!(take(&mut set).as_deref(), Some(expected), "{network} /{length} {index}");
    }
    check("127.123.3.0/16", 24, 0, "127.123.0.0/24");
    check("127.123.0.0/16", 24, 15, "127.123.15.0/24");
    check("192.168.5.219/28", 32, 5, "192.168.5.213/32");
    check("2001:0db8:1234:3::/48", 64, 0, "2001:db8:1234::/64");
    check("2001:0db8:1234::/48", 64, 15, "2001:db8:1234:f::/64");
    check("2001:0db8:85a3::8a2e:0370:7334/50", 63, 6425, "2001:db8:85a3:3232::/63");
    check("2001:0db8::/32", 48, 0, "2001:db8::/48");
    check("2001:0db8::/32", 48, 15, "2001:db8:f::/48");
    check("2001:0db8:85a3::8a2e:0370:7334/32", 48, 6425, "2001:db8:1919::/48");
    check("2001:0db8:1234:ff00::/56", 72, 0, "2001:db8:1234:ff00::/72");
    check("2001:0db8:1234:ff00::/56", 72, 15, "2001:db8:1234:ff00:f00::/72");
    check("2001:0db8:1234:ff00::0370:7334/56", 72, 6425, "2001:db8:1234:ff19:1900::/72");
    check("2001:0db8:1234:0:1234::/80", 96, 0, "2001:db8:1234:0:1234::/96");
    check("2001:0db8:1234:0:1234::/80", 96, 15, "2001:db8:1234:0:1234:f::/96");
    check("2001:0db8:1234:ff00::0370:7334/80", 96, 6425, "2001:db8:1234:ff00:0:1919::/96");
}

#[test]
fn a_second_round_gives_the_same_blocks_in_the_same_order() {
    for network in ["127.123.234.0/16", "beef:1234::/16"] {
        let mut set = set(network, 24);
        let first = (0..256).map(|_| take(&mut set).unwrap()).collect::<Vec<_>>();
        assert_eq!(take(&mut set), None);
        for block in &first {
            set.release(prefix(block));
        }
        let second = (0..256).map(|_| take(&mut set).unwrap()).collect::<Vec<_>>();
        assert_eq!(first, second);
        assert_eq!(take(&mut set), None);

        for block in &first {
            set.release(prefix(block));
        }
        for block in first[128..].iter().chain(&first[128..129]) {
            set.occupy(prefix(block));
        }
        let third = (0..128).map(|_| take(&mut set).unwrap()).collect::<Vec<_>>();
        assert_eq!(first[..128], third);
        assert_eq!(take(&mut set), None);
    }
}

#[test]
fn a_set_has_as_many_blocks_as_fit() {
    assert_eq!(set("10.0.0.0/16", 24).size(), 256);
    assert_eq!(set("2001:db8::/48", 64).size(), 65536);
    assert_eq!(set("10.0.0.0/24", 24).size(), 1);
}

#[test]
fn it_counts_as_kube_controller_manager_does() {
    /// Used blocks, allocations, releases, skipped blocks.
    #[track_caller]
    fn check(set: &BlockSet, expected: [u128; 4]) {
        let tally = set.tally();
        assert_eq!([set.used(), tally.allocations, tally.releases, tally.tries.sum], expected);
    }
    let mut first = set("10.0.0.0/16", 24);
    check(&first, [0, 0, 0, 0]);
    for taken in 1..=256 {
        take(&mut first).unwrap();
        check(&first, [taken, taken, 0, 0]);
    }
    first.release(prefix("10.0.0.0/16"));
    check(&first, [0, 256, 256, 0]);
    first.occupy(prefix("10.0.0.0/16"));
    check(&first, [256, 512, 256, 0]);
    assert_eq!(take(&mut first), None);
    check(&first, [256, 512, 256, 0]);

    let mut half = set("10.0.0.0/16", 24);
    half.occupy(prefix("10.0.0.0/17"));
    check(&half, [128, 128, 0, 0]);
    take(&mut half);
    check(&half, [129, 129, 0, 128]);

    let mut v6 = set("2001:db8::/48", 64);
    v6.occupy(prefix("2001:db8::/48"));
    check(&v6, [65536, 65536, 0, 0]);
    v6.release(prefix("2001:db8::/48"));
    check(&v6, [0, 65536, 65536, 0]);

    let mut restarted = set("10.244.0.0/16", 24);
    for text in ["10.244.0.0/24", "10.244.2.0/24"] {
        restarted.occupy(prefix(text));
    }
    let skipped = (0..3).map(|_| {
        let before = restarted.tally().tries.sum;
        take(&mut restarted);
        restarted.tally().tries.sum - before
    });
    assert_eq!(skipped.collect::<Vec<_>>(), [1, 1, 0]);

    let mut wrapped = set("10.0.0.0/30", 32);
    (0..4).for_each(|_| drop(take(&mut wrapped)));
    wrapped.release(prefix("10.0.0.2/32"));
    take(&mut wrapped);
    wrapped.release(prefix("10.0.0.1/32"));
    take(&mut wrapped);
    check(&wrapped, [4, 6, 2, 2 + 2]);
}

#[test]
fn memory_does_not_grow_with_the_number_of_blocks() {
    let mut set = set("fd00::/16", 120);
    set.occupy(prefix("fd00:1::/32"));
    (0..10_000).for_each(|_| drop(take(&mut set)));
    assert!(set.holders.len() <= 4, "{:?}", set.holders);
    assert_eq!(set.used(), (1 << 88) + 10_000);
}

/// How many hold each block, in an array.
struct Model {
    counts: Vec<u32>,
    cursor: usize,
}

impl Model {
    fn next_free(&self) -> Option<usize> {
        let indexes = (self.cursor..self.counts.len()).chain(0..self.cursor);
        indexes.into_iter().find(|&index| self.counts[index] == 0)
    }
}

proptest! {
    #[test]
    fn agrees_with_an_array_of_counts(steps in prop::collection::vec((0..4_u8, 26..34_u8, 0..64_u8), 0..200)) {
        let mut set = set("10.0.0.0/26", 30);
        let mut model = Model { counts: vec![0; 16], cursor: 0 };
        let mut held = Vec::new();
        for (action, length, address) in steps {
            match action {
                0 | 1 => {
                    let range = prefix(&format!("10.0.0.{address}/{}", length.min(32)));
                    let blocks = set.touched_by(range).unwrap();
                    held.push((range, blocks.clone()));
                    set.occupy(range);
                    blocks.for_each(|block| model.counts[usize::try_from(block).unwrap()] += 1);
                }
                2 if !held.is_empty() => {
                    let (range, blocks) = held.swap_remove(usize::from(address) % held.len());
                    set.release(range);
                    blocks.for_each(|block| model.counts[usize::try_from(block).unwrap()] -= 1);
                }
                _ => {
                    let block = set.next_free();
                    let expected = model.next_free();
                    let expected = expected.map(|index| set.range.cidr().subnet(30, index as u128).unwrap());
                    prop_assert_eq!(block, expected);
                    let Some(block) = block else { continue };
                    prop_assert!(set.is_free(block));
                    set.take(block);
                    let blocks = set.touched_by(block).unwrap();
                    let index = usize::try_from(*blocks.start()).unwrap();
                    model.counts[index] += 1;
                    model.cursor = (index + 1) % 16;
                    held.push((block, blocks));
                }
            }
            let used = model.counts.iter().filter(|&&count| count > 0).count();
            prop_assert_eq!(set.used(), used as u128);
            for (index, &count) in model.counts.iter().enumerate() {
                prop_assert_eq!(set.count(index as u128), count);
                let block = set.range.cidr().subnet(30, index as u128).unwrap();
                prop_assert_eq!(set.is_free(block), count == 0);
            }
            let counts = set.holders.values().copied().collect::<Vec<_>>();
            prop_assert!(counts.windows(2).all(|pair| pair[0] != pair[1]), "{:?}", set.holders);
            prop_assert_ne!(counts.first(), Some(&0));
        }
    }
}
