//! Who keeps network namespaces alive, as far as it can be seen: processes, and bind mounts.
//!
//! A process in another PID namespace and a mount of another mount namespace are not seen, nor is a
//! file that somebody holds open.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

/// What is known of the namespaces of a machine, by their inodes on nsfs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Holders {
    /// One process of those in each.
    pub processes: BTreeMap<u64, u32>,
    /// Where each is mounted.
    pub mounts: BTreeMap<u64, PathBuf>,
    /// Whether every process of the machine can be seen.
    pub sees_all_processes: bool,
}

/// `PROC_PID_INIT_INO` (`linux/proc_ns.h`): the PID namespace that sees all processes.
const FIRST_PID_NAMESPACE: u64 = 0xefff_fffc;

impl Holders {
    /// Looks at each process and each mount; those that end meanwhile are left out.
    pub fn find() -> io::Result<Self> {
        let mut holders = Self {
            sees_all_processes: namespace(Path::new("/proc/self/ns/pid"), "pid")
                == Some(FIRST_PID_NAMESPACE),
            ..Self::default()
        };
        for entry in Path::new("/proc").read_dir()? {
            let entry = entry?;
            let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else {
                continue;
            };
            if let Some(inode) = namespace(&entry.path().join("ns/net"), "net") {
                holders.processes.entry(inode).or_insert(pid);
            }
        }
        for line in fs::read_to_string("/proc/self/mountinfo")?.lines() {
            holders.mounts.extend(mounted(line));
        }
        Ok(holders)
    }
}

fn namespace(path: &Path, kind: &str) -> Option<u64> {
    inode_of(fs::read_link(path).ok()?.to_str()?, kind)
}

/// The inode in `net:[4026531840]`.
fn inode_of(text: &str, kind: &str) -> Option<u64> {
    text.strip_prefix(kind)?.strip_prefix(":[")?.strip_suffix(']')?.parse().ok()
}

/// The network namespace that a line of `/proc/self/mountinfo` (proc(5)) is about, and where it is
/// mounted.
fn mounted(line: &str) -> Option<(u64, PathBuf)> {
    let mut fields = line.split(' ').skip(3);
    let (root, point) = (fields.next()?, fields.next()?);
    Some((inode_of(root, "net")?, unescaped(point)))
}

/// Blanks and the like are written as three octal digits behind a backslash.
fn unescaped(text: &str) -> PathBuf {
    let mut parts = text.split('\\');
    let mut bytes = parts.next().unwrap_or_default().as_bytes().to_vec();
    for part in parts {
        let byte = part.get(..3).and_then(|digits| u8::from_str_radix(digits, 8).ok());
        bytes.extend(byte);
        bytes.extend_from_slice(part.get(3..).unwrap_or_default().as_bytes());
    }
    std::ffi::OsString::from_vec(bytes).into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Netns;

    #[test]
    fn only_mounted_network_namespaces_count() {
        let check = |line: &str, expected: Option<(u64, &str)>| {
            let expected = expected.map(|(inode, path)| (inode, PathBuf::from(path)));
            assert_eq!(mounted(line), expected);
        };
        let tail = "rw shared:5 - nsfs nsfs rw";
        let line = format!("618 25 0:4 net:[4026532287] /run/netns/cni-1 {tail}");
        check(&line, Some((4_026_532_287, "/run/netns/cni-1")));
        let line = format!(r"618 25 0:4 net:[7] /run/a\040b\134c {tail}");
        check(&line, Some((7, r"/run/a b\c")));
        check(&format!("618 25 0:4 mnt:[4026532287] /run/mnt {tail}"), None);
        check("22 26 0:20 / /proc rw,relatime shared:13 - proc proc rw", None);
        check("", None);
    }

    #[test]
    fn a_process_is_found_in_its_namespace() {
        let own = Netns::current().unwrap().inode().unwrap();
        let other = Netns::unnamed().unwrap();
        let holders = Holders::find().unwrap();
        assert!(holders.processes.contains_key(&own));
        // Nobody is in it, although it lives.
        assert!(!holders.processes.contains_key(&other.inode().unwrap()));
    }
}
