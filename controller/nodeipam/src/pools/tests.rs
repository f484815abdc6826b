//! Tables of pools, and what is given of them.

use super::*;
use crate::allocator::tests::node;
use crate::pool::Origin;
use crate::selector::tests::selector as selected;

fn prefix(text: &str) -> Prefix {
    Prefix::parse_masking(text).unwrap()
}

fn pools(ranges: &[(&str, u8)], services: &[&str]) -> Pools {
    let range = |&(cidr, mask): &(&str, u8)| Range::new(prefix(cidr), mask).unwrap();
    let services = services.iter().map(|text| prefix(text)).collect::<Vec<_>>();
    Pools::new(&ranges.iter().map(range).collect::<Vec<_>>(), &services)
}

/// The blocks that come next while `taken` are held.
#[track_caller]
fn check(ranges: &[(&str, u8)], services: &[&str], taken: &[&str], expected: &str) {
    let mut pools = pools(ranges, services);
    for text in taken {
        pools.occupy(prefix(text));
    }
    let choice = pools.next_free(&node("n1"), &[]);
    let blocks = choice
        .map(|choice| choice.blocks.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "));
    assert_eq!(blocks.unwrap_or_else(|full| full.to_string()), expected);
}

#[test]
fn blocks_come_from_each_range_in_order_and_never_from_services() {
    let v4 = ("127.123.234.0/24", 30);
    let service = ["127.123.234.0/26"];
    check(&[v4], &[], &[], "127.123.234.0/30");
    check(&[v4], &service, &[], "127.123.234.64/30");
    let taken =
        ["127.123.234.64/30", "127.123.234.68/30", "127.123.234.72/30", "127.123.234.80/30"];
    check(&[v4], &service, &taken, "127.123.234.76/30");
    let (v4, v6) = (("127.123.234.0/8", 24), ("ace:cab:deca::/84", 98));
    check(&[v4, v6], &service, &[], "127.0.0.0/24 ace:cab:deca::/98");
    check(&[v6, v4], &service, &[], "ace:cab:deca::/98 127.0.0.0/24");
    let three = [v4, v6, ("10.0.0.0/8", 24)];
    check(&three, &service, &[], "127.0.0.0/24 ace:cab:deca::/98 10.0.0.0/24");
    check(&[("10.0.0.0/21", 24)], &["10.1.0.0/21", "3000::/112"], &[], "10.0.0.0/24");
}

#[test]
fn the_range_that_is_full_is_named() {
    let (v4, v6) = (("10.0.0.0/23", 24), ("fd00::/64", 64));
    check(
        &[v4, v6],
        &[],
        &["fd00::/64"],
        "no block is free: pool fd00::/64, mask /64: 1 blocks, 1 used",
    );
    check(
        &[("10.0.0.0/16", 24)],
        &["10.0.0.0/8"],
        &[],
        "no block is free: pool 10.0.0.0/16, mask /24: 256 blocks, 256 used, 256 of them by Services",
    );
}

#[test]
fn usage_counts_what_services_hold() {
    let pools = pools(&[("10.0.0.0/16", 24), ("2001:db8::/48", 64)], &["10.0.0.0/20"]);
    let usage = pools.usage().map(|usage| (usage.used, usage.blocks)).collect::<Vec<_>>();
    assert_eq!(usage, [(16, 256), (0, 65536)]);
}

/// A ClusterCIDR: its name, its selector or nothing, its networks and bits of a Node's addresses.
type Line<'a> = (&'a str, &'a str, &'a str, u8);

pub(crate) fn plan(&(name, selector, cidrs, host_bits): &Line<'_>) -> Plan {
    let ranges = cidrs.split_whitespace().map(|cidr| {
        let cidr = prefix(cidr);
        Range::new(cidr, cidr.family().width() - host_bits).unwrap()
    });
    Plan {
        origin: Origin::ClusterCidr(name.into()),
        ranges: ranges.collect(),
        selector: (!selector.is_empty()).then(|| selected(selector).unwrap()),
        closed: false,
    }
}

/// What the node `n` gets of `lines` while `taken` are held.
#[track_caller]
fn check_choice(lines: &[Line<'_>], services: &[&str], taken: &[&str], n: &str, expected: &str) {
    let mut pools = pools(&[("10.96.0.0/12", 24), ("fd00:10:96::/112", 120)], services);
    pools.follow(lines.iter().map(plan).collect(), &[]);
    for text in taken {
        pools.occupy(prefix(text));
    }
    let choice = pools.next_free(&node(n), &[]).unwrap();
    let blocks = choice.blocks.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
    assert_eq!(blocks, expected, "{lines:?}");
}

const L0: &str = "testLabel-0 In node0";
const L01: &str = "testLabel-0 In node0; testLabel-1 In label1";
const L02: &str = "testLabel-0 In node0; testLabel-2 In label2";

/// The table of node-ipam-controller's allocator.
#[test]
fn pools_are_asked_in_the_order_of_node_ipam_controller() {
    let service = ["127.123.234.0/26"];
    let check = |lines: &[Line<'_>], taken: &[&str], expected: &str| {
        let node = "n[testLabel-0=node0,testLabel-1=label1,testLabel-2=label2]";
        check_choice(lines, &service, taken, node, expected);
    };
    let taken =
        ["127.123.234.64/30", "127.123.234.68/30", "127.123.234.72/30", "127.123.234.80/30"];
    check(&[("a", L0, "127.123.234.0/24", 2)], &[], "127.123.234.64/30");
    check(&[("a", L0, "127.123.234.0/24", 2)], &taken, "127.123.234.76/30");
    // More requirements.
    let v4v6 = [
        ("a", L0, "10.0.0.0/8 ace:cab:deca::/112", 8),
        ("b", L01, "127.123.234.0/8 abc:def:deca::/112", 8),
    ];
    check(&v4v6, &[], "127.0.0.0/24 abc:def:deca::/120");
    let overlapping = [
        ("a", L0, "10.0.0.0/8 ace:cab:deca::/112", 8),
        ("b", L01, "10.0.0.0/16 ace:cab:deca::/112", 8),
    ];
    let taken = ["10.0.0.0/24", "10.0.1.0/24", "10.0.2.0/24", "10.0.4.0/24", "ace:cab:deca::/120"];
    check(&overlapping, &taken, "10.0.3.0/24 ace:cab:deca::100/120");
    // Fewer blocks, of the smaller family.
    let fewer = [
        ("a", L01, "127.123.234.0/8 abc:def:deca::/112", 8),
        ("b", L02, "10.0.0.0/24 ace:cab:deca::/120", 8),
    ];
    check(&fewer, &[], "10.0.0.0/24 ace:cab:deca::/120");
    let smaller =
        [("a", L01, "127.123.234.0/23", 8), ("b", L02, "10.0.0.0/16 ace:cab:deca::/120", 8)];
    check(&smaller, &[], "10.0.0.0/24 ace:cab:deca::/120");
    // Fewer addresses for each Node.
    let addresses = [
        ("a", L01, "127.123.234.0/24 abc:def:deca::/120", 8),
        ("b", L02, "10.0.0.0/32 ace:cab:deca::/128", 0),
    ];
    check(&addresses, &[], "10.0.0.0/32 ace:cab:deca::/128");
    // The selector's text, then the network's.
    let text = [
        ("a", L02, "10.0.0.0/16 ace:cab:deca::/112", 8),
        ("b", L01, "127.123.234.0/16 abc:def:deca::/112", 8),
    ];
    check(&text, &[], "127.123.0.0/24 abc:def:deca::/120");
    let networks = [
        ("a", L01, "127.123.234.0/16 abc:def:deca::/112", 8),
        ("b", L01, "10.0.0.0/16 ace:cab:deca::/112", 8),
    ];
    check(&networks, &[], "10.0.0.0/24 ace:cab:deca::/120");
    check_choice(
        &[("a", L0, "127.123.234.0/24", 2)],
        &[],
        &[],
        "n[testLabel-0=node0]",
        "127.123.234.0/30",
    );
    let taken = ["10.10.0.0/24", "10.10.2.0/24"];
    check(&[("a", L0, "10.10.0.0/22", 8)], &taken, "10.10.1.0/24");
}

/// What node-ipam-controller's tests expect of a real API server.
#[test]
fn a_node_gets_the_pool_that_its_labels_ask_for() {
    let lines = [
        ("bootstrap", "bootstrap In true", "10.2.0.0/16 fd00:20:96::/112", 8),
        ("v4", "ipv4 In true; singlestack In true", "10.0.0.0/16", 8),
        ("v6", "ipv6 In true", "fd00:20:100::/112", 8),
        ("dual", "ipv4 In true; ipv6 In true", "192.168.0.0/16 fd00:30:100::/112", 8),
    ];
    let check = |labels: &str, expected: &str| {
        let taken = ["10.2.0.0/24", "fd00:20:96::/120"];
        check_choice(&lines, &[], &taken, &format!("n[{labels}]"), expected);
    };
    check("", "10.96.0.0/24 fd00:10:96::/120");
    check("bootstrap=false", "10.96.0.0/24 fd00:10:96::/120");
    check("bootstrap=true", "10.2.1.0/24 fd00:20:96::100/120");
    check("ipv4=true,singlestack=true", "10.0.0.0/24");
    check("ipv6=true", "fd00:20:100::/120");
    check("ipv4=true,ipv6=true", "192.168.0.0/24 fd00:30:100::/120");
}

#[test]
fn pools_without_a_selector_come_last_in_their_order_and_before_the_flags() {
    let lines =
        [("b", "", "10.1.0.0/24", 8), ("a", "", "10.2.0.0/24", 8), ("c", L0, "10.3.0.0/24", 8)];
    let check = |labels, taken: &[&str], expected| {
        check_choice(&lines, &[], taken, &format!("n[{labels}]"), expected);
    };
    check("testLabel-0=node0", &[], "10.3.0.0/24");
    check("testLabel-0=node0", &["10.3.0.0/24"], "10.1.0.0/24");
    check("", &[], "10.1.0.0/24");
    check("", &["10.1.0.0/24"], "10.2.0.0/24");
    check("", &["10.1.0.0/24", "10.2.0.0/24"], "10.96.0.0/24 fd00:10:96::/120");
}

/// E.4: the first pool that can give all of its families; none of the others loses a block.
#[test]
fn a_pool_with_one_family_full_is_passed_over_whole() {
    let lines = [("a", L01, "10.1.0.0/24 fd00:1::/120", 8), ("b", L0, "10.2.0.0/16", 8)];
    let node = "n[testLabel-0=node0,testLabel-1=label1]";
    check_choice(&lines, &[], &["fd00:1::/120"], node, "10.2.0.0/24");
    let mut pools = pools(&[("10.96.0.0/24", 24)], &[]);
    pools.follow(lines.iter().map(plan).collect(), &[prefix("fd00:1::/120")]);
    let choice = pools.next_free(&crate::allocator::tests::node(node), &[]).unwrap();
    pools.take(choice);
    let used = pools.usage().map(|usage| usage.used).collect::<Vec<_>>();
    assert_eq!(used, [0, 1, 1, 0]);
}

/// E.3: node-ipam-controller gives of a pool without a selector also while it is being deleted.
#[test]
fn a_closed_pool_gives_nothing_with_or_without_a_selector() {
    for selector in ["", L0] {
        let closed = Plan { closed: true, ..plan(&("a", selector, "10.1.0.0/16", 8)) };
        let mut pools = pools(&[("10.96.0.0/24", 24)], &[]);
        pools.follow(vec![closed], &[]);
        let choice = pools.next_free(&node("n[testLabel-0=node0]"), &[]).unwrap();
        assert_eq!(choice.blocks, [prefix("10.96.0.0/24")]);
        pools.take(choice);
        assert!(!pools.has_room());
        assert!(pools.covers(prefix("10.1.0.0/24")), "what its Nodes have is not odd");
    }
}

#[test]
fn what_is_held_in_one_pool_is_held_in_all_that_it_lies_in() {
    let lines =
        [("small", L0, "10.96.0.0/28", 2), ("large", "testLabel-1 Exists", "10.96.0.0/20", 10)];
    let mut pools = pools(&[("10.96.0.0/16", 24)], &[]);
    pools.follow(lines.iter().map(plan).collect(), &[]);
    let mut give = |n: &str| {
        let choice = pools.next_free(&node(n), &[]).unwrap();
        pools.take(choice)[0].to_string()
    };
    assert_eq!(give("a[testLabel-0=node0]"), "10.96.0.0/30");
    assert_eq!(give("b"), "10.96.1.0/24");
    assert_eq!(give("c[testLabel-1=x]"), "10.96.4.0/22");
    assert_eq!(give("d"), "10.96.2.0/24");
    assert_eq!(give("e[testLabel-0=node0]"), "10.96.0.4/30");
    assert_eq!(give("f"), "10.96.3.0/24");
    assert_eq!(give("g"), "10.96.8.0/24");
}

/// The overlap table of node-ipam-controller, by what is free.
#[test]
fn a_range_is_free_if_nothing_that_is_held_overlaps_it() {
    let check = |network: &str, host_bits, held: &[&str], probe: &str, free: bool| {
        let mut pools = pools(&[("192.0.2.0/24", 24)], &[]);
        let held = held.iter().map(|text| prefix(text)).collect::<Vec<_>>();
        pools.follow(vec![plan(&("a", "", network, host_bits))], &held);
        assert_eq!(pools.is_free(prefix(probe)), free, "{network} {held:?} {probe}");
    };
    for (probe, free) in [
        ("10.0.5.0/24", false),
        ("10.0.0.0/16", false),
        ("10.0.5.128/25", false),
        ("10.0.6.0/24", true),
        ("10.0.4.0/22", false),
    ] {
        check("10.0.0.0/16", 8, &["10.0.5.0/24"], probe, free);
        check("10.0.0.0/16", 8, &[], probe, true);
    }
    for (probe, free) in
        [("2001:db8:0:1::/64", false), ("2001:db8:0:2::/64", true), ("2001:db8::/48", false)]
    {
        check("2001:db8::/48", 64, &["2001:db8:0:1::/64"], probe, free);
    }
}

/// E.1: an IPv6 /64 with 8 host bits passes node-ipam-controller's checks, and never gives a block.
#[test]
fn an_ipv6_pool_of_2_to_the_56_blocks_takes_memory_for_what_is_held() {
    let mut pools = pools(&[("192.0.2.0/24", 24)], &[]);
    let line = ("huge", L0, "fd00:1:1::/64", 8);
    pools.follow(vec![plan(&line)], &[prefix("fd00:1:1::ffff:0:0/96")]);
    let huge = pools.usage().next().unwrap();
    assert_eq!((huge.blocks, huge.used), (1 << 56, 1 << 24));
    let blocks = (0..3).map(|_| {
        let choice = pools.next_free(&node("n[testLabel-0=node0]"), &[]).unwrap();
        pools.take(choice)[0].to_string()
    });
    let blocks = blocks.collect::<Vec<_>>();
    assert_eq!(blocks, ["fd00:1:1::/120", "fd00:1:1::100/120", "fd00:1:1::200/120"]);
}

#[test]
fn a_pool_that_stays_goes_on_where_it_was() {
    let mut pools = pools(&[("192.0.2.0/24", 24)], &[]);
    let (a, b) = (("a", L0, "10.1.0.0/16", 8), ("b", L01, "10.2.0.0/16", 8));
    pools.follow(vec![plan(&a)], &[]);
    let n = node("n[testLabel-0=node0]");
    let give = |pools: &mut Pools| {
        let choice = pools.next_free(&n, &[]).unwrap();
        pools.take(choice)[0]
    };
    let first = give(&mut pools);
    pools.follow(vec![plan(&b), plan(&a)], &[first]);
    assert_eq!(give(&mut pools), prefix("10.1.1.0/24"));
    // Of another size it is another pool.
    pools.follow(vec![plan(&("a", L0, "10.1.0.0/16", 4))], &[first]);
    assert_eq!(give(&mut pools), prefix("10.1.1.0/28"));
    pools.follow(Vec::new(), &[first]);
    assert_eq!(give(&mut pools), prefix("192.0.2.0/24"));
}

#[test]
fn each_pool_that_is_full_is_named() {
    let mut pools = pools(&[("192.0.2.0/24", 24)], &[]);
    pools.follow(vec![plan(&("a", L0, "127.123.234.0/28", 2))], &[prefix("127.123.234.0/28")]);
    pools.occupy(prefix("192.0.2.0/24"));
    let exhausted = pools.next_free(&node("n[testLabel-0=node0]"), &[]).unwrap_err();
    let text = "no block is free: ClusterCIDR a 127.123.234.0/28, mask /30: 4 blocks, 4 used; \
                pool 192.0.2.0/24, mask /24: 1 blocks, 1 used";
    assert_eq!(exhausted.to_string(), text);
    let exhausted = pools.next_free(&node("n"), &[]).unwrap_err();
    assert_eq!(exhausted.0.len(), 1);
}
