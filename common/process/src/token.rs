//! The bearer token of a file, as the file has it at each request: a Pod's is replaced long before it
//! expires.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use http::Request;
use http::header::{AUTHORIZATION, HeaderValue};
use kube::client::Body;
use parking_lot::Mutex;
use tracing::warn;

/// A file with a token; clones are the same.
#[derive(Clone, Debug)]
pub(crate) struct TokenFile {
    path: PathBuf,
    /// The header of the last request, which stays while the file can't be read.
    last: Arc<Mutex<Option<HeaderValue>>>,
}

impl TokenFile {
    pub(crate) fn new(path: PathBuf) -> Self {
        Self { path, last: Arc::default() }
    }

    /// The request with the token that is in the file now.
    pub(crate) fn authorize(&self, mut request: Request<Body>) -> Request<Body> {
        let mut last = self.last.lock();
        match self.header() {
            Ok(header) => *last = Some(header),
            Err(error) => warn!(path = %self.path.display(), %error, "cannot read the token"),
        }
        if let Some(header) = &*last {
            request.headers_mut().insert(AUTHORIZATION, header.clone());
        }
        request
    }

    fn header(&self) -> Result<HeaderValue, String> {
        let token = fs::read_to_string(&self.path).map_err(|error| error.to_string())?;
        let value = HeaderValue::from_str(&format!("Bearer {}", token.trim()));
        let mut value = value.map_err(|_| "it has characters that no token has".to_owned())?;
        value.set_sensitive(true);
        Ok(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_request_has_the_token_that_is_in_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        let file = TokenFile::new(path.clone());
        let sent = || {
            let request = file.authorize(Request::new(Body::empty()));
            let header = request.headers().get(AUTHORIZATION);
            header.map(|header| header.to_str().unwrap().to_owned())
        };
        assert_eq!(sent(), None);
        fs::write(&path, "first\n").unwrap();
        assert_eq!(sent().as_deref(), Some("Bearer first"));
        fs::write(&path, "second").unwrap();
        assert_eq!(sent().as_deref(), Some("Bearer second"));
        for unusable in ["third\nfourth", "\u{7f}"] {
            fs::write(&path, unusable).unwrap();
            assert_eq!(sent().as_deref(), Some("Bearer second"));
        }
        fs::remove_file(&path).unwrap();
        assert_eq!(sent().as_deref(), Some("Bearer second"));
    }
}
