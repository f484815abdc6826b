//! Network namespaces: open one, and run code inside.

use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::thread;

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::statfs::{NSFS_MAGIC, fstatfs};

/// The calling thread's; /proc/self would be the main thread's.
const OWN: &str = "/proc/thread-self/ns/net";

/// An open network namespace; it lives at least as long as this.
#[derive(Debug)]
pub struct Netns {
    file: File,
}

/// Why a path leads to no usable network namespace.
#[derive(Debug, thiserror::Error)]
pub enum NetnsError {
    /// It went away, with its container: nothing of it is left to undo.
    #[error("network namespace {0} does not exist")]
    Missing(String),
    #[error("{0} is no network namespace")]
    NotNetns(String),
    #[error("cannot open network namespace {path}")]
    Open { path: String, source: io::Error },
}

impl Netns {
    /// Opens the namespace at `path`, as `/run/netns/NAME` or `/proc/PID/ns/net`.
    ///
    /// # Errors
    /// [`NetnsError::NotNetns`] for any other kind of file, as the mount point that is left when
    /// the namespace is gone.
    pub fn open(path: &Path) -> Result<Self, NetnsError> {
        Self::enter(path, || ()).map(|(netns, ())| netns)
    }

    /// Opens the namespace at `path`, and runs `f` inside, as [`Self::run`] does.
    ///
    /// # Errors
    /// Those of [`Self::open`], with which it shares the thread.
    pub fn enter<T: Send>(
        path: &Path,
        f: impl FnOnce() -> T + Send,
    ) -> Result<(Self, T), NetnsError> {
        let name = || path.display().to_string();
        let open = || {
            // A FIFO would block.
            let flags = OFlag::O_NONBLOCK.bits();
            let file = File::options().read(true).custom_flags(flags).open(path)?;
            if fstatfs(&file)?.filesystem_type() != NSFS_MAGIC {
                return Ok(None);
            }
            let result = run_if_netns(&file, f)?;
            Ok::<_, io::Error>(result.map(|result| (Self { file }, result)))
        };
        match open() {
            Ok(netns) => netns.ok_or_else(|| NetnsError::NotNetns(name())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                Err(NetnsError::Missing(name()))
            }
            Err(source) => Err(NetnsError::Open { path: name(), source }),
        }
    }

    /// The namespace of the calling thread.
    pub fn current() -> Result<Self, NetnsError> {
        Self::open(Path::new(OWN))
    }

    /// A new, empty namespace, which ends with the last that holds it.
    pub fn unnamed() -> io::Result<Self> {
        on_a_thread(|| {
            unshare(CloneFlags::CLONE_NEWNET)?;
            Ok(Self { file: File::open(OWN)? })
        })
    }

    /// What identifies it on this machine until it ends.
    pub fn inode(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.ino())
    }

    /// Whether the calling thread is in it.
    pub fn is_current(&self) -> io::Result<bool> {
        let (this, own) = (self.file.metadata()?, fs::metadata(OWN)?);
        Ok((this.dev(), this.ino()) == (own.dev(), own.ino()))
    }

    /// Runs `f` inside, on a thread of its own, and returns its result.
    ///
    /// The thread ends with `f`, so none ever has to find its way back. A socket that `f` opens
    /// stays in this namespace, wherever it is used.
    pub fn run<T: Send>(&self, f: impl FnOnce() -> T + Send) -> io::Result<T> {
        on_a_thread(|| {
            #[expect(clippy::disallowed_methods, reason = "the one place that enters a netns")]
            setns(&self.file, CloneFlags::CLONE_NEWNET)?;
            Ok(f())
        })
    }
}

impl AsFd for Netns {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

/// Runs `f` in a network namespace; a namespace of another type is told by trying to enter it.
///
/// They share a file system, and the link in /proc/self/fd tells the type only of a namespace that
/// is mounted nowhere: else it is the path of the mount.
fn run_if_netns<T: Send>(file: &File, f: impl FnOnce() -> T + Send) -> io::Result<Option<T>> {
    on_a_thread(|| {
        #[expect(clippy::disallowed_methods, reason = "the thread ends with the answer")]
        match setns(file, CloneFlags::CLONE_NEWNET) {
            Ok(()) => Ok(Some(f())),
            Err(Errno::EINVAL) => Ok(None),
            Err(errno) => Err(errno.into()),
        }
    })
}

fn on_a_thread<T: Send>(f: impl FnOnce() -> io::Result<T> + Send) -> io::Result<T> {
    thread::scope(|scope| {
        let thread = thread::Builder::new().spawn_scoped(scope, f)?;
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

#[cfg(test)]
mod tests {
    use nix::mount::{MsFlags, mount};

    use super::*;
    use crate::Netlink;

    #[test]
    fn a_new_namespace_has_only_lo_and_is_not_the_current_one() {
        let netns = Netns::unnamed().unwrap();
        assert!(!netns.is_current().unwrap());
        assert!(netns.run(|| netns.is_current().unwrap()).unwrap());
        assert_ne!(netns.inode().unwrap(), Netns::current().unwrap().inode().unwrap());
        let links = netns.run(|| Netlink::open().unwrap().links().unwrap()).unwrap();
        assert_eq!(links.iter().map(|link| link.name.as_str()).collect::<Vec<_>>(), ["lo"]);
    }

    #[test]
    fn a_socket_stays_in_the_namespace_where_it_was_opened() {
        let netns = Netns::unnamed().unwrap();
        let mut inside = netns.run(Netlink::open).unwrap().unwrap();
        let mac = crate::Mac([2, 0, 0, 0, 0, 1]);
        inside.create_bridge("br-net-test", mac).unwrap();
        assert!(inside.link("br-net-test").unwrap().is_some());
        assert!(Netlink::open().unwrap().link("br-net-test").unwrap().is_none());
    }

    #[test]
    fn a_namespace_that_is_mounted_somewhere_is_opened() {
        let mounted = tempfile::NamedTempFile::new().unwrap();
        let (none, here) = (None::<&str>, Path::new(OWN));
        // In a mount namespace of the thread's own, with which the mount ends.
        let inode = on_a_thread(|| {
            unshare(CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWNET)?;
            mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none)?;
            mount(Some(here), mounted.path(), none, MsFlags::MS_BIND, none)?;
            let netns = Netns::open(mounted.path()).unwrap();
            assert!(netns.is_current()?);
            netns.inode()
        });
        assert_ne!(inode.unwrap(), Netns::current().unwrap().inode().unwrap());
    }

    #[test]
    fn only_network_namespaces_are_opened() {
        let directory = tempfile::tempdir().unwrap();
        let leftover = directory.path().join("leftover");
        fs::write(&leftover, "").unwrap();
        let open = |path: &Path| Netns::open(path).unwrap_err();
        assert!(matches!(open(&leftover), NetnsError::NotNetns(_)));
        assert!(matches!(open(Path::new("/proc/self/ns/mnt")), NetnsError::NotNetns(_)));
        assert!(matches!(open(&directory.path().join("gone")), NetnsError::Missing(_)));
        let link = directory.path().join("link");
        std::os::unix::fs::symlink("/proc/self/ns/net", &link).unwrap();
        assert!(Netns::open(&link).unwrap().is_current().unwrap());
    }
}
