//! What is generated from the chart: the manifest for kubectl, and the table of values.

use std::collections::BTreeSet;
use std::fs;

use e2e::artifacts::source;
use serde_json::Value;

use crate::{TEMPLATE, chart, golden, helm, object, objects};

/// What the chart makes of manifests/values.yaml, under a `title`.
fn manifest(title: &str, flags: &[&str]) -> String {
    manifest_of("values.yaml", title, flags)
}

/// The same of another file of values in manifests/.
fn manifest_of(file: &str, title: &str, flags: &[&str]) -> String {
    let text = rendered(file, flags);
    format!("{title}\n# Made from charts/kubenet with manifests/{file}; do not edit.\n{text}")
}

fn rendered(file: &str, flags: &[&str]) -> String {
    let (chart, values) = (chart(), source().join("manifests").join(file));
    let (chart, values) = (chart.display().to_string(), values.display().to_string());
    let mut arguments = TEMPLATE.to_vec();
    arguments.extend([chart.as_str(), "--values", &values]);
    arguments.extend(flags);
    let text = helm(&arguments).unwrap();
    assert_eq!(helm(&arguments).unwrap(), text, "the same values give the same bytes");
    text
}

#[test]
fn the_manifest_for_kubectl_is_the_chart() {
    let title = "# kubenet for a cluster whose pods have addresses of 10.244.0.0/16.";
    golden("manifests/kubenet.yaml", &manifest(title, &["--no-hooks"]));
}

/// kubectl finds no kind whose definition the same command brings, so that has a file of its own.
#[test]
fn the_manifests_with_a_cluster_cidr_are_the_chart() {
    let title =
        "# The definitions of ClusterCIDR and CIDRClaim, for manifests/kubenet-clustercidr.yaml.";
    let crds = ["--show-only", "templates/crds.yaml"];
    golden("manifests/kubenet-crds.yaml", &manifest(title, &crds));
    let title = "# kubenet for a cluster whose Nodes have their ranges of a ClusterCIDR.";
    // It comes before the controller, which would give Nodes ranges of --cluster-cidr until it is there.
    let flags = ["--show-only", "templates/extra.yaml"];
    let pool = manifest_of("values-clustercidr.yaml", title, &flags);
    assert!(pool.contains("\nkind: ClusterCIDR\n"), "{pool}");
    let flags = ["--no-hooks", "--set", "extraObjects=null"];
    let text = pool + &rendered("values-clustercidr.yaml", &flags);
    golden("manifests/kubenet-clustercidr.yaml", &text);
}

#[test]
fn the_static_pods_are_the_chart_and_nothing_but_a_pod() {
    let agent = "# The agent of a machine without an API server, for its kubelet's staticPodPath.";
    let cleanup = "# Takes kubenet away from a machine without an API server, by its kubelet's staticPodPath.";
    for (file, title, flags) in [
        ("kubenet-static-pod.yaml", agent, &[][..]),
        ("kubenet-static-cleanup.yaml", cleanup, &["--set", "staticPod.cleanUp=true"]),
    ] {
        let text = manifest_of("values-static-pod.yaml", title, flags);
        let kinds = text.lines().filter(|line| line.starts_with("kind: ")).collect::<Vec<_>>();
        assert_eq!(kinds, ["kind: Pod"], "{file}");
        // A kubelet refuses a static pod that names one.
        for object in ["serviceAccount", "configMap", "secret", "imagePullSecrets"] {
            assert!(!text.contains(object), "{file}: {object}");
        }
        golden(&format!("manifests/{file}"), &text);
    }
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

/// What a catalogue of charts reads, by Artifact Hub's names.
#[test]
fn the_charts_annotations_name_its_image_its_kinds_and_what_changed() {
    let text = fs::read_to_string(chart().join("Chart.yaml")).unwrap();
    let annotations = serde_saphyr::from_str::<Value>(&text).unwrap()["annotations"].clone();
    let list = |name: &str| {
        let text = annotations[format!("artifacthub.io/{name}")].as_str().unwrap();
        serde_saphyr::from_str::<Value>(text).unwrap().as_array().unwrap().clone()
    };
    let objects = objects(&[]);
    let image =
        &object(&objects, "DaemonSet", "agent")["spec"]["template"]["spec"]["containers"][0];
    assert_eq!(list("images")[0]["image"], image["image"]);
    let kinds = |objects: &[Value], paths: [&str; 3]| {
        let word =
            |object: &Value, path| object.pointer(path).unwrap().as_str().unwrap().to_owned();
        let words = objects.iter().map(|object| paths.map(|path| word(object, path)));
        words.collect::<BTreeSet<_>>()
    };
    let definitions = objects.iter().filter(|object| object["kind"] == "CustomResourceDefinition");
    let definitions = definitions.cloned().collect::<Vec<_>>();
    let paths = ["/spec/names/kind", "/metadata/name", "/spec/versions/0/name"];
    let known = kinds(&definitions, paths);
    assert_eq!(kinds(&list("crds"), ["/kind", "/name", "/version"]), known);
    for example in list("crdsExamples") {
        assert!(known.iter().any(|[kind, ..]| example["kind"] == **kind), "{example}");
    }
    let changes = ["added", "changed", "deprecated", "removed", "fixed", "security"];
    assert!(
        list("changes").iter().all(|change| changes.iter().any(|kind| change["kind"] == *kind))
    );
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
