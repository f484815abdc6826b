//! What the chart makes of the values of all cases, shown to the API server.

use std::collections::BTreeSet;
use std::fs;

use anyhow::{Result, ensure};
use e2e::artifacts::source;
use e2e::helm::NAMESPACE;
use e2e::say::say;

use crate::cases::{MONITORING, NETWORK, PLATFORMS, PROGRAMS, Then};
use crate::{RELEASE, World};

/// Each document that is in any of them, once; the Prometheus operator's kinds are not in the cluster.
pub(crate) fn dry_run(world: &mut World) -> Result<()> {
    world.without_release()?;
    let mut documents = BTreeSet::new();
    let mut count = 0;
    for (values, then) in [NETWORK, PROGRAMS, MONITORING, PLATFORMS].into_iter().flatten() {
        if !matches!(then, Then::Refused(_)) {
            let text = render(world, values)?;
            documents.extend(text.split("\n---\n").map(str::to_owned));
            count += 1;
        }
    }
    documents.retain(|text| text.contains("\nkind: ") && !text.contains("monitoring.coreos.com"));
    let file = world.lab.traces.folder().join("rendered.yaml");
    fs::write(&file, documents.iter().map(String::as_str).collect::<Vec<_>>().join("\n---\n"))?;
    let file = file.display().to_string();
    let api = &world.lab.control_plane.api;
    // Without its account no pod is taken, not even for show.
    let account = ["--namespace", NAMESPACE, "serviceaccount", "kubenet-check"];
    api.kubectl(&[&["create"], &account[..]].concat())?;
    let said = api.kubectl(&["apply", "--dry-run=server", "--validate=strict", "-f", &file]);
    api.kubectl(&[&["delete"], &account[..]].concat())?;
    let said = said?;
    let taken = said.lines().filter(|line| line.ends_with("(server dry run)")).count();
    say(format_args!("  {count} sets of values make {taken} different objects"));
    ensure!(taken == documents.len(), "of {} objects:\n{said}", documents.len());
    Ok(())
}

fn render(world: &World, values: &&[&str]) -> Result<String> {
    let chart = source().join("charts/kubenet").display().to_string();
    let mut arguments = vec!["template", RELEASE, chart.as_str()];
    for value in *values {
        match value.strip_prefix("--") {
            Some(_) => arguments.extend(value.split(' ')),
            None => arguments.extend(["--set", value]),
        }
    }
    world.helm(&arguments)
}
