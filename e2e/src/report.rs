//! What `make demo` shows: the cluster as it is, and the matrix of checks.

use std::time::Duration;

use anyhow::{Result, ensure};
use k8s_openapi::api::core::v1::Node;

use crate::api::Cluster;
use crate::checks::Line;
use crate::lab::Lab;
use crate::machine::Bridge;
use crate::say::say;

/// Nodes, bridges, routes and pods.
pub fn cluster(lab: &Lab) -> Result<()> {
    say("\nNodes");
    lab.control_plane.api.observer.look(nodes);
    say("\ncbr0");
    for machine in &lab.machines {
        let Bridge { mtu, addresses } = machine.bridge()?;
        let addresses = addresses.iter().map(|a| format!("{}/{}", a.ip, a.length));
        let addresses = addresses.collect::<Vec<_>>().join("  ");
        say(format_args!("  {:8} mtu {mtu}  {addresses}", machine.name()));
        for family in ["-4", "-6"] {
            let routes = machine.place.output(&["ip", family, "route", "show", "proto", "107"])?;
            routes.lines().for_each(|route| say(format_args!("           {}", route.trim_end())));
        }
    }
    say("\nPods");
    lab.control_plane.api.observer.look(pods);
    Ok(())
}

fn nodes(cluster: &Cluster) {
    for (name, node) in &cluster.nodes {
        let cidrs = node.object.spec.as_ref().and_then(|spec| spec.pod_cidrs.clone());
        say(format_args!("  {name:8} {}", cidrs.unwrap_or_default().join("  ")));
        say(format_args!("           {}", conditions(&node.object)));
    }
}

/// The two that the network decides.
fn conditions(node: &Node) -> String {
    let conditions = node.status.iter().flat_map(|status| status.conditions.iter().flatten());
    let shown = conditions.filter(|c| matches!(c.type_.as_str(), "Ready" | "NetworkUnavailable"));
    let texts = shown.map(|condition| {
        let reason = condition.reason.as_deref().unwrap_or_default();
        format!("{}={} ({reason})", condition.type_, condition.status)
    });
    texts.collect::<Vec<_>>().join("  ")
}

fn pods(cluster: &Cluster) {
    for (name, pod) in &cluster.pods {
        let node = pod.object.spec.as_ref().and_then(|spec| spec.node_name.clone());
        let ips = pod.object.status.as_ref().and_then(|status| status.pod_ips.clone());
        let ips = ips.unwrap_or_default().into_iter().map(|ip| ip.ip).collect::<Vec<_>>();
        let node = node.unwrap_or_default();
        say(format_args!("  {node:8} {name:40} {}", ips.join("  ")));
    }
}

/// Families and protocols in the order of a line's outcomes.
const KINDS: [&str; 4] = ["IPv4 TCP", "IPv4 UDP", "IPv6 TCP", "IPv6 UDP"];

/// The matrix; returns how many checks passed, and how many failed.
pub fn matrix(lines: &[Line]) -> (usize, usize) {
    let heads = KINDS.map(|kind| format!("{kind:>10}"));
    say(format_args!("\n{:<56}{}", "Checks", heads.concat()));
    let (mut passed, mut failed) = (0, 0);
    for line in lines {
        let cells = line.outcomes.iter().map(|outcome| match outcome {
            Ok(time) => format!("{:>7.2} ms", time.as_secs_f64() * 1e3),
            Err(_) => format!("{:>10}", "FAILED"),
        });
        say(format_args!("  {:<54}{}", line.what, cells.collect::<String>()));
        let failures =
            failures(line).inspect(|failure| say(format_args!("      {failure}"))).count();
        passed += line.outcomes.len() - failures;
        failed += failures;
    }
    (passed, failed)
}

/// The same for a test.
///
/// # Errors
/// Each check that failed, and why.
pub fn all_pass(lines: &[Line]) -> Result<()> {
    let (_, failed) = matrix(lines);
    let told = |line| failures(line).map(|failure| format!("\n{}, {failure}", line.what));
    let told = lines.iter().flat_map(told).collect::<String>();
    ensure!(failed == 0, "{failed} checks failed{told}");
    Ok(())
}

/// Which checks of a line failed, and why.
fn failures(line: &Line) -> impl Iterator<Item = String> {
    let outcomes = KINDS.iter().zip(&line.outcomes);
    outcomes.filter_map(|(kind, outcome)| Some(format!("{kind}: {:#}", outcome.as_ref().err()?)))
}

/// The smallest value that at least `percent` of all are not above.
pub fn percentile(times: &mut [Duration], percent: usize) -> Duration {
    times.sort();
    let rank = (times.len() * percent).div_ceil(100).max(1);
    times.get(rank - 1).copied().unwrap_or_default()
}

/// In milliseconds, as all times of the report are.
pub fn ms(time: Duration) -> String {
    format!("{:.2} ms", time.as_secs_f64() * 1e3)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_values_that_occurred() {
        let check = |count: u64, percent, expected| {
            let mut times = (1..=count).rev().map(Duration::from_millis).collect::<Vec<_>>();
            assert_eq!(percentile(&mut times, percent), Duration::from_millis(expected));
        };
        check(100, 50, 50);
        check(100, 99, 99);
        check(3, 50, 2);
        check(1, 99, 1);
    }
}
