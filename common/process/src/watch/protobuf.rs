//! The events of a watch in protobuf, as Kubernetes' own components ask for them: a list of thousands of
//! Nodes costs the API server a fraction of what it costs as JSON.
//!
//! Each event comes after its length, and each object in an envelope that names its kind
//! (`LengthDelimitedFramer` and `Serializer` in k8s.io/apimachinery/pkg/runtime/serializer). The numbers of
//! fields are those of `generated.proto` in k8s.io/apimachinery/pkg/runtime and pkg/apis/meta/v1.

mod wire;

use std::error::Error;
use std::io;

use futures::{Stream, StreamExt, TryStreamExt};
use http::header::{ACCEPT, ACCEPT_ENCODING, HeaderValue};
use http_body_util::BodyExt;
use kube::api::{Api, WatchEvent, WatchParams};
use kube::client::Body;
use kube::core::{Request, Status};
use prost::bytes::Bytes;
use prost::{DecodeError, Message};
use tokio_util::codec::{FramedRead, LengthDelimitedCodec};
use tokio_util::io::StreamReader;

use super::{Events, Watched};

const MEDIA_TYPE: HeaderValue =
    HeaderValue::from_static("application/vnd.kubernetes.protobuf;stream=watch");

/// From 1.37 on the server would compress each event alone, which nothing between here and the socket
/// understands.
const UNCOMPRESSED: HeaderValue = HeaderValue::from_static("identity");

/// What an envelope begins with.
const MAGIC: &[u8] = b"k8s\0";

/// Why an event can't be read.
#[derive(Debug, thiserror::Error)]
enum Malformed {
    #[error("an object is not in an envelope")]
    NoEnvelope,
    #[error("an event is of the unknown type {0:?}")]
    UnknownType(String),
    #[error(transparent)]
    Message(#[from] DecodeError),
}

/// As `Api::watch`, of objects whose wire format is `M`.
pub(crate) async fn events<K, M>(
    api: &Api<K>,
    parameters: &WatchParams,
    version: &str,
) -> kube::Result<Events<K>>
where
    K: Watched + From<M>,
    M: Message + Default + 'static,
{
    let request = Request::new(api.resource_url()).watch(parameters, version);
    let mut request = request.map_err(kube::Error::BuildRequest)?.map(Body::from);
    request.headers_mut().insert(ACCEPT, MEDIA_TYPE);
    request.headers_mut().insert(ACCEPT_ENCODING, UNCOMPRESSED);
    let response = api.clone().into_client().send(request).await?;
    let code = response.status();
    if !code.is_success() {
        let answer = response.into_body().collect_bytes().await?;
        return Err(kube::Error::Api(Box::new(refusal(&answer, code.as_u16()))));
    }
    Ok(read::<K, M>(response.into_body().into_data_stream().map_err(broken)))
}

/// The events that come as `bytes`.
fn read<K, M>(bytes: impl Stream<Item = io::Result<Bytes>> + Send + 'static) -> Events<K>
where
    K: From<M> + Send + 'static,
    M: Message + Default + 'static,
{
    let frames = FramedRead::new(StreamReader::new(bytes), LengthDelimitedCodec::new());
    let events = frames.map(|frame| event::<K, M>(frame?.freeze()).map_err(io::Error::other));
    events
        .take_while(|event| futures::future::ready(!event.as_ref().is_err_and(closed)))
        .map_err(kube::Error::ReadEvents)
        .boxed()
}

/// Of the kind [`io::ErrorKind::UnexpectedEof`] where the connection was closed.
fn broken(error: kube::Error) -> io::Error {
    let first: &(dyn Error + 'static) = &error;
    let closed = std::iter::successors(Some(first), |&error| error.source())
        .filter_map(|error| error.downcast_ref::<io::Error>())
        .any(closed);
    let kind = if closed { io::ErrorKind::UnexpectedEof } else { io::ErrorKind::Other };
    io::Error::new(kind, error)
}

/// That is how some end a watch that has lasted too long for them.
fn closed(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::UnexpectedEof
}

/// Pure: what a server that answers with `code` says. Whatever stands before it answers in its own way.
fn refusal(answer: &Bytes, code: u16) -> Status {
    let status = object::<wire::Status>(answer).map(Status::from).ok();
    let status = status.or_else(|| serde_json::from_slice(answer).ok());
    let text = || Status::failure(String::from_utf8_lossy(answer).trim(), "not a Status");
    let status = status.filter(|status| !status.message.is_empty()).unwrap_or_else(text);
    status.with_code(code)
}

fn event<K: From<M>, M: Message + Default>(frame: Bytes) -> Result<WatchEvent<K>, Malformed> {
    let wire::Event { kind, object: sent } = wire::Event::decode(frame)?;
    let sent = sent.unwrap_or_default().raw;
    let applied = || Ok::<_, Malformed>(object::<M>(&sent)?.into());
    Ok(match kind.as_str() {
        "ADDED" => WatchEvent::Added(applied()?),
        "MODIFIED" => WatchEvent::Modified(applied()?),
        "DELETED" => WatchEvent::Deleted(applied()?),
        "BOOKMARK" => WatchEvent::Bookmark(object::<wire::Bookmark>(&sent)?.into()),
        "ERROR" => WatchEvent::Error(Box::new(object::<wire::Status>(&sent)?.into())),
        _ => return Err(Malformed::UnknownType(kind)),
    })
}

/// What is in an envelope.
fn object<M: Message + Default>(envelope: &Bytes) -> Result<M, Malformed> {
    if !envelope.starts_with(MAGIC) {
        return Err(Malformed::NoEnvelope);
    }
    let wire::Unknown { raw } = wire::Unknown::decode(envelope.slice(MAGIC.len()..))?;
    Ok(M::decode(raw)?)
}

#[cfg(test)]
mod tests;
