//! Pure: which Nodes a nodeSelector means, as the scheduler reads one (core/v1 `NodeSelector`): its
//! terms are alternatives, and all requirements of one term must hold.

use std::fmt;

use common::node::NodeView;

/// The only field that `matchFields` may name.
const NAME: &str = "metadata.name";

/// At least one term.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Selector(Vec<Term>);

/// Requirements that must all hold; a term without any means no Node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Term {
    labels: Vec<Requirement>,
    fields: Vec<Requirement>,
}

/// What a label, or the Node's name, must be.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Requirement {
    key: String,
    test: Test,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Test {
    In(Vec<String>),
    /// True of a Node without the label, too.
    NotIn(Vec<String>),
    Exists,
    DoesNotExist,
    Gt(i64),
    Lt(i64),
}

/// Why a nodeSelector says nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SelectorError {
    #[error("nodeSelector has no term and means no Node: give one, or no nodeSelector")]
    NoTerm,
    #[error("nodeSelector: {0:?} is no label key")]
    Key(String),
    #[error("nodeSelector: {value:?} can be no value of label {key}")]
    Value { key: String, value: String },
    #[error("nodeSelector: {0:?} is no operator: want In, NotIn, Exists, DoesNotExist, Gt or Lt")]
    Operator(String),
    #[error("nodeSelector: {key} {operator} wants {wanted}")]
    Values { key: String, operator: String, wanted: &'static str },
    #[error("nodeSelector: matchFields knows {NAME} alone, In or NotIn one name")]
    Field,
}

impl Selector {
    pub fn new(terms: Vec<Term>) -> Result<Self, SelectorError> {
        if terms.is_empty() { Err(SelectorError::NoTerm) } else { Ok(Self(terms)) }
    }

    /// How many requirements `node` meets by the term that has most of those that it meets all of;
    /// none if it is not meant.
    pub fn matches(&self, node: &NodeView) -> Option<usize> {
        let met = self.0.iter().filter(|term| term.is_met_by(node));
        met.map(|term| term.labels.len() + term.fields.len()).max()
    }
}

impl Term {
    pub fn new(labels: Vec<Requirement>, fields: Vec<Requirement>) -> Result<Self, SelectorError> {
        let names = |requirement: &Requirement| {
            let one = matches!(&requirement.test, Test::In(names) | Test::NotIn(names) if names.len() == 1);
            requirement.key == NAME && one
        };
        if fields.iter().all(names) {
            Ok(Self { labels, fields })
        } else {
            Err(SelectorError::Field)
        }
    }

    fn is_met_by(&self, node: &NodeView) -> bool {
        let NodeView { name, labels, .. } = node;
        let by_labels =
            self.labels.iter().all(|wanted| wanted.test.is_met_by(labels.get(&wanted.key)));
        let by_name = self.fields.iter().all(|wanted| wanted.test.is_met_by(Some(name)));
        by_labels && by_name && !(self.labels.is_empty() && self.fields.is_empty())
    }
}

impl Requirement {
    /// One line of `matchExpressions`, as it is written.
    pub fn of_label(key: &str, operator: &str, values: &[String]) -> Result<Self, SelectorError> {
        if !is_key(key) {
            return Err(SelectorError::Key(key.to_owned()));
        }
        let test = Test::parse(key, operator, values)?;
        let (Test::In(values) | Test::NotIn(values)) = &test else {
            return Ok(Self { key: key.to_owned(), test });
        };
        match values.iter().find(|value| !is_value(value)) {
            Some(value) => Err(SelectorError::Value { key: key.to_owned(), value: value.clone() }),
            None => Ok(Self { key: key.to_owned(), test }),
        }
    }

    /// One line of `matchFields`.
    pub fn of_field(key: &str, operator: &str, values: &[String]) -> Result<Self, SelectorError> {
        Ok(Self { key: key.to_owned(), test: Test::parse(key, operator, values)? })
    }
}

impl Test {
    fn parse(key: &str, operator: &str, values: &[String]) -> Result<Self, SelectorError> {
        let wants = |wanted| SelectorError::Values {
            key: key.to_owned(),
            operator: operator.to_owned(),
            wanted,
        };
        let some = || (!values.is_empty()).then(|| values.to_vec()).ok_or(wants("a value"));
        let none = |test| if values.is_empty() { Ok(test) } else { Err(wants("no value")) };
        let number = || match values {
            [value] => value.parse().map_err(|_| wants("a whole number")),
            _ => Err(wants("one value")),
        };
        match operator {
            "In" => Ok(Self::In(some()?)),
            "NotIn" => Ok(Self::NotIn(some()?)),
            "Exists" => none(Self::Exists),
            "DoesNotExist" => none(Self::DoesNotExist),
            "Gt" => Ok(Self::Gt(number()?)),
            "Lt" => Ok(Self::Lt(number()?)),
            _ => Err(SelectorError::Operator(operator.to_owned())),
        }
    }

    fn is_met_by(&self, value: Option<&String>) -> bool {
        let number = || value.and_then(|value| value.parse::<i64>().ok());
        match self {
            Self::In(values) => value.is_some_and(|value| values.contains(value)),
            Self::NotIn(values) => value.is_none_or(|value| !values.contains(value)),
            Self::Exists => value.is_some(),
            Self::DoesNotExist => value.is_none(),
            Self::Gt(bound) => number().is_some_and(|number| number > *bound),
            Self::Lt(bound) => number().is_some_and(|number| number < *bound),
        }
    }
}

impl fmt::Display for Selector {
    /// Whatever the order in which it was written: requirements by key, alternatives by their text.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut terms = self.0.iter().map(ToString::to_string).collect::<Vec<_>>();
        terms.sort_unstable();
        f.write_str(&terms.join(" or "))
    }
}

impl fmt::Display for Term {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut requirements = self.labels.iter().chain(&self.fields).collect::<Vec<_>>();
        requirements.sort_unstable();
        let texts = requirements.iter().map(ToString::to_string).collect::<Vec<_>>();
        f.write_str(&texts.join(","))
    }
}

impl fmt::Display for Requirement {
    /// As kubectl writes label selectors.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let key = &self.key;
        let list = |values: &[String]| {
            let mut values = values.to_vec();
            values.sort_unstable();
            values.join(",")
        };
        match &self.test {
            Test::In(values) => write!(f, "{key} in ({})", list(values)),
            Test::NotIn(values) => write!(f, "{key} notin ({})", list(values)),
            Test::Exists => write!(f, "{key}"),
            Test::DoesNotExist => write!(f, "!{key}"),
            Test::Gt(bound) => write!(f, "{key}>{bound}"),
            Test::Lt(bound) => write!(f, "{key}<{bound}"),
        }
    }
}

/// A label's key: `NAME` or `DNS-SUBDOMAIN/NAME`.
fn is_key(text: &str) -> bool {
    let (domain, name) = text.split_once('/').map_or((None, text), |(d, n)| (Some(d), n));
    let is_label = |label: &str| {
        is_framed(label, |c| c.is_ascii_lowercase() || c.is_ascii_digit(), |c| c == '-')
    };
    let is_domain = |domain: &str| domain.len() <= 253 && domain.split('.').all(is_label);
    domain.is_none_or(is_domain) && !name.is_empty() && is_value(name)
}

/// A label's value: up to 63 letters, digits, `-`, `_` and `.`, letters or digits at both ends.
fn is_value(text: &str) -> bool {
    text.is_empty()
        || text.len() <= 63
            && is_framed(text, |c| c.is_ascii_alphanumeric(), |c| matches!(c, '-' | '_' | '.'))
}

/// Whether `text` begins and ends with `outer`, and has nothing but `outer` and `inner` between.
fn is_framed(text: &str, outer: impl Fn(char) -> bool, inner: impl Fn(char) -> bool) -> bool {
    text.starts_with(&outer) && text.ends_with(&outer) && text.chars().all(|c| outer(c) || inner(c))
}

#[cfg(test)]
pub(crate) mod tests;
