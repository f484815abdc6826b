//! The elements that an attachment owns in [`crate::names::PODS_TABLE`].
//!
//! The plugin adds and deletes them one by one over nfnetlink, the agent renders those of all records
//! after a flush: both ask here, so they can't disagree. The chains that look them up are the agent's.

use std::net::IpAddr;

use crate::attachment::{Attachment, Protocol};
use crate::{Family, PerFamily};

/// Maps `protocol . host port : address . port`: a host port on any address of the machine.
pub const HOST_PORTS: PerFamily<&str> = PerFamily { v4: "hostports4", v6: "hostports6" };

/// Maps `host address . protocol . host port : address . port`: a host port on one address.
pub const HOST_PORTS_AT: PerFamily<&str> = PerFamily { v4: "hostports4_at", v6: "hostports6_at" };

/// Sets `address . address`: a pod that may reach itself by a host port, so as its own client.
pub const HAIRPIN: PerFamily<&str> = PerFamily { v4: "hairpin4", v6: "hairpin6" };

/// One element of a set, or of a map if it has `data`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Element {
    pub set: &'static str,
    pub key: Vec<Field>,
    pub data: Vec<Field>,
}

/// One part of a concatenated key or value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Field {
    Address(IpAddr),
    Protocol(Protocol),
    Port(u16),
}

/// The elements of `attachment`: none if it has no host port.
///
/// A host port on an address of one family leads to the pod's address of that family; one that names
/// no address exists for each family that the pod has. `0.0.0.0` and `::` are any address of theirs.
pub fn elements(attachment: &Attachment) -> Vec<Element> {
    let mut elements = Vec::new();
    for &pod in &attachment.addresses {
        let family = Family::from(pod);
        let before = elements.len();
        for port in &attachment.host_ports {
            if port.host_ip.is_some_and(|ip| Family::from(ip) != family) {
                continue;
            }
            let what = [Field::Protocol(port.protocol), Field::Port(port.host_port)];
            let at = port.host_ip.filter(|ip| !ip.is_unspecified());
            elements.push(Element {
                set: if at.is_some() { HOST_PORTS_AT } else { HOST_PORTS }[family],
                key: at.map(Field::Address).into_iter().chain(what).collect(),
                data: vec![Field::Address(pod), Field::Port(port.container_port)],
            });
        }
        if elements.len() > before {
            let key = vec![Field::Address(pod); 2];
            elements.push(Element { set: HAIRPIN[family], key, data: Vec::new() });
        }
    }
    elements
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::attachment::HostPort;

    fn text(element: &Element) -> String {
        let fields = |fields: &[Field]| {
            let texts = fields.iter().map(|field| match field {
                Field::Address(address) => address.to_string(),
                Field::Protocol(protocol) => format!("{protocol:?}").to_lowercase(),
                Field::Port(port) => port.to_string(),
            });
            texts.collect::<Vec<_>>().join(" . ")
        };
        format!("{} {} : {}", element.set, fields(&element.key), fields(&element.data))
    }

    #[track_caller]
    fn check(addresses: &[&str], host_ip: Option<&str>, expected: &[&str]) {
        let attachment = Attachment {
            container_id: "c".into(),
            ifname: "eth0".into(),
            bridge: "cbr0".into(),
            host_link: "veth0".into(),
            mac: "0a:58:0a:f4:01:05".into(),
            addresses: addresses.iter().map(|address| address.parse().unwrap()).collect(),
            netns_inode: 1,
            host_ports: vec![HostPort {
                protocol: Protocol::Tcp,
                host_ip: host_ip.map(|ip| ip.parse().unwrap()),
                host_port: 8080,
                container_port: 80,
            }],
        };
        assert_eq!(elements(&attachment).iter().map(text).collect::<Vec<_>>(), expected);
    }

    #[test]
    fn a_host_port_has_an_element_in_each_family_of_the_pod() {
        check(
            &["10.0.0.5", "fd00::5"],
            None,
            &[
                "hostports4 tcp . 8080 : 10.0.0.5 . 80",
                "hairpin4 10.0.0.5 . 10.0.0.5 : ",
                "hostports6 tcp . 8080 : fd00::5 . 80",
                "hairpin6 fd00::5 . fd00::5 : ",
            ],
        );
    }

    #[test]
    fn a_host_ip_binds_it_to_one_family() {
        check(
            &["10.0.0.5", "fd00::5"],
            Some("192.0.2.1"),
            &[
                "hostports4_at 192.0.2.1 . tcp . 8080 : 10.0.0.5 . 80",
                "hairpin4 10.0.0.5 . 10.0.0.5 : ",
            ],
        );
        check(&["10.0.0.5"], Some("2001:db8::1"), &[]);
        check(
            &["10.0.0.5", "fd00::5"],
            Some("::"),
            &["hostports6 tcp . 8080 : fd00::5 . 80", "hairpin6 fd00::5 . fd00::5 : "],
        );
    }
}
