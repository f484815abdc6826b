//! What is desired of cbr0, its routes and its masquerade, as a table.

use super::*;

#[test]
fn an_old_range_with_pods_keeps_its_masquerade() {
    let peers = peers(&["me 1 10.244.9.0/24"]);
    let mut observed = bare();
    observed.links.push(link(CBR0, "cbr0:bridge 1450 up mac=0a:58:0a:f4:01:01"));
    observed.addresses.push(address(CBR0, "10.244.1.1/24"));
    observed.attached = vec!["10.244.1.5".parse().unwrap()];
    let table = |observed: &Observed| {
        desired(&config(), Some(&peers), observed).unwrap().network.unwrap().tables[&Table::Machine]
            .clone()
    };
    assert!(table(&observed).contains("ip saddr { 10.244.9.0/24, 10.244.1.0/24 }"));
    let complaints = |observed: &Observed| {
        complaints(&desired(&config(), Some(&peers), observed).unwrap(), observed)
    };
    let kept = "cbr0 keeps 10.244.1.1/24: pods of an earlier podCIDR live there";
    assert_eq!(complaints(&observed), [kept.to_owned()].into());
    observed.attached.clear();
    assert!(table(&observed).contains("ip saddr { 10.244.9.0/24 }"));
    assert!(complaints(&observed).is_empty());
}

#[test]
fn routes_that_are_others_to_make_are_not_ours_and_ours_of_before_go() {
    let peers = peers(&[
        "me 1 10.244.1.0/24",
        "b 2 10.244.2.0/24 192.0.2.2",
        "c 3 10.244.3.0/24 203.0.113.3",
    ]);
    let mut observed = bare();
    let direct = desired(&config(), Some(&peers), &observed).unwrap();
    let routes = &direct.network.as_ref().unwrap().routes;
    assert_eq!((routes.by_destination.len(), routes.refused.len()), (1, 1));
    Arc::make_mut(&mut observed.routes).push(route("10.244.2.0/24 via 192.0.2.2 dev 2 proto 107"));
    for routing in [Routing::Cloud, Routing::None] {
        let config = Config { routing, ..config() };
        let desired = desired(&config, Some(&peers), &observed).unwrap();
        assert!(complaints(&desired, &observed).is_empty());
        let steps = plan(&desired, &observed).iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(steps[0], "delete route 10.244.2.0/24 via 192.0.2.2 on link 2", "{steps:?}");
        assert!(!steps.iter().any(|step| step.starts_with("set route")), "{steps:?}");
    }
}

#[test]
fn the_bridge_follows_the_uplink_down_and_rises_no_higher_than_a_living_pod() {
    let peers = peers(&["me 1 10.244.1.0/24"]);
    let mut observed = bare();
    observed.links.push(link(CBR0, "cbr0:bridge 1400 up"));
    let check = |observed: &Observed, bridge: u32, conflist: &str| {
        let desired = desired(&config(), Some(&peers), observed).unwrap();
        assert_eq!(desired.network.as_ref().unwrap().bridge.mtu, bridge);
        let plugin =
            &serde_json::from_str::<serde_json::Value>(&desired.offer.as_ref().unwrap().conflist)
                .unwrap()["plugins"][0];
        assert_eq!(format!("{} {}", plugin["mtu"], plugin["routeMtu"]), conflist);
        complaints(&desired, observed).len()
    };
    assert_eq!(check(&observed, 1450, "1450 null"), 0);
    observed.links.push(link(8, "veth1:veth 1400 up master=7"));
    assert_eq!(check(&observed, 1400, "1400 null"), 1);
    observed.links[1].mtu = 1300;
    assert_eq!(check(&observed, 1300, "1400 1300"), 0);
    observed.links[1].up = false;
    observed.links.pop();
    assert_eq!(check(&observed, 1400, "1400 null"), 0);
}
