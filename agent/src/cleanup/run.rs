//! Cleans the machine up: the one file that takes away what the agent and the plugin made.

use std::fmt::Display;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use common::names;
use net::route::RouteChange;
use process::shutdown;
use process::telemetry::Chain;

use super::{Removal, living, plan};
use crate::apply::lock_within;
use crate::before::{Before, Change};
use crate::firewall::Table;
use crate::machine::{Machine, Paths};
use crate::mode::Mode;
use crate::observe;
use crate::settings::FolderFlags;
use crate::state::Step;
use crate::unready::Unready;

/// For everybody to read.
const READABLE: u32 = 0o644;

/// How long a running agent may take to let the machine go: half a second to look, and its last round,
/// whose dumps and listings are slow on a machine that has no time.
const LET_GO: Duration = Duration::from_secs(30);

/// How often to see that a starting agent has not lifted the marker.
const LOOK_AGAIN: Duration = Duration::from_millis(200);

/// How long a call of the plugin that has begun may take.
const IN_FLIGHT: Duration = Duration::from_secs(5);

/// Of a cleanup that left what living pods need.
const KEPT: u8 = 3;

/// Takes away all that kubenet made on this machine: a running agent lets go of it, and no pod is
/// added any more. Where pods still live that is all that happens, and the exit code is 3
#[derive(Clone, Debug, clap::Args)]
pub struct Flags {
    /// Also where pods still live: they lose their network
    #[arg(long)]
    force: bool,

    /// Once nothing is left, keep the machine until SIGTERM: an agent that is started meanwhile waits
    #[arg(long)]
    stay: bool,

    #[command(flatten)]
    folders: FolderFlags,
}

/// Takes away all that agent and plugin made, and says so line by line.
///
/// From its first moment a running agent repairs nothing any more, ADD and STATUS refuse, and DEL works;
/// that lasts if pods still live here, until an agent is started. Whoever is killed here is finished by
/// the next call.
///
/// # Errors
/// What could not be removed, all of it; the rest is.
pub async fn run(flags: Flags) -> anyhow::Result<ExitCode> {
    let asked_to_end = flags.stay.then(shutdown::signalled).transpose();
    let asked_to_end = asked_to_end.context("cannot catch signals")?;
    let paths = flags.folders.paths();
    let (state, marker) = (paths.state.clone(), paths.cleaning());
    fs::create_dir_all(&state).with_context(|| format!("cannot create {}", state.display()))?;
    let _lock = sole(&paths)?;
    let at_work = in_flight(&paths)?;
    let mut machine = Machine::open(paths)?;
    machine.reaper.complete();
    let mut observed = machine.observe(&Mode::KUBENET)?;
    // Whatever the mode was.
    observed.plugins = machine.programs.plugins(&machine.paths, &names::PLUGINS);
    let records = machine.paths.records().context("cannot read the records")?;
    let mut living = living(&observed, &records.attachments);
    living.extend(at_work);
    if !living.is_empty() && !flags.force {
        for who in living {
            eprintln!("still lives here: {who}");
        }
        eprintln!(
            "kubenet stays as it is for their sake and takes no new pods; call this again when they are \
             gone, or with --force to take their network away"
        );
        return Ok(ExitCode::from(KEPT));
    }
    let disabled = disabled(&machine.paths.conf)?;
    let mut failures = Vec::new();
    for removal in plan(&machine.paths, &observed, &tables()?, &machine.changes()?, &disabled) {
        match machine.remove(&removal) {
            Ok(()) => say(&removal),
            Err(error) => failures.push(format!("cannot {removal}: {}", Chain(&*error))),
        }
    }
    if !failures.is_empty() {
        bail!(failures.join("; "));
    }
    if let Some(asked_to_end) = asked_to_end {
        say(&"nothing of kubenet is left on this machine but what keeps agents from it");
        asked_to_end.await;
    }
    forget(&state, &marker).with_context(|| format!("cannot remove {}", state.display()))?;
    say(&"nothing of kubenet is left on this machine");
    Ok(ExitCode::SUCCESS)
}

/// A reader that has gone away keeps nothing from being removed.
fn say(line: &dyn Display) {
    let _ = writeln!(io::stdout(), "{line}");
}

/// Makes this the machine's one agent, as the running one lets go of it.
///
/// The marker is the lock's holder's. Before that it is there as well, so that the agent lets go; one
/// that has just started may take it for an earlier cleanup's, once.
fn sole(paths: &Paths) -> anyhow::Result<File> {
    let path = paths.agent_lock();
    let cannot = || format!("cannot lock {}", path.display());
    let lock = File::options().create(true).append(true).open(&path).with_context(cannot)?;
    let deadline = Instant::now() + LET_GO;
    loop {
        mark(&paths.cleaning())?;
        if lock_within(&lock, LOOK_AGAIN).with_context(cannot)? {
            mark(&paths.cleaning())?;
            return Ok(lock);
        }
        if Instant::now() > deadline {
            bail!(
                "an agent runs on this machine and does not let go of it within {} s: stop it first",
                LET_GO.as_secs()
            );
        }
    }
}

/// From now on the machine is being cleaned up.
fn mark(marker: &Path) -> anyhow::Result<()> {
    if marker.exists() {
        return Ok(());
    }
    net::file::replace(marker, format!("{}\n", Unready::CleaningUp).as_bytes(), READABLE)
        .map(drop)
        .with_context(|| format!("cannot write {}", marker.display()))
}

/// Waits for calls of the plugin that began before it was told to refuse, and names those that don't end.
fn in_flight(paths: &Paths) -> anyhow::Result<Vec<String>> {
    let claims = paths.state.join(names::CLAIMS);
    let cannot = || format!("cannot look at {}", claims.display());
    let entries = match claims.read_dir() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.with_context(cannot)?,
    };
    let mut at_work = Vec::new();
    for entry in entries {
        let entry = entry.with_context(cannot)?;
        // One that is gone by now is at no work.
        let Ok(claim) = File::open(entry.path()) else { continue };
        if !lock_within(&claim, IN_FLIGHT).with_context(cannot)? {
            let id = entry.file_name().to_string_lossy().into_owned();
            at_work.push(format!("attachment {id}, which a plugin has been working on"));
        }
    }
    Ok(at_work)
}

/// Configurations that an agent has renamed, in the folder `conf`.
fn disabled(conf: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let cannot = || format!("cannot look at {}", conf.display());
    let names = observe::file_names(conf).with_context(cannot)?;
    let ours = names.into_iter().filter(|name| name.ends_with(names::DISABLED_SUFFIX));
    Ok(ours.map(|name| conf.join(name)).collect())
}

fn tables() -> anyhow::Result<Vec<Table>> {
    let mut tables = Vec::new();
    for table in Table::ALL {
        let listing = observe::listing(table);
        let listing = listing.with_context(|| format!("cannot list nft table {}", table.name()))?;
        tables.extend(listing.map(|_| table));
    }
    Ok(tables)
}

/// The marker goes last: until then nobody takes the machine for one that is to be made.
fn forget(state: &Path, marker: &Path) -> io::Result<()> {
    for entry in state.read_dir()? {
        let path = entry?.path();
        if path == marker {
            continue;
        }
        if path.is_dir() {
            fs::remove_dir_all(path)?;
        } else {
            fs::remove_file(path)?;
        }
    }
    fs::remove_file(marker)?;
    match fs::remove_dir(state) {
        // It is a mount point of this container, and empty.
        Err(error) if error.kind() == io::ErrorKind::ResourceBusy => Ok(()),
        removed => removed,
    }
}

impl Machine {
    /// What is remembered of settings, and what they are now.
    fn changes(&self) -> anyhow::Result<Vec<(Change, Option<String>)>> {
        let before = Before::read(&self.paths).context("cannot read what settings were before")?;
        // One that can't be read is left alone: it went with its link, as often as not.
        let now = |change: Change| {
            let now = self.sysctl.read(&change.key).ok();
            (change, now)
        };
        Ok(before.changes.into_iter().map(now).collect())
    }

    fn remove(&mut self, removal: &Removal) -> anyhow::Result<()> {
        match removal {
            Removal::File(path) => match fs::remove_file(path) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
                removed => Ok(removed?),
            },
            Removal::Enable(path) => {
                let name = path.to_string_lossy();
                let name = Path::new(name.trim_end_matches(names::DISABLED_SUFFIX));
                if name.exists() {
                    bail!("there is another {} by now", name.display());
                }
                Ok(fs::rename(path, name)?)
            }
            Removal::Link { index, .. } => match self.netlink.delete_link(*index) {
                Err(error) if error.is_missing() => Ok(()),
                deleted => Ok(deleted?),
            },
            Removal::Routes(routes) => {
                let deletions = routes.iter().copied().map(RouteChange::Delete).collect();
                Ok(self.apply(&Step::Routes(deletions))?)
            }
            Removal::Table(table) => Ok(net::nft::apply(&table.removal())?),
            Removal::Setting(change) => {
                Ok(self.sysctl.write(&change.key, &change.before).map(drop)?)
            }
        }
    }
}
