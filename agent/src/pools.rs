//! The ranges of ClusterCIDRs, kept up to date: they are the cluster's as those of the flags are.
//!
//! What was known last is kept in a file, so that an agent that starts while the API server is away
//! leaves the routes into them. Until anything is known there are none.

use std::collections::BTreeSet;
use std::path::Path;

use common::{Prefix, names};
use futures::StreamExt;
use kube::Client;
use process::cluster_cidrs::{self, ClusterCidr};
use process::snapshot::Snapshot;
use tokio::sync::watch;
use tracing::{info, warn};

/// Without duplicates, in their order.
pub type Ranges = Vec<Prefix>;

/// What is kept is the cluster's: for everybody of this machine to read.
const READABLE: u32 = 0o644;

/// Follows the API server for ever and publishes each change.
///
/// A ClusterCIDR that is being deleted counts until it is gone: Nodes may still hold blocks of it.
pub async fn follow(client: Client, latest: &watch::Sender<Ranges>) {
    let mut objects = Snapshot::default();
    let mut events = std::pin::pin!(cluster_cidrs::watch(client));
    while let Some(event) = events.next().await {
        objects.apply(event);
        let Some(known) = objects.known() else { continue };
        let new = ranges(known.values());
        latest.send_if_modified(|old| {
            let changed = *old != new;
            if changed {
                info!(ranges = ?new, "ranges of ClusterCIDRs");
                *old = new;
            }
            changed
        });
    }
}

/// The ranges that were kept in the folder `state`; none if there are none, or none that can be read.
pub fn kept(state: &Path) -> Ranges {
    let path = state.join(names::POOLS_FILE);
    let text = match net::file::read(&path) {
        Ok(text) => text.unwrap_or_else(|| b"[]".to_vec()),
        Err(error) => {
            warn!(path = %path.display(), %error, "cannot read the last known ClusterCIDRs");
            return Ranges::new();
        }
    };
    let kept = serde_json::from_slice(&text);
    kept.inspect_err(|error| warn!(%error, "the last known ClusterCIDRs make no sense"))
        .unwrap_or_default()
}

/// Keeps what is published in the folder `state`, for ever.
pub async fn keep(state: &Path, mut ranges: watch::Receiver<Ranges>) {
    let path = state.join(names::POOLS_FILE);
    while ranges.changed().await.is_ok() {
        let text = serde_json::to_vec(&*ranges.borrow_and_update()).unwrap_or_default();
        if let Err(error) = net::file::replace(&path, &text, READABLE) {
            warn!(path = %path.display(), %error, "cannot keep the ranges of ClusterCIDRs");
        }
    }
}

/// Whatever else is wrong with an object, what it says of addresses is not for others.
fn ranges<'a>(objects: impl Iterator<Item = &'a ClusterCidr>) -> Ranges {
    let texts = objects.flat_map(|object| [&object.spec.ipv4, &object.spec.ipv6]);
    let ranges = texts.filter_map(|text| Prefix::parse_masking(text).ok());
    ranges.collect::<BTreeSet<_>>().into_iter().collect()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use serde_json::json;

    use super::*;

    fn prefixes(texts: &[&str]) -> Ranges {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn the_ranges_of_all_cluster_cidrs_are_the_clusters() {
        let object = |ipv4, ipv6| {
            let spec = json!({"perNodeHostBits": 8, "ipv4": ipv4, "ipv6": ipv6});
            serde_json::from_value::<ClusterCidr>(json!({"metadata": {}, "spec": spec})).unwrap()
        };
        let objects = [
            object("10.9.1.2/16", ""),
            object("10.8.0.0/16", "fd00::/64"),
            object("x", "fd00::/64"),
        ];
        assert_eq!(ranges(objects.iter()), prefixes(&["10.8.0.0/16", "10.9.0.0/16", "fd00::/64"]));
    }

    #[tokio::test]
    async fn ranges_that_were_known_last_are_known_after_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(kept(folder.path()), Ranges::new());
        let (latest, ranges) = watch::channel(Ranges::new());
        let known = prefixes(&["10.8.0.0/16", "fd00::/64"]);
        latest.send_replace(known.clone());
        drop(latest);
        keep(folder.path(), ranges).await;
        assert_eq!(kept(folder.path()), known);
        fs::write(folder.path().join(names::POOLS_FILE), "[\"10.8.0.0/1").unwrap();
        assert_eq!(kept(folder.path()), Ranges::new());
    }
}
