//! What takes longer than anybody waits on the lab: tokio's clock goes on by itself while nothing
//! else does.

use futures::stream;
use kube::Client;
use kube::client::Body;
use nodeipam::allocator::Allocator;
use nodeipam::pools::Pools;
use nodeipam::range::Range;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tower::service_fn;

use super::*;

/// A request to write an Event: how, where, and its body.
type Written = (http::Method, String, Value);

/// A client whose server takes all that it is sent and shows it.
fn client() -> (Client, mpsc::UnboundedReceiver<Written>) {
    let (sender, written) = mpsc::unbounded_channel();
    let service = service_fn(move |request: http::Request<Body>| {
        let sender = sender.clone();
        async move {
            let (parts, body) = request.into_parts();
            let body = serde_json::from_slice(&body.collect_bytes().await?).unwrap();
            let answer = json!({"metadata": {"name": "taken"}, "eventTime": null});
            sender.send((parts.method, parts.uri.path().to_owned(), body)).unwrap();
            Ok::<_, kube::Error>(http::Response::new(Body::from(answer.to_string().into_bytes())))
        }
    });
    (Client::new(service, "default"), written)
}

/// Gives of one block, which is a Service's.
fn registrar() -> Registrar {
    let block = "10.0.0.0/24".parse().unwrap();
    Registrar::open(Allocator::new(Pools::new(&[Range::new(block, 24).unwrap()], &[block])))
}

#[tokio::test(start_paused = true)]
async fn who_still_waits_after_five_minutes_is_named_again_in_the_same_event() {
    let (client, mut written) = client();
    let (events, publisher) = crate::events::channel(client.clone());
    let outlets = Outlets {
        api: Api::all(client),
        patience: Duration::from_secs(15),
        term: Term::for_ever(),
        events,
        metrics: Metrics::new("test").0,
        readiness: Readiness::new(&[]),
    };
    let waits = json!({"metadata": {"name": "n1", "uid": "u1"}});
    let waits = serde_json::from_value(waits).unwrap();
    let nodes = [Event::Init, Event::InitApply(waits), Event::InitDone];
    let nodes = stream::iter(nodes).chain(stream::pending());
    let pools = stream::iter([Event::Init, Event::InitDone]).chain(stream::pending());
    let work = Reconciler::new(registrar(), outlets).run(
        nodes,
        pools,
        stream::pending(),
        std::future::pending(),
    );
    let start = tokio::time::Instant::now();
    let mut named = async || {
        let (method, path, body) = written.recv().await.unwrap();
        (method, path, body, start.elapsed().as_secs())
    };
    let both = async { (named().await, named().await) };
    let (first, second) = tokio::select! {
        both = both => both,
        () = work => panic!("it ended"),
        () = publisher => panic!("nothing is published any more"),
    };
    let why = first.2["note"].as_str().unwrap();
    assert!(why.contains("mask /24: 1 blocks, 1 used"), "{why}");
    assert_eq!((first.0, first.3), (http::Method::POST, 0));
    let name = first.2["metadata"]["name"].as_str().unwrap();
    assert_eq!((second.0, second.3), (http::Method::PATCH, 5 * 60));
    assert!(second.1.ends_with(&format!("/{name}")), "{} is not {name}", second.1);
    assert_eq!(second.2["series"]["count"], 2, "{}", second.2);
}
