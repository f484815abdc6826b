//! A client that is made anew when a file of its credentials changes: kubelets, for one, replace their
//! certificates long before these expire.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::Arc;

use http::{Request, Response};
use kube::Client;
use kube::client::Body;
use tokio::sync::Mutex;
use tracing::{info, warn};

use crate::client::{ClientError, Credentials};
use crate::telemetry::Chain;

/// A file as it was before it was read.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    path: PathBuf,
    /// What tells one content from another; none while there is no file.
    stamp: Option<(u64, u64, i64, i64, u64)>,
}

impl Seen {
    pub(crate) fn now(path: PathBuf) -> Self {
        let file = fs::metadata(&path).ok();
        let stamp = file.map(|f| (f.dev(), f.ino(), f.mtime(), f.mtime_nsec(), f.size()));
        Self { path, stamp }
    }

    fn has_changed(&self) -> bool {
        Self::now(self.path.clone()).stamp != self.stamp
    }
}

/// The client by the credentials that are in the files now.
pub(crate) struct Rotation {
    credentials: Credentials,
    client: Client,
    files: Vec<Seen>,
}

impl Rotation {
    pub(crate) async fn new(credentials: Credentials) -> Result<Self, ClientError> {
        let (client, files) = credentials.client().await?;
        Ok(Self { credentials, client, files })
    }

    /// One that sends each request by the credentials of that time.
    pub(crate) fn into_client(self) -> Client {
        let namespace = self.client.default_namespace().to_owned();
        let rotation = Arc::new(Mutex::new(self));
        let send = move |request| send(Arc::clone(&rotation), request);
        Client::new(tower::service_fn(send), namespace)
    }

    /// One that can't be made, as from a file that is half written, leaves the last: until the next change.
    async fn now(&mut self) -> Client {
        if self.files.iter().any(Seen::has_changed) {
            for seen in &mut self.files {
                *seen = Seen::now(seen.path.clone());
            }
            match Self::new(self.credentials.clone()).await {
                Ok(new) => {
                    info!("credentials of the API server were replaced");
                    *self = new;
                }
                Err(error) => warn!(error = %Chain(&error), "cannot use the new credentials"),
            }
        }
        self.client.clone()
    }
}

async fn send(
    rotation: Arc<Mutex<Rotation>>,
    request: Request<Body>,
) -> kube::Result<Response<Body>> {
    let client = rotation.lock().await.now().await;
    client.send(request).await
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    /// Answers each request with its own `name`, on a connection of its own.
    async fn serve(listener: TcpListener, name: &str) {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = [0; 4096];
            assert!(stream.read(&mut request).await.unwrap() > 0);
            let answer = format!(
                "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{name}",
                name.len()
            );
            stream.write_all(answer.as_bytes()).await.unwrap();
        }
    }

    /// As an atomic writer does it.
    fn write(path: &Path, text: &str) {
        let new = path.with_extension("new");
        fs::write(&new, text).unwrap();
        fs::rename(new, path).unwrap();
    }

    #[tokio::test]
    async fn what_is_replaced_counts_from_the_next_request_on() {
        let folder = tempfile::tempdir().unwrap();
        let kubeconfig = folder.path().join("kubeconfig");
        let listeners = [
            TcpListener::bind("127.0.0.1:0").await.unwrap(),
            TcpListener::bind("127.0.0.1:0").await.unwrap(),
        ];
        let texts = listeners.each_ref().map(|listener| {
            let server = listener.local_addr().unwrap();
            format!(
                r#"{{"current-context": "c", "contexts": [{{"name": "c", "context": {{"cluster": "c", "user": "u"}}}}],
                "clusters": [{{"name": "c", "cluster": {{"server": "http://{server}"}}}}],
                "users": [{{"name": "u", "user": {{}}}}]}}"#
            )
        });
        let [first, second] = listeners;
        write(&kubeconfig, &texts[0]);
        let client = crate::client::connect(Some(&kubeconfig), "test").await.unwrap();
        let said = async || client.request_text(Request::get("/").body(Vec::new()).unwrap()).await;
        let scenario = async {
            assert_eq!(said().await.unwrap(), "first");
            write(&kubeconfig, "half of {");
            assert_eq!(said().await.unwrap(), "first");
            write(&kubeconfig, &texts[1]);
            assert_eq!(said().await.unwrap(), "second");
        };
        tokio::select! {
            () = serve(first, "first") => {}
            () = serve(second, "second") => {}
            () = scenario => {}
        }
    }
}
