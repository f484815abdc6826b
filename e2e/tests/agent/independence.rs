//! An agent whose API server is away, or does not want it.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use e2e::api_server;
use e2e::solo::{self, Solo};
use e2e::wait::eventually;

use crate::routes::{leads, v4};
use crate::{PATIENCE, within_a_second};

/// kube's watches try again after 0.8 s at first, and up to 30 s later on.
const RETRIES: Duration = Duration::from_secs(40);

const BINDING: &str = "clusterrolebinding/kubenet-agent";

/// Who changes the agent's rights has to be heard by it; the next claim finds all as it was.
const RIGHTS: &str = include_str!("../../manifests/rbac.yaml");

pub(crate) fn away(solo: &mut Solo) -> Result<()> {
    let cidr = "10.244.81.0/24";
    solo.api.observer.create_nodes(vec![solo::peer(81, &[cidr])])?;
    leads(solo, cidr, v4(81))?;
    kept(solo, "peer-81")?;
    solo.end_agent()?;
    solo.switch.cut(api_server::NUMBER)?;
    let done = without_api_server(solo, cidr);
    solo.switch.mend(api_server::NUMBER)?;
    done?;
    eventually("the list has arrived", RETRIES, || {
        Ok(solo.ask_agent("/readyz?verbose")?.contains("[+]nodes ok\n").then_some(()))
    })?;
    leads(solo, cidr, v4(81))?;
    solo.api.delete_fakes()
}

fn without_api_server(solo: &mut Solo, cidr: &str) -> Result<()> {
    solo.start_agent(&[])?;
    eventually("it is ready, and knows that what it knows is old", PATIENCE, || {
        let said = solo.ask_agent("/readyz?verbose").ok();
        Ok(said.filter(|said| said.contains("[+]nodes ok: stale since 20")))
    })?;
    leads(solo, cidr, v4(81))?;
    solo.place.ip(&format!("route delete {cidr}"))?;
    leads(solo, cidr, v4(81))?;
    solo.place.ip("link delete cbr0")?;
    within_a_second("cbr0 is there again", || {
        Ok(solo.place.output(&["ip", "link", "show", "cbr0", "up"]).ok().map(drop))
    })?;
    let added = solo.plugin("ADD", "pod-1")?;
    ensure!(added.contains("10.244.1."), "ADD: {added}");
    solo.plugin("DEL", "pod-1")?;
    eventually("it has tried to reach it", PATIENCE, || {
        Ok((failures(solo, "nodes", 0)? > 0).then_some(()))
    })?;
    let tries = failures(solo, "nodes", 0)?;
    ensure!(tries < 4, "{tries} tries at once");
    Ok(())
}

pub(crate) fn forbidden(solo: &mut Solo) -> Result<()> {
    kept(solo, solo::NAME)?;
    solo.api.kubectl(&["delete", BINDING])?;
    solo.end_agent()?;
    let refused = refused(solo);
    solo.api.apply(RIGHTS)?;
    refused?;
    eventually("the list has arrived", RETRIES, || {
        Ok(solo.ask_agent("/readyz?verbose")?.contains("[+]nodes ok\n").then_some(()))
    })
}

fn refused(solo: &mut Solo) -> Result<()> {
    solo.start_agent(&[])?;
    let right = "User \"kubenet-agent\" cannot watch resource \"nodes\"";
    eventually("it is ready, and says which right it lacks", PATIENCE, || {
        let said = solo.ask_agent("/readyz?verbose").ok();
        Ok(said.filter(|said| said.contains("stale since 20") && said.contains(right)))
    })?;
    for kind in ["nodes", "servicecidrs.networking.k8s.io"] {
        let said = format!("the API server refuses with 403: {kind} is forbidden");
        solo.agent.as_mut().context("no agent runs")?.wait_for_log(&said)?;
    }
    eventually("it asks again", PATIENCE, || {
        Ok((failures(solo, "nodes", 403)? >= 3).then_some(()))
    })?;
    let tries = failures(solo, "nodes", 403)?;
    ensure!(tries <= 4, "{tries} tries at once");
    Ok(())
}

pub(crate) fn token(solo: &mut Solo) -> Result<()> {
    solo.end_agent()?;
    let file = solo.pki.path("agent.token");
    fs::write(&file, "no token of anybody")?;
    let by_token = by_token(solo, &file)?;
    let by_certificate = std::mem::replace(&mut solo.kubeconfig, by_token);
    let followed = replaced(solo, &file);
    solo.kubeconfig = by_certificate;
    solo.end_agent()?;
    solo.start_agent(&[])?;
    followed?;
    solo.api.delete_fakes()
}

fn replaced(solo: &mut Solo, file: &Path) -> Result<()> {
    solo.start_agent(&[])?;
    eventually("it is told that nobody knows it", PATIENCE, || {
        let said = solo.ask_agent("/readyz?verbose").unwrap_or_default();
        Ok((said.contains("Unauthorized") && failures(solo, "nodes", 401)? > 0).then_some(()))
    })?;
    for account in ["first", "second"] {
        solo.api.kubectl(&["create", "serviceaccount", account])?;
        let user = format!("--serviceaccount=default:{account}");
        let binding = format!("{account}-agent");
        let bind = ["create", "clusterrolebinding", &binding, "--clusterrole=kubenet-agent", &user];
        solo.api.kubectl(&bind)?;
        fs::write(file, solo.api.kubectl(&["create", "token", account])?)?;
        let number = if account == "first" { 82 } else { 83 };
        // Whoever had the earlier token is gone: a request by it would be refused.
        if account == "second" {
            solo.api.kubectl(&["delete", "serviceaccount", "first"])?;
            solo.api.restart()?;
            solo.api.wait_until_ready()?;
        }
        let cidr = format!("10.244.{number}.0/24");
        solo.api.observer.create_nodes(vec![solo::peer(number, &[&cidr])])?;
        eventually(&format!("{account} is heard"), RETRIES, || Ok(solo.route(&cidr)?.map(drop)))?;
    }
    solo.api.kubectl(&["delete", "clusterrolebinding", "first-agent", "second-agent"])?;
    solo.api.kubectl(&["delete", "serviceaccount", "second"]).map(drop)
}

/// As a kubelet's are, long before they expire.
pub(crate) fn certificate(solo: &mut Solo) -> Result<()> {
    solo.end_agent()?;
    let rotated = solo.pki.kubeconfig("rotated", "nobody", "")?;
    let before = std::mem::replace(&mut solo.kubeconfig, rotated);
    let followed = certificate_replaced(solo);
    solo.kubeconfig = before;
    solo.end_agent()?;
    solo.start_agent(&[])?;
    followed?;
    solo.api.delete_fakes()
}

fn certificate_replaced(solo: &mut Solo) -> Result<()> {
    solo.start_agent(&[])?;
    eventually("it is told that nobody may do that", PATIENCE, || {
        let said = solo.ask_agent("/readyz?verbose").unwrap_or_default();
        Ok((said.contains("User \"nobody\"") && failures(solo, "nodes", 403)? > 0).then_some(()))
    })?;
    solo.pki.certificate("rotated", "kubenet-agent", "", &[])?;
    let cidr = "10.244.84.0/24";
    solo.api.observer.create_nodes(vec![solo::peer(84, &[cidr])])?;
    eventually("whoever it is by now is heard", RETRIES, || Ok(solo.route(cidr)?.map(drop)))
}

/// A kubeconfig whose token is in `file`.
pub(crate) fn by_token(solo: &Solo, file: &Path) -> Result<PathBuf> {
    let text = fs::read_to_string(&solo.kubeconfig)?;
    let user = text.lines().find(|line| line.contains("client-certificate"));
    let user = user.context("no certificate in the kubeconfig")?;
    let text = text.replace(user, &format!("    user: {{tokenFile: \"{}\"}}", file.display()));
    let path = solo.pki.path("agent-token.kubeconfig");
    fs::write(&path, text)?;
    Ok(path)
}

/// Waits until that Node is written down, which is a second after it is known.
fn kept(solo: &Solo, node: &str) -> Result<()> {
    eventually("the Nodes are kept", PATIENCE, || {
        let kept = fs::read_to_string(solo.place.path("/run/kubenet/nodes.json"));
        Ok(kept.is_ok_and(|kept| kept.contains(node)).then_some(()))
    })
}

/// How often the API server did not answer as it should.
fn failures(solo: &Solo, kind: &str, code: u16) -> Result<u32> {
    let line = format!("kubenet_api_failures_total{{kind=\"{kind}\",code=\"{code}\"}} ");
    let text = solo.ask_agent("/metrics")?;
    let count = text.lines().find_map(|text| text.strip_prefix(&line)).unwrap_or("0");
    Ok(count.parse()?)
}
