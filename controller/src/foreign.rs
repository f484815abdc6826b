//! Pure: is somebody else giving Nodes their podCIDRs, and may we?
//!
//! kube-controller-manager with `--allocate-node-cidrs`, or a cloud's controller, knows nothing of
//! what we chose and not yet wrote; two that allocate can give one range to two Nodes.

use std::time::{Duration, Instant};

use common::names;

/// Two Nodes within this time are an allocator; one is a person, or a tool that ran once. The
/// allocator is gone when a Node has waited this long for a range.
const WINDOW: Duration = Duration::from_mins(1);

/// Field managers of people begin with it.
const PEOPLE: &str = "kubectl";

/// What was seen of other allocators.
#[derive(Clone, Debug, Default)]
pub struct Foreign {
    /// The last Node that another one gave podCIDRs to: its UID, and when that was seen.
    last: Option<(String, Instant)>,
    /// Who allocates in our stead.
    allocator: Option<String>,
}

impl Foreign {
    /// The Node of `uid` had no podCIDRs, and now has those that `manager` wrote. Says whether this
    /// is what makes `manager` an allocator.
    pub fn wrote(&mut self, manager: &str, uid: &str, now: Instant) -> bool {
        if manager == names::CONTROLLER || manager.starts_with(PEOPLE) {
            return false;
        }
        let before = self.last.replace((uid.to_owned(), now));
        let two = before.is_some_and(|(other, then)| other != uid && now < then + WINDOW);
        let new = two && self.allocator.is_none();
        if new {
            self.allocator = Some(manager.to_owned());
        }
        new
    }

    /// Who allocates in our stead.
    pub fn allocator(&self) -> Option<&str> {
        self.allocator.as_deref()
    }

    /// When we may allocate again; none if we may now. `waits` says since when the Node lacks
    /// podCIDRs that lacks them longest.
    pub fn hold_until(&mut self, waits: Option<Instant>, now: Instant) -> Option<Instant> {
        self.allocator.as_ref()?;
        let (_, seen) = self.last.as_ref()?;
        let until = waits.unwrap_or(now).max(*seen) + WINDOW;
        if until <= now {
            *self = Self::default();
            return None;
        }
        Some(until)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `SECOND:MANAGER>NODE` says who wrote podCIDRs; `SECOND:?SINCE` asks until when we hold back
    /// while a Node waits since then. Each is followed by what came of it.
    #[track_caller]
    fn check(steps: &str) {
        let start = Instant::now();
        let at = |second: &str| start + Duration::from_secs(second.parse().unwrap());
        let mut foreign = Foreign::default();
        for step in steps.split_whitespace() {
            let (second, rest) = step.split_once(':').unwrap();
            let (action, expected) = rest.split_once('=').unwrap();
            let got = if let Some(since) = action.strip_prefix('?') {
                let until = foreign.hold_until(Some(at(since)), at(second));
                until.map_or("go".to_owned(), |until| (until - start).as_secs().to_string())
            } else {
                let (manager, uid) = action.split_once('>').unwrap();
                foreign.wrote(manager, uid, at(second)).to_string()
            };
            assert_eq!(got, expected, "{step} of {steps}");
        }
    }

    #[test]
    fn two_nodes_within_a_minute_are_an_allocator() {
        check("0:kube-controller-manager>a=false 0:?0=go 59:kube-controller-manager>b=true");
        check("0:cloud>a=false 1:cloud>b=true 2:cloud>c=false 2:?0=62");
        check("0:cloud>a=false 60:cloud>b=false 60:?0=go");
        check("0:cloud>a=false 1:cloud>a=false 1:?0=go");
    }

    #[test]
    fn people_and_other_kubenets_are_none() {
        check("0:kubectl-patch>a=false 1:kubectl-patch>b=false 1:?0=go");
        check("0:kubenet-controller>a=false 1:kubenet-controller>b=false 1:?0=go");
    }

    #[test]
    fn it_is_gone_when_a_node_has_waited_a_minute() {
        check("0:cloud>a=false 1:cloud>b=true 30:?20=80 79:?20=80 80:?20=go 80:cloud>c=false");
        // A Node that waited before it was last seen says nothing.
        check("0:cloud>a=false 1:cloud>b=true 50:cloud>c=false 70:?0=110 110:?0=go 111:?111=go");
    }
}
