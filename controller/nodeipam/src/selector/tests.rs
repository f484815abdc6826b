//! Tables of selectors, Nodes, and who is meant.

use super::*;
use crate::allocator::tests::node;

/// `a In x,y; b Exists | c Gt 5; @ NotIn n1`: `;` joins requirements, `|` terms, `@` is the name.
pub(crate) fn selector(text: &str) -> Result<Selector, SelectorError> {
    let terms = text.split('|').filter(|term| *term != "none").map(|term| {
        let (mut labels, mut fields) = (Vec::new(), Vec::new());
        for requirement in term.split(';').map(str::trim).filter(|text| !text.is_empty()) {
            let words = requirement.split(' ').collect::<Vec<_>>();
            let values = words.get(2).into_iter().flat_map(|values| values.split(','));
            let values = values.map(str::to_owned).collect::<Vec<_>>();
            match words[0].strip_prefix('@') {
                Some("") => fields.push(Requirement::of_field(NAME, words[1], &values)?),
                Some(key) => fields.push(Requirement::of_field(key, words[1], &values)?),
                None => labels.push(Requirement::of_label(words[0], words[1], &values)?),
            }
        }
        Term::new(labels, fields)
    });
    Selector::new(terms.collect::<Result<_, _>>()?)
}

#[track_caller]
fn check(text: &str, labels: &str, expected: Option<usize>) {
    assert_eq!(
        selector(text).unwrap().matches(&node(&format!("n1[{labels}]"))),
        expected,
        "{text} of {labels}"
    );
}

#[test]
fn each_operator_means_what_it_means_to_the_scheduler() {
    check("a In x,y", "a=y", Some(1));
    check("a In x,y", "a=z", None);
    check("a In x", "b=x", None);
    check("a NotIn x,y", "a=z", Some(1));
    check("a NotIn x,y", "a=x", None);
    check("a NotIn x", "", Some(1));
    check("a Exists", "a=", Some(1));
    check("a Exists", "b=", None);
    check("a DoesNotExist", "b=", Some(1));
    check("a DoesNotExist", "a=", None);
    check("a Gt 5", "a=6", Some(1));
    check("a Gt 5", "a=5", None);
    check("a Gt -5", "a=4", Some(1));
    check("a Gt 5", "a=many", None);
    check("a Gt 5", "", None);
    check("a Lt 5", "a=4", Some(1));
    check("a Lt 5", "a=5", None);
    check("@ In n1", "", Some(1));
    check("@ In n2", "", None);
    check("@ NotIn n2", "", Some(1));
    check("@ NotIn n1", "", None);
}

/// node-ipam-controller, k#116419: all terms had to hold at once.
#[test]
fn terms_are_alternatives_and_the_best_one_counts() {
    check("a In x | b In y", "a=x", Some(1));
    check("a In x | b In y", "b=y", Some(1));
    check("a In x | b In y", "c=z", None);
    check("a In x; b In y", "a=x", None);
    check("a In x; b In y", "a=x,b=y", Some(2));
    check("a In x | a In x; b In y; @ In n1 | b In y", "a=x,b=y", Some(3));
    check("a In x | a In x; b In y", "a=x", Some(1));
    check("a In x; @ In n2", "a=x", None);
}

#[test]
fn a_term_without_requirements_means_nobody() {
    check("", "a=x", None);
    check(" | a In x", "a=x", Some(1));
    assert_eq!(selector("none"), Err(SelectorError::NoTerm));
}

#[test]
fn its_text_does_not_depend_on_how_it_was_written() {
    let check = |text: &str, expected: &str| {
        assert_eq!(selector(text).unwrap().to_string(), expected, "{text}");
    };
    check("b In y,x; a Exists", "a,b in (x,y)");
    check("c Gt 5 | b NotIn x; a DoesNotExist", "!a,b notin (x) or c>5");
    check("z Lt 5; @ In n1", "metadata.name in (n1),z<5");
}

#[test]
fn what_can_mean_nothing_is_refused_with_the_reason() {
    let check = |text: &str, expected: &str| {
        let error = selector(text).unwrap_err().to_string();
        assert!(error.contains(expected), "{text}: {error}");
    };
    check("NoUppercaseOrSpecialCharsLike=Equals In bar", "is no label key");
    for key in ["-a", "a-", "a/", "/a", "A.b/c", "a..b/c", "a/b/c", "ä"] {
        check(&format!("{key} Exists"), "is no label key");
    }
    check("a In x!", "can be no value");
    check("a Is x", "is no operator");
    check("a In", "wants a value");
    check("a NotIn", "wants a value");
    check("a Exists x", "wants no value");
    check("a DoesNotExist x", "wants no value");
    check("a Gt", "wants one value");
    check("a Gt 1,2", "wants one value");
    check("a Lt many", "wants a whole number");
    check("@spec.providerID In x", "metadata.name alone");
    check("@ In x,y", "metadata.name alone");
    check("@ Exists", "metadata.name alone");
    for key in ["a", "A-b_c.d9", "example.com/Role", "node.kubernetes.io/instance-type"] {
        assert!(selector(&format!("{key} Exists")).is_ok(), "{key}");
    }
}
