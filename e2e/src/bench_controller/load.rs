//! What is done to the API server while somebody gives Nodes their podCIDRs, and when that is done.

use std::ops::Range;
use std::time::{Duration, Instant};

use anyhow::Result;
use futures::{StreamExt, TryStreamExt, stream};
use k8s_openapi::api::core::v1::Node;
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams, PostParams};
use serde_json::json;

use crate::api;
use crate::api_server::ApiServer;
use crate::fake;
use crate::wait::eventually;

/// Requests under way at once.
pub(super) const CONNECTIONS: usize = 20;

pub(super) const PATIENCE: Duration = Duration::from_mins(20);

/// Nodes by their numbers, at most 65536 of them.
pub(super) struct Load<'a>(pub &'a ApiServer);

/// Whether Nodes come with podCIDRs.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Preset {
    Yes,
    No,
}

impl Load<'_> {
    pub(super) fn create(&self, numbers: Range<usize>, preset: Preset) -> Result<()> {
        self.at_once(numbers, move |nodes, number| async move {
            let cidrs = cidrs(number);
            let cidrs = cidrs.iter().map(String::as_str).collect::<Vec<_>>();
            let cidrs = if preset == Preset::Yes { &cidrs[..] } else { &[] };
            nodes.create(&PostParams::default(), &fake::node(&name(number), &[], cidrs)).await?;
            Ok(())
        })
    }

    /// Nodes without podCIDRs come, `rate` a second.
    pub(super) fn trickle(&self, numbers: Range<usize>, rate: u32) -> Result<()> {
        self.0.observer.ask(|client| async move {
            let nodes = Api::<Node>::all(client);
            let mut due = tokio::time::interval(Duration::from_secs(1) / rate);
            for number in numbers {
                due.tick().await;
                nodes.create(&PostParams::default(), &fake::node(&name(number), &[], &[])).await?;
            }
            Ok(())
        })
    }

    /// How long it takes to write podCIDRs to Nodes that have none, and to do nothing else.
    pub(super) fn patch(&self, numbers: Range<usize>) -> Result<Duration> {
        let start = Instant::now();
        self.at_once(numbers, |nodes, number| async move {
            let patch = json!({"spec": {"podCIDR": cidrs(number)[0], "podCIDRs": cidrs(number)}});
            let patch = Patch::Merge(patch);
            nodes.patch_metadata(&name(number), &PatchParams::default(), &patch).await?;
            Ok(())
        })?;
        Ok(start.elapsed())
    }

    pub(super) fn delete(&self, numbers: Range<usize>) -> Result<()> {
        self.at_once(numbers, |nodes, number| async move {
            nodes.delete(&name(number), &DeleteParams::default()).await?;
            Ok(())
        })
    }

    pub(super) fn delete_all(&self) -> Result<()> {
        self.0.observer.ask(|client| async move {
            let nodes = Api::<Node>::all(client);
            let all = ListParams::default().labels(fake::LABEL);
            nodes.delete_collection(&DeleteParams::default(), &all).await?;
            Ok(())
        })?;
        self.wait_for(0)
    }

    /// Waits until there are so many Nodes, and all have podCIDRs.
    pub(super) fn wait_for(&self, count: usize) -> Result<()> {
        eventually(&format!("{count} Nodes have podCIDRs"), PATIENCE, || {
            Ok(self.0.observer.look(|cluster| {
                let mut nodes = cluster.nodes.values();
                let all =
                    nodes.len() == count && nodes.all(|node| node.at(api::POD_CIDRS).is_some());
                all.then_some(())
            }))
        })
    }

    /// From a Node seen to its podCIDRs seen, by one watch.
    pub(super) fn times(&self, numbers: Range<usize>) -> Vec<Duration> {
        self.0.observer.look(|cluster| {
            let times = numbers.filter_map(|number| {
                let node = cluster.nodes.get(&name(number))?;
                Some(node.at(api::POD_CIDRS)?.saturating_duration_since(node.created))
            });
            times.collect()
        })
    }

    /// Does `one` for each number, several at a time.
    fn at_once<F: Future<Output = Result<()>>>(
        &self,
        numbers: Range<usize>,
        one: impl Fn(Api<Node>, usize) -> F + Send,
    ) -> Result<()> {
        self.0.observer.ask(|client| async move {
            let nodes = Api::<Node>::all(client);
            let work = stream::iter(numbers).map(|number| one(nodes.clone(), number));
            work.buffer_unordered(CONNECTIONS).try_collect::<()>().await
        })
    }
}

fn name(number: usize) -> String {
    format!("node-{number:05}")
}

/// The blocks of that number.
fn cidrs(number: usize) -> [String; 2] {
    let (high, low) = (number / 256, number % 256);
    [format!("10.{high}.{low}.0/24"), format!("fd00:0:0:{number:x}::/64")]
}
