//! Routes to peers: followed, and none to whoever is wrong.

use std::net::IpAddr;

use anyhow::{Result, bail, ensure};
use e2e::network;
use e2e::solo::{self, Solo};
use k8s_openapi::api::core::v1::{Event, Node};
use kube::Api;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams};
use serde_json::{Value, json};

use crate::{PATIENCE, within_a_second};

const FAR: &str = "198.51.100.7";

pub(crate) fn followed(solo: &mut Solo) -> Result<()> {
    let (cidr, moved) = ("10.244.61.0/24", "10.244.62.0/24");
    // The podCIDR comes late, as it does from any controller.
    solo.api.observer.create_nodes(vec![solo::peer(61, &[])])?;
    let late = json!({"spec": {"podCIDR": cidr, "podCIDRs": [cidr]}});
    patch(solo, "peer-61", &late)?;
    leads(solo, cidr, v4(61))?;
    // Its machine moves.
    readdress(solo, "peer-61", &[v4(63), v6(63)])?;
    leads(solo, cidr, v4(63))?;
    // Off link it has none rather than a wrong one.
    readdress(solo, "peer-61", &[FAR.parse()?])?;
    gone(solo, cidr)?;
    named(solo, "198.51.100.7 is not on a link of this machine")?;
    readdress(solo, "peer-61", &[v4(61), v6(61)])?;
    leads(solo, cidr, v4(61))?;
    // It comes again with another podCIDR, and goes.
    delete(solo, "peer-61")?;
    solo.api.observer.create_nodes(vec![solo::peer(61, &[moved])])?;
    leads(solo, moved, v4(61))?;
    gone(solo, cidr)?;
    delete(solo, "peer-61")?;
    gone(solo, moved)?;
    solo.api.delete_fakes()
}

pub(crate) fn one_family(solo: &mut Solo) -> Result<()> {
    let [cidr4, cidr6] = ["10.244.64.0/24", "fd00:10:244:64::/64"];
    solo.api.observer.create_nodes(vec![solo::peer(64, &[cidr4, cidr6])])?;
    leads(solo, cidr4, v4(64))?;
    leads(solo, cidr6, v6(64))?;
    readdress(solo, "peer-64", &[v4(65), v6(64)])?;
    leads(solo, cidr4, v4(65))?;
    readdress(solo, "peer-64", &[v4(65), v6(66)])?;
    leads(solo, cidr6, v6(66))?;
    leads(solo, cidr4, v4(65))?;
    solo.api.delete_fakes()
}

/// What each of them says of itself, and what the agent says of it.
const HOSTILE: [(&str, &[&str], &str, &str); 7] = [
    ("heir", &["10.244.67.0/25"], "", "it overlaps 10.244.67.0/24 of node peer-67"),
    ("twin", &["10.244.1.0/24"], "", "it overlaps 10.244.1.0/24 of node solo"),
    ("clerk", &["10.96.7.0/24"], "", "it is in no --cluster-cidr"),
    ("world", &["0.0.0.0/0"], "", "it is in no --cluster-cidr"),
    ("mirror", &["10.244.71.0/24"], "172.30.0.11", "172.30.0.11 is an address of this machine"),
    ("far", &["10.244.72.0/24"], FAR, "198.51.100.7 is not on a link of this machine"),
    ("pod", &["10.244.73.0/24"], "10.244.1.9", "10.244.1.9 is not on a link of this machine"),
];

pub(crate) fn hostile(solo: &mut Solo) -> Result<()> {
    let good = "10.244.67.0/24";
    solo.place.ip("route add 10.244.80.0/24 via 172.30.0.80 proto static")?;
    solo.api.observer.create_nodes(vec![solo::peer(67, &[good])])?;
    leads(solo, good, v4(67))?;
    // Younger by a second at least: that is how exactly Nodes are dated.
    let dated = solo.api.observer.look(|cluster| created(&cluster.nodes["peer-67"].object));
    e2e::wait::eventually("a second has passed", PATIENCE, || {
        let now = k8s_openapi::jiff::Timestamp::now().as_second();
        Ok((Some(now) > dated).then_some(()))
    })?;
    let before = routes(solo)?;
    let nodes = HOSTILE.map(|(name, cidrs, address, _)| {
        let address = if address.is_empty() { v4(70) } else { address.parse()? };
        Ok(solo::at(name, &[address], cidrs))
    });
    solo.api.observer.create_nodes(nodes.into_iter().collect::<Result<_>>()?)?;
    solo.api.observer.create_nodes(vec![
        solo::peer(68, &["10.244.80.0/24"]),
        solo::peer(69, &["10.244.69.0/24"]),
    ])?;
    leads(solo, "10.244.69.0/24", v4(69))?;
    let known = solo.ask_agent("/metrics")?;
    let count = format!("kubenet_agent_complaints {}\n", HOSTILE.len() + 1);
    ensure!(known.contains(&count), "not {count:?}: {known}");
    for (name, cidrs, _, why) in HOSTILE {
        let said = format!("no route to podCIDR {:?} of node {name}: {why}", cidrs[0]);
        solo.agent.as_mut().map_or(Ok(()), |agent| agent.wait_for_log(&said))?;
    }
    event(solo, "no route to podCIDR")?;
    let after = routes(solo)?;
    let new = after.iter().filter(|route| !before.contains(route)).collect::<Vec<_>>();
    ensure!(new.len() == 1 && new[0].starts_with("10.244.69.0/24"), "{new:?}");
    ensure!(before.iter().all(|route| after.contains(route)), "{before:?}, then {after:?}");
    solo.place.ip("route delete 10.244.80.0/24 via 172.30.0.80 proto static")?;
    leads(solo, "10.244.80.0/24", v4(68))?;
    solo.api.delete_fakes()
}

pub(crate) fn restart(solo: &mut Solo) -> Result<()> {
    let [stays, goes] = ["10.244.74.0/24", "10.244.75.0/24"];
    solo.api.observer.create_nodes(vec![solo::peer(74, &[stays]), solo::peer(75, &[goes])])?;
    leads(solo, stays, v4(74))?;
    leads(solo, goes, v4(75))?;
    let others = "route add 10.244.90.0/24 via 172.30.0.90 proto static";
    solo.place.ip(others)?;
    solo.end_agent()?;
    delete(solo, "peer-75")?;
    ensure!(solo.route(goes)?.is_some(), "a route went without an agent");
    solo.start_agent(&[])?;
    gone(solo, goes)?;
    leads(solo, stays, v4(74))?;
    ensure!(solo.route("10.244.90.0/24")?.is_some(), "the route of somebody else is gone");
    solo.place.ip("route delete 10.244.90.0/24 via 172.30.0.90 proto static")?;
    solo.api.delete_fakes()
}

pub(crate) fn v4(number: u8) -> IpAddr {
    network::addresses(number).v4
}

fn v6(number: u8) -> IpAddr {
    network::addresses(number).v6
}

pub(crate) fn leads(solo: &Solo, cidr: &str, via: IpAddr) -> Result<()> {
    let via = format!(" via {via} ");
    within_a_second(&format!("{cidr}{via}"), || {
        Ok(solo.route(cidr)?.filter(|route| route.contains(&via)).map(drop))
    })
}

fn gone(solo: &Solo, cidr: &str) -> Result<()> {
    within_a_second(&format!("no route to {cidr}"), || {
        Ok(solo.route(cidr)?.is_none().then_some(()))
    })
}

/// All IPv4 routes.
fn routes(solo: &Solo) -> Result<Vec<String>> {
    Ok(solo.place.output(&["ip", "-4", "route"])?.lines().map(str::to_owned).collect())
}

fn named(solo: &Solo, text: &str) -> Result<()> {
    within_a_second(text, || Ok(solo.ask_agent("/readyz?verbose")?.contains(text).then_some(())))
}

/// Waits for an Event on the machine's own Node.
fn event(solo: &Solo, text: &str) -> Result<()> {
    e2e::wait::eventually(text, PATIENCE, || {
        let events = solo.api.observer.ask(|client| async move {
            Ok(Api::<Event>::default_namespaced(client).list(&ListParams::default()).await?.items)
        })?;
        let found = events.iter().any(|event| {
            event.involved_object.name.as_deref() == Some(solo::NAME)
                && event.message.as_ref().is_some_and(|message| message.contains(text))
        });
        Ok(found.then_some(()))
    })
}

fn created(node: &Node) -> Option<i64> {
    node.metadata.creation_timestamp.as_ref().map(|time| time.0.as_second())
}

fn readdress(solo: &Solo, name: &str, addresses: &[IpAddr]) -> Result<()> {
    let addresses = addresses.iter();
    let addresses = addresses.map(|address| json!({"type": "InternalIP", "address": address}));
    let status = json!({"status": {"addresses": addresses.collect::<Vec<_>>()}});
    solo.api.observer.ask(|client| async move {
        let nodes = Api::<Node>::all(client);
        nodes.patch_status(name, &PatchParams::default(), &Patch::Merge(status)).await?;
        Ok(())
    })
}

fn patch(solo: &Solo, name: &str, change: &Value) -> Result<()> {
    solo.api.observer.ask(|client| async move {
        let nodes = Api::<Node>::all(client);
        nodes.patch(name, &PatchParams::default(), &Patch::Merge(change)).await?;
        Ok(())
    })
}

fn delete(solo: &Solo, name: &str) -> Result<()> {
    solo.api.observer.ask(|client| async move {
        match Api::<Node>::all(client).delete(name, &DeleteParams::default()).await {
            Ok(_) => Ok(()),
            Err(error) => bail!("cannot delete {name}: {error}"),
        }
    })
}
