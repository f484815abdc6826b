//! Files that others watch or read at any time: never half written.

use std::io;
use std::path::Path;

use crate::sysctl::Written;

/// Puts `content` at `path`, complete or not at all, also after a power cut; what is there already
/// with that content and mode is left alone.
pub fn replace(_path: &Path, _content: &[u8], _mode: u32) -> io::Result<Written> {
    unimplemented!()
}

/// The content of the file at `path`, which must be no symbolic link; none if there is no such file.
pub fn read(_path: &Path) -> io::Result<Option<Vec<u8>>> {
    unimplemented!()
}
