//! Pure: what there is to say of a pool: what it gives, what it has left, and what keeps it.

use std::fmt::Display;

use common::PerFamily;
use common::node::NodeView;

use crate::allocator::Allocator;
use crate::pool::{Pool, Usage};

/// How many Nodes that keep a pool are named; the others are counted.
const NAMED: usize = 5;

/// What a ClusterCIDR's status says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Nodes that hold addresses of it.
    pub nodes: usize,
    pub blocks: PerFamily<Option<Blocks>>,
    /// Whether it gives blocks.
    pub ready: Condition,
    /// Whether it has none left to give.
    pub exhausted: Condition,
}

/// Blocks of one range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Blocks {
    pub total: u128,
    pub free: u128,
    pub reserved: u128,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Condition {
    pub holds: Holds,
    pub reason: &'static str,
    pub message: String,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Holds {
    True,
    False,
    #[default]
    Unknown,
}

impl Holds {
    /// As the API writes it.
    pub const fn text(self) -> &'static str {
        match self {
            Self::True => "True",
            Self::False => "False",
            Self::Unknown => "Unknown",
        }
    }
}

impl Report {
    /// Of a ClusterCIDR that is no pool, because of `mistakes`.
    pub fn of_invalid(mistakes: &[impl Display]) -> Self {
        let message = mistakes.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ");
        let reason = "InvalidClusterCIDR";
        let exhausted = Condition { reason, ..Condition::default() };
        let ready = Condition { holds: Holds::False, reason, message };
        Self { ready, exhausted, ..Self::default() }
    }

    pub fn of(pool: &Pool, allocator: &Allocator) -> Self {
        let usage = pool.usage().collect::<Vec<_>>();
        let blocks = PerFamily::from_fn(|family| {
            usage.iter().find(|usage| usage.range.cidr().family() == family).map(Blocks::of)
        });
        let nodes = allocator.holders(|cidr| pool.overlaps(cidr)).count();
        let ready = if pool.plan().closed { closed(pool, allocator) } else { open(pool, &usage) };
        Self { nodes, blocks, ready, exhausted: exhausted(pool, &usage) }
    }
}

impl Blocks {
    fn of(usage: &Usage) -> Self {
        let free = usage.blocks.saturating_sub(usage.used);
        Self { total: usage.blocks, free, reserved: usage.reserved }
    }
}

/// Nodes that keep a closed `pool` from being forgotten.
pub fn keepers<'a>(pool: &Pool, allocator: &'a Allocator) -> impl Iterator<Item = &'a NodeView> {
    allocator.holders(|cidr| allocator.pools().needs(pool, cidr))
}

fn open(pool: &Pool, usage: &[Usage]) -> Condition {
    let nodes = pool.plan().selector.as_ref().map_or_else(
        || "all Nodes that no other ClusterCIDR with a free block selects".to_owned(),
        |selector| format!("Nodes with {selector}"),
    );
    let blocks =
        usage.iter().map(|usage| format!("a /{} of {}", usage.range.mask(), usage.range.cidr()));
    let blocks = blocks.collect::<Vec<_>>().join(" and ");
    Condition { holds: Holds::True, reason: "Serving", message: format!("gives {nodes} {blocks}") }
}

fn closed(pool: &Pool, allocator: &Allocator) -> Condition {
    let mut nodes = keepers(pool, allocator).map(|node| node.name.as_str()).collect::<Vec<_>>();
    nodes.sort_unstable();
    let named = nodes.iter().take(NAMED).copied().collect::<Vec<_>>().join(", ");
    let more = nodes.len().saturating_sub(NAMED);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    let message = format!("is being deleted and gives no blocks; waits for Nodes {named}{more}");
    Condition { holds: Holds::False, reason: "Terminating", message }
}

fn exhausted(pool: &Pool, usage: &[Usage]) -> Condition {
    let message = usage.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ");
    match pool.next_free(&[]) {
        Ok(_) => Condition { holds: Holds::False, reason: "FreeBlocks", message },
        Err(_) => Condition { holds: Holds::True, reason: "NoFreeBlock", message },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::allocator::tests::{allocator, round};
    use crate::pool::Plan;
    use crate::pools::tests::plan;

    fn report(allocator: &Allocator) -> Report {
        Report::of(allocator.pools().iter().next().unwrap(), allocator)
    }

    #[track_caller]
    fn check(condition: &Condition, holds: Holds, reason: &str, message: &str) {
        let Condition { holds: actual, reason: because, message: text } = condition;
        assert_eq!((*actual, *because, text.as_str()), (holds, reason, message));
    }

    #[test]
    fn it_says_what_a_pool_gives_and_what_is_left() {
        let mut allocator = allocator("10.0.0.0/16:24", &["10.1.0.0/24"]);
        allocator.follow(vec![plan(&("p", "rack In r7", "10.1.0.0/22 fd00::/64", 8))]);
        round(&mut allocator, "a[rack=r7] b c@10.1.2.128/25");
        let Report { nodes, blocks, ready, exhausted } = report(&allocator);
        assert_eq!(nodes, 2);
        assert_eq!(blocks.v4.unwrap(), Blocks { total: 4, free: 1, reserved: 1 });
        let free = (1 << 56) - 1;
        assert_eq!(blocks.v6.unwrap(), Blocks { total: 1 << 56, free, reserved: 0 });
        let text = "gives Nodes with rack in (r7) a /24 of 10.1.0.0/22 and a /120 of fd00::/64";
        check(&ready, Holds::True, "Serving", text);
        let counts = |used| {
            format!(
                "ClusterCIDR p 10.1.0.0/22, mask /24: 4 blocks, {used} used, 1 of them by Services; \
                 ClusterCIDR p fd00::/64, mask /120: 72057594037927936 blocks, {} used",
                used - 2
            )
        };
        check(&exhausted, Holds::False, "FreeBlocks", &counts(3));
        round(&mut allocator, "d[rack=r7]");
        check(&report(&allocator).exhausted, Holds::True, "NoFreeBlock", &counts(4));
    }

    #[test]
    fn a_pool_that_is_being_deleted_names_whom_it_waits_for() {
        let mut allocator = allocator("10.0.0.0/16:24", &[]);
        let open = plan(&("p", "rack In r7", "10.1.0.0/16", 8));
        allocator.follow(vec![open.clone()]);
        let nodes = (1..=7).map(|number| format!("n{number}[rack=r7]")).collect::<Vec<_>>();
        round(&mut allocator, &nodes.join(" "));
        allocator.follow(vec![Plan { closed: true, ..open }]);
        let text =
            "is being deleted and gives no blocks; waits for Nodes n1, n2, n3, n4, n5 and 2 more";
        check(&report(&allocator).ready, Holds::False, "Terminating", text);
    }

    #[test]
    fn what_is_wrong_with_it_stands_in_its_condition() {
        let report = Report::of_invalid(&["a is wrong", "b is wrong"]);
        check(&report.ready, Holds::False, "InvalidClusterCIDR", "a is wrong; b is wrong");
        check(&report.exhausted, Holds::Unknown, "InvalidClusterCIDR", "");
        assert_eq!((report.nodes, report.blocks), (0, PerFamily::default()));
    }
}
