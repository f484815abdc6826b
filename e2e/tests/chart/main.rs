//! The chart, by the real Helm: what it renders, what it refuses, and what it must never say.
//!
//! `matrix` renders it with the many values of `cases`, `conventions` looks at what is rendered, `documents`
//! compares what is generated from it, `check` looks at what `helm test` runs, `cleanup` at what runs
//! before the chart goes, `monitoring` at what
//! alerts and dashboard ask for.

#![expect(clippy::unwrap_used, reason = "what a test can't do is its failure")]

mod cases;
mod check;
mod cleanup;
mod conventions;
mod documents;
mod matrix;
mod monitoring;

use std::fs;
use std::path::PathBuf;
use std::sync::LazyLock;

use e2e::artifacts::source;
use e2e::kubernetes;
use e2e::lab;
use e2e::program::command;
use e2e::traces::Logs;
use serde_json::Value;

use cases::LEAST;

/// How the chart is rendered everywhere.
const TEMPLATE: [&str; 4] = ["template", "--namespace", "kube-system", "kubenet"];

/// Helm 4, found or built once for all tests of this program.
static HELM: LazyLock<PathBuf> = LazyLock::new(|| {
    let traces = lab::begin().unwrap();
    let helm = kubernetes::tool(&traces, "helm");
    traces.end(Logs::Remove).unwrap();
    helm.unwrap()
});

fn chart() -> PathBuf {
    source().join("charts/kubenet")
}

/// What `helm` says to `arguments`, or why it refuses.
fn helm(arguments: &[&str]) -> Result<String, String> {
    // Nothing of the user's: no plugin, no repository, no cluster.
    let mut helm = command(&*HELM);
    helm.args(arguments).env_clear().env("HOME", "/nonexistent").env("HELM_NO_PLUGINS", "1");
    let output = helm.output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    if output.status.success() { Ok(text(&output.stdout)) } else { Err(text(&output.stderr)) }
}

/// The manifest of the chart with each of `values`, as `--set` takes them.
fn template(values: &[&str]) -> Result<String, String> {
    let chart = chart().display().to_string();
    let mut arguments = TEMPLATE.to_vec();
    arguments.extend([chart.as_str(), "--skip-tests"]);
    for value in values {
        // Whoever gives a flag of helm itself says so.
        match value.strip_prefix("--") {
            Some(_) => arguments.extend(value.split(' ')),
            None => arguments.extend(["--set", value]),
        }
    }
    helm(&arguments)
}

/// The objects that the chart makes of `values` and the least of them.
fn objects(values: &[&str]) -> Vec<Value> {
    documents(&template(&[&[LEAST], values].concat()).unwrap())
}

/// The objects of `helm test`.
fn checks(values: &[&str]) -> Vec<Value> {
    let chart = chart().display().to_string();
    let mut arguments = TEMPLATE.to_vec();
    arguments.extend([chart.as_str(), "--show-only", "templates/check.yaml", "--set", LEAST]);
    arguments.extend(values.iter().flat_map(|value| ["--set", value]));
    documents(&helm(&arguments).unwrap())
}

fn documents(text: &str) -> Vec<Value> {
    let documents = serde_saphyr::from_multiple::<Value>(text).unwrap();
    documents.into_iter().filter(|document| !document.is_null()).collect()
}

/// The only one of `objects` of that kind and component.
fn object<'a>(objects: &'a [Value], kind: &str, component: &str) -> &'a Value {
    let of = |object: &&Value| {
        object["kind"] == kind
            && object["metadata"]["labels"]["app.kubernetes.io/component"] == component
    };
    let mut found = objects.iter().filter(of);
    let first = found.next().unwrap_or_else(|| panic!("no {kind} of the {component}"));
    assert!(found.next().is_none(), "two {kind} of the {component}");
    first
}

/// Compares `text` with what the file `path` of the project says, or rewrites it.
fn golden(path: &str, text: &str) {
    let path = source().join(path);
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        fs::write(&path, text).unwrap();
    }
    let expected = fs::read_to_string(&path).unwrap_or_default();
    assert!(
        expected == text,
        "{} is stale: UPDATE_GOLDEN=1 cargo test -p e2e --test chart",
        path.display()
    );
}
