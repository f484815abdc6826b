//! What is known of the Nodes, from the watch's events, and how each event changed it.
//!
//! Nothing is known until the first list is complete. A Node that went while nobody watched is
//! missing in the next list, which says so.

use std::collections::BTreeMap;
use std::mem;
use std::sync::Arc;

use common::node::NodeView;
use kube::runtime::watcher::Event;

use super::wire::Node;

type ByName = BTreeMap<String, Arc<NodeView>>;

/// The Nodes of the cluster, by name.
#[derive(Clone, Debug, Default)]
pub struct Nodes {
    /// None until the first list is complete.
    known: Option<ByName>,
    /// The list that is under way.
    listing: ByName,
}

/// How one Node changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// It is new or looks different.
    Applied(Arc<NodeView>),
    /// It is gone, or another one has taken its name; this is how it looked last.
    Gone(Arc<NodeView>),
}

impl Nodes {
    /// All Nodes; none until the first list is complete.
    pub fn known(&self) -> Option<&ByName> {
        self.known.as_ref()
    }

    /// Takes the watch's next event and returns what changed by it, those that are gone first.
    ///
    /// A change of what [`NodeView`] leaves out, as in a heartbeat, is none.
    pub fn apply(&mut self, event: Event<Node>) -> Vec<Change> {
        match event {
            Event::Init => self.listing.clear(),
            Event::InitApply(node) => {
                let node = view(node);
                self.listing.insert(node.name.clone(), node);
            }
            Event::InitDone => {
                let new = mem::take(&mut self.listing);
                let old = self.known.replace(new.clone()).unwrap_or_default();
                return difference(&old, &new);
            }
            Event::Apply(node) => return self.put(&view(node)),
            Event::Delete(node) => return self.remove(&view(node)),
        }
        Vec::new()
    }

    fn put(&mut self, node: &Arc<NodeView>) -> Vec<Change> {
        let Some(known) = &mut self.known else { return Vec::new() };
        let changes = changes(known.get(&node.name), Some(node)).collect::<Vec<_>>();
        if !changes.is_empty() {
            known.insert(node.name.clone(), Arc::clone(node));
        }
        changes
    }

    fn remove(&mut self, node: &NodeView) -> Vec<Change> {
        let Some(known) = &mut self.known else { return Vec::new() };
        known.remove(&node.name).map(Change::Gone).into_iter().collect()
    }
}

fn view(node: Node) -> Arc<NodeView> {
    Arc::new(node.into())
}

fn difference(old: &ByName, new: &ByName) -> Vec<Change> {
    let missing = old.iter().filter(|(name, _)| !new.contains_key(*name));
    let gone = missing.map(|(_, node)| Change::Gone(Arc::clone(node)));
    let kept = new.iter().flat_map(|(name, node)| changes(old.get(name), Some(node)));
    let mut all = gone.chain(kept).collect::<Vec<_>>();
    all.sort_by_key(|change| matches!(change, Change::Applied(_)));
    all
}

/// How the Node of one name changed.
fn changes(
    old: Option<&Arc<NodeView>>,
    new: Option<&Arc<NodeView>>,
) -> impl Iterator<Item = Change> {
    let replaced = old.filter(|old| new.is_none_or(|new| old.uid != new.uid));
    let applied = new.filter(|new| old != Some(*new));
    let gone = replaced.map(|node| Change::Gone(Arc::clone(node)));
    gone.into_iter().chain(applied.map(|node| Change::Applied(Arc::clone(node))))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn node(text: &str) -> Node {
        let (name, uid) = text.split_once('=').unwrap();
        let (uid, cidr) = uid.split_once('@').unwrap_or((uid, ""));
        let json = json!({"metadata": {"name": name, "uid": uid}, "spec": {"podCIDR": cidr}});
        serde_json::from_value(json).unwrap()
    }

    fn events(text: &str) -> impl Iterator<Item = Event<Node>> {
        text.split_whitespace().map(|word| match word.split_at(1) {
            ("[", _) => Event::Init,
            (".", text) => Event::InitApply(node(text)),
            ("]", _) => Event::InitDone,
            ("+", text) => Event::Apply(node(text)),
            ("-", text) => Event::Delete(node(text)),
            _ => panic!("{word}"),
        })
    }

    #[track_caller]
    fn check(before: &str, last: &str, expected: &str) {
        let mut nodes = Nodes::default();
        for event in events(before) {
            nodes.apply(event);
        }
        let changes = events(last).flat_map(|event| nodes.apply(event)).collect::<Vec<_>>();
        let texts = changes.iter().map(|change| match change {
            Change::Applied(node) => format!("+{}={}", node.name, node.uid),
            Change::Gone(node) => format!("-{}={}", node.name, node.uid),
        });
        assert_eq!(texts.collect::<Vec<_>>().join(" "), expected, "{before} | {last}");
    }

    #[test]
    fn nothing_is_known_before_the_first_list_is_complete() {
        check("", "[ .a=1 .b=1", "");
        check("", "[ .a=1 +b=1 -a=1", "");
        let mut nodes = Nodes::default();
        events("[ .a=1").for_each(|event| assert_eq!(nodes.apply(event), []));
        assert!(nodes.known().is_none());
        events("]").for_each(|event| assert_eq!(nodes.apply(event).len(), 1));
        assert_eq!(nodes.known().unwrap().len(), 1);
    }

    #[test]
    fn a_list_that_broke_off_leaves_no_trace() {
        check("[ .a=1 .b=1", "[ .a=1 ]", "+a=1");
        check("[ .a=1 .b=1 ] [ .c=1", "[ .a=1 ]", "-b=1");
    }

    #[test]
    fn only_a_difference_is_a_change() {
        check("[ .a=1 ]", "+b=1", "+b=1");
        check("[ .a=1 ]", "+a=1", "");
        check("[ .a=1 ]", "+a=1@10.0.0.0/24", "+a=1");
        check("[ .a=1 ]", "-a=1", "-a=1");
        check("[ .a=1 ]", "-b=1", "");
    }

    #[test]
    fn what_went_unseen_is_gone_first() {
        check("[ .b=1 .c=1 ]", "[ .a=1 .c=1 ]", "-b=1 +a=1");
        check("[ .a=1 .b=1 ]", "[ .a=2 ]", "-b=1 -a=1 +a=2");
        check("[ .a=1 ]", "+a=2", "-a=1 +a=2");
    }
}
