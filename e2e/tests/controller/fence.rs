//! With the fence: several controllers that all allocate, and what claims remember.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use common::{Family, Prefix};
use e2e::fake;
use e2e::node_ipam::{NodeIpam, Running};
use e2e::wait::eventually;
use k8s_openapi::api::core::v1::Node;
use kube::Api;
use kube::api::{DeleteParams, Patch, PatchParams};
use serde_json::{Value, json};

use crate::World;

const PATIENCE: Duration = Duration::from_mins(1);

const DEFINITION: &str = include_str!("../../../charts/kubenet/files/crds/cidrclaims.yaml");

/// Nodes that come at once.
const NODES: usize = 60;

/// How often two sizes race for a range, and for how many Nodes.
const ROUNDS: usize = 5;
const ROUND: usize = 12;

/// Nobody elects a leader here, so each of them allocates.
pub(crate) fn two_leaders(world: &mut World) -> Result<()> {
    define_claims(world)?;
    world.api.delete_fakes()?;
    let controllers = [fenced(world, &[])?, fenced(world, &[])?];
    let names = (0..NODES).map(|number| format!("n{number:02}")).collect::<Vec<_>>();
    create(world, &names)?;
    let given = given(world, &names)?;
    let blocks = given.values().flatten().collect::<BTreeSet<_>>();
    ensure!(blocks.len() == 2 * NODES, "{} blocks for {NODES} Nodes", blocks.len());
    eventually("claims are just what Nodes have", PATIENCE, || {
        let expected = given
            .iter()
            .flat_map(|(node, cidrs)| cidrs.iter().map(move |cidr| (cidr.clone(), node.clone())));
        Ok((claims(world)? == expected.collect()).then_some(()))
    })?;
    world.api.delete_fakes()?;
    eventually("no claim is left", PATIENCE, || Ok(claims(world)?.is_empty().then_some(())))?;
    drop(controllers);
    Ok(())
}

pub(crate) fn range_of_a_deleted_node(world: &mut World) -> Result<()> {
    define_claims(world)?;
    world.api.delete_fakes()?;
    let mut keeper = fenced(world, &["--release-delay=1h"])?;
    let one = ["one".to_owned()];
    create(world, &one)?;
    let before = given(world, &one)?;
    delete(world, "one")?;
    let others = ["two".to_owned(), "three".to_owned()];
    create(world, &others)?;
    let taken = given(world, &others)?.into_values().flatten().collect::<Vec<_>>();
    let kept = before["one"].iter().all(|cidr| !taken.contains(cidr));
    ensure!(kept, "{:?} was given to another Node: {taken:?}", before["one"]);
    create(world, &one)?;
    let after = given(world, &one)?;
    ensure!(after == before, "{before:?} came back as {after:?}");
    keeper.kill()?;
    let _short = fenced(world, &["--release-delay=1s"])?;
    world.api.delete_fakes()?;
    eventually("what was kept for a second is free", PATIENCE, || {
        Ok(claims(world)?.is_empty().then_some(()))
    })
}

/// Whoever comes first with each round of Nodes fixes the size of IPv4 blocks.
pub(crate) fn two_sizes(world: &mut World) -> Result<()> {
    define_claims(world)?;
    world.api.delete_fakes()?;
    let size = |length: u8| {
        let mask = format!("--node-cidr-mask-size-ipv4={length}");
        Ok::<_, anyhow::Error>((length, fenced(world, &[&mask])?))
    };
    let mut controllers = BTreeMap::from([size(24)?, size(25)?]);
    let names = (0..ROUND).map(|number| format!("n{number:02}")).collect::<Vec<_>>();
    let mut first = BTreeSet::new();
    for round in 0..ROUNDS {
        if round > 0 {
            world.api.delete_fakes()?;
            eventually("no claim is left", PATIENCE, || {
                Ok(claims(world)?.is_empty().then_some(()))
            })?;
        }
        create(world, &names)?;
        first = blocks_of_one_size(&given(world, &names)?)?;
    }
    let length = first.first().context("no block was given")?.length();
    controllers.remove(&length).context("nobody gives blocks of this size")?;
    create(world, &["late".to_owned()])?;
    let why = eventually("who came later says why it gives nothing", PATIENCE, || {
        let about = "reason=CIDRNotAvailable,involvedObject.name=late";
        let path = "jsonpath={.items[*].message}";
        let text = world.api.kubectl(&["get", "events", "--field-selector", about, "-o", path])?;
        Ok((!text.is_empty()).then_some(text))
    })?;
    let claim =
        why.split_once("refused, as ").and_then(|(_, rest)| rest.split_once(" was claimed first"));
    let (claim, _) = claim.with_context(|| format!("no claim stands in the way: {why}"))?;
    ensure!(first.contains(&claim.parse()?), "{claim} is none of {first:?}");
    let none = world.api.kubectl(&["get", "node", "late", "-o", "jsonpath={.spec.podCIDRs}"])?;
    ensure!(none.is_empty(), "who came later gave {none}");
    for name in &names {
        delete(world, name)?;
    }
    let late = given(world, &["late".to_owned()])?;
    let other = blocks_of_one_size(&late)?;
    ensure!(
        other.iter().all(|block| block.length() != length),
        "{late:?} once all others are gone"
    );
    world.api.delete_fakes()?;
    eventually("no claim is left", PATIENCE, || Ok(claims(world)?.is_empty().then_some(())))
}

/// The IPv4 blocks of Nodes, none of which share addresses.
fn blocks_of_one_size(given: &BTreeMap<String, Vec<String>>) -> Result<BTreeSet<Prefix>> {
    let mut blocks = Vec::<Prefix>::new();
    for cidr in given.values().flatten() {
        let block = cidr.parse::<Prefix>()?;
        let twice = blocks.iter().find(|other| other.overlaps(block));
        ensure!(twice.is_none(), "{block} shares addresses with {twice:?}");
        blocks.push(block);
    }
    let v4 = blocks.into_iter().filter(|block| block.family() == Family::V4);
    let v4 = v4.collect::<BTreeSet<_>>();
    let lengths = v4.iter().map(|block| block.length()).collect::<BTreeSet<_>>();
    ensure!(lengths.len() == 1, "blocks of {lengths:?} in one range");
    Ok(v4)
}

/// The API server itself refuses what comes for a Node that is gone.
pub(crate) fn late_patch(world: &mut World) -> Result<()> {
    world.api.delete_fakes()?;
    create(world, &["again".to_owned()])?;
    let old = uid(world, "again")?;
    delete(world, "again")?;
    create(world, &["again".to_owned()])?;
    ensure!(uid(world, "again")? != old, "the successor has the UID of the first");
    let late = json!({
        "metadata": {"uid": old},
        "spec": {"podCIDR": "10.7.0.0/24", "podCIDRs": ["10.7.0.0/24"]},
    });
    let refused = world.api.observer.ask(|client| async move {
        let patch = Patch::Merge(&late);
        let nodes = Api::<Node>::all(client);
        Ok(nodes.patch("again", &PatchParams::default(), &patch).await.map(drop))
    })?;
    let Err(kube::Error::Api(status)) = refused else { bail!("it was taken: {refused:?}") };
    let causes = status.details.iter().flat_map(|details| &details.causes);
    let fields = causes.map(|cause| cause.field.as_str()).collect::<Vec<_>>();
    ensure!(status.code == 422 && fields.contains(&"metadata.uid"), "{status:?}");
    world.api.delete_fakes()
}

fn define_claims(world: &World) -> Result<()> {
    world.api.apply(DEFINITION)?;
    let definition = "crd/cidrclaims.ipam.kubenet.io";
    world.api.kubectl(&["wait", "--for=condition=Established", "--timeout=60s", definition])?;
    Ok(())
}

/// A controller with the fence, which has listed all Nodes.
fn fenced(world: &World, more: &[&str]) -> Result<Running> {
    let flags = [
        "--cluster-cidr=10.0.0.0/18,fd00::/58",
        "--fence=claims",
        // Several of them share one network.
        "--healthz-bind-address=",
        "--metrics-bind-address=",
    ];
    let mut started = world.start(NodeIpam::Kubenet, &[&flags, more].concat())?;
    started.wait_for_log("listed all Nodes")?;
    Ok(started)
}

fn create(world: &World, names: &[String]) -> Result<()> {
    let nodes = names.iter().map(|name| fake::node(name, &[], &[]));
    world.api.observer.create_nodes(nodes.collect())
}

fn delete(world: &World, name: &str) -> Result<()> {
    let old = uid(world, name)?;
    world.api.observer.ask(|client| async move {
        Api::<Node>::all(client).delete(name, &DeleteParams::default()).await?;
        Ok(())
    })?;
    world.api.observer.wait("the Node is gone", PATIENCE, |cluster| {
        let node = cluster.nodes.get(name).and_then(|seen| seen.object.metadata.uid.as_ref());
        (node != Some(&old)).then_some(())
    })
}

fn uid(world: &World, name: &str) -> Result<String> {
    let uid = world.api.kubectl(&["get", "node", name, "-o", "jsonpath={.metadata.uid}"])?;
    ensure!(!uid.is_empty(), "Node {name} has no UID");
    Ok(uid)
}

/// The podCIDRs of Nodes, once all of them have some.
fn given(world: &World, names: &[String]) -> Result<BTreeMap<String, Vec<String>>> {
    world.api.observer.wait("all Nodes have podCIDRs", PATIENCE, |cluster| {
        let given = names.iter().map(|name| {
            let node = &cluster.nodes.get(name)?.object;
            let cidrs = node.spec.as_ref()?.pod_cidrs.clone()?;
            Some((name.clone(), cidrs))
        });
        given.collect()
    })
}

/// Whose each claimed block is.
fn claims(world: &World) -> Result<BTreeMap<String, String>> {
    let text = world.api.kubectl(&["get", "cidrclaims", "-o", "json"])?;
    let list = serde_json::from_str::<Value>(&text)?;
    let items = list["items"].as_array().context("no list of claims")?;
    let field = |item: &Value, name: &str| item["spec"][name].as_str().map(str::to_owned);
    let pairs = items.iter().map(|item| Some((field(item, "cidr")?, field(item, "nodeName")?)));
    pairs.collect::<Option<_>>().context("a claim without a block or a Node")
}
