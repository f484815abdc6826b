//! An allocator as the model checker among the registrar's tests puts it together.

use std::sync::Arc;

use common::Prefix;
use common::node::NodeView;

use super::{Allocator, Holding, turn};

impl Allocator {
    /// Lets `node` hold what it shows, or what was chosen for it; or else wait.
    pub(crate) fn restore(&mut self, node: &Arc<NodeView>, held: Option<Prefix>) {
        let Some(cidr) = held else {
            self.waiting.insert(turn(node), Arc::clone(node));
            return;
        };
        self.pools.occupy(cidr);
        let holding = Holding { node: Arc::clone(node), cidrs: vec![cidr] };
        self.holdings.insert(node.uid.clone(), holding);
        if node.pod_cidrs.is_empty() {
            self.chosen.insert(cidr, node.uid.clone());
        }
    }
}
