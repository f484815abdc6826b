//! Pure: what the Nodes say of themselves, each read once, however often it is asked for.
//!
//! Of thousands none is in the processor's cache for long: to look at each again takes longer than all that is
//! made of it. What was read stands side by side.

use std::net::IpAddr;
use std::sync::Arc;

use common::Prefix;
use common::node::NodeView;

use crate::state::Nodes;

/// The Nodes of a cluster, as one of them sees them.
#[derive(Clone, Debug, Default)]
pub struct Peers {
    /// The machine's own, if there is one.
    pub own: Option<Arc<NodeView>>,
    /// What all the others claim, by their names, each Node's in its own order.
    pub claims: Vec<Claim>,
}

/// One of a Node's podCIDRs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    pub node: Arc<NodeView>,
    /// Which of them.
    pub index: u32,
    /// None where it is no CIDR.
    pub range: Option<Prefix>,
    /// The Node's address of the range's family.
    pub via: Option<IpAddr>,
}

impl Peers {
    /// What `nodes` say to the one that is called `name`; `before` is what was read last.
    pub fn read(name: &str, nodes: &Nodes, before: Self) -> Self {
        let (own, mut claims) = (nodes.get(name).cloned(), before.claims);
        let is_own = |node: &Arc<NodeView>| own.as_ref().is_some_and(|own| Arc::ptr_eq(own, node));
        // In place, since most are as they were; those before this one have been read.
        let mut read = 0;
        for node in nodes.values().filter(|node| !is_own(node)) {
            let same = |claim: &Claim| Arc::ptr_eq(&claim.node, node);
            // Of Nodes that went, or are others now.
            let old = |claim: &&Claim| !same(claim) && claim.node.name <= node.name;
            let next = read + claims.iter().skip(read).take_while(old).count();
            let is_read = claims.get(next).is_some_and(same);
            if next > read || !is_read {
                let new = (!is_read).then(|| Claim::all_of(node));
                claims.splice(read..next, new.into_iter().flatten());
            }
            read += claims.iter().skip(read).take_while(|claim| same(claim)).count();
        }
        claims.truncate(read);
        Self { own, claims }
    }
}

impl Claim {
    /// Each of the podCIDRs of `node`.
    pub fn all_of(node: &Arc<NodeView>) -> impl Iterator<Item = Self> {
        node.pod_cidrs.iter().zip(0..).map(|(cidr, index)| {
            let range = Prefix::parse_masking(cidr).ok();
            let via = range.and_then(|range: Prefix| node.internal_ip(range.family()));
            Self { node: Arc::clone(node), index, range, via }
        })
    }

    /// As the Node spells it.
    pub fn cidr(&self) -> &str {
        self.node.pod_cidrs.get(self.index as usize).map_or("", String::as_str)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::testing::node;

    fn nodes(texts: &[String]) -> Nodes {
        let nodes = texts.iter().map(|text| Arc::new(node(text)));
        nodes.map(|node| (node.name.clone(), node)).collect()
    }

    #[test]
    fn a_claim_has_the_address_of_its_family() {
        let text = "b 2 fd00:0:0:2::/64 10.244.2.9/24 nonsense 192.0.2.2 2001:db8::2";
        let peers = Peers::read("me", &nodes(&[text.to_owned()]), Peers::default());
        let text = |claim: &Claim| format!("{} {:?} {:?}", claim.cidr(), claim.range, claim.via);
        let texts = peers.claims.iter().map(text).collect::<Vec<_>>();
        assert_eq!(
            texts,
            [
                "fd00:0:0:2::/64 Some(fd00:0:0:2::/64) Some(2001:db8::2)",
                "10.244.2.9/24 Some(10.244.2.0/24) Some(192.0.2.2)",
                "nonsense None None",
            ]
        );
    }

    #[test]
    fn who_is_the_same_is_not_read_again() {
        let texts = ["a", "b", "c", "me"].map(|name| format!("{name} 1 10.244.1.0/24"));
        let mut known = nodes(&texts);
        let before = Peers::read("me", &known, Peers::default());
        // What nobody would read of it tells that it is an old one.
        let mut marked = before;
        marked.claims.iter_mut().for_each(|claim| claim.via = Some(IpAddr::from([192, 0, 2, 99])));
        known.insert("b".to_owned(), node("b 1 10.244.1.0/24").into());
        let after = Peers::read("me", &known, marked);
        let old = after.claims.iter().map(|claim| claim.via.is_some()).collect::<Vec<_>>();
        assert_eq!(old, [true, false, true]);
    }

    proptest! {
        #[test]
        fn what_was_read_before_makes_no_difference(
            lists in proptest::collection::vec(
                proptest::collection::btree_map(0_u8..12, (0_u8..3, 0_u8..3, any::<bool>()), 0..12),
                1..6,
            ),
        ) {
            let (mut peers, mut last) = (Peers::default(), Nodes::new());
            for list in lists {
                let text = |(name, (age, count, _)): (&u8, &(u8, u8, bool))| {
                    let cidrs = (0..*count).map(|n| format!(" 10.{name}.{n}.0/24"));
                    format!("n{name} {age}{}", cidrs.collect::<String>())
                };
                let mut now = nodes(&list.iter().map(text).collect::<Vec<_>>());
                // Some are the very ones that there were before.
                for (name, (.., keep)) in &list {
                    if let Some(old) = last.get(&format!("n{name}")).filter(|_| *keep) {
                        now.insert(old.name.clone(), Arc::clone(old));
                    }
                }
                peers = Peers::read("n3", &now, peers);
                let anew = Peers::read("n3", &now, Peers::default());
                prop_assert_eq!(&peers.claims, &anew.claims);
                prop_assert_eq!(&peers.own, &anew.own);
                last = now;
            }
        }
    }
}
