//! The connection to the API server: from a kubeconfig, or from the Pod that the program runs in.

use std::path::{Path, PathBuf};
use std::time::Duration;

use http::header::{HeaderValue, InvalidHeaderValue, USER_AGENT};
use kube::client::ClientBuilder;
use kube::config::{InClusterError, KubeConfigOptions, Kubeconfig, KubeconfigError};
use kube::{Client, Config};
use tower::util::MapRequestLayer;

use crate::rotation::{Rotation, Seen};
use crate::token::TokenFile;

/// Until a TCP and TLS connection stands.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

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

/// Where the files of a Pod's service account are, beside its token.
const POD_CA: &str = "/var/run/secrets/kubernetes.io/serviceaccount/ca.crt";

/// A client that calls itself `name` (also its field manager) and asks for gzip.
///
/// Without a kubeconfig it is the Pod's: `KUBERNETES_SERVICE_HOST`, `KUBERNETES_SERVICE_PORT`, and the
/// service account's token. Whatever file credentials are in may be replaced at any time: a token is read
/// for each request, certificates and the kubeconfig itself when they have changed.
/// It connects with the first request.
pub async fn connect(kubeconfig: Option<&Path>, name: &str) -> Result<Client, ClientError> {
    let credentials =
        Credentials { kubeconfig: kubeconfig.map(Path::to_owned), name: name.to_owned() };
    Ok(Rotation::new(credentials).await?.into_client())
}

/// Where credentials are, and who uses them.
#[derive(Clone, Debug)]
pub(crate) struct Credentials {
    kubeconfig: Option<PathBuf>,
    name: String,
}

impl Credentials {
    /// A client by what the files hold now, and these as they were before.
    pub(crate) async fn client(&self) -> Result<(Client, Vec<Seen>), ClientError> {
        let (mut config, files) = if let Some(path) = &self.kubeconfig {
            from_kubeconfig(path).await.map_err(|source| ClientError::Kubeconfig {
                path: path.display().to_string(),
                source,
            })?
        } else {
            let seen = Seen::now(POD_CA.into());
            (Config::incluster_env().map_err(ClientError::InCluster)?, vec![seen])
        };
        config.connect_timeout = Some(CONNECT_TIMEOUT);
        // Whoever asks knows how long to wait for an answer. A limit here would also cost each event of a
        // watch two more turns of the runtime, as whatever is read sets a timer that is due at once.
        config.read_timeout = None;
        config.write_timeout = Some(WRITE_TIMEOUT);
        let agent = format!("{}/{}", self.name, env!("CARGO_PKG_VERSION"));
        let agent = HeaderValue::from_str(&agent).map_err(ClientError::UserAgent)?;
        config.headers.push((USER_AGENT, agent));
        let url = config.cluster_url.to_string();
        // An inline token comes first, as everywhere.
        let inline = config.auth_info.token.is_some();
        let file = config.auth_info.token_file.take().filter(|_| !inline);
        let builder = ClientBuilder::try_from(config);
        let builder = builder.map_err(|source| ClientError::Client { url, source })?;
        let Some(file) = file.map(|path| TokenFile::new(path.into())) else {
            return Ok((builder.build(), files));
        };
        let layer = MapRequestLayer::new(move |request| file.authorize(request));
        Ok((builder.with_layer(&layer).build(), files))
    }
}

async fn from_kubeconfig(path: &Path) -> Result<(Config, Vec<Seen>), KubeconfigError> {
    let seen = Seen::now(path.to_owned());
    let kubeconfig = Kubeconfig::read_from(path)?;
    let clusters = kubeconfig.clusters.iter().filter_map(|named| named.cluster.as_ref());
    let users = kubeconfig.auth_infos.iter().filter_map(|named| named.auth_info.as_ref());
    let authorities = clusters.filter_map(|cluster| cluster.certificate_authority.as_ref());
    let own = users.flat_map(|user| [&user.client_certificate, &user.client_key]).flatten();
    let named = authorities.chain(own).map(|path| Seen::now(path.into()));
    let files = [seen].into_iter().chain(named).collect();
    let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?;
    Ok((config, files))
}
