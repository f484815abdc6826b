//! Pure: which of the Nodes that claim overlapping ranges get them.

use std::collections::BTreeMap;

use common::Prefix;

use crate::peers::Claim;

/// The range, and who claims it.
pub type Claimed<'a> = (Prefix, &'a Claim);

/// What becomes of claims.
#[derive(Clone, Debug, Default)]
pub struct Settled<'a> {
    /// By range; none overlaps another.
    pub won: Vec<Claimed<'a>>,
    /// Each with one that it overlaps and that won.
    pub lost: Vec<(Claimed<'a>, Claimed<'a>)>,
}

/// The older Node (creationTimestamp, then UID) gets what it claims, and of one Node the earlier claim counts.
///
/// In order, a range stands directly before all that it holds: only where there are such does anybody's age matter.
pub fn settle(mut claims: Vec<Claimed<'_>>) -> Settled<'_> {
    claims.sort_by_key(|&(range, _)| range);
    let mut settled = Settled { won: Vec::with_capacity(claims.len()), lost: Vec::new() };
    let mut rest = claims.as_slice();
    while let Some((widest, _)) = rest.first() {
        let held = rest.iter().take_while(|(range, _)| widest.covers(*range)).count();
        let (group, others) = rest.split_at(held);
        match group {
            [alone] => settled.won.push(*alone),
            rivals => settled.add(rivals.to_vec()),
        }
        rest = others;
    }
    settled
}

impl<'a> Settled<'a> {
    /// Claims that are all in one range.
    fn add(&mut self, mut rivals: Vec<Claimed<'a>>) {
        rivals.sort_by_key(|(_, claim)| age(claim));
        let mut taken = BTreeMap::<Prefix, &Claim>::new();
        for (range, claim) in rivals {
            // What is taken does not overlap, so only the neighbours in order can.
            let before = taken.range(..=range).next_back();
            let after = taken.range(range..).next();
            let mut neighbours = before.into_iter().chain(after);
            match neighbours.find(|(other, _)| other.overlaps(range)) {
                Some((&other, &winner)) => self.lost.push(((range, claim), (other, winner))),
                None => drop(taken.insert(range, claim)),
            }
        }
        self.won.extend(taken);
    }
}

fn age(claim: &Claim) -> (i64, &str, u32) {
    (claim.node.created, &claim.node.uid, claim.index)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::testing::node;

    fn claims(nodes: &[&str]) -> Vec<Claim> {
        nodes
            .iter()
            .flat_map(|text| Claim::all_of(&node(text).into()).collect::<Vec<_>>())
            .collect()
    }

    fn claimed(claims: &[Claim]) -> Vec<Claimed<'_>> {
        claims.iter().map(|claim| (claim.range.unwrap(), claim)).collect()
    }

    #[track_caller]
    fn check(nodes: &[&str], won: &[&str], lost: &[&str]) {
        let claims = claims(nodes);
        let settled = settle(claimed(&claims));
        let text = |(range, claim): &Claimed<'_>| format!("{} {range}", claim.node.name);
        assert_eq!(settled.won.iter().map(text).collect::<Vec<_>>(), won);
        let pairs = settled.lost.iter();
        let pairs = pairs.map(|(loser, winner)| format!("{} to {}", text(loser), text(winner)));
        assert_eq!(pairs.collect::<Vec<_>>(), lost);
    }

    #[test]
    fn the_older_node_keeps_its_range() {
        check(
            &["b 2 10.2.0.0/24", "c 9 10.1.0.0/24", "a 1 10.2.0.0/24"],
            &["c 10.1.0.0/24", "a 10.2.0.0/24"],
            &["b 10.2.0.0/24 to a 10.2.0.0/24"],
        );
        let wide = "b 10.2.0.0/16 to a 10.2.7.0/24";
        check(&["b 2 10.2.0.0/16", "a 1 10.2.7.0/24"], &["a 10.2.7.0/24"], &[wide]);
    }

    #[test]
    fn who_lost_takes_nothing_from_others() {
        check(
            &["a 1 10.0.1.0/24", "b 2 10.0.0.0/16", "c 3 10.0.2.0/24"],
            &["a 10.0.1.0/24", "c 10.0.2.0/24"],
            &["b 10.0.0.0/16 to a 10.0.1.0/24"],
        );
    }

    #[test]
    fn of_one_node_the_first_counts() {
        let lost = "a 10.0.0.0/16 to a 10.0.1.0/24";
        check(&["a 1 10.0.1.0/24 10.0.0.0/16"], &["a 10.0.1.0/24"], &[lost]);
    }

    /// As it is said, one after the other.
    fn by_age(mut claims: Vec<Claimed<'_>>) -> Vec<Prefix> {
        claims.sort_by_key(|(_, claim)| (claim.node.created, &claim.node.uid, claim.index));
        let mut won = Vec::<Prefix>::new();
        for (range, _) in claims {
            if !won.iter().any(|other| other.overlaps(range)) {
                won.push(range);
            }
        }
        won.sort();
        won
    }

    proptest! {
        #[test]
        fn no_more_and_no_less_is_won_than_by_age(
            parts in proptest::collection::vec((0_i64..4, 0_u128..64, 24_u8..31, 0_u128..8, 26_u8..31), 0..30),
        ) {
            let cidr = |index: u128, length: u8| {
                let all = "10.0.0.0/24".parse::<Prefix>().unwrap();
                all.subnet(length, index % (1 << (length - 24))).unwrap().to_string()
            };
            let nodes = parts.into_iter().enumerate().map(|(number, (age, a, long, b, longer))| {
                format!("n{number} {age} {} {}", cidr(a, long), cidr(b, longer))
            });
            let nodes = nodes.collect::<Vec<_>>();
            let claims = claims(&nodes.iter().map(String::as_str).collect::<Vec<_>>());
            let settled = settle(claimed(&claims));
            prop_assert_eq!(settled.won.len() + settled.lost.len(), claims.len());
            let won = settled.won.iter().map(|&(range, _)| range).collect::<Vec<_>>();
            prop_assert_eq!(&won, &by_age(claimed(&claims)));
            let overlap = settled.lost.iter().all(|((a, _), (b, _))| a.overlaps(*b));
            prop_assert!(overlap);
        }
    }
}
