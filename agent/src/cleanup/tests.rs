//! What goes and who keeps it, as tables.

use super::*;
use crate::testing::{link, route};

fn paths() -> Paths {
    Paths {
        sysctl: "/proc/sys".into(),
        state: "/run/kubenet".into(),
        other_bins: Vec::new(),
        bin: "/opt/cni/bin".into(),
        conf: "/etc/cni/net.d".into(),
        plugin: "/plugin".into(),
        exceptions: None,
        data: "/data".into(),
    }
}

fn observed() -> Observed {
    let mut pod = link(8, "vethd63491b1f0b:veth 1500 up hairpin master=7");
    pod.alias = Some("kubenet c@eth0 10.244.1.5".to_owned());
    let id = "c@eth0".parse::<AttachmentId>().unwrap();
    let mut limiter = link(11, &format!("{}:ifb 1500 up", id.limiter()));
    limiter.alias.clone_from(&pod.alias);
    Observed {
        links: vec![
            link(2, "eth0 1500 up"),
            link(7, "cbr0:bridge 1500 up"),
            pod,
            link(9, "tap0:tun 1500 up master=7"),
            link(10, "tap1:tun 1500 up master=6"),
            limiter,
            link(12, "ifb0:ifb 1500 up"),
        ],
        routes: vec![
            route("10.244.2.0/24 via 192.0.2.2 dev 2 proto 107"),
            route("10.244.3.0/24 via 192.0.2.2 dev 2 proto 4"),
        ]
        .into(),
        plugins: vec![("loopback", Installed::Foreign), ("kubenet", Installed::Outdated)],
        conflist: Some(String::new()),
        ..Observed::default()
    }
}

#[test]
fn what_is_ours_goes_in_its_order_and_nothing_else() {
    let change = |key: &str, now: &str| {
        let change = Change { key: key.to_owned(), before: "0".to_owned(), given: "1".to_owned() };
        (change, Some(now.to_owned()))
    };
    let changes = [change("first", "1"), change("somebody's", "2"), change("last", "1")];
    let disabled = [PathBuf::from("/etc/cni/net.d/05-other.conflist.kubenet-disabled")];
    let removals = plan(&paths(), &observed(), &[Table::Pods], &changes, &disabled);
    let expected = [
        "remove /etc/cni/net.d/10-kubenet.conflist",
        "remove /opt/cni/bin/kubenet",
        "delete 1 routes",
        "set last back to 0",
        "set first back to 0",
        "delete nft table inet kubenet-pods",
        "name /etc/cni/net.d/05-other.conflist.kubenet-disabled as it was",
        "delete link vethd63491b1f0b",
        "delete link ifbd63491b1f0b",
        "delete link cbr0",
    ];
    assert_eq!(removals.iter().map(Removal::to_string).collect::<Vec<_>>(), expected);
    assert_eq!(plan(&paths(), &Observed::default(), &[], &[], &[]), []);
}

#[test]
fn pods_and_the_ports_of_others_are_named() {
    assert_eq!(living(&observed(), &[]), ["attachment c@eth0 10.244.1.5", "port tap0 of cbr0"]);
    let record = Attachment {
        container_id: "c".to_owned(),
        ifname: "eth0".to_owned(),
        pod: Some(Pod {
            namespace: "default".to_owned(),
            name: "web".to_owned(),
            uid: String::new(),
        }),
        ..Attachment::default()
    };
    let first = living(&observed(), &[record]).swap_remove(0);
    assert_eq!(first, "pod default/web, attachment c@eth0 10.244.1.5");
    assert!(living(&Observed::default(), &[]).is_empty());
    let mut unrecorded = observed();
    unrecorded.links[2].alias = Some("kubenet c@eth0 10.244.1.5 default/web".to_owned());
    assert_eq!(living(&unrecorded, &[])[0], first);
}
