//! What went wrong in other allocators, each as a claim that it does not here.
//!
//! `k#` is an issue of kubernetes/kubernetes.

use super::tests::{allocator, check, node, round};

/// k#29058, k#21458, k#20048: CIDRs were given before those of existing Nodes were known.
#[test]
fn a_restart_gives_nothing_that_a_node_has() {
    check("10.0.0.0/22:24", &[("c a@10.0.0.0/24 b@10.0.1.0/24 d@10.0.2.0/24", "c=10.0.3.0/24")]);
}

/// k#127792: freed at deletionTimestamp, while a finalizer kept the Node and its pods.
#[test]
fn nothing_is_freed_at_a_deletion_timestamp() {
    check(
        "10.0.0.0/24:24",
        &[
            ("a@10.0.0.0/24 b", "b waits for 10.0.0.0/24"),
            ("a!@10.0.0.0/24", ""),
            ("-a@10.0.0.0/24", "b=10.0.0.0/24"),
        ],
    );
}

/// cloud-provider-azure#4556: a PATCH without a good answer had landed, and its CIDR was freed.
#[test]
fn a_patch_without_an_answer_keeps_its_block() {
    check(
        "10.0.0.0/23:24",
        &[
            ("a", "a=10.0.0.0/24"),
            ("b", "b=10.0.1.0/24"),
            ("a", "a=10.0.0.0/24"),
            ("c", "c waits for 10.0.0.0/23"),
            ("a@10.0.0.0/24", ""),
        ],
    );
}

/// kube-controller-manager's retry finds the Node gone, and never frees what it took for it.
#[test]
fn a_node_that_goes_before_its_patch_leaks_nothing() {
    let mut allocator = allocator("10.0.0.0/23:24,fd00::/63:64", &[]);
    for number in 0..9 {
        let name = format!("n{number}");
        assert!(round(&mut allocator, &name).contains('='), "{name} got nothing");
        round(&mut allocator, &format!("-{name}"));
    }
    assert!(allocator.pools().usage().all(|usage| usage.used == 0));
}

/// kube-controller-manager's second sync on a stale cache takes a second set of blocks.
#[test]
fn a_node_that_still_looks_empty_gets_no_second_block() {
    check(
        "10.0.0.0/16:24",
        &[("a", "a=10.0.0.0/24"), ("a", "a=10.0.0.0/24"), ("b", "b=10.0.1.0/24")],
    );
}

/// k#90922, k#90926: another mask over Nodes that live gave ranges that overlap.
#[test]
fn another_mask_gives_nothing_that_overlaps_a_living_node() {
    let living = "a@10.0.0.0/24 b@10.0.5.0/24";
    check("10.0.0.0/21:22", &[(&format!("{living} c"), "c waits for 10.0.0.0/21")]);
    check("10.0.0.0/20:22", &[(&format!("{living} c"), "c=10.0.8.0/22")]);
    check("10.0.0.0/16:26", &[(&format!("{living} c"), "c=10.0.1.0/26")]);
    check("10.0.4.0/22:25", &[(&format!("{living} c"), "a CIDROutOfRange; c=10.0.4.0/25")]);
}

/// k#82773, cloud-provider-azure#6671: one Node out of range, and the controller never started.
#[test]
fn a_node_out_of_range_stops_nobody() {
    check("10.0.0.0/16:24", &[("a@192.168.0.0/24 b", "a CIDROutOfRange; b=10.0.0.0/24")]);
    check("10.0.0.0/16:24", &[("a@10.0.0.0/24,fd00::/64 b", "a CIDROutOfRange; b=10.0.1.0/24")]);
    check("10.0.0.0/16:24,fd00::/48:64", &[("a@fd00::/64,10.0.0.0/24", "")]);
}

/// kube-controller-manager frees a block with the first of two Nodes that have it.
#[test]
fn a_block_of_two_nodes_stays_taken_when_one_goes() {
    check(
        "10.0.0.0/24:24",
        &[
            ("a@10.0.0.0/24 b@10.0.0.0/24", "b CIDRShared"),
            ("-a@10.0.0.0/24 c", "c waits for 10.0.0.0/24"),
            ("-b@10.0.0.0/24", "c=10.0.0.0/24"),
        ],
    );
}

/// k#68131, k#115529, k#85866: a Node was tried again late or never.
#[test]
fn a_node_that_waits_is_served_in_the_round_that_brings_room() {
    check(
        "10.0.0.0/24:24",
        &[("a b", "a=10.0.0.0/24; b waits for 10.0.0.0/24"), ("-a", "b=10.0.0.0/24")],
    );
}

/// cal#4374, contiv/vpp#1492: etcd was restored from before podCIDRs were written, while machines
/// went on using them. Each Node gets its own again, also where another one comes first.
#[test]
fn a_cluster_that_goes_back_in_time_gives_nobodys_range_to_another() {
    check(
        "10.0.0.0/22:24,fd00::/62:64",
        &[
            ("a b", "a=10.0.0.0/24,fd00::/64; b=10.0.1.0/24,fd00:0:0:1::/64"),
            ("a@10.0.0.0/24,fd00::/64 b@10.0.1.0/24,fd00:0:0:1::/64 c@10.0.2.0/24", ""),
            (
                "new a b c",
                "new=10.0.3.0/24,fd00:0:0:2::/64; a=10.0.0.0/24,fd00::/64; \
                 b=10.0.1.0/24,fd00:0:0:1::/64; c=10.0.2.0/24",
            ),
        ],
    );
}

/// kube-controller-manager stops at the first CIDR that it can't read, and frees no other.
#[test]
fn a_node_that_goes_gives_back_all_of_it_that_can_be_read() {
    check(
        "10.0.0.0/24:24,fd00::/64:64",
        &[
            (
                "a@banana,fd00::/64 b@192.168.0.0/24,10.0.0.0/24",
                "a CIDRMalformed; b CIDROutOfRange",
            ),
            ("c", "c waits for 10.0.0.0/24"),
            ("-b@192.168.0.0/24,10.0.0.0/24", ""),
            ("-a@banana,fd00::/64", "c=10.0.0.0/24,fd00::/64"),
        ],
    );
}

/// k#96416, k#117487, k#98679: bits were counted twice, or a search went round for ever.
#[test]
fn what_is_shown_again_is_not_counted_again() {
    let mut allocator = allocator("10.0.0.0/16:24", &[]);
    round(&mut allocator, "a");
    for _ in 0..3 {
        round(&mut allocator, "a@10.0.0.0/24");
    }
    let tally = allocator.pools().tallies().next().unwrap();
    assert_eq!((tally.held(), tally.allocations, tally.releases), (1, 1, 0));
}

/// What is odd ends with its cause, also if that is another Node.
#[test]
fn an_oddity_is_counted_as_long_as_it_is_one() {
    let mut allocator = allocator("10.0.0.0/16:24", &[]);
    round(&mut allocator, "a@10.0.0.0/24 b@10.0.0.0/24 c@banana");
    assert_eq!(allocator.oddities().count(), 2);
    allocator.round(&[node("a@10.0.0.0/24")], &[]);
    assert_eq!(allocator.oddities().count(), 1);
    allocator.round(&[node("c@banana")], &[]);
    assert_eq!(allocator.oddities().count(), 0);
}
