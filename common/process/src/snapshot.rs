//! All objects of one kind by their name, as the watch has told so far.

use std::collections::BTreeMap;
use std::mem;

use kube::ResourceExt;
use kube::runtime::watcher::Event;

/// Objects of a cluster-wide kind.
#[derive(Clone, Debug)]
pub struct Snapshot<K> {
    /// None until the first list is complete.
    known: Option<BTreeMap<String, K>>,
    /// The list that is under way.
    listing: BTreeMap<String, K>,
}

impl<K> Default for Snapshot<K> {
    fn default() -> Self {
        Self { known: None, listing: BTreeMap::new() }
    }
}

impl<K: ResourceExt> Snapshot<K> {
    /// All of them; none until the first list is complete.
    pub fn known(&self) -> Option<&BTreeMap<String, K>> {
        self.known.as_ref()
    }

    /// Takes the watch's next event.
    pub fn apply(&mut self, event: Event<K>) {
        match (event, &mut self.known) {
            (Event::Init, _) => self.listing.clear(),
            (Event::InitApply(object), _) => drop(self.listing.insert(object.name_any(), object)),
            (Event::InitDone, known) => *known = Some(mem::take(&mut self.listing)),
            (Event::Apply(object), Some(known)) => drop(known.insert(object.name_any(), object)),
            (Event::Delete(object), Some(known)) => drop(known.remove(&object.name_any())),
            // What comes before the first list is complete is in it.
            (Event::Apply(_) | Event::Delete(_), None) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::Node;

    use super::*;

    /// `[` begins a list of `.NAME`, `]` ends it; `+` and `-` are changes.
    #[track_caller]
    fn check(events: &str, expected: Option<&str>) {
        let mut snapshot = Snapshot::default();
        for (sign, name) in events.split_whitespace().map(|word| word.split_at(1)) {
            let mut node = Node::default();
            node.metadata.name = Some(name.to_owned());
            snapshot.apply(match sign {
                "[" => Event::Init,
                "." => Event::InitApply(node),
                "]" => Event::InitDone,
                "+" => Event::Apply(node),
                _ => Event::Delete(node),
            });
        }
        let names =
            |known: &BTreeMap<String, Node>| known.keys().cloned().collect::<Vec<_>>().join(" ");
        assert_eq!(snapshot.known().map(names).as_deref(), expected, "{events}");
    }

    #[test]
    fn it_is_what_the_last_complete_list_and_the_changes_since_say() {
        check("[ .a .b", None);
        check("[ ]", Some(""));
        check("[ .a .b ] +c -a", Some("b c"));
        check("[ .a ] [ .b", Some("a"));
        check("[ .a ] [ .b ]", Some("b"));
        check("[ .a [ .b ]", Some("b"));
    }
}
