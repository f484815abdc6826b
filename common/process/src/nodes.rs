//! Nodes: the few fields of the wire type that kubenet reads, their watch, and what is known of
//! them so far. What a change means is the programs' to decide.

mod known;
mod wire;

use futures::future::BoxFuture;
use futures::stream::Stream;
use kube::Client;
use kube::api::{Api, WatchParams};
use kube::runtime::watcher::Event;

use crate::contact::Contact;
use crate::watch::{Events, Watched, protobuf};

pub use self::known::{Change, Nodes};
pub use self::wire::Node;
pub(crate) use self::wire::NodeMessage;

/// All Nodes, and then each change of them, for ever; see [`crate::watch::watch`].
///
/// [`Nodes::apply`] makes sense of it.
pub fn watch(client: Client, contact: Contact) -> impl Stream<Item = Event<Node>> + Send {
    crate::watch::watch(Api::all(client), contact)
}

/// There may be thousands, so that it matters what each costs the API server and us.
impl Watched for Node {
    fn events<'a>(
        api: &'a Api<Self>,
        parameters: &'a WatchParams,
        version: &'a str,
    ) -> BoxFuture<'a, kube::Result<Events<Self>>> {
        Box::pin(protobuf::events::<Self, NodeMessage>(api, parameters, version))
    }
}
