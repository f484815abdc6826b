//! What runs before the chart goes: its rights, what it may do to a machine, and that nothing of it stays.

use serde_json::{Value, json};

use crate::{object, objects};

/// Objects of the hook.
fn cleanup(values: &[&str]) -> Vec<Value> {
    let mut objects = objects(values);
    objects.retain(|object| !object["metadata"]["annotations"]["helm.sh/hook"].is_null());
    objects
}

#[test]
fn a_cleanup_is_a_hook_that_tells_its_log_and_goes_when_it_succeeded() {
    let objects = cleanup(&[]);
    assert_eq!(objects.len(), 7);
    for object in objects {
        let annotations = &object["metadata"]["annotations"];
        let weight = match object["kind"].as_str().unwrap() {
            "DaemonSet" => "1",
            "Job" => "2",
            _ => "0",
        };
        let expected = json!({
            "helm.sh/hook": "pre-delete",
            "helm.sh/hook-weight": weight,
            "helm.sh/hook-delete-policy": "before-hook-creation,hook-succeeded",
            "helm.sh/hook-output-log-policy": "hook-succeeded,hook-failed",
        });
        assert_eq!(*annotations, expected, "{}", object["kind"]);
    }
    assert!(cleanup(&["uninstall.cleanUp=false"]).is_empty());
    let without_roles = cleanup(&["rbac.create=false"]);
    let kinds = without_roles.iter().map(|object| object["kind"].as_str().unwrap());
    assert_eq!(kinds.collect::<Vec<_>>(), ["ServiceAccount", "DaemonSet", "Job"]);
}

#[test]
fn a_cleanup_has_no_right_that_is_not_in_this_list() {
    let objects = cleanup(&["controller.fence=claims"]);
    let wide = json!([
        {"apiGroups": [""], "resources": ["nodes"], "verbs": ["list"]},
        {"apiGroups": [""], "resources": ["nodes/status"], "verbs": ["patch"]},
        {"apiGroups": ["networking.x-k8s.io"], "resources": ["clustercidrs"], "verbs": ["list", "patch"]},
        {"apiGroups": ["ipam.kubenet.io"], "resources": ["cidrclaims"], "verbs": ["list", "delete"]},
    ]);
    assert_eq!(object(&objects, "ClusterRole", "cleanup")["rules"], wide);
    let named = |group: &str, resource: &str, name: &str, verb: &str| json!({"apiGroups": [group], "resources": [resource], "resourceNames": [name], "verbs": [verb]});
    let own = json!([
        {"apiGroups": [""], "resources": ["pods"], "verbs": ["list"]},
        named("apps", "daemonsets", "kubenet-cleanup", "get"),
        named("apps", "daemonsets", "kubenet-agent", "delete"),
        named("apps", "deployments", "kubenet-controller", "delete"),
        named("coordination.k8s.io", "leases", "kubenet-controller", "delete"),
    ]);
    assert_eq!(object(&objects, "Role", "cleanup")["rules"], own);
}

/// The agents' DaemonSet would delete pods with its labels.
#[test]
fn a_cleanup_goes_to_every_machine_as_an_agent_does_and_is_no_agents_pod() {
    let objects = objects(&["platform=openshift", "agent.nodeSelector.net=kubenet"]);
    let agent = &object(&objects, "DaemonSet", "agent")["spec"];
    let cleanup = &object(&objects, "DaemonSet", "cleanup")["spec"];
    let labels = &cleanup["template"]["metadata"]["labels"];
    assert_eq!(labels["app.kubernetes.io/component"], "cleanup");
    assert_eq!(agent["selector"]["matchLabels"]["app.kubernetes.io/component"], "agent");
    let (agent, cleanup) = (&agent["template"]["spec"], &cleanup["template"]["spec"]);
    for field in
        ["nodeSelector", "tolerations", "hostNetwork", "priorityClassName", "securityContext"]
    {
        assert_eq!(agent[field], cleanup[field], "{field}");
    }
    assert_eq!(cleanup["automountServiceAccountToken"], false);
    let containers = [&cleanup["initContainers"][0], &cleanup["containers"][0]];
    for container in containers {
        assert_eq!(container["securityContext"], agent["containers"][0]["securityContext"]);
    }
    let stays = containers.map(|container| container["args"].to_string().contains("--stay"));
    assert_eq!(stays, [false, true]);
}

/// It would wait there for a kubelet that does not answer, and helm for it.
#[test]
fn the_job_that_waits_is_on_no_machine_that_says_nothing() {
    let objects = objects(&["controller.tolerations[0].key=special"]);
    let tolerations = |kind, name| {
        let spec = &object(&objects, kind, name)["spec"]["template"]["spec"];
        spec["tolerations"].as_array().unwrap().clone()
    };
    let mut expected = tolerations("Deployment", "controller");
    expected.push(json!({"key": "node.kubernetes.io/unschedulable", "operator": "Exists"}));
    expected.push(json!({
        "key": "node.kubernetes.io/unreachable",
        "operator": "Exists",
        "effect": "NoExecute",
        "tolerationSeconds": 0,
    }));
    assert_eq!(tolerations("Job", "cleanup"), expected);
}
