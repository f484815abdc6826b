//! What an agent may do with its token, by the policy that is shipped.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use e2e::api::connect;
use e2e::solo::{self, Solo};
use e2e::wait::eventually;
use k8s_openapi::api::core::v1::Node;
use kube::Api;
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};

use crate::PATIENCE;
use crate::independence::by_token;

/// As `kubectl apply` takes it.
const MANIFEST: &str = include_str!("../../../manifests/kubenet.yaml");

const BINDING: &str = "validatingadmissionpolicybinding/kubenet-agent-own-node";
const POLICY: &str = "validatingadmissionpolicy/kubenet-agent-own-node";

pub(crate) fn own_node(solo: &mut Solo) -> Result<()> {
    let documents =
        MANIFEST.split("\n---\n").filter(|text| text.contains("kind: ValidatingAdmission"));
    solo.api.apply(&documents.collect::<Vec<_>>().join("\n---\n"))?;
    let kubectl = |arguments: &[&str]| solo.api.kubectl(arguments);
    let account = ["--namespace=kube-system", "create"];
    kubectl(&[&account[..], &["serviceaccount", "kubenet-agent"]].concat())?;
    let user = "--serviceaccount=kube-system:kubenet-agent";
    kubectl(&["create", "clusterrolebinding", "bound-agent", "--clusterrole=kubenet-agent", user])?;
    solo.api.observer.create_nodes(vec![solo::peer(91, &[])])?;
    let token = [&account[..], &["token", "kubenet-agent"]].concat();
    let bound = ["--bound-object-kind=Node", "--bound-object-name=solo"];
    let file = solo.pki.path("agent.token");

    fs::write(&file, kubectl(&token)?)?;
    let anyones = by_token(solo, &file)?;
    eventually("whoever has a token that names no Node is refused", PATIENCE, || {
        refused(solo, &anyones, solo::NAME, &condition("True"), "must name its Node")
    })?;
    fs::write(&file, kubectl(&[&token[..], &bound].concat())?)?;
    let own = by_token(solo, &file)?;
    let may = |node: &str, change: &Value| patch(solo, &own, node, change);
    may(solo::NAME, &condition("True"))?;
    let said =
        refused(solo, &own, "peer-91", &condition("True"), "the agent of solo may not change");
    said?.context("it may change another's condition")?;
    let nothing_else = "and nothing else";
    for change in [
        json!({"status": {"addresses": [{"type": "InternalIP", "address": "172.30.0.99"}]}}),
        json!({"status": {"conditions": [{"type": "Ready", "status": "False"}]}}),
        json!({"status": {"capacity": {"cpu": "99"}}}),
        json!({"metadata": {"labels": {"node-role.kubernetes.io/control-plane": ""}}}),
    ] {
        let said = refused(solo, &own, solo::NAME, &change, nothing_else)?;
        said.with_context(|| format!("it may do more: {change}"))?;
    }
    // It is the policy that says so.
    kubectl(&["delete", BINDING, POLICY])?;
    eventually("without the policy it may do all of that", PATIENCE, || {
        Ok(may("peer-91", &condition("True")).ok())
    })?;
    kubectl(&["delete", "clusterrolebinding", "bound-agent"])?;
    kubectl(&["--namespace=kube-system", "delete", "serviceaccount", "kubenet-agent"])?;
    solo.api.delete_fakes()
}

fn condition(status: &str) -> Value {
    json!({"status": {"conditions": [{"type": "NetworkUnavailable", "status": status}]}})
}

/// Changes the status of a Node by these credentials.
fn patch(solo: &Solo, kubeconfig: &Path, node: &str, change: &Value) -> Result<()> {
    solo.api.observer.ask(|_| async move {
        let nodes = Api::<Node>::all(connect(kubeconfig).await?);
        nodes.patch_status(node, &PatchParams::default(), &Patch::Strategic(change)).await?;
        Ok(())
    })
}

/// Whether that is refused, and with these words; none if it is not.
fn refused(
    solo: &Solo,
    kubeconfig: &Path,
    node: &str,
    change: &Value,
    words: &str,
) -> Result<Option<()>> {
    let Err(error) = patch(solo, kubeconfig, node, change) else { return Ok(None) };
    let said = format!("{error:#}");
    if !said.contains("ValidatingAdmissionPolicy") {
        bail!("refused for something else: {said}");
    }
    ensure!(said.contains(words), "not {words:?}: {said}");
    Ok(Some(()))
}
