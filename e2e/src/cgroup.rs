//! Folders for the lab's kubelets in the host's cgroup hierarchies, version 1 or 2.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Error, Result};
use nix::sys::statfs::{CGROUP2_SUPER_MAGIC, statfs};

use crate::traces::{Trace, Traces};
use crate::wait::eventually;

const ROOT: &str = "/sys/fs/cgroup";

/// What a kubelet wants to find under version 2 (`pkg/kubelet/cm/cgroup_manager_linux.go`).
const CONTROLLERS: [&str; 4] = ["cpu", "cpuset", "memory", "pids"];

/// How long the kernel takes to empty the folder of a process that ended.
const PATIENCE: Duration = Duration::from_secs(30);

/// Which cgroups the host has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// A hierarchy for each controller.
    V1,
    /// One hierarchy.
    V2,
}

/// What is mounted at /sys/fs/cgroup.
pub fn version() -> Result<Version> {
    let kind = statfs(ROOT).with_context(|| format!("no cgroups at {ROOT}"))?.filesystem_type();
    Ok(if kind == CGROUP2_SUPER_MAGIC { Version::V2 } else { Version::V1 })
}

/// Makes the folder `lab` in each hierarchy, before its first machine is there: what is written down
/// first is removed last, and no folder goes before the processes in it.
pub fn open(traces: &Traces, lab: &str) -> Result<()> {
    match version()? {
        Version::V1 => {
            traces.note(&Trace::Cgroup(lab.to_owned()))?;
            create("", lab)
        }
        Version::V2 => {
            turn_controllers_on(traces)?;
            traces.note(&Trace::Cgroup(lab.to_owned()))?;
            let folder = Path::new(ROOT).join(lab);
            fs::create_dir_all(&folder).with_context(|| folder.display().to_string())?;
            CONTROLLERS.iter().try_for_each(|controller| Ok(switch(&folder, '+', controller)?))
        }
    }
}

/// Makes the folder of `machine` in that of `lab`, as a kubelet's `cgroupRoot` must be.
pub fn add(lab: &str, machine: &str) -> Result<()> {
    match version()? {
        Version::V1 => create(lab, machine),
        Version::V2 => Ok(fs::create_dir_all(Path::new(ROOT).join(lab).join(machine))?),
    }
}

/// Makes the folder `name` below `parent` in each hierarchy of version 1.
fn create(parent: &str, name: &str) -> Result<()> {
    for hierarchy in hierarchies(&["cgroup"])? {
        let parent = hierarchy.join(parent);
        let folder = parent.join(name);
        fs::create_dir_all(&folder).with_context(|| folder.display().to_string())?;
        // A new cpuset is empty, and no process may enter an empty one.
        for file in ["cpuset.cpus", "cpuset.mems"] {
            if let Ok(value) = fs::read(parent.join(file)) {
                fs::write(folder.join(file), value)?;
            }
        }
    }
    Ok(())
}

fn turn_controllers_on(traces: &Traces) -> Result<()> {
    let root = Path::new(ROOT);
    let on = fs::read_to_string(root.join("cgroup.subtree_control"))?;
    let off = CONTROLLERS.iter().filter(|name| !on.split_whitespace().any(|c| c == **name));
    for controller in off {
        traces.note(&Trace::Controller((*controller).to_owned()))?;
        switch(root, '+', controller)?;
    }
    Ok(())
}

fn switch(folder: &Path, sign: char, controller: &str) -> io::Result<()> {
    fs::write(folder.join("cgroup.subtree_control"), format!("{sign}{controller}"))
}

/// Turns a controller off at the root again, unless somebody else uses it by now.
pub(crate) fn disable(controller: &str) -> Result<()> {
    match switch(Path::new(ROOT), '-', controller) {
        Err(error) if error.kind() == io::ErrorKind::ResourceBusy => Ok(()),
        result => result.with_context(|| format!("cannot turn off cgroup controller {controller}")),
    }
}

/// Removes the folder `lab` from each hierarchy, and what is below it; may be repeated.
pub(crate) fn remove(lab: &str) -> Result<()> {
    // runc makes folders in a version 2 hierarchy beside those of version 1, too.
    for folder in hierarchies(&["cgroup", "cgroup2"])?.iter().map(|root| root.join(lab)) {
        let mut last = None;
        let gone = || {
            last = remove_tree(&folder).err();
            Ok(last.is_none().then_some(()))
        };
        let what = format!("{} is empty", folder.display());
        if let Err(late) = eventually(&what, PATIENCE, gone) {
            return Err(last.map_or(late, |error| Error::from(error).context(what)));
        }
    }
    Ok(())
}

/// Folders alone: the files in them are the kernel's and go with them.
fn remove_tree(folder: &Path) -> io::Result<()> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries?,
    };
    for entry in entries {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            remove_tree(&entry.path())?;
        }
    }
    fs::remove_dir(folder)
}

/// Where hierarchies are mounted, by the names of their file systems.
fn hierarchies(kinds: &[&str]) -> Result<Vec<PathBuf>> {
    let mounts = fs::read_to_string("/proc/mounts")?;
    let found = mounts.lines().filter_map(|line| {
        let mut fields = line.split(' ').skip(1);
        let (target, kind) = (fields.next()?, fields.next()?);
        (kinds.contains(&kind) && target.starts_with(ROOT)).then(|| PathBuf::from(target))
    });
    Ok(found.collect())
}
