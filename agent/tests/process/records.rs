//! Files of a living pod that somebody removed or spoilt: the agent makes them anew, with all they said.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use cni::Answer;
use common::attachment::Attachment;
use common::bandwidth::Bandwidth;
use common::names;
use net::Netns;
use serde_json::{Value, json};

use crate::reaper::{Host, Said, pod, until};

const RECORD: &str = "attachments/c1@eth0";

/// A pod that has all that a record may say.
fn said() -> Said<'static> {
    let mapping = |host: u16, protocol: &str, ip: &str| json!({ "hostPort": host, "containerPort": 80, "protocol": protocol, "hostIP": ip });
    let rate = 8_000_000;
    Said {
        asked: json!({
            "portMappings": [
                mapping(8080, "tcp", ""), mapping(8081, "udp", "192.0.2.7"),
                mapping(8082, "sctp", "::"),
            ],
            "bandwidth": { "ingressRate": rate, "egressRate": 2 * rate },
            "mac": "02:00:00:00:00:0a",
        }),
        args: "IgnoreUnknown=1;K8S_POD_NAMESPACE=shop;K8S_POD_NAME=web-0",
        previous: Value::Null,
    }
}

#[track_caller]
fn added(host: &Host, pod: &Netns) -> Value {
    match host.call_with("ADD", "c1", pod, &said()) {
        Answer::Done(Some(text)) => serde_json::from_str(&text).unwrap(),
        answer => panic!("{answer:?}"),
    }
}

fn record(host: &Host) -> Option<Attachment> {
    serde_json::from_slice(&fs::read(host.state(RECORD)).ok()?).ok()
}

/// Waits until all is there as it was `before`, but for what the kernel loses of a burst.
#[track_caller]
fn await_record(host: &Host, before: &Attachment) {
    until(|| {
        let now = record(host).ok_or("there is no record")?;
        let limits = |Bandwidth { ingress, egress }| [ingress, egress].map(Option::unwrap);
        let pairs = limits(now.bandwidth).into_iter().zip(limits(before.bandwidth));
        let alike = pairs.into_iter().all(|(now, before)| now.is_about(&before));
        let same = Attachment { bandwidth: before.bandwidth, ..now.clone() } == *before;
        let files = before.addresses.iter().map(|ip| host.state(&format!("leases/{ip}")));
        let leased =
            files.map(fs::read_to_string).all(|text| text.is_ok_and(|t| t == "c1\r\neth0"));
        let whole = leased && host.state("claims/c1@eth0").exists();
        if alike && same && whole { Ok(()) } else { Err(format!("{now:?} for {before:?}")) }
    });
}

/// Takes the folder away, though the agent may begin to make it anew meanwhile.
fn remove(folder: &Path) {
    while let Err(error) = fs::remove_dir_all(folder) {
        assert_eq!(error.kind(), ErrorKind::DirectoryNotEmpty, "{error}");
    }
}

#[test]
fn what_is_lost_of_a_living_pods_files_is_made_anew() {
    let (mut host, netns) = (Host::new(), pod());
    let previous = added(&host, &netns);
    let before = record(&host).unwrap();
    assert!(before.host_ports.len() == 3 && before.pod.is_some(), "{before:?}");
    let lose: [fn(&Host); 5] = [
        |host| fs::remove_file(host.state(RECORD)).unwrap(),
        |host| fs::write(host.state(RECORD), b"\xff{").unwrap(),
        // Of a version that knew less.
        |host| fs::write(host.state(RECORD), r#"{"containerId": "c1", "ifname": "eth0"}"#).unwrap(),
        |host| fs::remove_file(host.state("leases/10.244.1.2")).unwrap(),
        |host| {
            for name in [names::ATTACHMENTS, names::CLAIMS, names::LEASES] {
                remove(&host.state(name));
            }
        },
    ];
    for lose in lose {
        lose(&host);
        await_record(&host, &before);
        let check = Said { previous: previous.clone(), ..said() };
        assert_eq!(host.call_with("CHECK", "c1", &netns, &check), Answer::Done(None));
    }
    assert_eq!(host.call_with("DEL", "c1", &netns, &said()), Answer::Done(None));
    host.await_nothing();
}

#[test]
fn an_address_that_another_got_meanwhile_is_named() {
    let (host, netns, other) = (Host::new(), pod(), pod());
    added(&host, &netns);
    // The agent is slower than whoever asks at once.
    host.stopped(|| {
        fs::remove_file(host.state("leases/10.244.1.2")).unwrap();
        let asked = json!({ "ips": ["10.244.1.2"] });
        let said = Said { asked, args: "", previous: Value::Null };
        let answer = host.call_with("ADD", "c2", &other, &said);
        assert!(matches!(answer, Answer::Done(Some(_))), "{answer:?}");
    });
    host.says("10.244.1.2 is of c1@eth0 and c2@eth0");
    let lease = fs::read_to_string(host.state("leases/10.244.1.2")).unwrap();
    assert_eq!(lease, "c2\r\neth0");
}
