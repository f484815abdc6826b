//! The ranges that ClusterCIDRs and ServiceCIDRs name, kept up to date: they are the cluster's as those
//! of the flags are.
//!
//! What was known last is kept in a file, so that an agent that starts while the API server is away
//! leaves the routes into them. Until anything is known there are none.

use std::collections::BTreeSet;
use std::path::Path;
use std::pin::pin;

use common::{Prefix, names};
use futures::{Stream, StreamExt};
use kube::runtime::watcher::Event;
use kube::{Client, ResourceExt};
use process::cluster_cidrs::{self, ClusterCidr};
use process::contact::Contact;
use process::service_cidrs::{self, ServiceCidr};
use process::snapshot::Snapshot;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tracing::{info, warn};

/// Each without duplicates, in their order.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
pub struct Ranges {
    /// Pods' addresses, by ClusterCIDRs.
    pub pods: Vec<Prefix>,
    /// Services' addresses, by ServiceCIDRs.
    pub services: Vec<Prefix>,
}

/// What is kept is the cluster's: for everybody of this machine to read.
const READABLE: u32 = 0o644;

/// An object of the API server that names ranges.
trait Source: ResourceExt<DynamicType = ()> {
    /// Its ranges as it spells them; any may be none.
    fn texts(&self) -> impl Iterator<Item = &str>;

    /// Which ranges they belong to.
    fn among(ranges: &mut Ranges) -> &mut Vec<Prefix>;
}

impl Source for ClusterCidr {
    fn texts(&self) -> impl Iterator<Item = &str> {
        [&self.spec.ipv4, &self.spec.ipv6].into_iter().map(String::as_str)
    }

    fn among(ranges: &mut Ranges) -> &mut Vec<Prefix> {
        &mut ranges.pods
    }
}

impl Source for ServiceCidr {
    fn texts(&self) -> impl Iterator<Item = &str> {
        let cidrs = self.spec.iter().flat_map(|spec| spec.cidrs.iter().flatten());
        cidrs.map(String::as_str)
    }

    fn among(ranges: &mut Ranges) -> &mut Vec<Prefix> {
        &mut ranges.services
    }
}

/// Follows the API server for ever and publishes each change.
///
/// An object that is being deleted counts until it is gone: Nodes or Services may still hold addresses
/// of it.
pub async fn follow(client: Client, contact: &Contact, latest: &watch::Sender<Ranges>) {
    tokio::join!(
        publish(cluster_cidrs::watch(client.clone(), contact.of_another()), latest),
        publish(service_cidrs::watch(client, contact.of_another()), latest),
    );
}

/// Publishes what the objects of one kind come to, as long as there are `events`.
async fn publish<K: Source>(events: impl Stream<Item = Event<K>>, latest: &watch::Sender<Ranges>) {
    let mut objects = Snapshot::default();
    let mut events = pin!(events);
    while let Some(event) = events.next().await {
        objects.apply(event);
        let Some(known) = objects.known() else { continue };
        let new = ranges(known.values());
        latest.send_if_modified(|all| {
            let old = K::among(all);
            let changed = *old != new;
            if changed {
                info!(of = %K::plural(&()), ranges = ?new, "the cluster's ranges");
                *old = new;
            }
            changed
        });
    }
}

/// The ranges that were kept in the folder `state`; none if there are none, or none that can be read.
pub fn kept(state: &Path) -> Ranges {
    let path = state.join(names::RANGES_FILE);
    let text = match net::file::read(&path) {
        Ok(Some(text)) => text,
        Ok(None) => return Ranges::default(),
        Err(error) => {
            warn!(path = %path.display(), %error, "cannot read the ranges that were known last");
            return Ranges::default();
        }
    };
    let kept = serde_json::from_slice(&text);
    kept.inspect_err(|error| warn!(%error, "the ranges that were known last make no sense"))
        .unwrap_or_default()
}

/// Keeps what is published in the folder `state`, for ever.
pub async fn keep(state: &Path, mut ranges: watch::Receiver<Ranges>) {
    let path = state.join(names::RANGES_FILE);
    while ranges.changed().await.is_ok() {
        let text = serde_json::to_vec(&*ranges.borrow_and_update()).unwrap_or_default();
        if let Err(error) = net::file::replace(&path, &text, READABLE) {
            warn!(path = %path.display(), %error, "cannot keep the cluster's ranges");
        }
    }
}

/// Whatever else is wrong with an object, what it says of addresses is not for others.
fn ranges<'a, K: Source + 'a>(objects: impl Iterator<Item = &'a K>) -> Vec<Prefix> {
    let ranges =
        objects.flat_map(Source::texts).filter_map(|text| Prefix::parse_masking(text).ok());
    ranges.collect::<BTreeSet<_>>().into_iter().collect()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use futures::stream;
    use serde_json::{Value, json};

    use super::*;

    fn prefixes(texts: &[&str]) -> Vec<Prefix> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    fn object<K: Source + serde::de::DeserializeOwned>(name: &str, spec: &Value) -> K {
        serde_json::from_value(json!({"metadata": {"name": name}, "spec": spec})).unwrap()
    }

    fn pool(name: &str, ipv4: &str, ipv6: &str) -> ClusterCidr {
        object(name, &json!({"perNodeHostBits": 8, "ipv4": ipv4, "ipv6": ipv6}))
    }

    fn services(name: &str, cidrs: &[&str]) -> ServiceCidr {
        object(name, &json!({"cidrs": cidrs}))
    }

    #[test]
    fn the_ranges_of_all_objects_of_a_kind_are_the_clusters() {
        let pools = [
            pool("a", "10.9.1.2/16", ""),
            pool("b", "10.8.0.0/16", "fd00::/64"),
            pool("c", "x", "fd00::/64"),
        ];
        let expected = prefixes(&["10.8.0.0/16", "10.9.0.0/16", "fd00::/64"]);
        assert_eq!(ranges(pools.iter()), expected);
        let services = [
            services("a", &["10.97.0.0/16", "fd00:96::/112"]),
            services("b", &["10.96.0.0/16", "10.97.0.0/16", "y"]),
            services("c", &[]),
        ];
        let expected = prefixes(&["10.96.0.0/16", "10.97.0.0/16", "fd00:96::/112"]);
        assert_eq!(ranges(services.iter()), expected);
    }

    #[tokio::test]
    async fn each_kind_is_followed_and_leaves_the_other_as_it_is() {
        let known = Ranges { pods: prefixes(&["10.8.0.0/16"]), services: Vec::new() };
        let (latest, mut seen) = watch::channel(known.clone());
        let first = || vec![Event::Init, Event::InitApply(services("a", &["10.96.0.0/16"]))];
        // A list that is not complete says nothing.
        publish(stream::iter(first()), &latest).await;
        assert!(!seen.has_changed().unwrap());
        let listed = || first().into_iter().chain([Event::InitDone]);
        publish(stream::iter(listed()), &latest).await;
        let more = Ranges { services: prefixes(&["10.96.0.0/16"]), ..known.clone() };
        assert_eq!(*seen.borrow_and_update(), more);
        publish(stream::iter(listed()), &latest).await;
        assert!(!seen.has_changed().unwrap(), "nothing is new");
        let added = Event::Apply(services("b", &["10.97.0.0/16"]));
        publish(stream::iter(listed().chain([added])), &latest).await;
        assert_eq!(seen.borrow_and_update().services, prefixes(&["10.96.0.0/16", "10.97.0.0/16"]));
        let gone = Event::Delete(services("a", &[]));
        publish(stream::iter(listed().chain([gone])), &latest).await;
        assert_eq!(*seen.borrow_and_update(), known);
    }

    #[tokio::test]
    async fn ranges_that_were_known_last_are_known_after_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(kept(folder.path()), Ranges::default());
        let (latest, ranges) = watch::channel(Ranges::default());
        let known = Ranges {
            pods: prefixes(&["10.8.0.0/16", "fd00::/64"]),
            services: prefixes(&["10.96.0.0/16"]),
        };
        latest.send_replace(known.clone());
        drop(latest);
        keep(folder.path(), ranges).await;
        assert_eq!(kept(folder.path()), known);
        fs::write(folder.path().join(names::RANGES_FILE), "{\"pods\": [\"10.8.0.0/1").unwrap();
        assert_eq!(kept(folder.path()), Ranges::default());
    }
}
