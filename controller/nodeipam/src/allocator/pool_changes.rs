//! Pools that come, change and go while Nodes hold blocks of them.

use proptest::prelude::*;

use super::tests::{allocator, node, prefix, round, said};
use super::*;
use crate::pools::tests::plan;
use crate::range::Range;

/// node-ipam-controller#17, #18: a new pool was noticed after a restart.
#[test]
fn who_waits_is_served_by_a_pool_that_is_added() {
    let mut allocator = allocator("10.0.0.0/24:24", &[]);
    let waits = "b[rack=r7] waits for 10.0.0.0/24; c waits for 10.0.0.0/24";
    assert_eq!(
        round(&mut allocator, "a b[rack=r7] c"),
        format!("a=10.0.0.0/24; {waits}").replace("[rack=r7]", "")
    );
    let added = allocator.follow(vec![plan(&("p", "rack In r7", "10.1.0.0/24", 8))]);
    assert_eq!(said(&added), "b=10.1.0.0/24");
    assert_eq!(round(&mut allocator, "d[rack=r7]"), "d waits for 10.1.0.0/24");
    let added = allocator.follow(vec![
        plan(&("p", "rack In r7", "10.1.0.0/24", 8)),
        plan(&("q", "", "10.2.0.0/23", 8)),
    ]);
    assert_eq!(said(&added), "c=10.2.0.0/24; d=10.2.1.0/24");
}

#[test]
fn who_waits_for_one_pool_keeps_nobody_from_another() {
    let mut allocator = allocator("10.0.0.0/24:24", &[]);
    allocator.follow(vec![plan(&("p", "rack In r7", "10.1.0.0/23", 8))]);
    let said = round(&mut allocator, "a b c[rack=r7] d[rack=r7] e[rack=r7]");
    let waits = "b waits for 10.0.0.0/24";
    let expected =
        format!("a=10.0.0.0/24; {waits}; c=10.1.0.0/24; d=10.1.1.0/24; e waits for 10.1.0.0/23");
    assert_eq!(said, expected);
    assert_eq!(round(&mut allocator, "-d"), "e=10.1.1.0/24");
    assert_eq!(round(&mut allocator, "-a"), "b=10.0.0.0/24");
}

#[test]
fn a_node_that_waits_gets_what_its_new_labels_ask_for() {
    let mut allocator = allocator("10.0.0.0/24:24", &[]);
    allocator.follow(vec![plan(&("p", "rack In r7", "10.1.0.0/23", 8))]);
    round(&mut allocator, "a b");
    assert_eq!(round(&mut allocator, "b[rack=r7]"), "b=10.1.0.0/24");
    // What was decided stands, also if the label was too late.
    assert_eq!(round(&mut allocator, "b"), "b=10.1.0.0/24");
    assert_eq!(allocator.waiting().len(), 0);
}

/// node-ipam-controller forgets with a pool who has its blocks.
#[test]
fn a_block_outlives_its_pool() {
    let mut allocator = allocator("10.1.0.0/23:24", &[]);
    let pool = plan(&("p", "rack In r7", "10.1.0.0/26", 6));
    allocator.follow(vec![pool.clone()]);
    assert_eq!(round(&mut allocator, "a[rack=r7]"), "a=10.1.0.0/26");
    allocator.follow(vec![Plan { closed: true, ..pool }]);
    assert_eq!(round(&mut allocator, "a[rack=r7]"), "a=10.1.0.0/26");
    assert_eq!(said(&allocator.follow(Vec::new())), "");
    assert_eq!(round(&mut allocator, "b[rack=r7]"), "b=10.1.1.0/24");
    assert_eq!(round(&mut allocator, "c[rack=r7]"), "c waits for 10.1.0.0/23");
    assert_eq!(round(&mut allocator, "-a"), "c=10.1.0.0/24");
}

#[test]
fn a_node_is_odd_as_long_as_its_range_is_in_no_pool() {
    let mut allocator = allocator("10.0.0.0/24:24", &[]);
    assert_eq!(round(&mut allocator, "a@10.1.0.0/24"), "a CIDROutOfRange");
    let pool = plan(&("p", "rack In r7", "10.1.0.0/23", 8));
    assert_eq!(said(&allocator.follow(vec![pool.clone()])), "");
    assert_eq!(allocator.oddities().count(), 0);
    assert_eq!(round(&mut allocator, "b[rack=r7]"), "b=10.1.1.0/24");
    // Its finalizer was taken away by force.
    assert_eq!(said(&allocator.follow(Vec::new())), "a CIDROutOfRange; b CIDROutOfRange");
    assert_eq!(said(&allocator.follow(Vec::new())), "");
    assert_eq!(allocator.oddities().count(), 2);
    allocator.follow(vec![pool]);
    assert_eq!(allocator.oddities().count(), 0);
}

/// What the property below chooses from: they overlap each other and the flags' range.
fn plans() -> [Plan; 6] {
    [
        plan(&("a", "x Exists", "10.0.0.0/28 fd00::/124", 2)),
        plan(&("b", "x Exists | y Exists", "10.0.0.0/27", 3)),
        plan(&("c", "y In 1; x NotIn 1", "10.0.0.16/28", 1)),
        plan(&("d", "", "10.0.0.32/28 fd00::/120", 2)),
        plan(&("e", "", "10.0.0.0/26", 4)),
        plan(&("f", "x Exists; y Exists", "fd00::/64", 2)),
    ]
}

const LABELS: [&str; 4] = ["", "[x=1]", "[y=1]", "[x=1,y=1]"];

#[derive(Default)]
struct Cluster {
    /// Labels and podCIDRs by UID.
    nodes: BTreeMap<String, (&'static str, String)>,
    promised: BTreeMap<String, String>,
    plans: BTreeMap<usize, Plan>,
    born: usize,
}

impl Cluster {
    fn view(&self, uid: &str) -> Arc<NodeView> {
        let (labels, cidrs) = &self.nodes[uid];
        node(&format!("{uid}{labels}@{cidrs}"))
    }

    fn step(&mut self, allocator: &mut Allocator, action: u8, pick: usize) -> Vec<Verdict> {
        let picked = self.nodes.keys().nth(pick % self.nodes.len().max(1)).cloned();
        match (action, picked) {
            (0..=3, _) | (4..=6, None) => {
                self.born += 1;
                let uid = format!("n{}", self.born);
                self.nodes.insert(uid.clone(), (LABELS[pick % 4], String::new()));
                allocator.round(&[], &[self.view(&uid)])
            }
            (4, Some(uid)) => {
                let gone = self.view(&uid);
                self.nodes.remove(&uid);
                self.promised.remove(&uid);
                allocator.round(&[gone], &[])
            }
            (5, Some(uid)) => {
                if let Some(cidrs) = self.promised.remove(&uid) {
                    self.nodes.get_mut(&uid).unwrap().1 = cidrs;
                }
                allocator.round(&[], &[self.view(&uid)])
            }
            (6, Some(uid)) => allocator.round(&[], &[self.view(&uid)]),
            _ => {
                let (place, closed) = (pick % 6, pick.is_multiple_of(5));
                if self.plans.remove(&place).is_none_or(|plan| plan.closed != closed) {
                    self.plans.insert(place, Plan { closed, ..plans()[place].clone() });
                }
                allocator.follow(self.plans.values().cloned().collect())
            }
        }
    }

    /// Notes what was promised, which must be sticky and of an open pool that means the Node.
    fn note(&mut self, verdict: Verdict) {
        let Decision::Assign(cidrs) = verdict.decision else { return };
        let uid = &verdict.node.uid;
        let text = cidrs.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
        match self.promised.insert(uid.clone(), text.clone()) {
            Some(before) => assert_eq!(before, text, "not sticky"),
            None => assert!(self.may_have(&verdict.node, &cidrs), "{uid} got {text}"),
        }
    }

    fn may_have(&self, node: &NodeView, cidrs: &[Prefix]) -> bool {
        let mut open = self.plans.values().filter(|plan| !plan.closed);
        let gives = |plan: &Plan| {
            let means = plan.selector.as_ref().is_none_or(|s| s.matches(node).is_some());
            let blocks = plan.ranges.iter().map(|range| (range.cidr(), range.mask()));
            means
                && blocks.eq(cidrs.iter().map(|block| {
                    let range = plan.ranges.iter().find(|range| range.cidr().covers(*block));
                    (range.map_or(*block, |range| range.cidr()), block.length())
                }))
        };
        let flags = Plan::of_flags(&[Range::new(prefix("10.0.0.48/28"), 30).unwrap()]);
        open.any(&gives) || gives(&flags)
    }

    fn check(&self, allocator: &Allocator) {
        let all = self.nodes.keys().flat_map(|uid| allocator.held_by(uid)).copied();
        let all = all.collect::<Vec<_>>();
        for (place, one) in all.iter().enumerate() {
            assert!(!all[..place].iter().any(|other| other.overlaps(*one)), "{one} twice: {all:?}");
        }
        let shown =
            self.nodes.iter().map(|(uid, (_, shown))| self.promised.get(uid).unwrap_or(shown));
        let shown = shown.flat_map(|cidrs| cidrs.split(',')).filter(|cidr| !cidr.is_empty());
        assert_eq!(shown.map(prefix).collect::<Vec<_>>(), all, "what is held is what was given");
        let mut fresh = flags();
        fresh.follow(self.plans.values().cloned().collect(), &[]);
        for &cidr in &all {
            fresh.occupy(cidr);
        }
        assert!(fresh.usage().eq(allocator.pools.usage()), "a block is lost");
        for node in allocator.waiting() {
            assert!(
                allocator.pools.next_free(node, &[]).is_err(),
                "{} waits beside a free block",
                node.uid
            );
        }
    }
}

fn flags() -> Pools {
    Pools::new(&[Range::new(prefix("10.0.0.48/28"), 30).unwrap()], &[prefix("10.0.0.8/30")])
}

proptest! {
    #[test]
    fn whatever_becomes_of_pools_no_block_is_given_twice_or_lost(
        steps in prop::collection::vec((0..9_u8, 0..1000_usize), 1..150)
    ) {
        let mut allocator = Allocator::new(flags());
        let mut cluster = Cluster::default();
        for (action, pick) in steps {
            let verdicts = cluster.step(&mut allocator, action, pick);
            for verdict in verdicts {
                cluster.note(verdict);
            }
            cluster.check(&allocator);
        }
    }
}
