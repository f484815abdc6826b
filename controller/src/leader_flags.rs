//! The flags of leader election, with kube-controller-manager's names, defaults and checks.

use std::time::Duration;

use common::names;
use process::settings::Mistakes;

use crate::lease::Terms;

const DURATION: &str = "--leader-elect-lease-duration";
const DEADLINE: &str = "--leader-elect-renew-deadline";
const RETRY: &str = "--leader-elect-retry-period";

/// client-go's tries to renew come up to this many fifths of the retry period apart.
const JITTER_FIFTHS: u32 = 6;

/// Leader election as written.
#[derive(Clone, Debug, clap::Args)]
pub struct LeaderFlags {
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
    pub fn check(self, mistakes: &mut Mistakes) -> Option<Election> {
        let wanted = self.wanted.parse::<bool>();
        let wanted = wanted.map_err(|_| "want true or false");
        if !mistakes.keep("--leader-elect", wanted)? {
            return None;
        }
        if self.resource_lock != "leases" {
            let text = format!("{:?} is no lock here: want leases", self.resource_lock);
            mistakes.add("--leader-elect-resource-lock", text);
        }
        let mut keep = |flag, text: &str| mistakes.keep(flag, duration(text));
        let terms = Terms {
            duration: keep(DURATION, &self.lease_duration)?,
            deadline: keep(DEADLINE, &self.renew_deadline)?,
            retry: keep(RETRY, &self.retry_period)?,
        };
        if terms.duration < Duration::from_secs(1) {
            mistakes.add(DURATION, "want a second at least");
        }
        if terms.duration <= terms.deadline {
            mistakes.add(DURATION, format!("must be longer than {DEADLINE}"));
        }
        if terms.deadline * 5 <= terms.retry * JITTER_FIFTHS {
            mistakes.add(DEADLINE, format!("must be longer than 1.2 times {RETRY}"));
        }
        let (name, namespace) = (self.resource_name, self.resource_namespace);
        for (flag, text) in [
            ("--leader-elect-resource-name", &name),
            ("--leader-elect-resource-namespace", &namespace),
        ] {
            if text.is_empty() {
                mistakes.add(flag, "must not be empty");
            }
        }
        Some(Election { terms, name, namespace })
    }
}

/// A duration as Go writes it: `15s`, `1m30s`.
pub fn duration(text: &str) -> Result<Duration, String> {
    let parsed = text.parse::<jiff::SignedDuration>().ok().and_then(|d| Duration::try_from(d).ok());
    parsed
        .filter(|duration| !duration.is_zero())
        .ok_or_else(|| format!("{text:?} is no duration: want one as in 15s or 1m30s"))
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Flags {
        #[command(flatten)]
        leader: LeaderFlags,
    }

    #[track_caller]
    fn check(arguments: &str, expected: &str) {
        let words = std::iter::once("test").chain(arguments.split_whitespace());
        let mut mistakes = Mistakes::default();
        let election = Flags::try_parse_from(words).unwrap().leader.check(&mut mistakes);
        let text = election.map_or("none".to_owned(), |Election { terms, name, namespace }| {
            let Terms { duration, deadline, retry } = terms;
            format!("{namespace}/{name} {duration:?} {deadline:?} {retry:?}")
        });
        let got = mistakes.or(Some(text)).unwrap_or_else(|mistakes| mistakes.to_string());
        assert_eq!(got.trim(), expected, "{arguments}");
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
        let longer =
            "--leader-elect-lease-duration: must be longer than --leader-elect-renew-deadline";
        check("--leader-elect-lease-duration=10s", longer);
        let retry = "--leader-elect-renew-deadline: must be longer than 1.2 times --leader-elect-retry-period";
        check("--leader-elect-renew-deadline=2400ms", retry);
        check("--leader-elect=maybe", "--leader-elect: want true or false");
        check(
            "--leader-elect-retry-period=-2s",
            "--leader-elect-retry-period: \"-2s\" is no duration: want one as in 15s or 1m30s",
        );
        check(
            "--leader-elect-resource-lock=endpoints",
            "--leader-elect-resource-lock: \"endpoints\" is no lock here: want leases",
        );
    }
}
