//! ServiceCIDRs of networking.k8s.io/v1: the ranges that Services get their addresses from.

use futures::stream::Stream;
use kube::Client;
use kube::api::Api;
use kube::runtime::watcher::Event;

use crate::contact::Contact;
use crate::watch::Watched;

pub use k8s_openapi::api::networking::v1::ServiceCIDR as ServiceCidr;

impl Watched for ServiceCidr {}

/// All ServiceCIDRs, and then each change of them, for ever: none while the API server does not know
/// them, as before Kubernetes 1.33.
pub fn watch(client: Client, contact: Contact) -> impl Stream<Item = Event<ServiceCidr>> + Send {
    crate::watch::watch_if_served(Api::all(client), contact)
}
