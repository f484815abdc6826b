//! What both programs answer over HTTP: whether they live, are ready, and their metrics.
//!
//! Where a port is taken the program does its work all the same, and tries again.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::RawQuery;
use axum::response::IntoResponse;
use axum::routing::get;
use http::StatusCode;
use http::header::CONTENT_TYPE;
use prometheus_client::encoding::prometheus_text;
use prometheus_client::registry::Registry;
use tokio::net::TcpListener;
use tracing::{info, warn};

use crate::ready::Readiness;
use crate::settings::Mistakes;
use crate::telemetry::Chain;

const HEALTH: &str = "--healthz-bind-address";
const METRICS: &str = "--metrics-bind-address";

/// Until a taken port is tried again.
const PAUSE: Duration = Duration::from_secs(5);

/// Flags of both programs, with kube-proxy's names.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct ServeFlags {
    /// Where /livez and /readyz are answered; empty: nowhere; absent: a port of 127.0.0.1
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub healthz_bind_address: Option<String>,

    /// Where /metrics is answered; empty: nowhere; absent: a port of 127.0.0.1
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub metrics_bind_address: Option<String>,
}

/// Where to answer; both may be the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Addresses {
    pub health: Option<SocketAddr>,
    pub metrics: Option<SocketAddr>,
}

impl ServeFlags {
    /// Checks each flag; one that is absent means `port` of the loopback interface, so that
    /// nothing of a program in the host's network is open to others unless somebody says so.
    pub fn check(self, port: u16, mistakes: &mut Mistakes) -> Addresses {
        let mut address = |flag, text: Option<String>| {
            let Some(text) = text else { return Some((IpAddr::from(Ipv4Addr::LOCALHOST), port)) };
            let parsed = (!text.is_empty()).then(|| text.parse::<SocketAddr>())?;
            let wrong = |_| format!("{text:?} is no address: want one as in 127.0.0.1:{port}");
            mistakes.keep(flag, parsed.map_err(wrong)).map(|at| (at.ip(), at.port()))
        };
        let health = address(HEALTH, self.healthz_bind_address).map(SocketAddr::from);
        let metrics = address(METRICS, self.metrics_bind_address).map(SocketAddr::from);
        Addresses { health, metrics }
    }
}

/// Answers for ever.
///
/// `/livez` (and `/healthz`) say `ok` as long as anything answers: what is not there yet, the API
/// server above all, is no reason to start again. `/readyz` is [`Readiness`], with `?verbose` and
/// `?exclude=CHECK`.
pub async fn serve(addresses: Addresses, readiness: Readiness, registry: Registry) {
    let Addresses { health: at, metrics: metrics_at } = addresses;
    let (health, metrics) = (health(readiness), metrics(registry));
    if at == metrics_at {
        return listen(at, health.merge(metrics)).await;
    }
    tokio::join!(listen(at, health), listen(metrics_at, metrics));
}

async fn listen(address: Option<SocketAddr>, router: Router) {
    let Some(address) = address else { return std::future::pending().await };
    loop {
        match TcpListener::bind(address).await {
            Ok(listener) => {
                let bound = listener.local_addr().unwrap_or(address);
                info!(address = %bound, "answering HTTP");
                // It comes back only with an error that the next listener would have as well.
                let _ = axum::serve(listener, router.clone()).await;
            }
            Err(error) => {
                warn!(%address, error = %Chain(&error), "cannot listen; trying again");
            }
        }
        tokio::time::sleep(PAUSE).await;
    }
}

fn health(readiness: Readiness) -> Router {
    let ready = move |RawQuery(query): RawQuery| async move {
        let query = query.unwrap_or_default();
        let words = query.split('&').map(|word| word.split_once('=').unwrap_or((word, "")));
        let (mut verbose, mut excluded) = (false, Vec::new());
        for (key, value) in words {
            match key {
                "verbose" => verbose = true,
                "exclude" => excluded.push(value),
                _ => {}
            }
        }
        let report = readiness.report(&excluded);
        match report.is_ready() {
            true if verbose => (StatusCode::OK, report.to_string()),
            true => (StatusCode::OK, "ok".to_owned()),
            false => (StatusCode::INTERNAL_SERVER_ERROR, report.to_string()),
        }
    };
    let alive = || async { "ok" };
    Router::new()
        .route("/livez", get(alive))
        .route("/healthz", get(alive))
        .route("/readyz", get(ready))
}

fn metrics(registry: Registry) -> Router {
    let registry = Arc::new(registry);
    let scrape = move || async move {
        let mut text = String::new();
        match prometheus_text::encode(&mut text, &registry) {
            Ok(()) => ([(CONTENT_TYPE, prometheus_text::CONTENT_TYPE)], text).into_response(),
            Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
        }
    };
    Router::new().route("/metrics", get(scrape))
}

#[cfg(test)]
mod tests {
    use prometheus_client::metrics::gauge::Gauge;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpStream;

    use super::*;

    fn addresses(health: Option<&str>, metrics: Option<&str>) -> Result<String, String> {
        let owned = |text: Option<&str>| text.map(str::to_owned);
        let flags = ServeFlags {
            healthz_bind_address: owned(health),
            metrics_bind_address: owned(metrics),
        };
        let mut mistakes = Mistakes::default();
        let addresses = flags.check(7, &mut mistakes);
        let text = |at: Option<SocketAddr>| at.map_or("-".to_owned(), |at| at.to_string());
        mistakes
            .or(Some(format!("{} {}", text(addresses.health), text(addresses.metrics))))
            .map_err(|mistakes| mistakes.to_string())
    }

    #[test]
    fn nothing_is_open_to_others_unless_somebody_says_so() {
        assert_eq!(addresses(None, None).unwrap(), "127.0.0.1:7 127.0.0.1:7");
        assert_eq!(addresses(Some(""), Some("[::]:9")).unwrap(), "- [::]:9");
        let text = addresses(Some("banana"), None).unwrap_err();
        assert!(text.contains("--healthz-bind-address: \"banana\" is no address"), "{text}");
    }

    async fn answer(address: SocketAddr, path: &str) -> String {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).await.unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        format!("{} {body}", head.split(' ').nth(1).unwrap())
    }

    #[tokio::test]
    async fn each_path_answers_what_kubernetes_expects() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let readiness = Readiness::new(&[("nodes", "not listed"), ("lease", "not held")]);
        let mut registry = Registry::default();
        registry.register("things", "Things", Gauge::<i64>::default());
        let router = health(readiness.clone()).merge(metrics(registry));
        let asked = async {
            assert_eq!(answer(address, "/livez").await, "200 ok");
            assert_eq!(answer(address, "/healthz").await, "200 ok");
            let failed = "500 [-]lease failed: not held\n[+]nodes ok\nreadyz check failed\n";
            readiness.pass("nodes");
            assert_eq!(answer(address, "/readyz").await, failed);
            assert_eq!(answer(address, "/readyz?exclude=lease").await, "200 ok");
            let passed = "200 [+]nodes ok\nreadyz check passed\n";
            assert_eq!(answer(address, "/readyz?verbose&exclude=lease").await, passed);
            assert!(answer(address, "/metrics").await.contains("# TYPE things gauge\nthings 0\n"));
            assert!(answer(address, "/").await.starts_with("404 "));
        };
        tokio::select! {
            () = asked => {}
            _ = axum::serve(listener, router) => panic!("stopped serving"),
        }
    }

    #[tokio::test]
    async fn a_taken_port_stops_nothing() {
        let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let at = Some(taken.local_addr().unwrap());
        let addresses = Addresses { health: at, metrics: None };
        let served = serve(addresses, Readiness::new(&[]), Registry::default());
        assert!(tokio::time::timeout(Duration::from_millis(50), served).await.is_err());
    }
}
