//! What wakes the loop: Nodes, the kernel, files, and a look at what tells nobody of its changes.

use std::future::pending;
use std::io;
use std::path::{Path, PathBuf};

use net::NetError;
use net::events::Events;
use net::sysctl::Sysctl;
use net::watch::FolderWatch;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::watch;
use tracing::{debug, warn};

use crate::glance;
use crate::machine::Paths;
use crate::nodes::Latest;
use crate::pace::Wait;
use crate::ranges::Ranges;
use crate::sysctl::Values;

/// Why the loop can't be woken.
#[derive(Debug, thiserror::Error)]
pub enum WakeError {
    #[error(transparent)]
    Subscribe(#[from] NetError),
    #[error("cannot wait for events of the kernel")]
    Events(#[source] io::Error),
}

/// What the API server tells.
#[derive(Clone, Debug)]
pub struct Cluster {
    pub nodes: watch::Receiver<Latest>,
    pub ranges: watch::Receiver<Ranges>,
}

impl Cluster {
    /// Whether there is news since they were last looked at.
    pub fn has_changed(&self) -> bool {
        let Self { nodes, ranges } = self;
        nodes.has_changed().unwrap_or(false) || ranges.has_changed().unwrap_or(false)
    }
}

/// All that wakes the loop.
pub struct Wakers {
    pub cluster: Cluster,
    kernel: Kernel,
    files: Files,
    settings: Settings,
    /// Appears when the machine is to be cleaned up.
    cleaning: PathBuf,
}

/// In the namespace of the thread that made it.
pub struct Kernel {
    routing: AsyncFd<Events>,
    nftables: AsyncFd<Events>,
}

struct Files {
    /// None where the kernel gives no more of them.
    watch: Option<AsyncFd<FolderWatch>>,
    folders: Vec<PathBuf>,
}

struct Settings {
    sysctl: Sysctl,
    keys: Vec<String>,
    seen: Values,
}

impl Wakers {
    pub fn new(cluster: Cluster, paths: &Paths) -> Result<Self, WakeError> {
        Ok(Self {
            cluster,
            kernel: Kernel::subscribe()?,
            files: Files::new(FolderWatch::open(), paths.watched().collect())?,
            settings: Settings {
                sysctl: Sysctl::at(&paths.sysctl),
                keys: Vec::new(),
                seen: Values::new(),
            },
            cleaning: paths.cleaning(),
        })
    }

    /// Forgets what has been told so far: what is looked at from now on is newer.
    pub fn drain(&mut self) -> Result<(), WakeError> {
        self.files.follow();
        self.files.drain()?;
        self.kernel.drain()
    }

    /// Wakes the loop when these settings, of which some may be missing, are not as `seen` any more.
    pub fn expect(&mut self, keys: Vec<String>, seen: Values) {
        (self.settings.keys, self.settings.seen) = (keys, seen);
    }

    /// Until something happens, but within the bounds of `wait`; or until the machine is to be cleaned up.
    ///
    /// What the API server tells is whole, and acted upon at once. On the machine one thing seldom comes
    /// alone: whoever makes a link gives it addresses, so that burst is waited for.
    pub async fn wait(&mut self, wait: Wait) -> Result<(), WakeError> {
        let Self { cluster: Cluster { nodes, ranges }, kernel, files, settings, cleaning } = self;
        let rest = tokio::time::sleep(wait.least);
        let sleep = tokio::time::timeout(wait.most, async {
            tokio::select! {
                // An end of the watch ends the program, elsewhere.
                Ok(()) = nodes.changed() => {
                    nodes.mark_changed();
                    return Ok(());
                }
                Ok(()) = ranges.changed() => {
                    ranges.mark_changed();
                    return Ok(());
                }
                result = kernel.changed() => result?,
                result = glances(files, settings) => result?,
            }
            tokio::time::sleep(wait.burst).await;
            Ok(())
        });
        tokio::select! {
            ((), slept) = async { tokio::join!(rest, sleep) } => slept.unwrap_or(Ok(())),
            // Whoever cleans up waits for the loop, and lets it owe no rest.
            () = appeared(cleaning) => Ok(()),
        }
    }
}

/// Until there is a file at `path`.
async fn appeared(path: &Path) {
    while !path.exists() {
        glance::next().await;
    }
}

/// Until a file or a setting changes, or may have.
async fn glances(files: &mut Files, settings: &Settings) -> Result<(), WakeError> {
    loop {
        tokio::select! {
            result = files.changed() => return result,
            () = glance::next() => {}
        }
        if files.follow() {
            debug!("folders");
            return Ok(());
        }
        if let Some(key) = settings.changed() {
            debug!(key, "setting");
            return Ok(());
        }
    }
}

impl Kernel {
    pub fn subscribe() -> Result<Self, WakeError> {
        Ok(Self {
            routing: pollable(Events::of_routing()?)?,
            nftables: pollable(Events::of_nftables()?)?,
        })
    }

    pub async fn changed(&mut self) -> Result<(), WakeError> {
        let Self { routing, nftables } = self;
        let news = tokio::select! {
            news = routing.async_io_mut(Interest::READABLE, Events::next) => news,
            news = nftables.async_io_mut(Interest::READABLE, Events::next) => news,
        };
        debug!(?news, "kernel");
        news.map(drop).map_err(WakeError::Events)
    }

    fn drain(&mut self) -> Result<(), WakeError> {
        let Self { routing, nftables } = self;
        [routing, nftables].into_iter().try_for_each(|events| told(events.get_mut().next()))
    }
}

impl Files {
    /// Without a `watch` the loop looks at the files whenever it glances: others may have used up what
    /// the kernel has of them (`fs.inotify.max_user_instances`).
    fn new(watch: io::Result<FolderWatch>, folders: Vec<PathBuf>) -> Result<Self, WakeError> {
        let watch = watch.inspect_err(|error| {
            warn!(%error, "nobody tells what happens to files: looking twice a second");
        });
        Ok(Self { watch: watch.ok().map(pollable).transpose()?, folders })
    }

    /// Whether anything may have happened that nobody tells.
    fn follow(&mut self) -> bool {
        let Some(watch) = &mut self.watch else { return true };
        let mut untold = false;
        for folder in &self.folders {
            untold |= watch.get_mut().follow(folder).unwrap_or(true);
        }
        untold
    }

    async fn changed(&mut self) -> Result<(), WakeError> {
        let Some(watch) = &mut self.watch else { return pending().await };
        loop {
            let news = watch.async_io_mut(Interest::READABLE, |watch| watch.next()).await;
            if news.map_err(WakeError::Events)? {
                debug!("files");
                return Ok(());
            }
        }
    }

    fn drain(&mut self) -> Result<(), WakeError> {
        self.watch.as_mut().map_or(Ok(()), |watch| told(watch.get_mut().next()))
    }
}

impl Settings {
    /// The first that is not as it was seen.
    fn changed(&self) -> Option<&str> {
        let differs = |key: &&String| self.sysctl.read(key).ok().as_ref() != self.seen.get(*key);
        self.keys.iter().find(differs).map(String::as_str)
    }
}

fn told<T>(news: io::Result<T>) -> Result<(), WakeError> {
    match news {
        Err(error) if error.kind() != io::ErrorKind::WouldBlock => Err(WakeError::Events(error)),
        _ => Ok(()),
    }
}

fn pollable<T: std::os::fd::AsRawFd>(source: T) -> Result<AsyncFd<T>, WakeError> {
    #[expect(deprecated, reason = "its successor is unsafe; each source keeps its file to its end")]
    AsyncFd::with_interest(source, Interest::READABLE).map_err(WakeError::Events)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use tokio::time::{Instant, timeout};

    use super::*;

    fn no_settings() -> Settings {
        Settings { sysctl: Sysctl::default(), keys: Vec::new(), seen: Values::new() }
    }

    #[tokio::test(start_paused = true)]
    async fn files_of_which_nobody_tells_are_looked_at_twice_a_second() {
        let none_left = io::Error::from_raw_os_error(nix::errno::Errno::EMFILE as i32);
        let mut files = Files::new(Err(none_left), Vec::new()).unwrap();
        let mut look = async || {
            glances(&mut files, &no_settings()).await.unwrap();
            files.drain().unwrap();
            Instant::now()
        };
        let first = look().await;
        let apart = look().await.duration_since(first).as_millis();
        assert!((499..=501).contains(&apart), "{apart} ms");
    }

    #[tokio::test(start_paused = true)]
    async fn a_folder_that_appears_is_looked_at_once() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("net.d");
        let mut files = Files::new(FolderWatch::open(), vec![folder.clone()]).unwrap();
        let settings = no_settings();
        assert!(timeout(3 * glance::INTERVAL, glances(&mut files, &settings)).await.is_err());
        fs::create_dir(&folder).unwrap();
        timeout(2 * glance::INTERVAL, glances(&mut files, &settings)).await.unwrap().unwrap();
        assert!(timeout(3 * glance::INTERVAL, glances(&mut files, &settings)).await.is_err());
    }
}
