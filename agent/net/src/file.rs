//! Files that others watch or read at any time: never half written.

use std::fs::{File, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::OFlag;

use crate::sysctl::Written;

/// Puts `content` at `path`, complete or not at all, also after a power cut; what is there already
/// with that content and mode is left alone.
///
/// A symbolic link at `path` is replaced, not followed. The temporary file beside it has a name that
/// begins with a dot and ends in `.tmp`, which no reader of CNI configurations takes for one.
pub fn replace(path: &Path, content: &[u8], mode: u32) -> io::Result<Written> {
    if matches!(open(path)?, Found::File(file) if is(&file, content, mode)?) {
        return Ok(Written::Unchanged);
    }
    put(path, mode, |file| file.write_all(content)).map(|()| Written::Changed)
}

/// Puts a copy of `source`, from where that stands to its end, at `path`, as [`replace`] does; it is
/// never in memory.
pub fn copy(source: &mut File, path: &Path, mode: u32) -> io::Result<()> {
    put(path, mode, |file| io::copy(source, file).map(drop))
}

/// Puts at `path` what `write` writes, as [`replace`] does but whatever is there; it need never be in
/// memory as a whole.
pub fn put(
    path: &Path,
    mode: u32,
    write: impl FnOnce(&mut File) -> io::Result<()>,
) -> io::Result<()> {
    let directory = match path.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    };
    // Removed again when it is dropped, so by each error.
    let mut file = tempfile::Builder::new().prefix(".").suffix(".tmp").tempfile_in(directory)?;
    write(file.as_file_mut())?;
    // Not by the mode of open(2), which the umask cuts.
    file.as_file().set_permissions(Permissions::from_mode(mode))?;
    file.as_file().sync_all()?;
    file.persist(path)?;
    // The new name is in the directory, and only there.
    File::open(directory)?.sync_all()
}

/// The content of the file at `path`; none if there is no such file.
///
/// # Errors
/// [`io::ErrorKind::InvalidInput`] for a symbolic link, and for all else that is no file.
pub fn read(path: &Path) -> io::Result<Option<Vec<u8>>> {
    match open(path)? {
        Found::Nothing => Ok(None),
        Found::File(file) => content(&file).map(Some),
        Found::Other => Err(io::Error::new(io::ErrorKind::InvalidInput, "it is no regular file")),
    }
}

enum Found {
    Nothing,
    File(File),
    /// A symbolic link, a directory, a FIFO.
    Other,
}

fn open(path: &Path) -> io::Result<Found> {
    // A FIFO would block.
    let flags = OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK;
    match File::options().read(true).custom_flags(flags.bits()).open(path) {
        Ok(file) if file.metadata()?.is_file() => Ok(Found::File(file)),
        Ok(_) => Ok(Found::Other),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Found::Nothing),
        Err(error) if error.raw_os_error() == Some(Errno::ELOOP as i32) => Ok(Found::Other),
        Err(error) => Err(error),
    }
}

fn is(file: &File, expected: &[u8], mode: u32) -> io::Result<bool> {
    let found = file.metadata()?;
    Ok(found.permissions().mode() & 0o7777 == mode
        && usize::try_from(found.len()) == Ok(expected.len())
        && content(file)? == expected)
}

fn content(mut file: &File) -> io::Result<Vec<u8>> {
    let mut content = Vec::new();
    file.read_to_end(&mut content)?;
    Ok(content)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{MetadataExt, symlink};

    use tempfile::TempDir;

    use super::*;

    fn names(directory: &TempDir) -> Vec<String> {
        let entries = fs::read_dir(directory.path()).unwrap();
        let name = |entry: io::Result<fs::DirEntry>| entry.unwrap().file_name();
        entries.map(|entry| name(entry).into_string().unwrap()).collect()
    }

    #[test]
    fn a_copy_has_content_and_mode_and_replaces_what_runs() {
        let directory = tempfile::tempdir().unwrap();
        let [source, path] = ["source", "copy"].map(|name| directory.path().join(name));
        fs::write(&source, "the program").unwrap();
        fs::write(&path, "another").unwrap();
        let running = File::open(&path).unwrap();
        copy(&mut File::open(&source).unwrap(), &path, 0o755).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "the program");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o755);
        assert_eq!(content(&running).unwrap(), b"another");
        assert_eq!(names(&directory).len(), 2);
    }

    #[test]
    fn a_file_is_replaced_as_a_whole_and_nothing_else_is_left() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("10-kubenet.conflist");
        assert_eq!(read(&path).unwrap(), None);
        assert_eq!(replace(&path, b"one", 0o644).unwrap(), Written::Changed);
        let mut reader = File::open(&path).unwrap();
        assert_eq!(replace(&path, b"three", 0o600).unwrap(), Written::Changed);
        assert_eq!(read(&path).unwrap().unwrap(), b"three");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o600);
        assert_eq!(names(&directory), ["10-kubenet.conflist"]);
        // Who opened the old one reads it to its end.
        let mut old = String::new();
        reader.read_to_string(&mut old).unwrap();
        assert_eq!(old, "one");
    }

    #[test]
    fn the_same_content_and_mode_are_not_written_again() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        replace(&path, b"one", 0o644).unwrap();
        let inode = fs::metadata(&path).unwrap().ino();
        assert_eq!(replace(&path, b"one", 0o644).unwrap(), Written::Unchanged);
        assert_eq!(fs::metadata(&path).unwrap().ino(), inode);
        assert_eq!(replace(&path, b"one", 0o600).unwrap(), Written::Changed);
        assert_eq!(replace(&path, b"two", 0o600).unwrap(), Written::Changed);
    }

    #[test]
    fn a_symbolic_link_is_replaced_and_its_target_left_alone() {
        let directory = tempfile::tempdir().unwrap();
        let (path, target) = (directory.path().join("link"), directory.path().join("target"));
        fs::write(&target, "one").unwrap();
        symlink(&target, &path).unwrap();
        assert_eq!(read(&path).unwrap_err().kind(), io::ErrorKind::InvalidInput);
        assert_eq!(replace(&path, b"two", 0o644).unwrap(), Written::Changed);
        assert!(fs::symlink_metadata(&path).unwrap().is_file());
        assert_eq!(fs::read(&target).unwrap(), b"one");
    }

    #[test]
    fn a_failure_leaves_nothing_behind() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("taken");
        fs::create_dir(&path).unwrap();
        assert!(replace(&path, b"one", 0o644).is_err());
        assert_eq!(names(&directory), ["taken"]);
        let nowhere = directory.path().join("nowhere/file");
        assert_eq!(replace(&nowhere, b"", 0o644).unwrap_err().kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn a_fifo_is_no_file_and_blocks_nobody() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("fifo");
        nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).unwrap();
        assert_eq!(read(&path).unwrap_err().kind(), io::ErrorKind::InvalidInput);
    }
}
