//! What an installation leaves on a machine and in the API: all of both as lines, to be compared.

use std::collections::BTreeSet;
use std::fs;
use std::io::{self, ErrorKind};
use std::path::Path;
use std::time::Duration;

use anyhow::Result;
use kube::ResourceExt;

use crate::lab::Lab;
use crate::machine::Machine;
use crate::wait::eventually;

/// Folders that a network installs to; /run/kubenet is ours alone.
const FOLDERS: [&str; 4] = [
    "/etc/cni/net.d",
    "/opt/cni/bin",
    "/run/kubenet",
    "/usr/libexec/kubernetes/kubelet-plugins/net/exec",
];

/// Until a new kubelet has made its chains.
const PATIENCE: Duration = Duration::from_secs(30);

/// Sysctls that count, or that a kernel changes by itself.
const RESTLESS: [&str; 2] = ["nf_conntrack_count", "/random/"];

/// Kinds of which there may be objects of kubenet's; `helm.sh/resource-policy: keep` keeps CRDs.
pub const KINDS: &str = "all,leases,serviceaccounts,roles,rolebindings,clusterroles,clusterrolebindings,\
                     poddisruptionbudgets,configmaps,secrets,networkpolicies,\
                     validatingadmissionpolicies,validatingadmissionpolicybindings";

/// One line for each thing that there is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Footprint(BTreeSet<String>);

impl Footprint {
    /// Of all machines and of the API.
    pub fn of(lab: &Lab) -> Result<Self> {
        let mut lines = BTreeSet::new();
        for machine in &lab.machines {
            let said = machine_lines(machine)?;
            lines.extend(said.into_iter().map(|line| format!("{}: {line}", machine.name())));
        }
        lines.extend(api_lines(lab)?);
        Ok(Self(lines))
    }

    /// Of one machine alone.
    pub fn of_machine(machine: &Machine) -> Result<Self> {
        Ok(Self(machine_lines(machine)?.into_iter().collect()))
    }

    /// What there is in one of both alone, as a diff has it.
    pub fn difference(&self, after: &Self) -> Vec<String> {
        let gone = self.0.difference(&after.0).map(|line| format!("- {line}"));
        let new = after.0.difference(&self.0).map(|line| format!("+ {line}"));
        gone.chain(new).collect()
    }
}

fn machine_lines(machine: &Machine) -> Result<Vec<String>> {
    let place = &machine.place;
    let mut lines = Vec::new();
    for program in [
        &["ip", "-o", "link", "show"][..],
        &["ip", "-o", "address", "show"],
        &["ip", "-4", "route", "show", "table", "all"],
        &["ip", "-6", "route", "show", "table", "all"],
        &["ip", "rule"],
        &["ip", "-6", "rule"],
        &["tc", "qdisc", "show"],
    ] {
        let what = program.join(" ");
        let text = place.output(program)?;
        lines.extend(text.lines().map(|line| format!("{what}: {}", line.trim())));
    }
    lines.extend(eventually("the kubelet's chains are there", PATIENCE, || {
        // All at once: a table might go between two looks.
        let tables = tables(&place.output(&["nft", "--stateless", "list", "ruleset"])?);
        Ok(has_kubelets_chains(&tables).then_some(tables))
    })?);
    let folder = Path::new("/proc/sys/net");
    place.netns.run(|| sysctls(folder, &mut lines))??;
    for folder in FOLDERS {
        files(&format!("/proc/{}/root", place.init), folder, &mut lines)?;
    }
    Ok(lines)
}

/// The lines of all nft tables but for kube-proxy's, which live their own life.
fn tables(ruleset: &str) -> Vec<String> {
    let mut table = "";
    let lines = ruleset.lines().filter_map(|line| {
        table = line.strip_prefix("table ").map_or(table, |name| name.trim_end_matches(" {"));
        (!table.ends_with(" kube-proxy")).then(|| format!("table {table}: {}", line.trim()))
    });
    lines.collect()
}

/// A new kubelet makes some, these last of all: whoever looks before finds less than there is without us.
fn has_kubelets_chains(lines: &[String]) -> bool {
    let tables = ["ip", "ip6"].into_iter().flat_map(|family| {
        ["mangle", "nat", "filter"].map(|table| format!("table {family} {table}"))
    });
    let mut chains = tables.map(|table| format!("{table}: chain KUBE-KUBELET-CANARY {{"));
    chains.all(|chain| lines.contains(&chain))
}

/// All that can be read; the folder of a link goes with it.
fn sysctls(folder: &Path, lines: &mut Vec<String>) -> io::Result<()> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        entries => entries?,
    };
    for entry in entries {
        let path = entry?.path();
        let name = path.display().to_string();
        if path.is_dir() {
            sysctls(&path, lines)?;
        } else if !RESTLESS.iter().any(|part| name.contains(part))
            && let Ok(value) = fs::read_to_string(&path)
        {
            lines.push(format!("{name} = {}", value.trim()));
        }
    }
    Ok(())
}

fn files(root: &str, path: &str, lines: &mut Vec<String>) -> Result<()> {
    let Ok(entries) = fs::read_dir(format!("{root}{path}")) else { return Ok(()) };
    for entry in entries {
        let entry = entry?;
        let path = format!("{path}/{}", entry.file_name().to_string_lossy());
        if entry.file_type()?.is_dir() {
            files(root, &path, lines)?;
        }
        lines.push(path);
    }
    Ok(())
}

/// The Nodes' condition that is ours, and objects with our name.
fn api_lines(lab: &Lab) -> Result<Vec<String>> {
    let api = &lab.control_plane.api;
    let mut lines = api.observer.look(|cluster| {
        let nodes = cluster.nodes.values().map(|node| &node.object);
        let conditions = nodes.flat_map(|node| {
            let conditions =
                node.status.iter().flat_map(|status| status.conditions.iter().flatten());
            let ours = conditions.filter(|condition| condition.type_ == "NetworkUnavailable");
            ours.map(|condition| format!("{}: {}", node.name_any(), condition.type_))
        });
        conditions.collect::<Vec<_>>()
    });
    let objects = api.kubectl(&["get", KINDS, "--all-namespaces", "--output=name"])?;
    lines.extend(objects.lines().filter(|name| name.contains("kubenet")).map(str::to_owned));
    Ok(lines)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kube_proxys_tables_are_nobodys_traces() {
        let ruleset = "table ip kube-proxy {\n\tchain services {\n\t}\n}\n\
            table inet kubenet {\n\tset own {\n\t}\n}\n";
        let lines = ["table inet kubenet {", "set own {", "}", "}"];
        assert_eq!(tables(ruleset), lines.map(|line| format!("table inet kubenet: {line}")));
    }
}
