//! What an operator reads of a Node that can't be served.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use e2e::node_ipam::NodeIpam;
use e2e::proxy::{Fate, Kind, Proxy};
use e2e::wait::eventually;
use k8s_openapi::api::events::v1::Event;
use kube::api::ListParams;
use kube::{Api, ResourceExt};

use crate::World;
use crate::play::Play;
use crate::script::{Cluster, prefix};

const PATIENCE: Duration = Duration::from_mins(1);

/// After three PATCHes in vain one Event tells of it, and the Nodes that wait have one each.
pub(crate) fn one_for_each_node(world: &mut World) -> Result<()> {
    const REFUSED: usize = 6;
    let World { api, programs, .. } = world;
    let script = |kind, number| match kind {
        Kind::Patch if number < REFUSED => Fate::Refused { code: 500, retry_after: 0 },
        _ => Fate::Answered,
    };
    let proxy = Proxy::start(&api.place, &programs.kubeconfig, Box::new(script))?;
    let ranges = vec![(prefix("10.0.0.0/24"), 24)];
    let cluster = Cluster { ranges, services: Vec::new() };
    let behind = programs.with_kubeconfig(&proxy.kubeconfig);
    let mut play = Play::begin(api, behind, NodeIpam::Kubenet, &cluster)?;
    play.create("refused", &[])?;
    play.settled()?;
    let patches = proxy.seen().iter().filter(|seen| seen.kind == Kind::Patch).count();
    ensure!(patches > REFUSED, "only {patches} PATCHes came");
    play.create("waits", &[])?;
    play.settled()?;
    // Its own changes are no news.
    for number in 0..3 {
        api.kubectl(&["annotate", "--overwrite", "node", "waits", &format!("changed={number}")])?;
    }
    play.create("marker", &[])?;
    play.settled()?;
    let refused = only_event(&play, "refused", "CIDRAssignmentFailed")?;
    let waits = only_event(&play, "waits", "CIDRNotAvailable")?;
    let why = "pool 10.0.0.0/24, mask /24: 1 blocks, 1 used";
    for (event, words) in [(&refused, "refused on purpose"), (&waits, why)] {
        let note = event.note.as_deref().unwrap_or_default();
        ensure!(note.contains(words), "{note:?} does not say {words:?}");
        let who = event.reporting_controller.as_deref();
        ensure!(who == Some("kubenet-controller"), "{who:?} says it");
        ensure!(event.type_.as_deref() == Some("Normal"), "it is {:?}", event.type_);
    }
    Ok(())
}

/// The one Event of that reason about `node`, of events.k8s.io/v1, that was told once.
fn only_event(play: &Play<'_>, node: &str, reason: &str) -> Result<Event> {
    let what = format!("{reason} is said of {node}");
    let events = eventually(&what, PATIENCE, || {
        let events = play.api().observer.ask(|client| async move {
            let fields = format!("reason={reason}");
            let events = Api::<Event>::default_namespaced(client);
            Ok(events.list(&ListParams::default().fields(&fields)).await?.items)
        })?;
        let uid = play.api().observer.look(|cluster| cluster.nodes[node].object.uid());
        let about = |event: &Event| {
            event.regarding.as_ref().and_then(|node| node.uid.as_ref()) == uid.as_ref()
        };
        let events = events.into_iter().filter(about).collect::<Vec<_>>();
        Ok((!events.is_empty()).then_some(events))
    })?;
    let count = events.len();
    ensure!(count == 1, "{what}: {count} times");
    let event = events.into_iter().next().context(what.clone())?;
    ensure!(event.series.is_none(), "{what}: again and again");
    Ok(event)
}
