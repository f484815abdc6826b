//! A watch that never ends: the objects of one kind as a stream of events, started again after
//! every error.
//!
//! kube's own watcher streams its first list from whatever the API server's cache holds
//! (`resourceVersion=0`), which may be older than what we acted on before; a list of ours is always
//! consistent, so an object that is missing in it is really gone.

pub(crate) mod protobuf;
mod source;
mod trouble;

use std::collections::VecDeque;
use std::time::Duration;

use futures::stream::{self, Stream};
use kube::api::{Api, ListParams, WatchEvent, WatchParams};
use kube::core::ResourceExt;
use kube::runtime::utils::Backoff;
use kube::runtime::watcher::{DefaultBackoff, Event};
use tracing::{debug, info, warn};

pub use self::source::{Events, Watched};
use self::trouble::{Trouble, answered, received};
use crate::contact::Contact;
use crate::telemetry::Chain;

/// Without an answer, an event or a bookmark (the server sends one each minute) the connection counts as
/// dead.
pub const SILENCE: Duration = Duration::from_secs(90);

/// After this many seconds the server ends a watch, which is then resumed.
const SERVER_TIMEOUT: u32 = 290;

/// After this long a server that did not know a kind is asked for it again.
const ABSENCE: Duration = Duration::from_secs(10);

/// Objects in a page, where the server cannot stream its list.
const PAGE: u32 = 500;

/// The bookmark that ends a streamed list (KEP-3157).
const INITIAL_EVENTS_END: &str = "k8s.io/initial-events-end";

enum State<K> {
    /// Nothing is known, or what was known is too old to go on from.
    Start,
    /// A server without streamed lists (before Kubernetes 1.32, or switched off) lists in pages.
    Paging {
        page: VecDeque<K>,
        next: Option<String>,
        version: Option<String>,
    },
    /// The list is being streamed.
    Listing(Events<K>),
    /// The server does not know the kind, so there are no objects of it.
    Absent,
    /// All that happened up to `version` is known.
    Listed {
        version: String,
    },
    Watching {
        version: String,
        events: Events<K>,
    },
}

enum Lists {
    Streamed,
    Paged,
}

/// What it means that the server does not know the kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Unknown {
    /// Something is wrong.
    Trouble,
    /// There are no objects of it, until its definition is installed; `told` is whether that was
    /// said since it was known last.
    Empty { told: bool },
}

struct Watch<K> {
    api: Api<K>,
    lists: Lists,
    unknown: Unknown,
    backoff: DefaultBackoff,
    contact: Contact,
}

/// All objects of `api`, and then each change of them, for ever.
///
/// It begins with `Init`, one `InitApply` for each object, `InitDone`; these come again whenever
/// changes may have been missed. Errors are logged and followed by a pause that grows up to half a
/// minute while nothing comes in between; the connection is dead after [`SILENCE`]. `contact` is told.
pub fn watch<K: Watched>(api: Api<K>, contact: Contact) -> impl Stream<Item = Event<K>> + Send {
    follow(api, Unknown::Trouble, contact)
}

/// As [`watch`], of a kind that the server need not know: until it does, the list is empty.
///
/// The server is asked for it each 10 s. Where its definition goes, so do the objects.
pub fn watch_if_served<K: Watched>(
    api: Api<K>,
    contact: Contact,
) -> impl Stream<Item = Event<K>> + Send {
    follow(api, Unknown::Empty { told: false }, contact)
}

fn follow<K: Watched>(
    api: Api<K>,
    unknown: Unknown,
    contact: Contact,
) -> impl Stream<Item = Event<K>> + Send {
    let backoff = DefaultBackoff::default();
    let watch = Watch { api, lists: Lists::Streamed, unknown, backoff, contact };
    stream::unfold((watch, State::Start), |(mut watch, mut state)| async move {
        loop {
            match watch.step(state).await {
                (Some(event), next) => return Some((event, (watch, next))),
                (None, next) => state = next,
            }
        }
    })
}

impl<K: Watched> Watch<K> {
    async fn step(&mut self, state: State<K>) -> (Option<Event<K>>, State<K>) {
        match state {
            State::Start => self.start().await,
            State::Paging { page, next, version } => self.page(page, next, version).await,
            State::Listing(events) => self.list(events).await,
            State::Absent => {
                self.unknown = Unknown::Empty { told: true };
                (Some(Event::InitDone), State::Start)
            }
            State::Listed { version } => {
                match answered(K::events(&self.api, &parameters(), &version)).await {
                    Ok(events) => {
                        self.contact.stands();
                        (None, State::Watching { version, events })
                    }
                    Err(trouble) => {
                        self.pause(&trouble).await;
                        (None, after(&trouble, version))
                    }
                }
            }
            State::Watching { version, events } => self.next(version, events).await,
        }
    }

    async fn start(&mut self) -> (Option<Event<K>>, State<K>) {
        let first_page = State::Paging { page: VecDeque::new(), next: None, version: None };
        if matches!(self.lists, Lists::Paged) {
            return (Some(Event::Init), first_page);
        }
        // An empty version asks for a list that is as new as this request.
        match answered(K::events(&self.api, &parameters().initial_events(), "")).await {
            Ok(events) => {
                self.served();
                (Some(Event::Init), State::Listing(events))
            }
            Err(Trouble::Refused(status)) if matches!(status.code, 400 | 422) => {
                debug!(%status, "the API server streams no lists; reading them in pages");
                self.lists = Lists::Paged;
                (None, State::Start)
            }
            Err(trouble) => self.not_listed(trouble).await,
        }
    }

    /// The server answers, and knows the kind.
    fn served(&mut self) {
        self.contact.stands();
        if let Unknown::Empty { told } = &mut self.unknown {
            *told = false;
        }
    }

    /// Where to go on if the first list can't be had.
    async fn not_listed(&mut self, trouble: Trouble) -> (Option<Event<K>>, State<K>) {
        match (&trouble, self.unknown) {
            (Trouble::Refused(status), Unknown::Empty { told }) if status.code == 404 => {
                if told {
                    tokio::time::sleep(ABSENCE).await;
                    return (None, State::Start);
                }
                let (kind, seconds) = (K::plural(&()), ABSENCE.as_secs());
                info!(%kind, "unknown to the API server; asking again every {seconds} s");
                return (Some(Event::Init), State::Absent);
            }
            _ => self.pause(&trouble).await,
        }
        (None, State::Start)
    }

    async fn page(
        &mut self,
        mut page: VecDeque<K>,
        next: Option<String>,
        version: Option<String>,
    ) -> (Option<Event<K>>, State<K>) {
        if let Some(object) = page.pop_front() {
            return (Some(Event::InitApply(object)), State::Paging { page, next, version });
        }
        if let (None, Some(version)) = (&next, version) {
            return (Some(Event::InitDone), State::Listed { version });
        }
        // Without a version the first page is a consistent read, and the others continue it.
        let request = ListParams { continue_token: next, ..ListParams::default().limit(PAGE) };
        let trouble = match answered(self.api.list(&request)).await {
            Ok(list) => {
                self.served();
                let version = list.metadata.resource_version.filter(|text| !text.is_empty());
                let next = list.metadata.continue_.filter(|text| !text.is_empty());
                if version.is_some() {
                    return (None, State::Paging { page: list.items.into(), next, version });
                }
                Trouble::NoVersion
            }
            Err(trouble) => return self.not_listed(trouble).await,
        };
        self.pause(&trouble).await;
        (None, State::Start)
    }

    async fn list(&mut self, mut events: Events<K>) -> (Option<Event<K>>, State<K>) {
        let trouble = match received(&mut events).await {
            Ok(Some(WatchEvent::Added(object) | WatchEvent::Modified(object))) => {
                return (Some(Event::InitApply(object)), State::Listing(events));
            }
            Ok(Some(WatchEvent::Bookmark(bookmark))) => {
                if !bookmark.metadata.annotations.contains_key(INITIAL_EVENTS_END) {
                    return (None, State::Listing(events));
                }
                let version = bookmark.metadata.resource_version;
                return (Some(Event::InitDone), State::Watching { version, events });
            }
            Ok(None | Some(WatchEvent::Deleted(_))) => Trouble::HalfAList,
            Ok(Some(WatchEvent::Error(status))) => Trouble::Ended(status),
            Err(trouble) => trouble,
        };
        self.pause(&trouble).await;
        (None, State::Start)
    }

    async fn next(
        &mut self,
        version: String,
        mut events: Events<K>,
    ) -> (Option<Event<K>>, State<K>) {
        let received = received(&mut events).await;
        if let Ok(Some(event)) = &received
            && !matches!(event, WatchEvent::Error(_))
        {
            // What breaks off now and then, and brings news in between, is no outage.
            self.backoff.reset();
        }
        let trouble = match received {
            Ok(Some(WatchEvent::Added(object) | WatchEvent::Modified(object))) => {
                let version = object.resource_version().unwrap_or(version);
                return (Some(Event::Apply(object)), State::Watching { version, events });
            }
            Ok(Some(WatchEvent::Deleted(object))) => {
                let version = object.resource_version().unwrap_or(version);
                return (Some(Event::Delete(object)), State::Watching { version, events });
            }
            Ok(Some(WatchEvent::Bookmark(bookmark))) => {
                let version = bookmark.metadata.resource_version;
                return (None, State::Watching { version, events });
            }
            Ok(None) => return (None, State::Listed { version }),
            Ok(Some(WatchEvent::Error(status))) => Trouble::Ended(status),
            Err(trouble) => trouble,
        };
        self.pause(&trouble).await;
        (None, after(&trouble, version))
    }

    /// Says what happened and waits as long as the errors before it suggest.
    async fn pause(&mut self, trouble: &Trouble) {
        let (kind, error) = (K::plural(&()), Chain(trouble).to_string());
        warn!(%kind, error, "watch interrupted; trying again");
        self.contact.fails(&kind, trouble.code(), error);
        if let Some(delay) = self.backoff.next() {
            tokio::time::sleep(delay).await;
        }
    }
}

fn parameters() -> WatchParams {
    WatchParams { bookmarks: true, ..WatchParams::default().timeout(SERVER_TIMEOUT) }
}

fn after<K>(trouble: &Trouble, version: String) -> State<K> {
    if trouble.voids_versions() { State::Start } else { State::Listed { version } }
}
