//! Machines by the state of their pods, and the words for each.

use serde_json::{Value, json};

use super::*;

/// A DaemonSet of so many machines, seen by its controller unless `seen` says otherwise.
fn machines(wanted: u32, seen: bool, pods: &[Value]) -> Machines {
    let set = json!({
        "metadata": {"generation": 2},
        "status": {
            "observedGeneration": if seen { 2 } else { 1 },
            "desiredNumberScheduled": wanted,
            "currentNumberScheduled": 0, "numberMisscheduled": 0, "numberReady": 0,
        },
    });
    let pods = pods.iter().map(|pod| serde_json::from_value(pod.clone()).unwrap());
    Machines::new(&serde_json::from_value(set).unwrap(), &pods.collect::<Vec<_>>())
}

/// A pod on `node` whose first container is in `state`.
fn pod(node: &str, initialized: &str, state: &Value) -> Value {
    let container = json!({
        "name": "cleanup", "image": "", "imageID": "", "ready": false, "restartCount": 0, "state": state,
    });
    json!({
        "spec": {"nodeName": node, "containers": []},
        "status": {
            "conditions": [{"type": "Initialized", "status": initialized}],
            "initContainerStatuses": [container],
        },
    })
}

fn ended(code: i32, words: &str) -> Value {
    json!({"terminated": {"exitCode": code, "message": words}})
}

#[test]
fn every_machine_is_waited_for_and_each_is_told_by_name() {
    let (clean, running) = (pod("a", "True", &ended(0, "")), json!({"running": {}}));
    let kept = pod("b", "False", &ended(3, "still lives here: pod default/web"));
    for (machines, answered, text) in [
        (machines(1, true, std::slice::from_ref(&clean)), true, "a: nothing of kubenet is left\n"),
        (machines(0, true, &[]), true, ""),
        (
            machines(0, false, &[]),
            false,
            "no controller has seen the DaemonSet that cleans machines up\n",
        ),
        (
            machines(2, true, &[clean.clone(), kept]),
            true,
            "a: nothing of kubenet is left\nb: what living pods need stays\n    still lives here: pod default/web\n",
        ),
        (
            machines(2, true, &[clean.clone(), pod("c", "False", &running)]),
            false,
            "a: nothing of kubenet is left\nc: is silent, and was not cleaned up\n",
        ),
        (
            machines(2, true, &[clean, json!({"spec": {"containers": []}})]),
            false,
            "a: nothing of kubenet is left\n1 more machines have no pod that cleans them up\n",
        ),
        (
            machines(1, true, &[pod("d", "False", &ended(1, "cannot delete link cbr0"))]),
            false,
            "d: is silent, and was not cleaned up\n    cannot delete link cbr0\n",
        ),
    ] {
        assert_eq!((machines.have_answered(), machines.to_string()), (answered, text.to_owned()));
    }
}

#[test]
fn a_machine_without_an_answer_is_silent() {
    let machines = machines(
        3,
        true,
        &[pod("a", "True", &ended(0, "")), pod("b", "False", &json!({"waiting": {}}))],
    );
    assert!(!machines.is_silent("a") && machines.is_silent("b") && machines.is_silent("c"));
}
