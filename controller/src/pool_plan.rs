//! From a ClusterCIDR as somebody wrote it to the plan of a pool, or all that is wrong with it.
//!
//! The API server refuses most of it by its definition; but an object may be older than that, or the
//! definition may be node-ipam-controller's own, which takes more than it can use.

use common::prefix::PrefixError;
use common::{Family, PerFamily, Prefix};
use kube::ResourceExt;
use process::cluster_cidrs::{
    ClusterCidr, LEAST_HOST_BITS, NodeSelector, NodeSelectorRequirement, NodeSelectorTerm,
};

use nodeipam::node_cidr;
use nodeipam::pool::{Origin, Plan};
use nodeipam::range::Range;
use nodeipam::selector::{Requirement, Selector, SelectorError, Term};

/// Something that makes a ClusterCIDR useless.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Mistake {
    #[error("neither ipv4 nor ipv6 is given")]
    NoAddresses,
    #[error("{field}: {0}", field = field(*.1))]
    Cidr(PrefixError, Family),
    #[error("{field}: {0} is {actual}", field = field(*.1), actual = .0.family())]
    OtherFamily(Prefix, Family),
    #[error("perNodeHostBits: {0} is less than {LEAST_HOST_BITS}")]
    SmallBlocks(i32),
    #[error("perNodeHostBits: with {0} there is no block in {1}; want at most {most}", most = most(*.1))]
    LargeBlocks(i32, Prefix),
    #[error(transparent)]
    Selector(#[from] SelectorError),
}

/// What the pool of `object` is to be, or all mistakes in it.
pub fn plan(object: &ClusterCidr) -> Result<Plan, Vec<Mistake>> {
    let spec = &object.spec;
    let mut mistakes = Vec::new();
    let texts = PerFamily { v4: &spec.ipv4, v6: &spec.ipv6 };
    if texts.iter().all(|(_, text)| text.is_empty()) {
        mistakes.push(Mistake::NoAddresses);
    }
    if spec.per_node_host_bits < LEAST_HOST_BITS {
        mistakes.push(Mistake::SmallBlocks(spec.per_node_host_bits));
    }
    let given = texts.iter().filter(|(_, text)| !text.is_empty());
    let ranges = given.map(|(family, text)| range(text, family, spec.per_node_host_bits));
    let ranges = keep(ranges, &mut mistakes);
    let selected = spec.node_selector.as_ref().map(selector).transpose();
    let selector = selected.map_err(|error| mistakes.push(error.into())).unwrap_or_default();
    if !mistakes.is_empty() {
        return Err(mistakes);
    }
    let origin = Origin::ClusterCidr(object.name_any().into());
    Ok(Plan { origin, ranges, selector, closed: object.metadata.deletion_timestamp.is_some() })
}

fn range(text: &str, family: Family, host_bits: i32) -> Result<Range, Mistake> {
    let cidr = node_cidr::parse(text).map_err(|error| Mistake::Cidr(error, family))?;
    if cidr.family() != family {
        return Err(Mistake::OtherFamily(cidr, family));
    }
    let mask = u8::try_from(i32::from(family.width()) - host_bits);
    let range = mask.ok().and_then(|mask| Range::new(cidr, mask).ok());
    // Too few bits are a mistake of their own.
    range.ok_or(Mistake::LargeBlocks(host_bits, cidr))
}

fn keep<T>(
    results: impl Iterator<Item = Result<T, Mistake>>,
    mistakes: &mut Vec<Mistake>,
) -> Vec<T> {
    results.filter_map(|result| result.map_err(|mistake| mistakes.push(mistake)).ok()).collect()
}

fn selector(selector: &NodeSelector) -> Result<Selector, SelectorError> {
    let terms = selector.node_selector_terms.iter().map(term);
    Selector::new(terms.collect::<Result<_, _>>()?)
}

fn term(term: &NodeSelectorTerm) -> Result<Term, SelectorError> {
    let NodeSelectorTerm { match_expressions, match_fields } = term;
    let label = |NodeSelectorRequirement { key, operator, values }: &_| {
        Requirement::of_label(key, operator, values)
    };
    let field = |NodeSelectorRequirement { key, operator, values }: &_| {
        Requirement::of_field(key, operator, values)
    };
    let labels = match_expressions.iter().map(label).collect::<Result<_, _>>()?;
    Term::new(labels, match_fields.iter().map(field).collect::<Result<_, _>>()?)
}

const fn field(family: Family) -> &'static str {
    match family {
        Family::V4 => "ipv4",
        Family::V6 => "ipv6",
    }
}

/// The most bits of a Node's own addresses of which `cidr` has a block.
const fn most(cidr: Prefix) -> u8 {
    cidr.family().width() - cidr.length()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn bar() -> Value {
        json!([{"matchExpressions": [{"key": "foo", "operator": "In", "values": ["bar"]}]}])
    }

    fn planned(spec: &Value) -> Result<Plan, String> {
        let object = json!({"metadata": {"name": "a"}, "spec": spec});
        let object = serde_json::from_value(object).unwrap();
        plan(&object).map_err(|mistakes| {
            mistakes.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
        })
    }

    /// One row of node-ipam-controller's table; empty where it is right.
    #[track_caller]
    fn check(host_bits: i32, ipv4: &str, ipv6: &str, expected: &str) {
        let selector = json!({"nodeSelectorTerms": bar()});
        for selector in [selector, Value::Null] {
            let spec = json!({
                "perNodeHostBits": host_bits, "ipv4": ipv4, "ipv6": ipv6, "nodeSelector": selector,
            });
            let mistakes = planned(&spec).err().unwrap_or_default();
            assert_eq!(mistakes, expected, "{host_bits} {ipv4} {ipv6}");
        }
    }

    #[test]
    fn what_can_be_used_is_a_plan() {
        check(8, "10.1.0.0/16", "", "");
        check(16, "10.1.0.0/16", "", "");
        check(4, "10.1.0.0/16", "", "");
        check(8, "", "fd00:1:1::/64", "");
        check(64, "", "fd00:1:1::/64", "");
        check(4, "", "fd00:1:1::/64", "");
        check(100, "", "fd00:1:1::/16", "");
        check(8, "10.1.0.0/16", "fd00:1:1::/64", "");
    }

    #[test]
    fn what_can_not_be_used_is_named() {
        check(8, "", "", "neither ipv4 nor ipv6 is given");
        let no_cidr = "is no CIDR: want ADDRESS/LENGTH, as in 10.244.0.0/16 or fd00:10:244::/56";
        check(8, "test", "", &format!("ipv4: \"test\" {no_cidr}"));
        check(8, "", "testv6", &format!("ipv6: \"testv6\" {no_cidr}"));
        check(8, "10.1.0.0/16", "testv6", &format!("ipv6: \"testv6\" {no_cidr}"));
        check(8, "testv4", "fd00::/120", &format!("ipv4: \"testv4\" {no_cidr}"));
        check(8, "1000.2.0.0/16", "", "ipv4: \"1000.2.0.0/16\" is no CIDR");
        check(8, "", "aaaaa:1:1::/112", "ipv6: \"aaaaa:1:1::/112\" is no CIDR");
        check(8, "", "10.2.0.0/16", "ipv6: 10.2.0.0/16 is IPv4");
        check(8, "fd00::/120", "fd00:1:1::/64", "ipv4: fd00::/120 is IPv6");
        let large = |bits, cidr, most| {
            format!("perNodeHostBits: with {bits} there is no block in {cidr}; want at most {most}")
        };
        check(100, "10.1.0.0/16", "", &large(100, "10.1.0.0/16", 16));
        check(24, "10.1.0.0/16", "fd00:1:1::/64", &large(24, "10.1.0.0/16", 16));
        check(12, "", "fd00::/120", &large(12, "fd00::/120", 8));
        check(2, "10.1.0.0/16", "", "perNodeHostBits: 2 is less than 4");
        check(3, "", "fd00::/120", "perNodeHostBits: 3 is less than 4");
    }

    #[test]
    fn all_mistakes_of_an_object_are_named_at_once() {
        let key = "NoUppercaseOrSpecialCharsLike=Equals";
        let terms =
            json!([{"matchExpressions": [{"key": key, "operator": "In", "values": ["a"]}]}]);
        let spec = json!({
            "perNodeHostBits": 24, "ipv4": "10.1.0.0/16", "ipv6": "x",
            "nodeSelector": {"nodeSelectorTerms": terms},
        });
        let text = planned(&spec).unwrap_err();
        for mistake in ["no block in 10.1.0.0/16", "ipv6: \"x\"", "is no label key"] {
            assert!(text.contains(mistake), "{text}");
        }
    }

    /// Host bits are cut off, as in `--cluster-cidr`; IPv4 comes first.
    #[test]
    fn the_plan_says_what_the_object_says() {
        let terms = json!([
            {"matchExpressions": [{"key": "b", "operator": "Gt", "values": ["5"]}]},
            {"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["n1"]}]},
        ]);
        let plan = planned(&json!({
            "perNodeHostBits": 8, "ipv6": "ace:cab:deca::1/112", "ipv4": "127.123.234.0/8",
            "nodeSelector": {"nodeSelectorTerms": terms},
        }));
        let plan = plan.unwrap();
        let ranges = plan.ranges.iter().map(|range| format!("{}:{}", range.cidr(), range.mask()));
        assert_eq!(ranges.collect::<Vec<_>>(), ["127.0.0.0/8:24", "ace:cab:deca::/112:120"]);
        assert_eq!(plan.selector.unwrap().to_string(), "b>5 or metadata.name in (n1)");
        assert_eq!((plan.origin, plan.closed), (Origin::ClusterCidr("a".into()), false));
    }
}
