//! What is seen, in words, and what is said of it.

use common::attachment::Pod;

use super::*;
use crate::ipam::table;
use crate::testing::link;

/// The time of all tests, in seconds since 1970.
const NOW: i64 = 1_000_000;

/// An attachment as ADD leaves it an hour ago.
const WHOLE: [&str; 5] = [
    "claim c1@eth0 3600",
    "lease 10.244.1.2 c1@eth0",
    "record c1@eth0 10.244.1.2 7",
    "veth c1@eth0",
    "process 7 42",
];

fn time(age: i64) -> Timestamp {
    Timestamp::from_second(NOW - age).unwrap()
}

/// One word for each thing: see the tests.
fn add(seen: &mut Seen, text: &str) {
    let words = text.split(' ').collect::<Vec<_>>();
    let id = |word: usize| words[word].parse::<AttachmentId>().unwrap();
    let inode = || words[1].parse().unwrap();
    let mut link = |kind: &str, name: String| {
        let mut link = link(9, &format!("{name}:{kind} 1500 up"));
        link.alias = Some(format!("kubenet {}", words[1..].join(" ")));
        seen.links.push(link);
    };
    match words[0] {
        "claim" => {
            let (since, locked) = (time(words[2].parse().unwrap()), words.contains(&"locked"));
            seen.claims.insert(id(1), Claim { since, locked });
        }
        "lease" => {
            let owner = words.get(2).map(|_| id(2));
            seen.leases.insert(words[1].parse().unwrap(), owner);
        }
        "record" => seen.records.push(Attachment {
            container_id: id(1).container_id().to_owned(),
            ifname: id(1).ifname().to_owned(),
            addresses: words[2].split(',').map(|ip| ip.parse().unwrap()).collect(),
            netns_inode: words[3].parse().unwrap(),
            pod: words.get(4).map(|name| Pod {
                namespace: "default".to_owned(),
                name: (*name).to_owned(),
                ..Pod::default()
            }),
            ..Attachment::default()
        }),
        "veth" => link("veth", id(1).host_link()),
        "ifb" => link("ifb", id(1).limiter()),
        "process" => _ = seen.holders.processes.insert(inode(), words[2].parse().unwrap()),
        "mount" => _ = seen.holders.mounts.insert(inode(), words[2].into()),
        "dying" => _ = seen.dying.insert(id(1)),
        "hidden" => seen.holders.sees_all_processes = false,
        "broken" => seen.unreadable.push(words[1..].join(" ")),
        other => panic!("{other}"),
    }
}

fn report(texts: &[&str]) -> Report {
    let mut seen = Seen::default();
    seen.holders.sees_all_processes = true;
    for text in texts {
        add(&mut seen, text);
    }
    Report::of(&seen, Timestamp::from_second(NOW).unwrap())
}

/// Each finding must have the part that is expected of it.
#[track_caller]
fn check(texts: &[&str], expected: &[&str]) {
    let findings = report(texts).findings;
    assert_eq!(findings.len(), expected.len(), "{findings:#?}");
    for (finding, part) in findings.iter().zip(expected) {
        assert!(finding.contains(part), "{finding}");
    }
}

/// All but one, and what comes instead.
fn without(word: &str, more: &[&'static str]) -> Vec<&'static str> {
    let rest = WHOLE.into_iter().filter(|text| !text.starts_with(word));
    rest.chain(more.iter().copied()).collect()
}

#[test]
fn an_attachment_that_is_whole_is_no_finding() {
    check(&[], &[]);
    check(&WHOLE, &[]);
    check(&[WHOLE.as_slice(), &["ifb c1@eth0"]].concat(), &[]);
}

#[test]
fn a_lease_without_a_host_link_is_dead() {
    let gone = "c1@eth0 holds 10.244.1.2 since 1970-01-12T12:46:40Z, and its host link is gone";
    check(&without("veth", &[]), &[gone]);
    check(&["lease 10.244.1.2 c1@eth0"], &["c1@eth0 holds 10.244.1.2, and its host link is gone"]);
    check(&["claim c1@eth0 3600"], &["c1@eth0 holds no address since"]);
}

#[test]
fn what_is_being_made_or_removed_is_no_finding() {
    check(&["claim c1@eth0 0 locked", "lease 10.244.1.2 c1@eth0"], &[]);
    check(&without("veth", &["dying c1@eth0", "ifb c1@eth0"]), &[]);
    check(&["claim c1@eth0 0 locked", "ifb c1@eth0"], &[]);
}

#[test]
fn a_namespace_that_only_a_mount_keeps_is_leaked() {
    let leaked = "kept by a mount at /run/netns/a: umount /run/netns/a frees 10.244.1.2";
    check(&without("process", &["mount 7 /run/netns/a"]), &[leaked]);
    // A process in it uses it; one that can't be seen may.
    check(&[WHOLE.as_slice(), &["mount 7 /run/netns/a"]].concat(), &[]);
    check(&without("process", &["mount 7 /run/netns/a", "hidden"]), &[]);
    // A pod that starts.
    let young = ["claim c1@eth0 59", "process 8 42", "mount 7 /run/netns/a"];
    check(&[&WHOLE[1..4], &young].concat(), &[]);
}

#[test]
fn files_that_contradict_each_other_are_named() {
    check(&without("record", &[]), &["c1@eth0 lives and has no record"]);
    check(&without("lease", &[]), &["10.244.1.2 of c1@eth0, which lives, is leased to nobody"]);
    check(
        &without("lease", &["lease 10.244.1.2 c2@eth0"]),
        &["10.244.1.2 of c1@eth0, which lives, is leased to c2@eth0", "c2@eth0 holds 10.244.1.2"],
    );
    check(
        &[WHOLE.as_slice(), &["lease 10.244.1.3 c1@eth0"]].concat(),
        &["c1@eth0 holds 10.244.1.3 and does not use it"],
    );
    check(&["lease 10.244.1.2"], &["the lease of 10.244.1.2 does not say whose it is"]);
    check(&["broken cannot read record x"], &["cannot read record x"]);
}

#[test]
fn a_limiter_without_a_pod_is_named() {
    check(&["ifb c1@eth0"], &["limits c1@eth0, which is gone"]);
}

#[test]
fn a_table_shows_who_holds_what() {
    let pod = "record 0123456789abcdef@eth0 10.244.1.3,fd00::3 8 web-0";
    let more = [
        "claim 0123456789abcdef@eth0 60",
        "lease 10.244.1.3 0123456789abcdef@eth0",
        "lease fd00::3 0123456789abcdef@eth0",
        pod,
    ];
    let report = report(&[WHOLE.as_slice(), &more].concat());
    let link = "c1@eth0".parse::<AttachmentId>().unwrap().host_link();
    let expected = format!(
        "\
ADDRESS             CONTAINER      IFNAME  POD            SINCE                 STATE  HOST LINK        NETNS
10.244.1.2          c1             eth0    -              1970-01-12T12:46:40Z  live   {link}  process 42
10.244.1.3,fd00::3  0123456789abc  eth0    default/web-0  1970-01-12T13:45:40Z  dead   -                -
"
    );
    assert_eq!(table::attachments(&report.attachments), expected);
}

#[test]
fn a_link_names_its_pod_where_the_record_is_lost() {
    let report = report(&["veth c1@eth0 10.244.1.2 default/web-0", "lease 10.244.1.2 c1@eth0"]);
    assert_eq!(report.attachments[0].pod.as_deref(), Some("default/web-0"));
}

#[test]
fn json_has_the_same_words_for_programs() {
    let report = report(&without("process", &["mount 7 /run/netns/a"]));
    let json = serde_json::json!(report);
    let held = &json["attachments"][0];
    assert_eq!(held["addresses"], serde_json::json!(["10.244.1.2"]));
    assert_eq!(held["since"], "1970-01-12T12:46:40Z");
    assert_eq!(held["state"], "live");
    assert_eq!(held["namespace"], serde_json::json!({ "mount": "/run/netns/a" }));
    assert_eq!(json["findings"].as_array().map(Vec::len), Some(1));
}
