//! What `helm test` runs: its rights, its pods, and that nothing of it stays.

use serde_json::{Value, json};

use crate::{checks, object};

const SERVERS: [&str; 3] = ["check-client", "check-server", "check-machine"];

#[test]
fn a_check_is_a_hook_and_goes_when_it_succeeded() {
    for object in checks(&[]) {
        let annotations = &object["metadata"]["annotations"];
        assert_eq!(annotations["helm.sh/hook"], "test", "{}", object["kind"]);
        let policy = &annotations["helm.sh/hook-delete-policy"];
        assert_eq!(*policy, "before-hook-creation,hook-succeeded", "{}", object["kind"]);
        let weight = if object["kind"] == "Pod" { "1" } else { "0" };
        assert_eq!(annotations["helm.sh/hook-weight"], weight, "who asks comes last");
    }
}

#[test]
fn a_check_may_look_up_its_own_objects_and_change_nothing() {
    let objects = checks(&[]);
    assert!(!objects.iter().any(|object| object["kind"] == "ClusterRole"));
    let rules = json!([
        {"apiGroups": [""], "resources": ["pods"], "verbs": ["list"]},
        {"apiGroups": [""], "resources": ["services"], "verbs": ["get"]},
        {"apiGroups": ["apps"], "resources": ["daemonsets"], "verbs": ["get"]},
    ]);
    assert_eq!(object(&objects, "Role", "check")["rules"], rules);
}

#[test]
fn servers_of_a_check_stand_on_every_machine_without_any_right() {
    let objects = checks(&[]);
    for component in SERVERS {
        let pod = &object(&objects, "DaemonSet", component)["spec"]["template"]["spec"];
        assert_eq!(pod["tolerations"], json!([{"operator": "Exists"}]));
        assert_eq!(pod["automountServiceAccountToken"], false);
        assert_eq!(pod["hostNetwork"], component == "check-machine");
        let container = &pod["containers"][0];
        let security = &container["securityContext"];
        assert_eq!(security["capabilities"], json!({"drop": ["ALL"]}));
        assert_eq!(security["runAsNonRoot"], true);
        assert_eq!(security["readOnlyRootFilesystem"], true);
        let ports = container["ports"].as_array().map_or(0, Vec::len);
        assert_eq!(ports, if component == "check-server" { 2 } else { 0 });
    }
}

#[test]
fn the_values_of_a_check_reach_its_pods() {
    let values = [
        "check.hostPort=20001",
        "check.machinePort=20002",
        "check.peers=0",
        "check.outside={192.0.2.1:443,[2001:db8::1]:443}",
        "apiServer.host=api.example",
    ];
    let objects = checks(&values);
    let pod = object(&objects, "Pod", "check")["spec"].clone();
    let expected = json!([
        "run",
        "--instance=kubenet",
        "--host-port=20001",
        "--machine-port=20002",
        "--peers=0",
        "--outside=192.0.2.1:443,[2001:db8::1]:443",
    ]);
    assert_eq!(pod["containers"][0]["args"], expected);
    assert_eq!(pod["containers"][0]["env"][1]["value"], "api.example");
    let server = object(&objects, "DaemonSet", "check-server");
    let ports = &server["spec"]["template"]["spec"]["containers"][0]["ports"];
    assert_eq!(ports[0]["hostPort"], 20001);
    let machine = object(&objects, "DaemonSet", "check-machine");
    let arguments = &machine["spec"]["template"]["spec"]["containers"][0]["args"];
    assert_eq!(arguments[1], "--port=20002");
    let local = objects.iter().find(|object| object["metadata"]["name"] == "kubenet-check-local");
    assert_eq!(
        local.map(|service| &service["spec"]["internalTrafficPolicy"]),
        Some(&Value::from("Local"))
    );
}
