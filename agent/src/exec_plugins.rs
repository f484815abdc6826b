//! Looks once, at start, for plugins of kubelet's exec protocol.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use crate::selection::{Flaw, Found};

/// What the folders in `dir` hold, in the order of their names; no `dir`, no plugins.
pub fn probe(dir: &Path) -> io::Result<Vec<Found>> {
    let entries = match dir.read_dir() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut found = Vec::new();
    for entry in entries {
        let entry = entry?;
        // A folder may be reached by a symbolic link.
        if entry.path().is_dir() {
            found.push(Found::new(dir, &entry.file_name().to_string_lossy(), flaw));
        }
    }
    found.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(found)
}

fn flaw(program: &Path) -> Option<Flaw> {
    const ANY_EXECUTE: u32 = 0o111;
    match fs::metadata(program) {
        Ok(file) if file.is_file() && file.permissions().mode() & ANY_EXECUTE != 0 => None,
        Ok(file) if file.is_file() => Some(Flaw::NotExecutable),
        _ => Some(Flaw::Missing),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_folder_is_a_plugin_or_says_what_is_wrong() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(probe(&dir.path().join("missing")).unwrap(), []);
        for (folder, program, mode) in [
            ("a", "a", 0o755),
            ("my~sdn", "sdn", 0o755),
            ("ro", "ro", 0o444),
            ("b", "other", 0o755),
        ] {
            let folder = dir.path().join(folder);
            fs::create_dir(&folder).unwrap();
            fs::write(folder.join(program), "#!/bin/sh\n").unwrap();
            fs::set_permissions(folder.join(program), fs::Permissions::from_mode(mode)).unwrap();
        }
        fs::write(dir.path().join("readme"), "").unwrap();
        let found = probe(dir.path()).unwrap();
        let found = found.iter().map(|plugin| (plugin.name.as_str(), plugin.flaw));
        let expected = [
            ("a", None),
            ("b", Some(Flaw::Missing)),
            ("my/sdn", None),
            ("ro", Some(Flaw::NotExecutable)),
        ];
        assert_eq!(found.collect::<Vec<_>>(), expected);
    }
}
