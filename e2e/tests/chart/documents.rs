//! What is generated from the chart: the manifest for kubectl, and the table of values.

use std::fs;

use e2e::artifacts::source;

use crate::{TEMPLATE, chart, golden, helm};

/// What the chart makes of manifests/values.yaml, under a `title`.
fn manifest(title: &str, flags: &[&str]) -> String {
    let (chart, values) = (chart(), source().join("manifests/values.yaml"));
    let (chart, values) = (chart.display().to_string(), values.display().to_string());
    let mut arguments = TEMPLATE.to_vec();
    arguments.extend([chart.as_str(), "--values", &values]);
    arguments.extend(flags);
    let text = helm(&arguments).unwrap();
    assert_eq!(helm(&arguments).unwrap(), text, "the same values give the same bytes");
    format!("{title}\n# Made from charts/kubenet with manifests/values.yaml; do not edit.\n{text}")
}

#[test]
fn the_manifest_for_kubectl_is_the_chart() {
    let title = "# kubenet for a cluster whose pods have addresses of 10.244.0.0/16.";
    golden("manifests/kubenet.yaml", &manifest(title, &["--no-hooks"]));
}

#[test]
fn the_manifest_of_a_cleanup_is_that_of_helm_uninstall() {
    let title = "# Takes kubenet away from all machines; the log of job kubenet-cleanup tells.";
    let cleanup = ["--show-only", "templates/cleanup.yaml"];
    golden("manifests/kubenet-cleanup.yaml", &manifest(title, &cleanup));
}

#[test]
fn the_manifest_of_the_checks_is_that_of_helm_test() {
    let title = "# Whether pods reach what they should: the log of pod kubenet-check tells.";
    let checks = ["--show-only", "templates/check.yaml"];
    golden("manifests/kubenet-check.yaml", &manifest(title, &checks));
}

#[test]
fn the_table_of_values_is_in_the_readme() {
    let text = fs::read_to_string(chart().join("values.yaml")).unwrap();
    let rows = values(&text);
    assert!(rows.len() > 40, "found only {} values", rows.len());
    let table = rows
        .iter()
        .map(|row| format!("| `{}` | `{}` | {} |\n", row.path, row.default, row.comment));
    let table =
        format!("| value | default | what it is |\n|---|---|---|\n{}", table.collect::<String>());
    let readme = fs::read_to_string(chart().join("README.md")).unwrap();
    let (before, rest) = readme.split_once("<!-- values -->\n").unwrap();
    let (_, after) = rest.split_once("<!-- /values -->").unwrap();
    let expected = format!("{before}<!-- values -->\n{table}<!-- /values -->{after}");
    golden("charts/kubenet/README.md", &expected);
}

/// A value that can be set.
pub(crate) struct Row {
    pub(crate) path: String,
    pub(crate) default: String,
    pub(crate) comment: String,
}

/// All values of a values.yaml: each stands on a line of its own under a comment of one line.
pub(crate) fn values(text: &str) -> Vec<Row> {
    let mut rows = Vec::new();
    let mut path = Vec::<&str>::new();
    let mut comment = None;
    for line in text.lines() {
        let trimmed = line.trim_start();
        if let Some(text) = trimmed.strip_prefix("# ") {
            comment = Some(text);
            continue;
        }
        let Some((key, default)) = trimmed.split_once(':') else {
            comment = None;
            continue;
        };
        path.truncate((line.len() - trimmed.len()) / 2);
        path.push(key);
        let (path, default) = (path.join("."), default.trim());
        if !default.is_empty() {
            let comment = comment.take().unwrap_or_else(|| panic!("{path} has no comment"));
            let default = default.to_owned();
            rows.push(Row { path, default, comment: comment.to_owned() });
        }
    }
    rows
}
