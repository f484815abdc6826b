//! A proxy between one client and the API server that does, by a script, what goes wrong between
//! them: answers that get lost, a server that has too much to do, a watch that breaks off.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use futures::{FutureExt, StreamExt, select, stream};
use http::header::{HOST, RETRY_AFTER};
use http::{Method, Request, Response, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, BodyStream, Full, StreamBody};
use hyper::body::{Bytes, Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use kube::Client;
use parking_lot::Mutex;
use serde_json::json;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinSet;

use crate::api::{block_on, connect, netns};
use crate::place::Place;
use crate::say::say;

/// What a request is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// All objects: a list, or a watch that begins with one and goes on.
    List,
    /// What changes after a version.
    Watch,
    Patch,
    Other,
}

/// What becomes of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// Carried out and answered.
    Answered,
    /// Carried out; the connection ends without an answer.
    ReplyLost,
    /// Carried out so much later.
    Held(Duration),
    /// Carried out; the answer comes so much later.
    Late(Duration),
    /// Carried out; the connection breaks so long after the answer's begin.
    Cut(Duration),
    /// Not carried out: answered with this code, and with so many seconds of Retry-After.
    Refused { code: u16, retry_after: u32 },
    /// Carried out, and answered with 500 all the same.
    Misreported,
}

/// What becomes of a request of this kind before which so many of its kind came.
pub type Script = Box<dyn Fn(Kind, usize) -> Fate + Send + Sync>;

/// A request that came.
#[derive(Clone, Debug)]
pub struct Seen {
    pub kind: Kind,
    /// Path and query.
    pub uri: String,
    pub body: String,
    pub fate: Fate,
    pub came: Instant,
    /// When its answer began, or was lost.
    pub ended: Option<Instant>,
}

/// The proxy; it ends with this.
#[derive(Debug)]
pub struct Proxy {
    /// For a client of it.
    pub kubeconfig: PathBuf,
    seen: Arc<Mutex<Vec<Seen>>>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// What all connections share.
struct Shared {
    client: Client,
    script: Script,
    seen: Arc<Mutex<Vec<Seen>>>,
}

type Answer = Response<UnsyncBoxBody<Bytes, anyhow::Error>>;

impl Proxy {
    /// Listens in `place`; whoever comes has the rights of `kubeconfig`.
    pub fn start(place: &Place, kubeconfig: &Path, script: Script) -> Result<Self> {
        let netns = netns(place.init)?;
        let seen = Arc::new(Mutex::new(Vec::new()));
        let (stop, stopped) = oneshot::channel();
        let (port, listening) = mpsc::channel();
        let (path, noted) = (kubeconfig.to_owned(), seen.clone());
        let work = move || {
            block_on(async {
                let listener = TcpListener::bind("127.0.0.1:0").await?;
                port.send(listener.local_addr()?.port())?;
                let client = connect(&path).await?;
                select! {
                    result = serve(listener, Arc::new(Shared { client, script, seen: noted })).fuse() => result,
                    _ = stopped.fuse() => Ok(()),
                }
            })
        };
        let thread = std::thread::spawn(move || {
            let result = netns.run(work).map_err(anyhow::Error::from).flatten();
            if let Err(error) = result {
                say(format_args!("the proxy ends: {error:#}"));
            }
        });
        let port = listening.recv().context("the proxy does not listen")?;
        let kubeconfig = kubeconfig.with_extension("proxy");
        let server = format!("http://127.0.0.1:{port}");
        std::fs::write(&kubeconfig, plain(&server))?;
        Ok(Self { kubeconfig, seen, stop: Some(stop), thread: Some(thread) })
    }

    /// All that came so far, first come first.
    pub fn seen(&self) -> Vec<Seen> {
        self.seen.lock().clone()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // It has said itself what went wrong.
            let _ = thread.join();
        }
    }
}

/// A kubeconfig without a user.
fn plain(server: &str) -> String {
    json!({
        "clusters": [{"name": "proxy", "cluster": {"server": server}}],
        "users": [{"name": "proxy", "user": {}}],
        "contexts": [{"name": "proxy", "context": {"cluster": "proxy", "user": "proxy"}}],
        "current-context": "proxy",
    })
    .to_string()
}

async fn serve(listener: TcpListener, shared: Arc<Shared>) -> Result<()> {
    let mut connections = JoinSet::new();
    loop {
        let (stream, _) = listener.accept().await?;
        let shared = shared.clone();
        connections.spawn(async move {
            let service = service_fn(|request| shared.answer(request));
            let server = hyper::server::conn::http1::Builder::new();
            // An error is a reply that is lost on purpose, or a client that is gone.
            let _ = server.serve_connection(TokioIo::new(stream), service).await;
        });
        while connections.try_join_next().is_some() {}
    }
}

impl Shared {
    async fn answer(&self, request: Request<Incoming>) -> Result<Answer> {
        let (parts, body) = request.into_parts();
        let body = body.collect().await?.to_bytes();
        let kind = kind(&parts.method, &parts.uri.to_string());
        let (number, fate) = self.note(kind, parts.uri.to_string(), &body);
        if let Fate::Held(delay) = fate {
            tokio::time::sleep(delay).await;
        }
        let result = match fate {
            Fate::Refused { code, retry_after } => refusal(code, retry_after),
            _ => self.forward(Request::from_parts(parts, body)).await,
        };
        if let Fate::Late(delay) = fate {
            tokio::time::sleep(delay).await;
        }
        if let Some(seen) = self.seen.lock().get_mut(number) {
            seen.ended = Some(Instant::now());
        }
        match fate {
            Fate::ReplyLost => anyhow::bail!("lost on purpose"),
            Fate::Misreported => refusal(500, 0),
            Fate::Cut(after) => Ok(result?.map(|body| cut(body, after))),
            Fate::Answered | Fate::Held(_) | Fate::Late(_) | Fate::Refused { .. } => result,
        }
    }

    /// Says which of all it is, and what becomes of it.
    fn note(&self, kind: Kind, uri: String, body: &Bytes) -> (usize, Fate) {
        let mut seen = self.seen.lock();
        let before = seen.iter().filter(|seen| seen.kind == kind).count();
        let fate = (self.script)(kind, before);
        let body = String::from_utf8_lossy(body).into_owned();
        seen.push(Seen { kind, uri, body, fate, came: Instant::now(), ended: None });
        (seen.len() - 1, fate)
    }

    /// A server that can't be reached is one that does not answer.
    async fn forward(&self, request: Request<Bytes>) -> Result<Answer> {
        let mut request = request.map(kube::client::Body::from);
        request.headers_mut().remove(HOST);
        let answer = self.client.send(request).await?;
        Ok(answer.map(|body| body.map_err(anyhow::Error::from).boxed_unsync()))
    }
}

fn kind(method: &Method, uri: &str) -> Kind {
    let nodes = uri.starts_with("/api/v1/nodes");
    match (method, uri.contains("watch=true")) {
        (&Method::PATCH, _) if nodes => Kind::Patch,
        (&Method::GET, true) if nodes && !uri.contains("sendInitialEvents=true") => Kind::Watch,
        (&Method::GET, _) if nodes => Kind::List,
        _ => Kind::Other,
    }
}

/// As the API server says it.
fn refusal(code: u16, retry_after: u32) -> Result<Answer> {
    let status = json!({
        "kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code,
        "message": "refused on purpose", "reason": "Refused",
        "details": {"retryAfterSeconds": retry_after},
    });
    let body = Full::new(Bytes::from(status.to_string())).map_err(|never| match never {});
    let answer = Response::builder().status(StatusCode::from_u16(code)?);
    let answer = answer.header(http::header::CONTENT_TYPE, "application/json");
    let answer = if retry_after > 0 { answer.header(RETRY_AFTER, retry_after) } else { answer };
    Ok(answer.body(body.boxed_unsync())?)
}

/// The body, until it breaks off.
fn cut(
    body: UnsyncBoxBody<Bytes, anyhow::Error>,
    after: Duration,
) -> UnsyncBoxBody<Bytes, anyhow::Error> {
    let broken = || Err::<Frame<Bytes>, _>(anyhow::anyhow!("cut on purpose"));
    let frames = BodyStream::new(body).take_until(tokio::time::sleep(after));
    StreamBody::new(frames.chain(stream::once(async move { broken() }))).boxed_unsync()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_told_apart() {
        let check = |method, uri, expected| assert_eq!(kind(&method, uri), expected, "{uri}");
        check(Method::GET, "/api/v1/nodes?limit=500", Kind::List);
        check(Method::GET, "/api/v1/nodes?watch=true&sendInitialEvents=true", Kind::List);
        check(Method::GET, "/api/v1/nodes?watch=true&resourceVersion=7", Kind::Watch);
        check(Method::PATCH, "/api/v1/nodes/n1?timeout=15s", Kind::Patch);
        check(Method::PATCH, "/apis/events.k8s.io/v1/namespaces/default/events/a", Kind::Other);
        check(Method::GET, "/api/v1/namespaces/default/pods?watch=true", Kind::Other);
    }
}
