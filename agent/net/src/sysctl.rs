//! Kernel settings under /proc/sys, or where else that is mounted.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Component, Path, PathBuf};

/// What a value must be shorter than, in bytes. The kernel gives all of it in one read, as it takes it in one
/// write (`proc_sys_call_handler` in `fs/proc/proc_sysctl.c`).
const LONGEST: usize = 1024;

/// A tree of kernel settings.
#[derive(Clone, Debug)]
pub struct Sysctl {
    root: PathBuf,
}

/// Whether a write was needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Written {
    Changed,
    Unchanged,
}

impl Default for Sysctl {
    /// The kernel's own: `/proc/sys`.
    fn default() -> Self {
        Self::at("/proc/sys")
    }
}

impl Sysctl {
    pub fn at(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// The value of `key`, as `net/ipv4/ip_forward`, without the line's end.
    ///
    /// What is under `net` belongs to the calling thread's network namespace.
    pub fn read(&self, key: &str) -> io::Result<String> {
        let mut value = [0; LONGEST];
        let length = File::open(self.path(key)?)?.read(&mut value)?;
        if length == LONGEST {
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, "too long for a setting"));
        }
        let text = str::from_utf8(value.get(..length).unwrap_or_default());
        let text = text.map_err(io::Error::other)?;
        Ok(text.trim_end_matches('\n').to_owned())
    }

    /// Gives `key` the value; one that it has is not written.
    pub fn write(&self, key: &str, value: &str) -> io::Result<Written> {
        if self.read(key)? == value {
            return Ok(Written::Unchanged);
        }
        // The kernel takes a value in one write, and a setting is never created.
        let mut file = File::options().write(true).open(self.path(key)?)?;
        file.write_all(format!("{value}\n").as_bytes())?;
        Ok(Written::Changed)
    }

    /// A key may hold the name of a link, but never leaves the tree.
    fn path(&self, key: &str) -> io::Result<PathBuf> {
        let inside = |part| matches!(part, Component::Normal(_));
        if !Path::new(key).components().all(inside) {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "the key leaves the tree"));
        }
        Ok(self.root.join(key))
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::testing::Machine;

    const FORWARD: &str = "net/ipv4/ip_forward";

    #[test]
    fn a_setting_of_the_kernel_is_written_once() {
        let machine = Machine::new();
        let sysctl = Sysctl::default();
        let inside = || {
            assert_eq!(sysctl.read(FORWARD).unwrap(), "0");
            assert_eq!(sysctl.write(FORWARD, "1").unwrap(), Written::Changed);
            assert_eq!(sysctl.read(FORWARD).unwrap(), "1");
            assert_eq!(sysctl.write(FORWARD, "1").unwrap(), Written::Unchanged);
        };
        machine.netns.run(inside).unwrap();
    }

    #[test]
    fn a_value_that_is_there_is_not_written() {
        let tree = tempfile::tempdir().unwrap();
        let path = tree.path().join("key");
        fs::write(&path, "1\n").unwrap();
        let before = fs::metadata(&path).unwrap().modified().unwrap();
        let sysctl = Sysctl::at(tree.path());
        assert_eq!(sysctl.write("key", "1").unwrap(), Written::Unchanged);
        assert_eq!(fs::metadata(&path).unwrap().modified().unwrap(), before);
        assert_eq!(sysctl.write("key", "2").unwrap(), Written::Changed);
        assert_eq!(fs::read_to_string(&path).unwrap(), "2\n");
    }

    #[test]
    fn what_is_too_long_for_a_setting_is_an_error_and_not_a_part_of_it() {
        let tree = tempfile::tempdir().unwrap();
        let sysctl = Sysctl::at(tree.path());
        for (length, whole) in [(LONGEST - 1, true), (LONGEST, false), (2 * LONGEST, false)] {
            fs::write(tree.path().join("key"), "1".repeat(length)).unwrap();
            assert_eq!(sysctl.read("key").is_ok_and(|value| value.len() == length), whole);
        }
    }

    #[test]
    fn a_setting_that_the_kernel_lacks_is_not_found() {
        let sysctl = Sysctl::default();
        let error = sysctl.read("net/ipv4/no_such_setting").unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
        let error = sysctl.write("net/ipv4/no_such_setting", "1").unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn a_value_that_the_kernel_refuses_is_an_error() {
        let machine = Machine::new();
        let refused = || Sysctl::default().write(FORWARD, "many").unwrap_err().kind();
        assert_eq!(machine.netns.run(refused).unwrap(), io::ErrorKind::InvalidInput);
    }

    #[test]
    fn no_key_leaves_the_tree() {
        let sysctl = Sysctl::at("/proc/sys/net");
        for key in ["../kernel/hostname", "/etc/hostname", "ipv4/../../kernel/hostname"] {
            assert_eq!(sysctl.read(key).unwrap_err().kind(), io::ErrorKind::InvalidInput, "{key}");
        }
    }
}
