//! What can interrupt a watch instead of its next event, and whether it can go on where it was.

use futures::TryStreamExt;
use kube::api::WatchEvent;
use kube::core::Status;

use super::{Events, SILENCE};

/// What interrupted a watch.
#[derive(Debug, thiserror::Error)]
pub(super) enum Trouble {
    #[error("cannot reach the API server")]
    Request(#[source] kube::Error),
    /// It says whom, and of which right.
    #[error("the API server refuses with {}: {}", .0.code, .0.message)]
    Refused(Box<Status>),
    #[error("the API server ended the watch: {0}")]
    Ended(Box<Status>),
    #[error("no sign of life from the API server for {} s", SILENCE.as_secs())]
    Silence,
    #[error("the API server broke off its list")]
    HalfAList,
    #[error("the API server sent a list without resourceVersion")]
    NoVersion,
}

impl From<kube::Error> for Trouble {
    fn from(error: kube::Error) -> Self {
        match error {
            kube::Error::Api(status) => Self::Refused(status),
            error => Self::Request(error),
        }
    }
}

impl Trouble {
    /// Of the server's answer; 0 where there was none.
    pub(super) fn code(&self) -> u16 {
        match self {
            Self::Ended(status) | Self::Refused(status) => status.code,
            Self::Request(_) | Self::Silence | Self::HalfAList | Self::NoVersion => 0,
        }
    }

    /// Whether the server can't go on from where we were: it has forgotten that version (410), has
    /// never heard of it, as its etcd was restored from an older snapshot, or does not know the kind
    /// any more (404).
    pub(super) fn voids_versions(&self) -> bool {
        let (Self::Ended(status) | Self::Refused(status)) = self else {
            return false;
        };
        let mut causes = status.details.iter().flat_map(|details| &details.causes);
        matches!(status.code, 404 | 410)
            || causes.any(|cause| cause.reason == "ResourceVersionTooLarge")
    }
}

/// What the API server answers, if it does in time.
pub(super) async fn answered<T>(
    answer: impl Future<Output = kube::Result<T>>,
) -> Result<T, Trouble> {
    Ok(tokio::time::timeout(SILENCE, answer).await.map_err(|_| Trouble::Silence)??)
}

/// The next event; none when the server ended the watch as it should.
pub(super) async fn received<K>(events: &mut Events<K>) -> Result<Option<WatchEvent<K>>, Trouble> {
    answered(events.try_next()).await
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use futures::{StreamExt, stream};
    use kube::core::response::{StatusCause, StatusDetails};
    use tokio::time::{Instant, timeout};

    use super::*;

    fn starts_over(code: u16, cause: &str) -> bool {
        let cause =
            StatusCause { reason: cause.to_owned(), message: String::new(), field: String::new() };
        let details = StatusDetails {
            name: String::new(),
            group: String::new(),
            kind: String::new(),
            uid: String::new(),
            causes: vec![cause],
            retry_after_seconds: 0,
        };
        let status = Status { code, details: Some(details), ..Status::default() };
        let refused = Trouble::from(kube::Error::Api(Box::new(status.clone())));
        assert_eq!(
            refused.voids_versions(),
            Trouble::Ended(Box::new(status.clone())).voids_versions()
        );
        refused.voids_versions()
    }

    #[test]
    fn a_version_that_the_server_does_not_know_starts_over() {
        assert!(starts_over(410, ""));
        assert!(starts_over(404, ""));
        assert!(starts_over(504, "ResourceVersionTooLarge"));
        assert!(!starts_over(504, ""));
        assert!(!starts_over(500, ""));
    }

    #[test]
    fn a_refusal_says_who_may_not_do_what() {
        let message = "nodes is forbidden: User \"a\" cannot watch resource \"nodes\"".to_owned();
        let status = Status { code: 403, message, ..Status::default() };
        let refused = Trouble::from(kube::Error::Api(Box::new(status)));
        let text = "the API server refuses with 403: nodes is forbidden: User \"a\" cannot watch \
                    resource \"nodes\"";
        assert_eq!((refused.to_string().as_str(), refused.code()), (text, 403));
    }

    #[test]
    fn silence_alone_loses_nothing() {
        assert!(!Trouble::Silence.voids_versions());
    }

    /// It is given up after [`SILENCE`], and not before.
    async fn is_silence<T>(asked: impl Future<Output = Result<T, Trouble>>) {
        let start = Instant::now();
        let given_up = timeout(2 * SILENCE, asked).await.unwrap();
        assert!(matches!(given_up, Err(Trouble::Silence)));
        assert!(start.elapsed() >= SILENCE);
    }

    #[tokio::test(start_paused = true)]
    async fn a_server_that_takes_a_request_and_says_nothing_is_given_up() {
        is_silence(answered(pending::<kube::Result<()>>())).await;
        is_silence(received(&mut stream::pending::<kube::Result<WatchEvent<()>>>().boxed())).await;
    }
}
