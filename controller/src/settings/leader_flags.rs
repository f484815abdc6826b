//! The flags of leader election, with kube-controller-manager's names, defaults and checks.

use std::time::Duration;

use common::names;
use process::settings::Mistakes;

use super::value::{boolean, duration, name, word};
use crate::lease::Terms;

const DURATION: &str = "--leader-elect-lease-duration";
const DEADLINE: &str = "--leader-elect-renew-deadline";
const RETRY: &str = "--leader-elect-retry-period";

/// client-go's tries to renew come up to this many fifths of the retry period apart.
const JITTER_FIFTHS: u32 = 6;

/// Leader election as written.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct LeaderFlags {
    /// Let one of several controllers allocate while the others stand by
    #[arg(
        long = "leader-elect",
        value_name = "BOOL",
        num_args = 0..=1,
        require_equals = true,
        default_value = "true",
        default_missing_value = "true"
    )]
    wanted: String,

    /// Without a renewal for this long, another one may lead
    #[arg(long = "leader-elect-lease-duration", value_name = "DURATION", default_value = "15s")]
    lease_duration: String,

    /// Without a renewal for this long, the leader stops
    #[arg(long = "leader-elect-renew-deadline", value_name = "DURATION", default_value = "10s")]
    renew_deadline: String,

    /// Between two tries to renew the lease or to get it
    #[arg(long = "leader-elect-retry-period", value_name = "DURATION", default_value = "2s")]
    retry_period: String,

    /// What the leader holds: leases
    #[arg(long = "leader-elect-resource-lock", value_name = "KIND", default_value = "leases")]
    resource_lock: String,

    /// The Lease's name
    #[arg(
        long = "leader-elect-resource-name",
        value_name = "NAME",
        default_value = names::CONTROLLER
    )]
    resource_name: String,

    /// The Lease's namespace
    #[arg(
        long = "leader-elect-resource-namespace",
        value_name = "NAMESPACE",
        default_value = "kube-system"
    )]
    resource_namespace: String,
}

/// Where leaders are elected, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Election {
    pub terms: Terms,
    pub name: String,
    pub namespace: String,
}

impl LeaderFlags {
    /// Checks each flag; none if there is no election.
    pub(super) fn check(self, mistakes: &mut Mistakes) -> Option<Election> {
        if !mistakes.keep("--leader-elect", boolean(&self.wanted))? {
            return None;
        }
        let lock = word(&self.resource_lock, "lock here", &["leases"]);
        mistakes.keep("--leader-elect-resource-lock", lock);
        let mut keep = |flag, text: &str| mistakes.keep(flag, duration(text));
        let terms = [
            keep(DURATION, &self.lease_duration),
            keep(DEADLINE, &self.renew_deadline),
            keep(RETRY, &self.retry_period),
        ];
        let lease = mistakes.keep("--leader-elect-resource-name", name(self.resource_name));
        let namespace = "--leader-elect-resource-namespace";
        let namespace = mistakes.keep(namespace, name(self.resource_namespace));
        let [Some(duration), Some(deadline), Some(retry)] = terms else { return None };
        let terms = Terms { duration, deadline, retry };
        check_terms(terms, mistakes);
        Some(Election { terms, name: lease?, namespace: namespace? })
    }
}

/// That there is always one who leads, and never two.
fn check_terms(terms: Terms, mistakes: &mut Mistakes) {
    let Terms { duration, deadline, retry } = terms;
    if duration < Duration::from_secs(1) {
        mistakes.add(DURATION, "want a second at least");
    }
    if duration <= deadline {
        mistakes.add(DURATION, format!("want more than {DEADLINE}"));
    }
    if deadline * 5 <= retry * JITTER_FIFTHS {
        mistakes.add(DEADLINE, format!("want more than 1.2 times {RETRY}"));
    }
    if retry.is_zero() {
        mistakes.add(RETRY, "want more than 0");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::tests::told;

    #[track_caller]
    fn check(arguments: &str, expected: &str) {
        let got = told(arguments, |flags: LeaderFlags, mistakes| {
            let election = flags.check(mistakes);
            election.map_or("none".to_owned(), |Election { terms, name, namespace }| {
                let Terms { duration, deadline, retry } = terms;
                format!("{namespace}/{name} {duration:?} {deadline:?} {retry:?}")
            })
        });
        assert_eq!(got, expected, "{arguments}");
    }

    #[test]
    fn defaults_are_those_of_kube_controller_manager() {
        check("", "kube-system/kubenet-controller 15s 10s 2s");
        check("--leader-elect", "kube-system/kubenet-controller 15s 10s 2s");
        check("--leader-elect=false", "none");
        check(
            "--leader-elect-lease-duration=1m30s --leader-elect-resource-name=a --leader-elect-resource-namespace=b",
            "b/a 90s 10s 2s",
        );
        check("--leader-elect-retry-period=500ms", "kube-system/kubenet-controller 15s 10s 500ms");
    }

    #[test]
    fn terms_that_elect_two_or_none_are_refused() {
        let longer = "--leader-elect-lease-duration: want more than --leader-elect-renew-deadline";
        check("--leader-elect-lease-duration=10s", longer);
        let retry =
            "--leader-elect-renew-deadline: want more than 1.2 times --leader-elect-retry-period";
        check("--leader-elect-renew-deadline=2400ms", retry);
        check("--leader-elect-retry-period=0s", "--leader-elect-retry-period: want more than 0");
        check("--leader-elect=maybe", "--leader-elect: \"maybe\" is no answer: want true or false");
        check(
            "--leader-elect-retry-period=-2s --leader-elect-resource-name=",
            "--leader-elect-retry-period: \"-2s\" is no duration: want one as in 15s or 1m30s\n\
             --leader-elect-resource-name: is empty: want a name",
        );
        check(
            "--leader-elect-resource-lock=endpoints",
            "--leader-elect-resource-lock: \"endpoints\" is no lock here: want leases",
        );
    }
}
