//! The elements that an attachment owns in [`crate::names::PODS_TABLE`].
//!
//! The plugin adds and deletes them one by one over nfnetlink, the agent renders those of all records
//! after a flush: both ask here, so they can't disagree. The chains that look them up are the agent's.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use crate::attachment::{Attachment, HostPort, Protocol};
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
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
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
            let element = Element {
                set: if at.is_some() { HOST_PORTS_AT } else { HOST_PORTS }[family],
                key: at.map(Field::Address).into_iter().chain(what).collect(),
                data: vec![Field::Address(pod), Field::Port(port.container_port)],
            };
            // On any address, and once more on `0.0.0.0`.
            if !elements.contains(&element) {
                elements.push(element);
            }
        }
        if elements.len() > before {
            let key = vec![Field::Address(pod); 2];
            elements.push(Element { set: HAIRPIN[family], key, data: Vec::new() });
        }
    }
    elements
}

/// The host ports of an attachment with these `addresses`, of whose elements it has all: what
/// [`elements`] makes of them are the same again.
pub fn host_ports(addresses: &[IpAddr], elements: &[Element]) -> Vec<HostPort> {
    let ports = elements.iter().filter_map(|element| {
        let (key, data) = (&element.key[..], &element.data[..]);
        let [Field::Address(pod), Field::Port(container_port)] = *data else { return None };
        let anywhere = Family::from(pod).address(0);
        let (host_ip, protocol, host_port) = match *key {
            [Field::Protocol(protocol), Field::Port(port)] => (anywhere, protocol, port),
            [Field::Address(at), Field::Protocol(protocol), Field::Port(port)] => {
                (at, protocol, port)
            }
            _ => return None,
        };
        let port = HostPort { protocol, host_ip: Some(host_ip), host_port, container_port };
        addresses.contains(&pod).then_some(port)
    });
    let of_each = ports.collect::<BTreeSet<_>>();
    // One that names no address has an element for each family of the pod.
    let whole = of_each.iter().map(|&port| {
        let everywhere = addresses.iter().all(|&pod| {
            let host_ip = Some(Family::from(pod).address(0));
            of_each.contains(&HostPort { host_ip, ..port })
        });
        let anywhere = port.host_ip.is_some_and(|ip| ip.is_unspecified());
        if anywhere && everywhere { HostPort { host_ip: None, ..port } } else { port }
    });
    whole.collect::<BTreeSet<_>>().into_iter().collect()
}

/// The elements of all `attachments`, no two with one key: nft refuses a table that has such.
///
/// Records of one host port are left where an ADD or DEL was killed. The one that is pending gives way,
/// because its call was never answered; of two such the first by name stays. Like its transaction, an
/// attachment has all of its elements or none.
pub fn elements_of_all(attachments: &[Attachment]) -> Vec<Element> {
    let mut order = attachments.iter().collect::<Vec<_>>();
    order.sort_by_key(|it| (it.pending, &it.container_id, &it.ifname));
    let mut taken = BTreeMap::new();
    for attachment in order {
        let own = elements(attachment);
        let free = |element: &Element| !taken.contains_key(&(element.set, element.key.clone()));
        if own.iter().all(free) {
            taken.extend(own.into_iter().map(|element| ((element.set, element.key), element.data)));
        }
    }
    let elements = taken.into_iter();
    elements.map(|((set, key), data)| Element { set, key, data }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

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
            addresses: addresses.iter().map(|address| address.parse().unwrap()).collect(),
            host_ports: vec![HostPort {
                protocol: Protocol::Tcp,
                host_ip: host_ip.map(|ip| ip.parse().unwrap()),
                host_port: 8080,
                container_port: 80,
            }],
            ..Attachment::default()
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

    /// `ports` as `HOST_IP PORT`, and what they are once their elements are all that is known of them.
    #[track_caller]
    fn check_back(addresses: &[&str], ports: &[(&str, u16)], expected: &[(&str, u16)]) {
        let port = |&(host_ip, host_port): &(&str, u16)| HostPort {
            protocol: Protocol::Udp,
            host_ip: host_ip.parse().ok(),
            host_port,
            container_port: 53,
        };
        let mut attachment = Attachment {
            addresses: addresses.iter().map(|address| address.parse().unwrap()).collect(),
            host_ports: ports.iter().map(port).collect(),
            ..Attachment::default()
        };
        let before = elements(&attachment);
        attachment.host_ports = host_ports(&attachment.addresses, &before);
        assert_eq!(attachment.host_ports, expected.iter().map(port).collect::<Vec<_>>());
        let mut after = elements(&attachment);
        assert!(after.len() == before.len(), "{after:?}");
        after.retain(|element| !before.contains(element));
        assert_eq!(after, []);
    }

    #[test]
    fn host_ports_are_read_back_from_their_elements() {
        let both = ["10.0.0.5", "fd00::5"];
        check_back(&both, &[], &[]);
        check_back(&both, &[("", 80), ("", 81)], &[("", 80), ("", 81)]);
        check_back(&both, &[("0.0.0.0", 80)], &[("0.0.0.0", 80)]);
        check_back(&both, &[("::", 80), ("", 81)], &[("", 81), ("::", 80)]);
        check_back(&both, &[("0.0.0.0", 80), ("::", 80)], &[("", 80)]);
        check_back(&["10.0.0.5"], &[("0.0.0.0", 80)], &[("", 80)]);
        check_back(&["fd00::5"], &[("", 80), ("192.0.2.1", 80)], &[("", 80)]);
        let named = [("192.0.2.1", 80), ("2001:db8::1", 80)];
        check_back(&both, &named, &named);
    }

    #[test]
    fn elements_of_others_are_no_host_ports_of_this_one() {
        let other = Attachment {
            addresses: vec!["10.0.0.6".parse().unwrap()],
            host_ports: vec![HostPort {
                protocol: Protocol::Tcp,
                host_ip: None,
                host_port: 80,
                container_port: 80,
            }],
            ..Attachment::default()
        };
        assert_eq!(host_ports(&["10.0.0.5".parse().unwrap()], &elements(&other)), []);
    }

    /// Of attachments `(id, pending, address, host ports)`.
    #[track_caller]
    fn check_all(attachments: &[(&str, bool, &str, &[u16])], expected: &[&str]) {
        let attachments = attachments.iter().map(|&(id, pending, address, ports)| Attachment {
            container_id: id.into(),
            pending,
            addresses: vec![address.parse().unwrap()],
            host_ports: ports
                .iter()
                .map(|&host_port| HostPort {
                    protocol: Protocol::Tcp,
                    host_ip: None,
                    host_port,
                    container_port: 80,
                })
                .collect(),
            ..Attachment::default()
        });
        let elements = elements_of_all(&attachments.collect::<Vec<_>>());
        let ports = elements.iter().filter(|element| element.set == HOST_PORTS.v4);
        assert_eq!(ports.map(text).collect::<Vec<_>>(), expected);
    }

    #[test]
    fn a_host_port_is_of_one_attachment() {
        let (a, b) =
            ("hostports4 tcp . 8080 : 10.0.0.2 . 80", "hostports4 tcp . 8080 : 10.0.0.3 . 80");
        check_all(&[("a", false, "10.0.0.2", &[8080]), ("b", true, "10.0.0.3", &[8080])], &[a]);
        check_all(&[("a", true, "10.0.0.2", &[8080]), ("b", false, "10.0.0.3", &[8080])], &[b]);
        check_all(&[("b", true, "10.0.0.3", &[8080]), ("a", true, "10.0.0.2", &[8080])], &[a]);
        check_all(&[("b", true, "10.0.0.3", &[8080])], &[b]);
        check_all(
            &[("a", false, "10.0.0.2", &[8080]), ("b", true, "10.0.0.3", &[8080, 9090])],
            &[a],
        );
        check_all(
            &[("a", false, "10.0.0.2", &[8080]), ("b", false, "10.0.0.3", &[9090])],
            &[a, "hostports4 tcp . 9090 : 10.0.0.3 . 80"],
        );
    }
}
