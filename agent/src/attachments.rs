//! Pure: attachments that live, and of whose files some are lost.
//!
//! Without its record a port is not repaired and a table is made anew without its host ports; without
//! its lease an address is given to another pod. The files say nothing that the kernel can't tell.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use common::alias::read_alias;
use common::attachment::AttachmentId;
use net::link::Link;

use crate::ports;

/// What there is of attachments' files.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Files {
    /// Attachments that have a record.
    pub recorded: BTreeSet<AttachmentId>,
    /// Attachments that are being removed.
    pub dying: BTreeSet<AttachmentId>,
    /// Addresses that have a lease.
    pub leased: BTreeSet<IpAddr>,
}

/// The ports of `bridge` that are pods' and lack a record or a lease, in the order of their links.
pub fn lost(links: &[Link], bridge: Option<&Link>, files: &Files) -> Vec<AttachmentId> {
    let lacks = |id: &AttachmentId, addresses: &[IpAddr]| {
        !files.recorded.contains(id) || addresses.iter().any(|ip| !files.leased.contains(ip))
    };
    let living = living(links, bridge).filter(|(id, _)| !files.dying.contains(id));
    living.filter(|(id, addresses)| lacks(id, addresses)).map(|(id, _)| id).collect()
}

/// The pods that are ports of `bridge`, with their addresses.
pub fn living<'a>(
    links: &'a [Link],
    bridge: Option<&Link>,
) -> impl Iterator<Item = (AttachmentId, Vec<IpAddr>)> + use<'a> {
    let bridge = bridge.map(|bridge| bridge.index);
    let ports = links.iter().filter(move |link| link.master.is_some() && link.master == bridge);
    ports
        .filter(|port| ports::owner(port).is_some())
        .filter_map(|p| read_alias(p.alias.as_deref()?))
}

/// What is wrong where two of them have one address: its lease was lost, and another got it meanwhile.
pub fn quarrels(links: &[Link], bridge: Option<&Link>) -> Vec<String> {
    let mut holders = BTreeMap::<IpAddr, Vec<AttachmentId>>::new();
    for (id, addresses) in living(links, bridge) {
        for address in addresses {
            holders.entry(address).or_default().push(id.clone());
        }
    }
    let several = holders.into_iter().filter(|(_, ids)| ids.len() > 1);
    let named = several.map(|(address, ids)| {
        let ids = ids.iter().map(ToString::to_string).collect::<Vec<_>>();
        format!("{address} is of {}: all but one of these pods have to go", ids.join(" and "))
    });
    named.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::link;

    /// Of a pod whose link is a port of `master`.
    #[track_caller]
    fn check(master: u32, recorded: &[&str], dying: &[&str], leased: &[&str], expected: &[&str]) {
        let id = "c1@eth0".parse::<AttachmentId>().unwrap();
        let mut port = link(9, &format!("{}:veth 1500 up master={master}", id.host_link()));
        port.alias = Some("kubenet c1@eth0 10.244.1.5 fd00::5 net:[7] ns/c1".to_owned());
        let ids = |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect();
        let files = Files {
            recorded: ids(recorded),
            dying: ids(dying),
            leased: leased.iter().map(|text| text.parse().unwrap()).collect(),
        };
        let bridge = link(7, "cbr0:bridge 1500 up");
        let lost = lost(&[link(2, "eth0 1500 up"), port], Some(&bridge), &files);
        assert_eq!(lost.iter().map(ToString::to_string).collect::<Vec<_>>(), expected);
    }

    #[test]
    fn who_lacks_a_record_or_a_lease_has_lost_it() {
        let both = ["10.244.1.5", "fd00::5"];
        check(7, &["c1@eth0"], &[], &both, &[]);
        check(7, &[], &[], &both, &["c1@eth0"]);
        check(7, &["c1@eth0"], &[], &both[..1], &["c1@eth0"]);
        check(7, &["c2@eth0"], &[], &[], &["c1@eth0"]);
    }

    #[test]
    fn an_address_of_two_is_named() {
        let port = |index: u32, id: &str, addresses: &str| {
            let name = id.parse::<AttachmentId>().unwrap().host_link();
            let mut port = link(index, &format!("{name}:veth 1500 up master=7"));
            port.alias = Some(format!("kubenet {id} {addresses}"));
            port
        };
        let bridge = link(7, "cbr0:bridge 1500 up");
        let mut links =
            vec![port(8, "c1@eth0", "10.0.0.2 fd00::2"), port(9, "c2@eth0", "10.0.0.3")];
        assert_eq!(quarrels(&links, Some(&bridge)), [""; 0]);
        links.push(port(10, "c3@eth0", "fd00::2"));
        let said = "fd00::2 is of c1@eth0 and c3@eth0: all but one of these pods have to go";
        assert_eq!(quarrels(&links, Some(&bridge)), [said]);
    }

    #[test]
    fn who_dies_or_is_no_port_of_ours_has_lost_nothing() {
        check(7, &[], &["c1@eth0"], &[], &[]);
        check(8, &[], &[], &[], &[]);
        assert_eq!(lost(&[], None, &Files::default()), []);
    }
}
