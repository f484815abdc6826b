//! Pure: the report as text, for a person at a terminal.

use std::net::IpAddr;

use super::report::{Held, Namespace, Report};

/// As many digits of a container's id as crictl prints.
const SHORT_ID: usize = 13;

const HEAD: [&str; 8] =
    ["ADDRESS", "CONTAINER", "IFNAME", "POD", "SINCE", "STATE", "HOST LINK", "NETNS"];

/// One line for each attachment; columns are as wide as they have to be.
pub(super) fn attachments(attachments: &[Held]) -> String {
    let mut rows = vec![HEAD.map(str::to_owned)];
    rows.extend(attachments.iter().map(row));
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or_default()
    };
    let widths = (0..HEAD.len()).map(width).collect::<Vec<_>>();
    let lines = rows.iter().map(|row| {
        let cells = row.iter().zip(&widths).map(|(cell, &width)| format!("{cell:<width$}"));
        format!("{}\n", cells.collect::<Vec<_>>().join("  ").trim_end())
    });
    lines.collect()
}

/// One line for each finding, or that there is none.
pub(super) fn findings(report: &Report) -> String {
    if report.findings.is_empty() {
        return format!("{} attachments, nothing is wrong\n", report.attachments.len());
    }
    let mut text = report.findings.join("\n");
    text.push('\n');
    text
}

fn row(held: &Held) -> [String; HEAD.len()] {
    let none = || "-".to_owned();
    [
        listed(&held.addresses),
        held.container.chars().take(SHORT_ID).collect(),
        held.ifname.clone(),
        held.pod.clone().unwrap_or_else(none),
        held.since.map_or_else(none, |since| format!("{since:.0}")),
        held.state.word().to_owned(),
        held.host_link.clone().unwrap_or_else(none),
        match &held.namespace {
            Namespace::Process(pid) => format!("process {pid}"),
            Namespace::Mount(path) => format!("mount {}", path.display()),
            Namespace::Unseen => "unseen".to_owned(),
            Namespace::Gone => none(),
        },
    ]
}

fn listed(addresses: &[IpAddr]) -> String {
    if addresses.is_empty() {
        return "-".to_owned();
    }
    addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
}
