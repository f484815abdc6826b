//! Pure: what would be assigned, as a table for a person to read before anything is written.

use std::collections::HashMap;
use std::fmt::{self, Display};
use std::sync::Arc;

use common::node::NodeView;

use nodeipam::allocator::{Allocator, Decision, Verdict};

const HEADS: [&str; 3] = ["NODE", "PODCIDRS", "WHAT"];

/// One row for each Node, and one line for each pool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Table {
    rows: Vec<[String; 3]>,
    pools: Vec<String>,
}

impl Table {
    /// What `allocator`, to which the cluster is new, decides about its `nodes`.
    pub fn new(mut allocator: Allocator, nodes: &[Arc<NodeView>]) -> Self {
        let mut verdicts = HashMap::<String, Vec<Decision>>::new();
        for Verdict { node, decision } in allocator.round(&[], nodes) {
            verdicts.entry(node.uid.clone()).or_default().push(decision);
        }
        let decisions = |node: &NodeView| verdicts.get(&node.uid).map_or(&[][..], Vec::as_slice);
        let rows = nodes.iter().map(|node| row(node, decisions(node)));
        let pools = allocator.pools().usage().map(|usage| usage.to_string());
        Self { rows: rows.collect(), pools: pools.collect() }
    }
}

fn row(node: &NodeView, decisions: &[Decision]) -> [String; 3] {
    let mut cidrs = node.pod_cidrs.join(",");
    let mut what = Vec::new();
    for decision in decisions {
        match decision {
            Decision::Assign(blocks) => {
                cidrs = blocks.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
                what.push("would be assigned".to_owned());
            }
            Decision::Wait(exhausted) => what.push(format!("would wait: {exhausted}")),
            Decision::Odd(oddity) => what.push(format!("{}: {oddity}", oddity.reason())),
        }
    }
    if what.is_empty() {
        let settled = if node.pod_cidrs.is_empty() { "terminating, gets none" } else { "has them" };
        what.push(settled.to_owned());
    }
    if cidrs.is_empty() {
        "-".clone_into(&mut cidrs);
    }
    [node.name.clone(), cidrs, what.join("; ")]
}

impl Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let heads = HEADS.map(str::to_owned);
        let rows = || std::iter::once(&heads).chain(&self.rows);
        let width = |column: usize| {
            rows().filter_map(|row| row.get(column)).map(String::len).max().unwrap_or(0)
        };
        let (names, cidrs) = (width(0), width(1));
        for [name, cidr, what] in rows() {
            writeln!(f, "{name:names$}  {cidr:cidrs$}  {what}")?;
        }
        writeln!(f)?;
        self.pools.iter().try_for_each(|pool| writeln!(f, "{pool}"))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use common::Prefix;

    use super::*;
    use nodeipam::pools::Pools;
    use nodeipam::range::Range;

    fn node(name: &str, cidrs: &str) -> Arc<NodeView> {
        Arc::new(NodeView {
            name: name.trim_end_matches('!').to_owned(),
            uid: name.to_owned(),
            created: 0,
            terminating: name.ends_with('!'),
            pod_cidrs: cidrs.split(',').filter(|cidr| !cidr.is_empty()).map(Into::into).collect(),
            labels: BTreeMap::new(),
            internal_ips: Vec::new(),
            network_unavailable: None,
        })
    }

    #[test]
    fn a_person_sees_what_would_be_assigned_and_why_not() {
        let cidr = Prefix::parse_masking("10.0.0.0/23").unwrap();
        let pools = Pools::new(&[Range::new(cidr, 24).unwrap()], &[]);
        let nodes = [
            node("a", "10.0.0.0/24"),
            node("long-name", ""),
            node("c", ""),
            node("d!", ""),
            node("e", "192.168.0.0/24"),
        ];
        let table = Table::new(Allocator::new(pools), &nodes).to_string();
        let expected = "\
NODE       PODCIDRS        WHAT
a          10.0.0.0/24     has them
long-name  10.0.1.0/24     would be assigned
c          -               would wait: no block is free: pool 10.0.0.0/23, mask /24: 2 blocks, 2 used
d          -               terminating, gets none
e          192.168.0.0/24  CIDROutOfRange: podCIDR 192.168.0.0/24 is not within the cluster CIDRs or a ClusterCIDR

pool 10.0.0.0/23, mask /24: 2 blocks, 2 used
";
        assert_eq!(table, expected);
    }
}
