//! The chart with many values, as [`cases`](crate::cases) has them.

use crate::cases::Then::{Has, Lacks, Refused};
use crate::cases::{Case, LEAST, MONITORING, NETWORK, PLATFORMS, PROGRAMS};
use crate::{helm, template};

/// All that does not hold of `cases`, at once.
#[track_caller]
fn check(cases: &[Case]) {
    let mut wrong = Vec::new();
    for (values, then) in cases {
        let told = template(values);
        match (then, &told) {
            (Has(lines), Ok(text)) => {
                let has = |line: &&&str| text.lines().any(|found| found.trim() == **line);
                wrong.extend(
                    lines
                        .iter()
                        .filter(|line| !has(line))
                        .map(|line| format!("{values:?}: no {line}")),
                );
            }
            (Lacks(texts), Ok(text)) => {
                let found = texts.iter().filter(|lacked| text.contains(**lacked));
                wrong.extend(found.map(|found| format!("{values:?}: {found}")));
            }
            (Refused(message), Err(text)) if text.contains(message) => {}
            _ => wrong.push(format!("{values:?}: {told:?}")),
        }
    }
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), cases.len(), wrong.join("\n"));
}

#[test]
fn the_network_is_as_the_values_say_or_they_are_refused() {
    check(NETWORK);
}

#[test]
fn both_programs_are_as_the_values_say_or_they_are_refused() {
    check(PROGRAMS);
}

#[test]
fn monitoring_is_off_and_says_what_it_needs() {
    check(MONITORING);
}

#[test]
fn platforms_differ_in_folders_and_selinux_alone() {
    check(PLATFORMS);
}

#[test]
fn helm_lint_finds_nothing() {
    let chart = crate::chart().display().to_string();
    for values in [LEAST, "network.clusterCIDRs={10.244.0.0/16,fd00:10:244::/56}"] {
        let text = helm(&["lint", "--strict", &chart, "--set", values]).unwrap();
        assert!(text.contains("1 chart(s) linted, 0 chart(s) failed"), "{text}");
    }
}

#[test]
fn notes_name_the_next_commands_and_the_risks() {
    let notes = |values: &[&str]| {
        let chart = crate::chart().display().to_string();
        let mut arguments =
            vec!["install", "kubenet", &chart, "--dry-run=client", "--namespace", "kube-system"];
        for value in [&[LEAST], values].concat() {
            arguments.extend(["--set", value]);
        }
        let text = helm(&arguments).unwrap();
        text.split_once("NOTES:").unwrap().1.to_owned()
    };
    let plain = notes(&[]);
    for expected in [
        "10.244.0.0/16",
        "rollout status daemonset/kubenet-agent",
        "--allocate-node-cidrs=false",
        "set apiServer.host",
    ] {
        assert!(plain.contains(expected), "{plain}");
    }
    assert!(!plain.contains("WARNING"), "{plain}");
    assert!(
        notes(&["admissionPolicy.enabled=false"])
            .contains("WARNING: admissionPolicy.enabled=false")
    );
    assert!(notes(&["rbac.create=false"]).contains("WARNING: rbac.create=false"));
    assert!(!notes(&["apiServer.host=api.example"]).contains("set apiServer.host"));
}
