//! Pure: the host ends of the pods' links, as ports of cbr0.
//!
//! A link is a pod's if its alias says so, its name agrees with that, and the pod has a record: one
//! that is being removed has none.

use std::collections::BTreeSet;
use std::fmt;

use common::alias::read_alias;
use common::attachment::AttachmentId;
use common::names;
use net::link::{Kind, Link};

/// One port that is not as it should be; safe to repeat.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    pub id: AttachmentId,
    /// It is no port of cbr0.
    pub detached: bool,
    /// Whether frames go back where they came from: how a pod reaches itself through a Service.
    pub hairpin: bool,
}

/// Ports that differ, in the order of their links. Without a `bridge` all are detached.
pub fn plan(
    links: &[Link],
    bridge: Option<&Link>,
    recorded: &BTreeSet<AttachmentId>,
    hairpin: bool,
) -> Vec<Step> {
    let ours = links.iter().filter_map(|link| Some((link, owner(link)?)));
    let wrong = ours.filter(|(_, id)| recorded.contains(id)).filter_map(|(link, id)| {
        let detached = bridge.is_none_or(|bridge| link.master != Some(bridge.index));
        let flags = link.hairpin == Some(hairpin) && link.open == Some(true);
        let differs = detached || !link.up || link.promiscuous || !flags;
        differs.then_some(Step { id, detached, hairpin })
    });
    wrong.collect()
}

/// Whose host end `link` is.
pub fn owner(link: &Link) -> Option<AttachmentId> {
    let (id, _) = read_alias(link.alias.as_deref()?)?;
    (link.kind == Kind::Veth && link.is_called(&id.host_link())).then_some(id)
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (link, bridge) = (self.id.host_link(), names::BRIDGE);
        if self.detached {
            write!(f, "make {link} a port of {bridge} again")
        } else {
            write!(f, "set flags of port {link}")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::link;

    /// `port` is a link with its name left out, `expected` its step.
    #[track_caller]
    fn check(port: &str, recorded: &[&str], bridge: bool, expected: &[&str]) {
        let id = "c1@eth0".parse::<AttachmentId>().unwrap();
        let mut port = link(9, &format!("{}:veth 1500 {port}", id.host_link()));
        port.alias = Some("kubenet c1@eth0 10.244.1.5".to_owned());
        let recorded = recorded.iter().map(|text| text.parse().unwrap()).collect();
        let bridge = bridge.then(|| link(7, "cbr0:bridge 1500 up"));
        let steps = plan(&[link(2, "eth0 1500 up"), port], bridge.as_ref(), &recorded, true);
        assert_eq!(steps.iter().map(Step::to_string).collect::<Vec<_>>(), expected);
    }

    #[test]
    fn a_port_that_is_right_is_left_alone() {
        check("up hairpin master=7", &["c1@eth0"], true, &[]);
    }

    #[test]
    fn a_port_is_put_back_and_its_flags_are_set() {
        let link = "c1@eth0".parse::<AttachmentId>().unwrap().host_link();
        let back = format!("make {link} a port of cbr0 again");
        let flags = format!("set flags of port {link}");
        check("up hairpin", &["c1@eth0"], true, &[&back]);
        check("up hairpin master=8", &["c1@eth0"], true, &[&back]);
        check("up hairpin master=7", &["c1@eth0"], false, &[&back]);
        check("up master=7", &["c1@eth0"], true, &[&flags]);
        check("hairpin master=7", &["c1@eth0"], true, &[&flags]);
        check("up hairpin isolated master=7", &["c1@eth0"], true, &[&flags]);
    }

    #[test]
    fn a_dying_pod_is_never_put_back() {
        check("up", &[], true, &[]);
        check("up", &["c2@eth0"], true, &[]);
    }
}
