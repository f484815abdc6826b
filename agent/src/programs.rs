//! Whether the runtime's plugins are ours, by their content. What was found to be ours is read again only
//! when its file has changed: the plugin has megabytes, and the loop looks often.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use common::names;

use crate::cni_config::Installed;
use crate::machine::Paths;

/// A file that was changed so lately may change again without another time.
const SETTLED: Duration = Duration::from_secs(1);

/// What is known of programs from earlier looks.
#[derive(Debug, Default)]
pub(crate) struct Programs {
    /// Files with the content of the plugin's program, as both were then.
    same: BTreeMap<PathBuf, [Stamp; 2]>,
}

/// What the kernel changes with each write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    file: (u64, u64),
    size: u64,
    changed: Duration,
}

impl Programs {
    /// What there is under the `wanted` names.
    ///
    /// A file that can't be read is as good as none: the step that replaces it names what is wrong.
    pub(crate) fn plugins(
        &mut self,
        paths: &Paths,
        wanted: &[&'static str],
    ) -> Vec<(&'static str, Installed)> {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let is_ours = |name: &str| name != names::LOOPBACK_PLUGIN;
        let ours = wanted.iter().filter(|name| is_ours(name)).map(|name| paths.bin.join(name));
        let ours = ours.collect::<Vec<_>>();
        let mut installed = |name| {
            let path = paths.bin.join(name);
            let equals = |ours: &PathBuf| matches!(same_content(&path, ours), Ok(Some(true)));
            match self.is_same(&path, &paths.plugin, now).unwrap_or(None) {
                None => Installed::Missing,
                Some(true) => Installed::Current,
                Some(false) if is_ours(name) => Installed::Outdated,
                // That of an earlier version of ours.
                Some(false) if ours.iter().any(equals) => Installed::Outdated,
                Some(false) => Installed::Foreign,
            }
        };
        wanted.iter().map(|&name| (name, installed(name))).collect()
    }

    /// Whether the file at `path` has the content of `program`, so long after 1970; none if there is no file.
    fn is_same(&mut self, path: &Path, program: &Path, now: Duration) -> io::Result<Option<bool>> {
        let stamps = [stamp(path), stamp(program)];
        let known = |stamps: &[Stamp; 2]| self.same.get(path) == Some(stamps);
        let stamps = match stamps {
            [Some(file), Some(program)] => Some([file, program]),
            _ => None,
        };
        if stamps.as_ref().is_some_and(known) {
            return Ok(Some(true));
        }
        self.same.remove(path);
        let same = same_content(path, program)?;
        let settled = |stamp: &Stamp| stamp.changed + SETTLED < now;
        if let (Some(true), Some(stamps)) = (same, stamps.filter(|s| s.iter().all(settled))) {
            self.same.insert(path.to_owned(), stamps);
        }
        Ok(same)
    }
}

fn stamp(path: &Path) -> Option<Stamp> {
    let file = fs::metadata(path).ok()?;
    let seconds = Duration::from_secs(file.ctime().try_into().ok()?);
    let changed = seconds + Duration::from_nanos(file.ctime_nsec().try_into().ok()?);
    Some(Stamp { file: (file.dev(), file.ino()), size: file.size(), changed })
}

/// Whether both files have the same content; none if there is no file at `path`.
fn same_content(path: &Path, other: &Path) -> io::Result<Option<bool>> {
    let Some(mut file) = open(path)? else { return Ok(None) };
    let Some(mut other) = open(other)? else { return Ok(Some(false)) };
    if file.metadata()?.len() != other.metadata()?.len() {
        return Ok(Some(false));
    }
    let mut blocks = ([0; 16 << 10], [0; 16 << 10]);
    loop {
        let length = file.read(&mut blocks.0)?;
        let (block, expected) = (blocks.0.get(..length), blocks.1.get_mut(..length));
        let (Some(block), Some(expected)) = (block, expected) else { return Ok(Some(false)) };
        if length == 0 {
            return Ok(Some(true));
        }
        other.read_exact(expected)?;
        if block != expected {
            return Ok(Some(false));
        }
    }
}

fn open(path: &Path) -> io::Result<Option<File>> {
    match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        file => file.map(Some),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::lab::Lab;

    const WANTED: [&str; 2] = [names::LOOPBACK_PLUGIN, names::PLUGIN];

    #[test]
    fn what_is_known_is_looked_at_again_after_each_change() {
        let lab = Lab::new();
        let paths = lab.paths();
        let mut programs = Programs::default();
        let mut look = || programs.plugins(&paths, &WANTED).into_iter().map(|(_, is)| is);
        let mut check = |loopback, ours| assert!(look().eq([loopback, ours]));
        check(Installed::Missing, Installed::Missing);
        fs::create_dir(&paths.bin).unwrap();
        let [loopback, ours] = WANTED.map(|name| paths.bin.join(name));
        for _ in 0..2 {
            fs::write(&loopback, "the plugin").unwrap();
            fs::write(&ours, "the plugin").unwrap();
            check(Installed::Current, Installed::Current);
            fs::write(&ours, "the plugi?").unwrap();
            check(Installed::Current, Installed::Outdated);
            fs::write(&paths.plugin, "the plugi?").unwrap();
            check(Installed::Foreign, Installed::Current);
            fs::write(&ours, "the plugin").unwrap();
            check(Installed::Outdated, Installed::Outdated);
            fs::write(&paths.plugin, "the plugin").unwrap();
            fs::remove_file(&loopback).unwrap();
            check(Installed::Missing, Installed::Current);
        }
    }

    #[test]
    fn what_has_settled_is_not_read_again() {
        let lab = Lab::new();
        let paths = lab.paths();
        fs::create_dir(&paths.bin).unwrap();
        let ours = paths.bin.join(names::PLUGIN);
        fs::write(&ours, "the plugin").unwrap();
        let mut programs = Programs::default();
        let [Some(file), Some(program)] = [stamp(&ours), stamp(&paths.plugin)] else { panic!() };
        let latest = file.changed.max(program.changed);
        let mut is_known = |file: Stamp, later: Duration| {
            programs.same.insert(ours.clone(), [file, program]);
            let same = programs.is_same(&ours, &paths.plugin, latest + later).unwrap();
            assert_eq!(same, Some(true));
            programs.same.contains_key(&ours)
        };
        let other = Stamp { size: 0, ..file };
        assert!(is_known(file, Duration::ZERO));
        // It was changed a moment ago, and is read again.
        assert!(!is_known(other, SETTLED));
        assert!(is_known(other, 2 * SETTLED));
    }
}
