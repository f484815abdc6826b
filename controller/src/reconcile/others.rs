//! Others who give Nodes their podCIDRs, and how long they are left alone.

use std::time::Instant;

use kube::ResourceExt;
use kube::api::Resource;
use kube::runtime::watcher::Event;
use process::nodes;
use tracing::warn;

use super::Reconciler;
use crate::events;
use nodeipam::registrar::Subject;

impl Reconciler {
    /// Notes who else gives podCIDRs to Nodes that had none.
    pub(super) fn watch_others(&mut self, event: &Event<nodes::Node>, now: Instant) {
        let Event::Apply(new) = event else { return };
        let old = self.nodes.known().and_then(|known| known.get(&new.name_any()));
        let old = old.filter(|old| Some(&old.uid) == new.meta().uid.as_ref());
        let (Some(old), Some(manager)) = (old, new.pod_cidrs_manager()) else { return };
        if !old.pod_cidrs.is_empty() || !new.has_pod_cidrs() {
            return;
        }
        if self.foreign.wrote(manager, &old.uid, now) {
            let reason = events::FOREIGN_ALLOCATOR;
            let text = format!(
                "{manager} gives podCIDRs to Nodes as well; kubenet gives none before a Node has \
                 waited for a minute: switch one of them off"
            );
            warn!(node = %old.name, reason, "{text}");
            self.outlets.events.warn(old, reason, text);
        }
    }

    /// Until when another allocator is left alone.
    pub(super) fn hold_until(&mut self, now: Instant) -> Option<Instant> {
        self.foreign.allocator()?;
        let wanted = self.lacking.iter();
        let wanted = wanted.filter(|(uid, _)| self.queue.wants(&Subject::Node((*uid).clone())));
        let waits = wanted.map(|(_, &since)| since).min();
        self.foreign.hold_until(waits, now)
    }
}
