//! The connection to the API server: from a kubeconfig, or from the Pod that the program runs in.

use std::path::Path;
use std::time::Duration;

use http::header::{HeaderValue, InvalidHeaderValue, USER_AGENT};
use kube::client::ClientBuilder;
use kube::config::{InClusterError, KubeConfigOptions, Kubeconfig, KubeconfigError};
use kube::{Client, Config};
use tower::util::MapRequestLayer;

use crate::token::TokenFile;

/// Until a TCP and TLS connection stands.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Without a byte from the server. It must be longer than [`crate::watch::SILENCE`], by which a
/// watch finds out on its own, and sends no bytes only while nothing happens.
const READ_TIMEOUT: Duration = Duration::from_mins(2);

/// Until a request is sent.
const WRITE_TIMEOUT: Duration = Duration::from_secs(15);

/// Why there is no client.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    #[error("cannot use kubeconfig {path}")]
    Kubeconfig { path: String, source: KubeconfigError },
    #[error("cannot find the API server from inside a Pod; outside of one give --kubeconfig")]
    InCluster(#[source] InClusterError),
    #[error("cannot name this program to the API server")]
    UserAgent(#[source] InvalidHeaderValue),
    #[error("cannot make a client for {url}")]
    Client { url: String, source: kube::Error },
}

/// A client that calls itself `name` (also its field manager) and asks for gzip.
///
/// Without a kubeconfig it is the Pod's: `KUBERNETES_SERVICE_HOST`, `KUBERNETES_SERVICE_PORT`, and the
/// service account's token. A token of a file is read again for each request, so it may be replaced.
/// It connects with the first request.
pub async fn connect(kubeconfig: Option<&Path>, name: &str) -> Result<Client, ClientError> {
    let mut config = match kubeconfig {
        Some(path) => from_kubeconfig(path).await.map_err(|source| ClientError::Kubeconfig {
            path: path.display().to_string(),
            source,
        })?,
        None => Config::incluster_env().map_err(ClientError::InCluster)?,
    };
    config.connect_timeout = Some(CONNECT_TIMEOUT);
    config.read_timeout = Some(READ_TIMEOUT);
    config.reset_reader_on_write = true;
    config.write_timeout = Some(WRITE_TIMEOUT);
    let agent = format!("{name}/{}", env!("CARGO_PKG_VERSION"));
    let agent = HeaderValue::from_str(&agent).map_err(ClientError::UserAgent)?;
    config.headers.push((USER_AGENT, agent));
    let url = config.cluster_url.to_string();
    // An inline token comes first, as everywhere.
    let inline = config.auth_info.token.is_some();
    let file = config.auth_info.token_file.take().filter(|_| !inline);
    let builder = ClientBuilder::try_from(config);
    let builder = builder.map_err(|source| ClientError::Client { url, source })?;
    let Some(file) = file.map(|path| TokenFile::new(path.into())) else {
        return Ok(builder.build());
    };
    let layer = MapRequestLayer::new(move |request| file.authorize(request));
    Ok(builder.with_layer(&layer).build())
}

async fn from_kubeconfig(path: &Path) -> Result<Config, KubeconfigError> {
    let kubeconfig = Kubeconfig::read_from(path)?;
    Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await
}
