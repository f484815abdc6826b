//! Whatever bytes a runtime sends, and whatever stands in a record: an answer, and no panic.
//!
//! `PROPTEST_CASES=1000000 cargo test -p cni bytes` runs long; what fails is printed with its seed.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;

use common::attachment::Attachment;
use common::pods_table;
use proptest::prelude::*;

use super::*;

const CONF: &str = r#"{"cniVersion":"1.1.0","name":"kubenet","type":"kubenet","mtu":1450,"hairpin":true,
"ranges":[{"subnet":"10.244.1.0/24","gateway":"10.244.1.1"},{"subnet":"fd00:1::/64","gateway":"fd00:1::1"}],
"runtimeConfig":{"portMappings":[{"hostPort":80,"containerPort":80,"protocol":"udp","hostIP":"::"}],
"bandwidth":{"ingressRate":8000000,"ingressBurst":80000}},"stateDir":"/run/kubenet",
"cni.dev/valid-attachments":[{"containerID":"c1","ifname":"eth0"}],"prevResult":{"ips":[]}}"#;

const RECORD: &str = r#"{"containerId":"c1","ifname":"eth0","bridge":"cbr0","hostLink":"veth0",
"mac":"0a:58:0a:f4:01:05","addresses":["10.244.1.5","fd00::5"],"netnsInode":1,
"hostPorts":[{"protocol":"tcp","hostPort":80,"containerPort":80}],"pending":true}"#;

/// Bytes of any kind, or `text` with some of them in the place of others.
fn bytes(text: &'static str) -> impl Strategy<Value = Vec<u8>> {
    let spoilt = (prop::collection::vec((0..text.len(), any::<u8>()), 0..4), 0..=text.len());
    let spoilt = spoilt.prop_map(move |(changes, length)| {
        let mut bytes = text.as_bytes().to_vec();
        for (place, byte) in changes {
            bytes[place] = byte;
        }
        // Every other one is whole.
        bytes.truncate(if length % 2 == 0 { text.len() } else { length });
        bytes
    });
    prop_oneof![spoilt, prop::collection::vec(any::<u8>(), 0..200)]
}

fn variable(likely: &'static str) -> impl Strategy<Value = Option<OsString>> {
    let any = prop::collection::vec(any::<u8>(), 0..40).prop_map(OsString::from_vec);
    prop_oneof![2 => Just(Some(likely.into())), 1 => any.prop_map(Some), 1 => Just(None)]
}

fn environment() -> impl Strategy<Value = Environment> {
    let verb = prop_oneof![Just("ADD"), Just("DEL"), Just("CHECK"), Just("GC"), Just("STATUS")];
    let verb = prop_oneof![4 => verb.prop_map(|verb| Some(verb.into())), 1 => variable("VERSION")];
    let args = variable("IgnoreUnknown=1;K8S_POD_NAMESPACE=a;K8S_POD_NAME=b;IP=10.244.1.9");
    let names = (variable("c1"), variable("/run/netns/x"), variable("eth0"));
    let trace = variable("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01");
    let all = (verb, names, args, trace);
    all.prop_map(|(command, (container_id, netns, ifname), args, trace_parent)| Environment {
        command,
        container_id,
        netns,
        ifname,
        args,
        trace_parent,
    })
}

proptest! {
    #[test]
    fn any_bytes_are_a_request_or_a_named_mistake(
        environment in environment(),
        stdin in bytes(CONF),
    ) {
        prop_assert!(environment.trace().is_none_or(|id| id.len() == 32));
        let parsed = decode(&stdin, 1 << 20).and_then(|conf| {
            let call = Call::parse(&environment)?;
            call.check_version(version(&conf)?)?;
            Request::parse(call, conf)
        });
        if let Err(error) = parsed {
            prop_assert!([1, 2, 4, 6, 7].contains(&error.code()), "{error}");
            prop_assert!(!error.to_string().is_empty());
        }
    }

    #[test]
    fn any_bytes_are_a_record_or_none(text in bytes(RECORD)) {
        if let Ok(record) = serde_json::from_slice::<Attachment>(&text) {
            let written = serde_json::to_vec(&record).unwrap();
            prop_assert_eq!(serde_json::from_slice::<Attachment>(&written).unwrap(), record.clone());
            pods_table::elements_of_all(&[record.clone(), record]);
        }
    }
}
