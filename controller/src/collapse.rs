//! Pure: what several changes of Nodes come to.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use common::node::NodeView;
use process::nodes::Change;

/// The Nodes that are gone after `changes`, and how the others look, each once, first come first.
pub fn collapse(changes: Vec<Change>) -> (Vec<Arc<NodeView>>, Vec<Arc<NodeView>>) {
    let mut gone = Vec::new();
    let mut applied = Vec::<Arc<NodeView>>::new();
    let mut places = HashMap::new();
    for change in changes {
        match change {
            Change::Gone(node) => gone.push(node),
            Change::Applied(node) => {
                let place = *places.entry(node.uid.clone()).or_insert(applied.len());
                match applied.get_mut(place) {
                    Some(earlier) => *earlier = node,
                    None => applied.push(node),
                }
            }
        }
    }
    let dead = gone.iter().map(|node| node.uid.as_str()).collect::<HashSet<_>>();
    applied.retain(|node| !dead.contains(node.uid.as_str()));
    (gone, applied)
}

#[cfg(test)]
mod tests {
    use process::nodes;

    use super::*;

    fn node(uid: &str, cidr: &str) -> Arc<NodeView> {
        let json =
            serde_json::json!({"metadata": {"name": "n", "uid": uid}, "spec": {"podCIDR": cidr}});
        Arc::new(serde_json::from_value::<nodes::Node>(json).unwrap().into())
    }

    #[test]
    fn of_several_changes_of_a_node_the_last_one_counts() {
        let changes = vec![
            Change::Applied(node("a", "")),
            Change::Applied(node("b", "")),
            Change::Applied(node("a", "10.0.0.0/24")),
            Change::Gone(node("b", "")),
            Change::Applied(node("c", "")),
        ];
        let (gone, applied) = collapse(changes);
        assert_eq!(gone, [node("b", "")]);
        assert_eq!(applied, [node("a", "10.0.0.0/24"), node("c", "")]);
    }
}
