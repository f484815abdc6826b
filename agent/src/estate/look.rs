//! Reads what host-local and libcni keep; it changes nothing.

use std::fs;
use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use super::{Answer, Estate, lessee};

/// Under the folder of CNI's data: a folder for each network, and in it a file for each address.
const NETWORKS: &str = "networks";

/// Where answers are kept, by libcni and by kubelet's own caller of it.
const ANSWERS: [&str; 2] = ["results", "cache/results"];

/// Names a file that holds the address which was given last of a range.
const LAST: &str = "last_reserved_ip.";

/// The folder where they keep it.
#[derive(Clone, Copy, Debug)]
pub struct Look<'a>(pub &'a Path);

impl Look<'_> {
    pub fn estate(self) -> io::Result<Estate> {
        let mut estate = Estate::default();
        for network in entries(&self.0.join(NETWORKS))? {
            for path in entries(&network)? {
                estate.add(&path)?;
            }
        }
        let answers = ANSWERS.map(|folder| entries(&self.0.join(folder)));
        let answers = answers.into_iter().collect::<io::Result<Vec<_>>>()?.concat();
        let answers = answers.iter().filter_map(|path| Some((path, path.file_name()?.to_str()?)));
        let answers = answers.collect::<Vec<_>>();
        for id in estate.leases.values() {
            // NETWORK-CONTAINER-INTERFACE, of which the first may hold anything.
            let end = format!("-{}-{}", id.container_id(), id.ifname());
            let its = answers.iter().filter(|(_, name)| name.ends_with(&end));
            for (path, _) in its {
                let answer = read(path)?.and_then(|text| Answer::parse(&text));
                estate.answers.extend(answer.map(|answer| (id.clone(), answer)));
            }
        }
        Ok(estate)
    }
}

impl Estate {
    fn add(&mut self, path: &Path) -> io::Result<()> {
        let Some(name) = path.file_name().and_then(|name| name.to_str()) else { return Ok(()) };
        if let Ok(address) = name.parse::<IpAddr>() {
            let owner = read(path)?.and_then(|text| lessee(&text));
            self.leases.extend(owner.map(|owner| (address, owner)));
        } else if name.starts_with(LAST) {
            self.last.extend(read(path)?.and_then(|text| text.trim().parse::<IpAddr>().ok()));
        }
        Ok(())
    }
}

/// What is in a folder; nothing where there is none, or none any more.
fn entries(folder: &Path) -> io::Result<Vec<PathBuf>> {
    match folder.read_dir() {
        Err(error)
            if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) =>
        {
            Ok(Vec::new())
        }
        entries => entries?.map(|entry| Ok(entry?.path())).collect(),
    }
}

/// The text of a file that others write; none if it is gone by now.
fn read(path: &Path) -> io::Result<Option<String>> {
    match fs::read(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        text => text.map(|text| Some(String::from_utf8_lossy(&text).into_owned())),
    }
}
