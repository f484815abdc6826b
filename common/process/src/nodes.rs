//! Nodes: the few fields of the wire type that kubenet reads, their watch, and what is known of
//! them so far. What a change means is the programs' to decide.

mod known;
mod wire;

use futures::stream::Stream;
use kube::Client;
use kube::api::Api;
use kube::runtime::watcher::Event;

use crate::contact::Contact;

pub use self::known::{Change, Nodes};
pub use self::wire::Node;

/// All Nodes, and then each change of them, for ever; see [`crate::watch::watch`].
///
/// [`Nodes::apply`] makes sense of it.
pub fn watch(client: Client, contact: Contact) -> impl Stream<Item = Event<Node>> + Send {
    crate::watch::watch(Api::all(client), contact)
}
