//! The status of a ClusterCIDR, made from the report on its pool and the status before.

use common::PerFamily;
use jiff::Timestamp;
use process::cluster_cidrs::{Blocks, ClusterCidr, ClusterCidrStatus, Condition};

use nodeipam::pool_report::{self, Report};

/// What the status of `object` should be at `now`; a condition that stays keeps its time.
pub fn status(object: &ClusterCidr, report: &Report, now: Timestamp) -> ClusterCidrStatus {
    let before = object.status.iter().flat_map(|status| &status.conditions).collect::<Vec<_>>();
    let generation = object.metadata.generation.unwrap_or_default();
    let condition = |kind: &str, new: &pool_report::Condition| {
        let status = new.holds.text();
        let old = before.iter().find(|old| old.kind == kind && old.status == status);
        Condition {
            kind: kind.to_owned(),
            status: status.to_owned(),
            reason: new.reason.to_owned(),
            message: new.message.clone(),
            last_transition_time: old
                .map_or_else(|| seconds(now), |old| old.last_transition_time.clone()),
            observed_generation: generation,
        }
    };
    let PerFamily { v4, v6 } = &report.blocks;
    ClusterCidrStatus {
        nodes: number(report.nodes),
        ipv4: v4.as_ref().map(blocks),
        ipv6: v6.as_ref().map(blocks),
        conditions: vec![
            condition("Ready", &report.ready),
            condition("Exhausted", &report.exhausted),
        ],
    }
}

fn blocks(blocks: &pool_report::Blocks) -> Blocks {
    let pool_report::Blocks { total, free, reserved } = *blocks;
    Blocks { total: number(total), free: number(free), reserved: number(reserved) }
}

/// The largest number where `count` is larger.
fn number(count: impl TryInto<i64>) -> i64 {
    count.try_into().unwrap_or(i64::MAX)
}

/// As Kubernetes writes times: RFC 3339, without fractions of a second.
fn seconds(now: Timestamp) -> String {
    now.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use nodeipam::pool_report::Holds;

    fn report(exhausted: Holds) -> Report {
        let condition =
            |holds| pool_report::Condition { holds, reason: "Why", message: "because".to_owned() };
        let blocks = pool_report::Blocks { total: u128::MAX, free: 7, reserved: 0 };
        Report {
            nodes: 3,
            blocks: PerFamily { v4: None, v6: Some(blocks) },
            ready: condition(Holds::True),
            exhausted: condition(exhausted),
        }
    }

    #[test]
    fn a_condition_changes_its_time_with_its_status_alone() {
        let object =
            json!({"metadata": {"name": "a", "generation": 2}, "spec": {"perNodeHostBits": 8}});
        let mut object = serde_json::from_value::<ClusterCidr>(object).unwrap();
        let at = |second| Timestamp::from_second(second).unwrap();
        let times = |status: &ClusterCidrStatus| {
            let conditions = status.conditions.iter();
            let times = conditions
                .map(|c| format!("{}={}@{}", c.kind, c.status, &c.last_transition_time[17..]));
            times.collect::<Vec<_>>().join(" ")
        };
        object.status = Some(status(&object, &report(Holds::False), at(1)));
        assert_eq!(times(object.status.as_ref().unwrap()), "Ready=True@01Z Exhausted=False@01Z");
        assert_eq!(Some(status(&object, &report(Holds::False), at(2))), object.status);
        let later = status(&object, &report(Holds::True), at(3));
        assert_eq!(times(&later), "Ready=True@01Z Exhausted=True@03Z");
        assert_eq!(later.conditions[0].last_transition_time, "1970-01-01T00:00:01Z");
        assert_eq!(
            (later.nodes, later.ipv4, later.conditions[0].observed_generation),
            (3, None, 2)
        );
        let most = Blocks { total: i64::MAX, free: 7, reserved: 0 };
        assert_eq!(later.ipv6, Some(most));
    }
}
