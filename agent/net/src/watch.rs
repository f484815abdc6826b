//! What happens in folders (inotify): enough to wake up and look.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::path::Path;

use nix::errno::Errno;
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify, WatchDescriptor};

/// Files that appear, go, or are written or given another mode, and the end of the folder itself.
const CHANGES: AddWatchFlags = AddWatchFlags::IN_CREATE
    .union(AddWatchFlags::IN_DELETE)
    .union(AddWatchFlags::IN_MOVE)
    .union(AddWatchFlags::IN_MODIFY)
    .union(AddWatchFlags::IN_ATTRIB)
    .union(AddWatchFlags::IN_DELETE_SELF)
    .union(AddWatchFlags::IN_MOVE_SELF)
    .union(AddWatchFlags::IN_ONLYDIR);

/// A subscription to folders; like the sockets of [`crate::events`] it never blocks.
#[derive(Debug)]
pub struct FolderWatch {
    inotify: Inotify,
    /// Of all folders that were ever followed; the kernel gives no number again before all are used up.
    followed: BTreeSet<WatchDescriptor>,
}

impl FolderWatch {
    pub fn open() -> io::Result<Self> {
        let inotify = Inotify::init(InitFlags::IN_NONBLOCK | InitFlags::IN_CLOEXEC)?;
        Ok(Self { inotify, followed: BTreeSet::new() })
    }

    /// Follows `folder` from now on; one that is followed already stays so, one that is missing is
    /// nothing to follow yet.
    ///
    /// Whether it is followed by this call: what happened in it before was told to nobody.
    pub fn follow(&mut self, folder: &Path) -> io::Result<bool> {
        match self.inotify.add_watch(folder, CHANGES) {
            Ok(watch) => Ok(self.followed.insert(watch)),
            Err(Errno::ENOENT) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// Whether anything happened since the last call to a file that is not hidden: temporary files
    /// are. Kubelet's `..data` leads to all files of a volume, and is as good as any of them
    /// (`pkg/volume/util/atomic_writer.go`).
    ///
    /// # Errors
    /// [`io::ErrorKind::WouldBlock`] if nothing at all happened.
    pub fn next(&self) -> io::Result<bool> {
        let events = self.inotify.read_events()?;
        let hidden = |name: &OsStr| name.as_encoded_bytes().starts_with(b".") && name != "..data";
        Ok(events.iter().any(|event| event.name.as_deref().is_none_or(|name| !hidden(name))))
    }
}

impl AsFd for FolderWatch {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.inotify.as_fd()
    }
}

impl AsRawFd for FolderWatch {
    fn as_raw_fd(&self) -> RawFd {
        self.inotify.as_fd().as_raw_fd()
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn what_happens_to_files_is_told_and_what_is_hidden_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("10-kubenet.conflist");
        let mut watch = FolderWatch::open().unwrap();
        assert!(!watch.follow(&folder.path().join("missing")).unwrap());
        assert!(watch.follow(folder.path()).unwrap());
        assert!(!watch.follow(folder.path()).unwrap());
        let quiet = || assert_eq!(watch.next().unwrap_err().kind(), io::ErrorKind::WouldBlock);
        quiet();
        fs::write(&file, "one").unwrap();
        assert!(watch.next().unwrap());
        fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
        assert!(watch.next().unwrap());
        fs::write(folder.path().join(".new.tmp"), "two").unwrap();
        assert!(!watch.next().unwrap());
        fs::rename(folder.path().join(".new.tmp"), &file).unwrap();
        assert!(watch.next().unwrap());
        fs::read(&file).unwrap();
        quiet();
        fs::remove_file(&file).unwrap();
        assert!(watch.next().unwrap());
    }

    #[test]
    fn a_folder_that_was_made_again_is_followed_again() {
        let parent = tempfile::tempdir().unwrap();
        let folder = parent.path().join("net.d");
        let mut watch = FolderWatch::open().unwrap();
        for _ in 0..2 {
            fs::create_dir(&folder).unwrap();
            assert!(watch.follow(&folder).unwrap());
            fs::write(folder.join("file"), "one").unwrap();
            assert!(watch.next().unwrap());
            fs::remove_dir_all(&folder).unwrap();
            assert!(watch.next().unwrap());
        }
    }
}
