//! Tables of rounds, and random clusters against an invariant checker.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;
use crate::range::Range;

pub(super) fn prefix(text: &str) -> Prefix {
    Prefix::parse_masking(text).unwrap()
}

/// `10.0.0.0/16:24,fd00::/48:64`
pub(crate) fn allocator(ranges: &str, services: &[&str]) -> Allocator {
    let ranges = ranges.split(',').map(|range| {
        let (cidr, mask) = range.rsplit_once(':').unwrap();
        Range::new(prefix(cidr), mask.parse().unwrap()).unwrap()
    });
    let services = services.iter().map(|text| prefix(text)).collect::<Vec<_>>();
    Allocator::new(Pools::new(&ranges.collect::<Vec<_>>(), &services))
}

/// `n1`, `n1@10.0.0.0/24,fd00::/64`, `n1!` for a terminating one, `n1[rack=r7,zone=z]` for its labels;
/// `n1#2` is its second UID.
pub(crate) fn node(text: &str) -> Arc<NodeView> {
    let (name, cidrs) = text.split_once('@').unwrap_or((text, ""));
    let uid = name.trim_end_matches('!');
    let (uid, labels) = uid.split_once('[').unwrap_or((uid, ""));
    let labels = labels.trim_end_matches(']').split(',').filter(|label| !label.is_empty());
    let labels = labels.map(|label| label.split_once('=').unwrap());
    Arc::new(NodeView {
        name: uid.split('#').next().unwrap().to_owned(),
        uid: uid.to_owned(),
        created: 0,
        terminating: name.ends_with('!'),
        pod_cidrs: cidrs.split(',').filter(|cidr| !cidr.is_empty()).map(str::to_owned).collect(),
        labels: labels.map(|(key, value)| (key.to_owned(), value.to_owned())).collect(),
        internal_ips: Vec::new(),
        network_unavailable: None,
    })
}

/// One round: the words that begin with `-` are gone, the others applied.
pub(crate) fn round(allocator: &mut Allocator, words: &str) -> String {
    let (gone, applied) = words.split_whitespace().partition::<Vec<_>, _>(|w| w.starts_with('-'));
    let gone = gone.iter().map(|word| node(&word[1..])).collect::<Vec<_>>();
    let applied = applied.iter().map(|word| node(word)).collect::<Vec<_>>();
    said(&allocator.round(&gone, &applied))
}

pub(super) fn said(verdicts: &[Verdict]) -> String {
    let texts = verdicts.iter().map(|Verdict { node, decision }| match decision {
        Decision::Assign(cidrs) => {
            let cidrs = cidrs.iter().map(ToString::to_string).collect::<Vec<_>>();
            format!("{}={}", node.uid, cidrs.join(","))
        }
        Decision::Wait(full) => format!("{} waits for {}", node.uid, full.0[0].range.cidr()),
        Decision::Odd(oddity) => format!("{} {}", node.uid, oddity.reason()),
    });
    texts.collect::<Vec<_>>().join("; ")
}

/// Rounds and what came of each.
#[track_caller]
pub(super) fn check(ranges: &str, rounds: &[(&str, &str)]) {
    let mut allocator = allocator(ranges, &[]);
    for (words, expected) in rounds {
        assert_eq!(round(&mut allocator, words), *expected, "{words:?} of {rounds:?}");
    }
}

#[test]
fn a_node_gets_one_block_of_each_range_in_their_order() {
    check("10.0.0.0/16:24", &[("a b", "a=10.0.0.0/24; b=10.0.1.0/24")]);
    check("10.0.0.0/16:24,fd00::/48:64", &[("a", "a=10.0.0.0/24,fd00::/64")]);
    check("fd00::/48:64,10.0.0.0/16:24", &[("a", "a=fd00::/64,10.0.0.0/24")]);
}

#[test]
fn a_decision_stands_until_the_node_is_gone() {
    check(
        "10.0.0.0/22:24",
        &[
            ("a", "a=10.0.0.0/24"),
            ("a b", "a=10.0.0.0/24; b=10.0.1.0/24"),
            ("a@10.0.0.0/24", ""),
            ("a@10.0.0.0/24", ""),
            ("-a c d", "c=10.0.2.0/24; d=10.0.3.0/24"),
            ("e", "e=10.0.0.0/24"),
        ],
    );
}

#[test]
fn what_nodes_show_is_held_before_anything_is_given() {
    check("10.0.0.0/16:24", &[("a b@10.0.0.0/24 c d@10.0.2.0/24", "a=10.0.1.0/24; c=10.0.3.0/24")]);
    check("10.10.0.0/16:24", &[("a@10.10.0.1/24", "a CIDRNotCanonical"), ("b", "b=10.10.1.0/24")]);
    check("10.0.0.0/22:24", &[("a@10.0.0.0/23 b@10.0.2.128/25 c", "c=10.0.3.0/24")]);
    check("10.0.0.0/23:24", &[("a@10.0.0.0/23 b", "b waits for 10.0.0.0/23")]);
}

#[test]
fn a_foreign_podcidr_is_named_and_stops_nobody() {
    let rounds = |cidrs: &str, expected: &str| {
        let mut allocator = allocator("10.10.0.0/16:24,ace:cab:deca::/8:24", &["10.10.0.0/20"]);
        assert_eq!(round(&mut allocator, &format!("a@{cidrs} b")), expected, "{cidrs}");
    };
    let b = "b=10.10.16.0/24,a00::/24";
    rounds("10.10.16.1/24", "a CIDRNotCanonical; b=10.10.17.0/24,a00::/24");
    rounds("10.10.16.0/24,a00::/86", "b=10.10.17.0/24,a00:100::/24");
    rounds("172.10.0.0/24", &format!("a CIDROutOfRange; {b}"));
    rounds("172.10.0.0/24,a00::/86", "a CIDROutOfRange; b=10.10.16.0/24,a00:100::/24");
    rounds("10.10.16.0/24,cdd::/86", "a CIDROutOfRange; b=10.10.17.0/24,a00::/24");
    rounds("10.10.1.0/24", &format!("a CIDROverlapsServices; {b}"));
    rounds("banana", &format!("a CIDRMalformed; {b}"));
    rounds("banana,10.10.16.0/24", "a CIDRMalformed; b=10.10.17.0/24,a00::/24");
    rounds("010.010.016.000/24", "a CIDRNotCanonical; b=10.10.17.0/24,a00::/24");
    rounds("10.0.0.0/8", "a CIDROutOfRange; b waits for 10.10.0.0/16");
    // Dual stack was switched off: the other family's CIDR is in no range.
    let mut single = allocator("10.10.0.0/16:24", &[]);
    assert_eq!(round(&mut single, "a@10.10.0.0/24,a00::/86 b"), "a CIDROutOfRange; b=10.10.1.0/24");
}

#[test]
fn a_shared_podcidr_is_free_when_the_last_of_its_nodes_is_gone() {
    check(
        "10.0.0.0/23:24",
        &[
            ("a@10.0.0.0/24 b@10.0.0.0/25", "b CIDRShared"),
            ("c d", "c=10.0.1.0/24; d waits for 10.0.0.0/23"),
            ("-a@10.0.0.0/24", ""),
            ("-b@10.0.0.0/24", "d=10.0.0.0/24"),
        ],
    );
    // Two small ones in one block of ours share no address.
    check("10.0.0.0/16:24", &[("a@10.0.0.0/26 b@10.0.0.64/26", ""), ("c", "c=10.0.1.0/24")]);
}

#[test]
fn who_waits_longest_gets_the_next_block_at_once() {
    check(
        "10.0.0.0/24:24",
        &[
            ("a", "a=10.0.0.0/24"),
            ("b c", "b waits for 10.0.0.0/24; c waits for 10.0.0.0/24"),
            ("b c", ""),
            ("-a d", "b=10.0.0.0/24; d waits for 10.0.0.0/24"),
            ("c!", ""),
            ("-b", "d=10.0.0.0/24"),
        ],
    );
    let at = |created, uid: &str| Arc::new(NodeView { created, ..(*node(uid)).clone() });
    let mut allocator = allocator("10.0.0.0/24:24", &[]);
    round(&mut allocator, "a");
    allocator.round(&[], &[at(2, "b"), at(1, "c")]);
    assert_eq!(round(&mut allocator, "-a"), "c=10.0.0.0/24");
    assert_eq!(allocator.waiting().len(), 1);
}

#[test]
fn nothing_is_lost_of_the_first_family_while_the_second_is_full() {
    check(
        "10.0.0.0/16:24,fd00::/64:64",
        &[
            ("a", "a=10.0.0.0/24,fd00::/64"),
            ("b", "b waits for fd00::/64"),
            ("b c", "c waits for fd00::/64"),
            ("-a", "b=10.0.1.0/24,fd00::/64"),
            ("-b", "c=10.0.2.0/24,fd00::/64"),
        ],
    );
}

#[test]
fn a_terminating_node_keeps_what_it_has_and_gets_nothing_new() {
    check(
        "10.10.0.0/23:24",
        &[
            ("a@10.10.0.0/24", ""),
            ("a!@10.10.0.0/24", ""),
            ("b! c d", "c=10.10.1.0/24; d waits for 10.10.0.0/23"),
            ("-a", "d=10.10.0.0/24"),
        ],
    );
    check("10.0.0.0/23:24", &[("a", "a=10.0.0.0/24"), ("a!", ""), ("b", "b=10.0.1.0/24")]);
    check("10.0.0.0/24:24", &[("a b", "a=10.0.0.0/24; b waits for 10.0.0.0/24"), ("-a b!", "")]);
}

#[test]
fn a_successor_of_the_same_name_is_another_node() {
    check("10.0.0.0/16:24", &[("a#1", "a#1=10.0.0.0/24"), ("-a#1 a#2", "a#2=10.0.1.0/24")]);
}

#[test]
fn another_choice_for_a_node_replaces_ours() {
    check(
        "10.0.0.0/23:24",
        &[
            ("a b c", "a=10.0.0.0/24; b=10.0.1.0/24; c waits for 10.0.0.0/23"),
            ("a@192.168.0.0/24", "a CIDROutOfRange; c=10.0.0.0/24"),
            ("-a@192.168.0.0/24 d", "d waits for 10.0.0.0/23"),
        ],
    );
}

#[test]
fn a_node_whose_podcidrs_vanish_gets_them_again() {
    check(
        "10.0.0.0/16:24",
        &[("a@10.0.7.0/24 b", "b=10.0.0.0/24"), ("a", "a=10.0.7.0/24"), ("c", "c=10.0.1.0/24")],
    );
    check("10.0.0.0/16:24", &[("a@banana", "a CIDRMalformed"), ("a", "a=10.0.0.0/24")]);
}

/// What each Node of the cluster shows, as the API server would have it.
#[derive(Clone, Debug, Default)]
struct Cluster {
    nodes: BTreeMap<String, Vec<String>>,
    /// Decided and not yet shown, by UID.
    promised: BTreeMap<String, Vec<String>>,
    born: usize,
}

const FOREIGN: &[&str] = &[
    "10.0.0.0/27",
    "10.0.0.16/30",
    "10.0.0.8/29",
    "fd00::4/126",
    "10.0.0.64/28",
    "banana",
    "fd00::/96",
    "10.0.0.20/28",
];

impl Cluster {
    /// Carries out one random step and returns who is gone and who is applied.
    fn step(&mut self, action: u8, pick: usize) -> (Vec<Arc<NodeView>>, Vec<Arc<NodeView>>) {
        let uids = self.nodes.keys().cloned().collect::<Vec<_>>();
        let picked = uids.get(pick % uids.len().max(1));
        match (action, picked) {
            (0..=2, _) | (_, None) => {
                self.born += 1;
                let shown = FOREIGN.get(pick % 40).map(|&cidr| cidr.to_owned());
                let uid = format!("n{}", self.born);
                self.nodes.insert(uid.clone(), shown.into_iter().collect());
                (Vec::new(), vec![self.view(&uid)])
            }
            (3, Some(uid)) => {
                let view = self.view(uid);
                self.nodes.remove(uid);
                self.promised.remove(uid);
                (vec![view], Vec::new())
            }
            // The PATCH landed, or somebody else's did.
            (4..=6, Some(uid)) => {
                if let Some(cidrs) = self.promised.remove(uid) {
                    let foreign = FOREIGN.get(pick % 40).map(|&cidr| vec![cidr.to_owned()]);
                    self.nodes.insert(uid.clone(), foreign.unwrap_or(cidrs));
                }
                (Vec::new(), vec![self.view(uid)])
            }
            // A heartbeat.
            (_, Some(uid)) => (Vec::new(), vec![self.view(uid)]),
        }
    }

    fn view(&self, uid: &str) -> Arc<NodeView> {
        node(&format!("{uid}@{}", self.nodes[uid].join(",")))
    }

    /// What is held by whom must be what they show or were promised, and the sets must agree.
    fn check(&self, allocator: &Allocator, services: Prefix) {
        let mut model = allocator.clone();
        for uid in self.nodes.keys() {
            let shown = &self.nodes[uid];
            let expected = self.promised.get(uid).unwrap_or(shown);
            let expected = expected.iter().filter_map(|text| node_cidr::parse(text).ok());
            assert_eq!(allocator.held_by(uid), expected.collect::<Vec<_>>(), "{uid}");
            model.forget(&self.view(uid));
        }
        assert!(model.holdings.is_empty(), "somebody who is gone holds {:?}", model.holdings);
        let mut empty = Pools::new(&ranges(), &[services]);
        let used = |pools: &Pools| pools.usage().map(|usage| usage.used).collect::<Vec<_>>();
        assert_eq!(used(&model.pools), used(&empty), "a block is lost, or a Service's is free");

        let promised = self.promised.values().flatten().map(|text| prefix(text));
        for block in promised.clone() {
            assert!(empty.covers(block) && !services.overlaps(block), "{block}");
            let holders = allocator.holdings.values().flat_map(|holding| &holding.cidrs);
            let overlapping = holders.filter(|held| held.overlaps(block)).count();
            let late = self.nodes.values().flatten().filter_map(|text| node_cidr::parse(text).ok());
            // Only a Node preset after the promise can overlap it.
            assert!(overlapping == 1 || late.clone().any(|cidr| cidr.overlaps(block)), "{block}");
        }
        assert_eq!(promised.clone().count(), promised.collect::<BTreeSet<_>>().len());

        let all = allocator.holdings.values().flat_map(|holding| &holding.cidrs);
        all.for_each(|&cidr| empty.occupy(cidr));
        let lacking = self
            .nodes
            .iter()
            .filter(|(uid, shown)| shown.is_empty() && !self.promised.contains_key(*uid));
        assert_eq!(allocator.waiting().len(), lacking.count());
        assert!(
            allocator.waiting().len() == 0 || !empty.has_room(),
            "a Node waits beside a free block"
        );
    }
}

fn ranges() -> [Range; 2] {
    let (v4, v6) = (prefix("10.0.0.0/26"), prefix("fd00::/124"));
    [Range::new(v4, 29).unwrap(), Range::new(v6, 127).unwrap()]
}

proptest! {
    #[test]
    fn whatever_happens_no_block_is_given_twice_or_lost(
        steps in prop::collection::vec((0..9_u8, 0..1000_usize), 1..150)
    ) {
        let services = prefix("10.0.0.56/29");
        let mut allocator = Allocator::new(Pools::new(&ranges(), &[services]));
        let mut cluster = Cluster::default();
        for (action, pick) in steps {
            let (gone, applied) = cluster.step(action, pick);
            for Verdict { node, decision } in allocator.round(&gone, &applied) {
                let Decision::Assign(cidrs) = decision else { continue };
                let cidrs = cidrs.iter().map(ToString::to_string).collect::<Vec<_>>();
                prop_assert_eq!(cidrs.len(), 2);
                prop_assert!(cluster.nodes[&node.uid].is_empty());
                let before = cluster.promised.insert(node.uid.clone(), cidrs.clone());
                prop_assert!(before.is_none_or(|before| before == cidrs), "not sticky");
            }
            cluster.check(&allocator, services);
        }
    }
}
