//! What holds of the rendered objects whatever the values: docs/chart.md lists it, point by point.

use std::collections::BTreeSet;
use std::fs;

use e2e::artifacts::source;
use serde_json::{Value, json};

use crate::documents::values;
use crate::{chart, checks, object, objects};

/// What differs most from the defaults.
const VARIANTS: &[&[&str]] = &[
    &[],
    &["platform=openshift", "commonLabels.team=net"],
    &["controller.replicas=1", "admissionPolicy.enabled=false"],
    &["network.clusterCIDRs={10.244.0.0/16,fd00:10:244::/56}", "apiServer.host=api.example"],
];

fn strings(value: &Value) -> BTreeSet<&str> {
    value.as_array().into_iter().flatten().filter_map(Value::as_str).collect()
}

#[test]
fn every_object_has_the_usual_labels() {
    let all = VARIANTS.iter().flat_map(|values| [objects(values), checks(values)]);
    for object in all.flatten() {
        let labels = &object["metadata"]["labels"];
        for name in ["name", "instance", "version", "component", "part-of", "managed-by"] {
            let label = &labels[format!("app.kubernetes.io/{name}")];
            assert!(label.is_string(), "{} has no label {name}", object["kind"]);
        }
        assert_eq!(labels["helm.sh/chart"], "kubenet-0.1.0");
    }
}

#[test]
fn selectors_name_no_version() {
    let objects = objects(&["commonLabels.team=net"]);
    for (kind, component) in [
        ("Deployment", "controller"),
        ("DaemonSet", "agent"),
        ("PodDisruptionBudget", "controller"),
    ] {
        let object = object(&objects, kind, component);
        let expected = json!({
            "app.kubernetes.io/name": "kubenet",
            "app.kubernetes.io/instance": "kubenet",
            "app.kubernetes.io/component": component,
        });
        assert_eq!(object["spec"]["selector"]["matchLabels"], expected);
    }
}

#[test]
fn nobody_has_a_right_that_is_not_in_this_list() {
    let fenced = objects(&["controller.fence=claims"]);
    let objects = objects(&[]);
    let rules = |kind, component| object(&objects, kind, component)["rules"].clone();
    let controller = json!([
        {"apiGroups": [""], "resources": ["nodes"], "verbs": ["list", "watch", "patch"]},
        {
            "apiGroups": ["networking.x-k8s.io"],
            "resources": ["clustercidrs"],
            "verbs": ["list", "watch", "patch"],
        },
        {
            "apiGroups": ["networking.x-k8s.io"],
            "resources": ["clustercidrs/status"],
            "verbs": ["patch"],
        },
        {"apiGroups": ["events.k8s.io"], "resources": ["events"], "verbs": ["create", "patch"]},
    ]);
    assert_eq!(rules("ClusterRole", "controller"), controller);
    let claims = json!({
        "apiGroups": ["ipam.kubenet.io"],
        "resources": ["cidrclaims"],
        "verbs": ["get", "list", "watch", "create", "update", "delete"],
    });
    let with_claims = object(&fenced, "ClusterRole", "controller")["rules"].clone();
    let more = with_claims.as_array().unwrap().iter();
    let more = more.filter(|rule| !controller.as_array().unwrap().contains(rule));
    assert_eq!(more.collect::<Vec<_>>(), [&claims]);
    let leases = json!([
        {"apiGroups": ["coordination.k8s.io"], "resources": ["leases"], "verbs": ["create"]},
        {
            "apiGroups": ["coordination.k8s.io"],
            "resources": ["leases"],
            "resourceNames": ["kubenet-controller"],
            "verbs": ["get", "update"],
        },
    ]);
    assert_eq!(rules("Role", "controller"), leases);
    let agent = json!([
        {"apiGroups": [""], "resources": ["nodes"], "verbs": ["list", "watch"]},
        {
            "apiGroups": ["networking.x-k8s.io"],
            "resources": ["clustercidrs"],
            "verbs": ["list", "watch"],
        },
        {
            "apiGroups": ["networking.k8s.io"],
            "resources": ["servicecidrs"],
            "verbs": ["list", "watch"],
        },
        {"apiGroups": [""], "resources": ["nodes/status"], "verbs": ["patch"]},
        {"apiGroups": ["events.k8s.io"], "resources": ["events"], "verbs": ["create", "patch"]},
    ]);
    assert_eq!(rules("ClusterRole", "agent"), agent);
    let known = objects.iter().filter(|object| !object["rules"].is_null()).count();
    // The other two are those of the cleanup.
    assert_eq!(known, 5, "a role that this test does not know");
}

/// So whatever works in the lab works with these rights.
#[test]
fn the_lab_gives_the_rights_of_the_chart() {
    let text = fs::read_to_string(source().join("e2e/manifests/rbac.yaml")).unwrap();
    let lab = text.split("\n---\n").map(|text| serde_saphyr::from_str::<Value>(text).unwrap());
    let lab = lab.collect::<Vec<_>>();
    let objects = objects(&["controller.fence=claims"]);
    for (name, component) in [("kubenet-controller", "controller"), ("kubenet-agent", "agent")] {
        let role =
            |role: &&Value| role["kind"] == "ClusterRole" && role["metadata"]["name"] == name;
        let given = lab.iter().find(role).unwrap()["rules"].as_array().unwrap();
        let rules = object(&objects, "ClusterRole", component)["rules"].clone();
        // Its Lease is in a namespace of the lab's own.
        let given = given.iter().filter(|rule| rule["resources"] != json!(["leases"]));
        assert_eq!(json!(given.collect::<Vec<_>>()), rules);
    }
}

#[test]
fn the_agent_may_change_the_network_and_nothing_else_of_its_machine() {
    for values in VARIANTS {
        let objects = objects(values);
        let pod = &object(&objects, "DaemonSet", "agent")["spec"]["template"]["spec"];
        let container = &pod["containers"][0]["securityContext"];
        assert_eq!(container["capabilities"], json!({"drop": ["ALL"], "add": ["NET_ADMIN"]}));
        assert_eq!(container["readOnlyRootFilesystem"], true);
        assert_eq!(container["allowPrivilegeEscalation"], false);
        assert_eq!(container["privileged"], Value::Null);
        assert_eq!(pod["securityContext"]["seccompProfile"]["type"], "RuntimeDefault");
        assert_eq!([&pod["hostPID"], &pod["hostIPC"]], [&Value::Null, &Value::Null]);
        let paths = pod["volumes"].as_array().unwrap().iter();
        let paths = paths.filter_map(|volume| volume["hostPath"]["path"].as_str());
        assert_eq!(paths.count(), 4);
    }
    // What loads a module can do anything, and is gone before the agent starts.
    let loads = objects(&["agent.loadBridgeNetfilter=true"]);
    let pod = &object(&loads, "DaemonSet", "agent")["spec"]["template"]["spec"];
    let may = |container: &Value| container["securityContext"]["capabilities"]["add"].clone();
    let both = [&pod["initContainers"][0], &pod["containers"][0]].map(may);
    assert_eq!(both, [json!(["SYS_MODULE"]), json!(["NET_ADMIN"])]);
    assert!(!pod["containers"][0]["volumeMounts"].to_string().contains("modules"));
}

#[test]
fn the_controller_may_do_nothing_on_its_machine() {
    for values in VARIANTS {
        let objects = objects(values);
        let pod = &object(&objects, "Deployment", "controller")["spec"]["template"]["spec"];
        let container = &pod["containers"][0]["securityContext"];
        assert_eq!(container["capabilities"], json!({"drop": ["ALL"]}));
        assert_eq!(container["readOnlyRootFilesystem"], true);
        assert_eq!(container["allowPrivilegeEscalation"], false);
        assert_eq!(pod["securityContext"]["runAsNonRoot"], true);
        assert_eq!(pod["securityContext"]["seccompProfile"]["type"], "RuntimeDefault");
        assert!(!pod["volumes"].to_string().contains("hostPath"));
    }
}

#[test]
fn both_start_on_machines_that_are_not_ready() {
    let objects = objects(&[]);
    let pod =
        |kind, component| object(&objects, kind, component)["spec"]["template"]["spec"].clone();
    let (agent, controller) = (pod("DaemonSet", "agent"), pod("Deployment", "controller"));
    assert_eq!(agent["tolerations"], json!([{"operator": "Exists"}]));
    let keys = controller["tolerations"].as_array().unwrap().iter();
    let keys = keys.filter_map(|toleration| toleration["key"].as_str()).collect::<Vec<_>>();
    assert_eq!(
        keys,
        [
            "node.kubernetes.io/not-ready",
            "node.kubernetes.io/network-unavailable",
            "node.cloudprovider.kubernetes.io/uninitialized",
            "node-role.kubernetes.io/control-plane",
        ]
    );
    assert_eq!(agent["priorityClassName"], "system-node-critical");
    assert_eq!(controller["priorityClassName"], "system-cluster-critical");
    assert_eq!([&agent["hostNetwork"], &controller["hostNetwork"]], [&true, &true]);
}

#[test]
fn updates_replace_one_controller_and_a_tenth_of_the_agents_at_a_time() {
    let rendered = objects(&[]);
    let agent = &object(&rendered, "DaemonSet", "agent")["spec"]["updateStrategy"];
    assert_eq!(agent["rollingUpdate"], json!({"maxUnavailable": "10%"}));
    let controller = &object(&rendered, "Deployment", "controller")["spec"];
    assert_eq!(controller["replicas"], 2);
    assert_eq!(
        controller["strategy"]["rollingUpdate"],
        json!({"maxSurge": 0, "maxUnavailable": 1})
    );
    assert_eq!(object(&rendered, "PodDisruptionBudget", "controller")["spec"]["maxUnavailable"], 1);
    let spread = &controller["template"]["spec"]["topologySpreadConstraints"][0];
    assert_eq!(spread["topologyKey"], "topology.kubernetes.io/zone");
    assert_eq!(spread["whenUnsatisfiable"], "ScheduleAnyway");
    let alone = objects(&["controller.replicas=1"]);
    assert!(!alone.iter().any(|object| object["kind"] == "PodDisruptionBudget"));
}

#[test]
fn each_probe_asks_the_program_itself_on_the_loopback_interface() {
    let objects = objects(&[]);
    for (kind, component, port) in
        [("DaemonSet", "agent", 10276), ("Deployment", "controller", 10275)]
    {
        let pod = &object(&objects, kind, component)["spec"]["template"]["spec"];
        let container = &pod["containers"][0];
        assert_eq!(container["ports"], json!([{"name": "health", "containerPort": port}]));
        for (probe, path) in
            [("startupProbe", "/livez"), ("livenessProbe", "/livez"), ("readinessProbe", "/readyz")]
        {
            let expected = json!({"host": "127.0.0.1", "port": "health", "path": path});
            assert_eq!(container[probe]["httpGet"], expected, "{component}: {probe}");
        }
    }
}

#[test]
fn tokens_are_bound_and_short_lived() {
    let objects = objects(&[]);
    for (kind, component) in [("DaemonSet", "agent"), ("Deployment", "controller")] {
        let account = object(&objects, "ServiceAccount", component);
        assert_eq!(account["automountServiceAccountToken"], false);
        let pod = &object(&objects, kind, component)["spec"]["template"]["spec"];
        assert_eq!(pod["automountServiceAccountToken"], false);
        let volumes = pod["volumes"].as_array().unwrap();
        let token = volumes.iter().find(|volume| volume["name"] == "token").unwrap();
        let source = &token["projected"]["sources"][0]["serviceAccountToken"];
        assert_eq!(source["expirationSeconds"], 3600);
    }
}

#[test]
fn an_agent_is_held_to_its_own_node() {
    let objects = objects(&[]);
    let policy = &object(&objects, "ValidatingAdmissionPolicy", "agent")["spec"];
    assert_eq!(policy["failurePolicy"], "Fail");
    let resources = &policy["matchConstraints"]["resourceRules"][0]["resources"];
    assert_eq!(strings(resources), BTreeSet::from(["nodes/status"]));
    let binding = &object(&objects, "ValidatingAdmissionPolicyBinding", "agent")["spec"];
    assert_eq!(strings(&binding["validationActions"]), BTreeSet::from(["Deny"]));
}

#[test]
fn nothing_depends_on_the_cluster_that_it_is_rendered_for() {
    for entry in fs::read_dir(chart().join("templates")).unwrap() {
        let path = entry.unwrap().path();
        let text = fs::read_to_string(&path).unwrap();
        for word in ["lookup ", "rand", "now ", "uuidv4", "genCA"] {
            assert!(!text.contains(word), "{}: {word}", path.display());
        }
    }
}

/// Paths of all properties of a schema that is closed at each level; free-form ones end a path.
fn properties(schema: &Value, path: &str, found: &mut BTreeSet<String>) {
    let Some(inner) = schema["properties"].as_object() else {
        found.insert(path.to_owned());
        return;
    };
    assert_eq!(schema["additionalProperties"], false, "{path} takes values that nobody reads");
    for (name, schema) in inner.iter().filter(|(name, _)| *name != "global") {
        let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
        properties(schema, &path, found);
    }
}

#[test]
fn the_schema_knows_each_value_and_no_other() {
    let schema = fs::read_to_string(chart().join("values.schema.json")).unwrap();
    let mut found = BTreeSet::new();
    properties(&serde_json::from_str(&schema).unwrap(), "", &mut found);
    let text = fs::read_to_string(chart().join("values.yaml")).unwrap();
    let known = values(&text).into_iter().map(|row| row.path).collect::<BTreeSet<_>>();
    assert_eq!(found, known);
}
