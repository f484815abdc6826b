//! The tables as golden text, and a kernel that takes them.

use common::attachment::HostPort;
use net::Netns;

use super::*;
use crate::hairpin::deduplication;
use crate::testing::golden;

fn prefixes(texts: &[&str]) -> Vec<Prefix> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

fn machine() -> String {
    let sources = prefixes(&["10.244.1.0/24", "fd00:0:0:1::/64"]);
    render_machine(&sources, &prefixes(&["10.244.0.0/16", "fd00::/48"]))
}

fn pods() -> String {
    let port = |host_ip: Option<&str>, host_port| HostPort {
        protocol: Protocol::Tcp,
        host_ip: host_ip.map(|ip| ip.parse().unwrap()),
        host_port,
        container_port: 80,
    };
    let elements = elements(&[Attachment {
        container_id: "c".into(),
        ifname: "eth0".into(),
        bridge: "cbr0".into(),
        host_link: "veth0".into(),
        mac: "0a:58:0a:f4:01:05".into(),
        addresses: vec!["10.244.1.5".parse().unwrap(), "fd00::5".parse().unwrap()],
        netns_inode: 1,
        host_ports: vec![port(None, 8080), port(Some("192.0.2.1"), 8081)],
        ..Attachment::default()
    }]);
    render_pods(Loopback::Reached) + &elements
}

fn dedup() -> String {
    render_dedup(&deduplication(net::Mac([0x0a, 0x58, 10, 244, 1, 1])))
}

#[test]
fn the_tables_read_as_they_should() {
    golden("kubenet.nft", &machine());
    golden("kubenet-pods.nft", &pods());
    golden("kubenet-dedup.nft", &dedup());
}

#[test]
fn nft_takes_all_tables_twice_and_prints_the_same() {
    let netns = Netns::unnamed().unwrap();
    netns
        .run(|| {
            for (table, text) in [(Table::Machine, machine()), (Table::Pods, pods())] {
                let listings = [(); 2].map(|()| {
                    net::nft::apply(&text).unwrap();
                    net::nft::list(table.name()).unwrap().unwrap()
                });
                assert_eq!(listings[0], listings[1]);
                assert!(listings[0].contains("masquerade"), "{}", listings[0]);
            }
            let listings = [(); 2].map(|()| {
                net::nft::apply(&dedup()).unwrap();
                net::nft::list_of_bridge(names::DEDUP_TABLE).unwrap().unwrap()
            });
            assert_eq!(listings[0], listings[1]);
        })
        .unwrap();
}

#[test]
fn one_family_has_no_rule_for_the_other() {
    let text = render_machine(&prefixes(&["10.244.1.0/24"]), &prefixes(&["10.244.0.0/16"]));
    assert!(!text.contains("ip6"), "{text}");
}

#[test]
fn overlapping_cluster_cidrs_are_one_element() {
    let inside = prefixes(&["10.0.0.0/8", "10.244.0.0/16"]);
    let text = render_machine(&prefixes(&["10.244.1.0/24"]), &inside);
    assert!(text.contains("ip daddr != { 10.0.0.0/8, 224.0.0.0/4 }"), "{text}");
}

#[test]
fn nothing_is_masqueraded_where_everything_is_inside() {
    let sources = prefixes(&["10.244.1.0/24", "fd00:0:0:1::/64"]);
    let text = render_machine(&sources, &prefixes(&["10.244.0.0/16", "0.0.0.0/0"]));
    assert!(text.contains("ip6 saddr") && !text.contains("ip saddr"), "{text}");
}

#[test]
fn a_table_that_reads_otherwise_is_not_in_force() {
    let applied = || Some(Applied { text: "text".to_owned(), listing: "listing".to_owned() });
    assert_eq!(in_force(applied(), Some("listing")).as_deref(), Some("text"));
    assert_eq!(in_force(applied(), Some("changed")).as_deref(), Some(""));
    assert_eq!(in_force(applied(), None), None);
    assert_eq!(in_force(None, Some("listing")).as_deref(), Some(""));
}

#[test]
fn only_a_table_with_another_text_is_replaced() {
    let tables = |machine: &str, pods: &str| {
        BTreeMap::from([(Table::Machine, machine.to_owned()), (Table::Pods, pods.to_owned())])
    };
    assert!(plan(&tables("a", "b"), &tables("a", "b")).is_empty());
    let steps = plan(&tables("a", "b"), &tables("a", "c"));
    assert_eq!(steps, [Step { table: Table::Pods, text: "b".to_owned() }]);
    assert_eq!(plan(&tables("a", "b"), &BTreeMap::new()).len(), 2);
    let more = BTreeMap::from([(Table::Dedup, String::new())]);
    let steps = plan(&BTreeMap::new(), &more);
    assert_eq!(steps[0].to_string(), "remove nft table bridge kubenet-dedup");
}
