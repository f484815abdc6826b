//! Alerts and dashboard against the metrics that the programs have, by name.

use std::collections::BTreeSet;
use std::fs;

use e2e::artifacts::source;
use serde_json::Value;

use crate::chart;

/// What a name of ours may have behind it in a query.
const SUFFIXES: [&str; 5] = ["_total", "_bucket", "_count", "_sum", ""];

/// Each name of a metric in `query` that begins like one of ours.
fn names(query: &str) -> BTreeSet<&str> {
    let words = query.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    words.filter(|word| word.starts_with("kubenet_") || word.starts_with("node_ipam_")).collect()
}

/// Whether some program registers `name`.
fn is_known(name: &str, code: &str) -> bool {
    SUFFIXES.iter().filter_map(|suffix| name.strip_suffix(suffix)).any(|name| {
        let seconds = name.strip_suffix("_seconds").unwrap_or(name);
        [name, seconds].iter().any(|name| code.contains(&format!("\"{name}\"")))
    })
}

#[track_caller]
fn check(queries: impl Iterator<Item = String>) {
    let files = [
        "controller/src/metrics.rs",
        "controller/src/metrics/scrape.rs",
        "agent/src/report.rs",
        "agent/src/ipam/metrics.rs",
    ];
    let code = files.map(|path| fs::read_to_string(source().join(path)).unwrap()).concat();
    let mut found = 0;
    for query in queries {
        for name in names(&query) {
            assert!(is_known(name, &code), "no program has {name}");
            found += 1;
        }
    }
    assert!(found >= 7, "only {found} metrics are asked for");
}

#[test]
fn every_alert_asks_for_a_metric_that_there_is() {
    let text = fs::read_to_string(chart().join("monitoring/rules.yaml")).unwrap();
    let rules = serde_saphyr::from_str::<Value>(&text).unwrap();
    let rules = rules["groups"][0]["rules"].as_array().unwrap().clone();
    let told = fs::read_to_string(source().join("docs/monitoring.md")).unwrap();
    for rule in &rules {
        let alert = rule["alert"].as_str().unwrap();
        assert!(told.contains(alert), "docs/monitoring.md does not say what to do about {alert}");
    }
    check(rules.iter().map(|rule| rule["expr"].as_str().unwrap().to_owned()));
}

fn panels() -> Vec<Value> {
    let text = fs::read_to_string(chart().join("monitoring/dashboard.json")).unwrap();
    let dashboard = serde_json::from_str::<Value>(&text).unwrap();
    dashboard["panels"].as_array().unwrap().clone()
}

fn queries(panels: &[Value]) -> Vec<String> {
    let targets = panels.iter().flat_map(|panel| panel["targets"].as_array().unwrap());
    targets.map(|target| target["expr"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn every_panel_asks_for_a_metric_that_there_is() {
    check(queries(&panels()).into_iter());
}

#[test]
fn addresses_and_attachments_have_panels() {
    let code = fs::read_to_string(source().join("agent/src/ipam/metrics.rs")).unwrap();
    let quoted = code.split('"').filter(|text| text.starts_with("kubenet_ipam_"));
    let registered = quoted.filter(|text| !text.contains(['{', ' '])).collect::<BTreeSet<_>>();
    assert!(registered.len() >= 3, "found only {registered:?}");
    let asked = queries(&panels()).concat();
    for name in registered {
        assert!(asked.contains(name), "no panel shows {name}");
    }
}

#[test]
fn panels_stand_beside_each_other() {
    let panels = panels();
    let numbers = |field: &str| {
        let all = panels.iter().map(|panel| panel["gridPos"][field].as_u64().unwrap());
        all.collect::<Vec<_>>()
    };
    let places = numbers("x").into_iter().zip(numbers("y")).collect::<BTreeSet<_>>();
    let ids = panels.iter().map(|panel| panel["id"].as_u64().unwrap()).collect::<BTreeSet<_>>();
    assert_eq!([places.len(), ids.len()], [panels.len(); 2]);
}
