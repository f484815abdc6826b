//! The alias of a host link, which says whose it is and repeats what of a record no other part of the
//! kernel can tell.

use std::net::IpAddr;

use crate::attachment::{Attachment, AttachmentId, Pod, mac_of, mac_text};
use crate::names;

/// `IFALIASZ` without the final NUL (linux/if.h).
const ALIAS_MAX: usize = 255;

/// Begins the alias of each host link.
const ALIAS_PREFIX: &str = "kubenet ";

/// Begins the word for the network namespace, as `/proc/PID/ns/net` names it.
const INODE_PREFIX: &str = "net:[";

/// Begins the word for a network that is not the agent's; a pod's word has a '/'.
const NETWORK_PREFIX: char = '@';

/// What the alias of a host link says: whose it is, and the addresses.
pub fn read_alias(alias: &str) -> Option<(AttachmentId, Vec<IpAddr>)> {
    let mut words = alias.strip_prefix(ALIAS_PREFIX)?.split(' ');
    let id = words.next()?.parse().ok()?;
    Some((id, words.filter_map(|word| word.parse().ok()).collect()))
}

/// The pod that the alias of a host link names, where there was room for it; its UID is in no alias.
pub fn pod_of_alias(alias: &str) -> Option<Pod> {
    let mut words = alias.strip_prefix(ALIAS_PREFIX)?.split(' ').skip(1);
    let (namespace, name) = words.find_map(|word| word.split_once('/'))?;
    Some(Pod { namespace: namespace.to_owned(), name: name.to_owned(), uid: String::new() })
}

impl AttachmentId {
    /// Whose host link carries this `alias`; none if it is no link of ours.
    pub fn of_alias(alias: &str) -> Option<Self> {
        read_alias(alias).map(|(id, _)| id)
    }
}

impl Attachment {
    /// What the host link's alias says:
    /// `kubenet CONTAINERID@IFNAME ADDRESS ADDRESS MAC net:[INODE] @NETWORK NAMESPACE/POD`. The MAC
    /// address is there if it was asked for, the network if it is not the agent's; network and pod where
    /// they fit the kernel's 255 bytes (`IFALIASZ`) too.
    pub fn alias(&self) -> String {
        let mut words = vec![format!("{ALIAS_PREFIX}{}@{}", self.container_id, self.ifname)];
        words.extend(self.addresses.iter().map(ToString::to_string));
        let is_derived = self.mac == mac_text(mac_of(&self.addresses));
        words.extend(Some(&self.mac).filter(|_| !is_derived).cloned());
        words.push(format!("{INODE_PREFIX}{}]", self.netns_inode));
        let network =
            Some(&self.network).filter(|name| !["", names::PLUGIN].contains(&name.as_str()));
        let network = network.map(|name| format!(" {NETWORK_PREFIX}{name}"));
        let pod = self.pod.as_ref().map(|pod| format!(" {pod}"));
        [network, pod].into_iter().flatten().fold(words.join(" "), |alias, word| {
            if alias.len() + word.len() <= ALIAS_MAX { alias + &word } else { alias }
        })
    }

    /// The record of an attachment as far as its host link's `alias` tells it: without limits, host
    /// ports and the pod's UID. None if it is no link of ours.
    pub fn of_alias(alias: &str) -> Option<Self> {
        let (id, addresses) = read_alias(alias)?;
        let words = || alias.split(' ').skip(2);
        let inode = words().find_map(|word| word.strip_prefix(INODE_PREFIX)?.strip_suffix(']'));
        let mac = words().find(|word| is_mac(word)).map(str::to_owned);
        let mut network = words().filter_map(|word| word.strip_prefix(NETWORK_PREFIX));
        let network = network.find(|name| !name.contains('/')).unwrap_or(names::PLUGIN);
        Some(Self {
            host_link: id.host_link(),
            container_id: id.container_id().to_owned(),
            ifname: id.ifname().to_owned(),
            bridge: names::BRIDGE.to_owned(),
            mac: mac.unwrap_or_else(|| mac_text(mac_of(&addresses))),
            addresses,
            netns_inode: inode.and_then(|inode| inode.parse().ok()).unwrap_or_default(),
            network: network.to_owned(),
            pod: pod_of_alias(alias),
            ..Self::default()
        })
    }
}

/// Six bytes, of two digits each.
fn is_mac(word: &str) -> bool {
    let is_byte = |part: &str| part.len() == 2 && part.chars().all(|c| c.is_ascii_hexdigit());
    word.split(':').count() == 6 && word.split(':').all(is_byte)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::attachment::CONTAINER_ID_MAX;

    #[test]
    fn the_longest_alias_fits_the_kernel_and_names_its_attachment() {
        let id = AttachmentId::new(&"c".repeat(CONTAINER_ID_MAX), "fifteen-letters").unwrap();
        let record = Attachment {
            container_id: id.container_id().to_owned(),
            ifname: id.ifname().to_owned(),
            bridge: "cbr0".to_owned(),
            host_link: id.host_link(),
            mac: "0a:58:ff:ff:ff:fe".to_owned(),
            addresses: vec![
                "255.255.255.253".parse().unwrap(),
                "fd00:1111:2222:3333:4444:5555:6666:7777".parse().unwrap(),
            ],
            netns_inode: u32::MAX.into(),
            network: "kubenet".to_owned(),
            ..Attachment::default()
        };
        let alias = record.alias();
        assert!(alias.len() <= 255, "{alias}");
        assert!(alias.ends_with(":7777 0a:58:ff:ff:ff:fe net:[4294967295]"), "{alias}");
        assert_eq!(Attachment::of_alias(&alias), Some(record.clone()));
        assert_eq!(AttachmentId::of_alias(&alias), Some(id.clone()));
        assert_eq!(read_alias(&alias), Some((id, record.addresses)));
        assert_eq!(AttachmentId::of_alias("somebody else's"), None);
    }

    #[test]
    fn an_alias_names_the_pod_where_there_is_room() {
        let pod =
            |name: &str| Pod { namespace: "ns".into(), name: name.into(), uid: String::new() };
        let record = |name: &str| Attachment {
            container_id: "c".into(),
            ifname: "eth0".into(),
            mac: "0a:58:0a:00:00:02".into(),
            addresses: vec!["10.0.0.2".parse().unwrap()],
            netns_inode: 7,
            pod: Some(pod(name)),
            ..Attachment::default()
        };
        assert_eq!(record("web-0").alias(), "kubenet c@eth0 10.0.0.2 net:[7] ns/web-0");
        let addresses = read_alias(&record("10.0.0.3").alias()).unwrap().1;
        assert_eq!(addresses, record("").addresses);
        assert_eq!(record(&"p".repeat(250)).alias(), "kubenet c@eth0 10.0.0.2 net:[7]");
        assert_eq!(pod_of_alias("kubenet c@eth0 10.0.0.2 fd00::2 ns/web-0"), Some(pod("web-0")));
        assert_eq!(pod_of_alias("kubenet c@a/b 10.0.0.2"), None);
        assert_eq!(pod_of_alias("somebody's ns/web-0"), None);
    }

    /// What a record is after its alias was read; `told` are its addresses, MAC, inode and pod.
    #[track_caller]
    fn check_alias(alias: &str, told: (&[&str], &str, u64, &str)) {
        let record = Attachment::of_alias(alias).unwrap();
        let addresses = record.addresses.iter().map(ToString::to_string).collect::<Vec<_>>();
        let pod = record.pod.map(|pod| pod.to_string()).unwrap_or_default();
        let read = (record.mac.as_str(), record.netns_inode, pod.as_str());
        assert_eq!(
            (addresses, read),
            (told.0.iter().map(ToString::to_string).collect(), (told.1, told.2, told.3))
        );
    }

    #[test]
    fn an_alias_names_a_network_that_is_not_the_agents() {
        let check = |network: &str, alias: &str| {
            let record = Attachment {
                container_id: "c".into(),
                ifname: "eth0".into(),
                mac: "00:00:00:00:00:00".into(),
                network: network.into(),
                pod: Some(Pod { namespace: "@ns".into(), name: "web".into(), uid: String::new() }),
                ..Attachment::default()
            };
            assert_eq!(record.alias(), alias);
            let told = Attachment::of_alias(alias).unwrap();
            assert_eq!((told.network, told.pod), (record.network, record.pod));
        };
        check("kubenet", "kubenet c@eth0 net:[0] @ns/web");
        check("pods", "kubenet c@eth0 net:[0] @pods @ns/web");
    }

    #[test]
    fn an_alias_tells_what_nothing_else_does() {
        let both = ["10.0.0.2", "fd00::2"];
        let derived = "0a:58:0a:00:00:02";
        check_alias(
            "kubenet c@eth0 10.0.0.2 fd00::2 net:[7] ns/web",
            (&both, derived, 7, "ns/web"),
        );
        let asked = "kubenet c@eth0 10.0.0.2 fd00::2 02:00:00:00:00:0a net:[4026532287]";
        check_alias(asked, (&both, "02:00:00:00:00:0a", 4_026_532_287, ""));
        // Of an earlier version.
        check_alias("kubenet c@eth0 10.0.0.2 ns/web", (&both[..1], derived, 0, "ns/web"));
        check_alias("kubenet c@eth0", (&[], "00:00:00:00:00:00", 0, ""));
        assert_eq!(Attachment::of_alias("somebody else's"), None);
    }
}
