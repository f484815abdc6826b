//! Where a watch's events come from.

use std::fmt::Debug;

use futures::future::BoxFuture;
use futures::stream::{BoxStream, StreamExt};
use kube::api::{Api, WatchEvent, WatchParams};
use kube::core::Resource;
use serde::de::DeserializeOwned;

/// They end where the server or the connection does.
pub type Events<K> = BoxStream<'static, kube::Result<WatchEvent<K>>>;

/// A kind of objects that can be watched.
pub trait Watched:
    Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug + Send + 'static
{
    /// As `Api::watch`: JSON, for a kind that has no better encoding.
    ///
    /// # Errors
    /// [`kube::Error::Api`] where the server refuses, others where there is no answer.
    fn events<'a>(
        api: &'a Api<Self>,
        parameters: &'a WatchParams,
        version: &'a str,
    ) -> BoxFuture<'a, kube::Result<Events<Self>>> {
        Box::pin(async move { Ok(api.watch(parameters, version).await?.boxed()) })
    }
}
