//! Carries out steps: the only file that changes the machine. What to change is `state`'s to say.

use std::fs::{self, File, TryLockError};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{Duration, Instant};

use common::names;
use net::NetError;
use net::link::{LinkChange, Master};
use net::nft::NftError;
use net::program::{Call, ProgramError};
use net::route::RouteChange;

use crate::firewall::Table;
use crate::machine::Machine;
use crate::state::Step;
use crate::sysctl::Setting;
use crate::unready::{Unready, Verdict};
use crate::{bridge, cni_config, estate, firewall, loopback, observe, ports};

/// Programs are for everybody to run.
const PROGRAM: u32 = 0o755;

/// Configurations are for everybody to read.
const READABLE: u32 = 0o644;

/// What the agent keeps for itself.
const PRIVATE: u32 = 0o600;

/// How long to wait for plugins, which write a record and its elements in milliseconds.
const PLUGIN_AT_WORK: Duration = Duration::from_secs(1);

/// How long an exec plugin may take for its `init`.
const INIT: Duration = Duration::from_mins(1);

/// How often a table is applied for a listing of it alone.
const LISTINGS: usize = 3;

/// Why a step was not carried out; the next round tries it again.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    #[error(transparent)]
    Net(#[from] NetError),
    /// The others were changed: one bad Node spoils only its own route.
    #[error("cannot change {} of {all} routes", .refused.len())]
    Routes { refused: Vec<NetError>, all: usize },
    #[error("cbr0 is gone")]
    BridgeGone,
    #[error(transparent)]
    Nft(#[from] NftError),
    #[error(transparent)]
    Files(#[from] cni::Error),
    #[error("a plugin has been writing to it for {} s", PLUGIN_AT_WORK.as_secs())]
    PluginAtWork,
    #[error("nft table {} is not there to guard 127.0.0.1", names::PODS_TABLE)]
    Unguarded,
    #[error(transparent)]
    Program(#[from] ProgramError),
    #[error("cannot write {path}")]
    File { path: String, source: io::Error },
    /// Root may write all that is not its own only with `CAP_DAC_OVERRIDE`, which the agent has not got in
    /// its container.
    #[error(
        "cannot write {path}: {folder} belongs to uid {owner} and has mode {mode:o}, so that root alone may \
         not; on the machine, `chown root` and `chmod u+w` that folder"
    )]
    Denied { path: String, folder: String, owner: u32, mode: u32, source: io::Error },
    #[error("cannot read {path}")]
    Plugin { path: String, source: io::Error },
}

impl Machine {
    pub fn apply(&mut self, step: &Step) -> Result<(), ApplyError> {
        match step {
            Step::Bridge(step) => self.apply_bridge(step),
            Step::Port(step) => self.apply_port(step),
            Step::Restore(id) => Ok(self.reaper.restore(id)?),
            Step::Sysctl(setting) => self.apply_sysctl(setting),
            Step::Routes(changes) => self.apply_routes(changes),
            Step::Table(step) => self.apply_table(step),
            Step::Runtime(step) => self.apply_runtime(step),
        }
    }

    /// Leaves the reason for the plugin's STATUS: none, if there is none.
    ///
    /// Before the first list of Nodes an agent that was started again has nothing to say of a machine
    /// that works.
    pub fn tell(&mut self, verdict: &Verdict) -> Result<(), ApplyError> {
        let path = self.paths.reason();
        match verdict {
            Err(Unready::NodesUnknown) if self.netlink.link(names::BRIDGE)?.is_some() => Ok(()),
            Err(unready) => {
                let text = format!("{unready}\n");
                at(&path, net::file::replace(&path, text.as_bytes(), READABLE)).map(drop)
            }
            Ok(()) => match fs::remove_file(&path) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
                removed => at(&path, removed),
            },
        }
    }

    fn apply_bridge(&mut self, step: &bridge::Step) -> Result<(), ApplyError> {
        use bridge::Step;
        if let Step::Create(mac) | Step::SetMac(mac) = step {
            let kept = self.paths.bridge_mac();
            at(&kept, estate::forget_mac(&kept, *mac))?;
        }
        match step {
            Step::Create(mac) => {
                self.bridge = Some(self.netlink.create_bridge(names::BRIDGE, *mac)?);
                return Ok(());
            }
            Step::Rename(index) => return Ok(self.netlink.rename_link(*index, names::BRIDGE)?),
            _ => {}
        }
        let index = self.netlink.link(names::BRIDGE)?.ok_or(ApplyError::BridgeGone)?.index;
        let unchanged = LinkChange::default();
        let change = match *step {
            Step::Create(_) | Step::Rename(_) => return Ok(()),
            Step::DeleteAddress(held) => {
                return Ok(self.netlink.delete_address(index, held.address, held.length)?);
            }
            Step::AddAddress(held) => {
                return Ok(self.netlink.add_address(index, held.address, held.length)?);
            }
            Step::SetMac(mac) => LinkChange { mac: Some(mac), ..unchanged },
            Step::SetMtu(mtu) => LinkChange { mtu: Some(mtu), ..unchanged },
            Step::SetPromiscuous(on) => LinkChange { promiscuous: Some(on), ..unchanged },
            Step::StopSpanningTree => LinkChange { spanning_tree: Some(false), ..unchanged },
            Step::StopVlanFiltering => LinkChange { vlan_filtering: Some(false), ..unchanged },
            Step::Enable => LinkChange { up: Some(true), ..unchanged },
            Step::Release => LinkChange { master: Some(Master::Nobody), ..unchanged },
        };
        Ok(self.netlink.set_link(index, &change)?)
    }

    /// Under the attachment's lock it looks again, so that no dying pod is put back.
    fn apply_port(&mut self, step: &ports::Step) -> Result<(), ApplyError> {
        let path = self.paths.claim(&step.id);
        let claim = match File::open(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            claim => at(&path, claim)?,
        };
        // Whoever holds it changes the port, and that wakes the loop.
        if !at(&path, lock_within(&claim, Duration::ZERO))? || !self.paths.record(&step.id).exists()
        {
            return Ok(());
        }
        let bridge = self.netlink.link(names::BRIDGE)?.ok_or(ApplyError::BridgeGone)?.index;
        let Some(link) = self.netlink.link(&step.id.host_link())? else { return Ok(()) };
        if ports::owner(&link).as_ref() != Some(&step.id) {
            return Ok(());
        }
        let change = LinkChange {
            up: Some(true),
            master: step.detached.then_some(Master::Bridge(bridge)),
            promiscuous: Some(false),
            hairpin: Some(step.hairpin),
            open: true,
            ..LinkChange::default()
        };
        match self.netlink.set_link(link.index, &change) {
            Err(error) if error.is_missing() => Ok(()),
            changed => Ok(changed?),
        }
    }

    fn apply_sysctl(&self, setting: &Setting) -> Result<(), ApplyError> {
        if loopback::wants_guard(setting) && observe::listing(Table::Pods)?.is_none() {
            return Err(ApplyError::Unguarded);
        }
        let path = || self.paths.sysctl.join(&setting.key).display().to_string();
        let changed = self.change_setting(setting);
        changed.map_err(|source| ApplyError::File { path: path(), source })
    }

    fn apply_routes(&mut self, changes: &[RouteChange]) -> Result<(), ApplyError> {
        let outcomes = self.routes.change(&mut self.netlink, changes)?;
        let refused = outcomes.into_iter().zip(changes).filter_map(|(outcome, change)| {
            // A route that went with its link while we looked is as good as deleted.
            let gone =
                |error: &NetError| matches!(change, RouteChange::Delete(_)) && error.is_missing();
            outcome.err().filter(|error| !gone(error))
        });
        let refused = refused.collect::<Vec<_>>();
        if refused.is_empty() {
            Ok(())
        } else {
            Err(ApplyError::Routes { refused, all: changes.len() })
        }
    }

    /// Applies a table and remembers what nft prints of it.
    fn apply_table(&mut self, step: &firewall::Step) -> Result<(), ApplyError> {
        let table = step.table;
        let mut listing = String::new();
        for _ in 0..LISTINGS {
            let before = self.nftables.generation()?;
            match table {
                Table::Machine | Table::Dedup => net::nft::apply(&step.text)?,
                Table::Pods => self.rebuild_pods_table(&step.text)?,
            }
            listing = observe::listing(table)?.unwrap_or_default();
            // Else somebody else's change may have come between, and be in the listing.
            if self.nftables.generation()? == before.wrapping_add(1) {
                break;
            }
        }
        let applied = firewall::Applied { text: step.text.clone(), listing };
        let text = serde_json::json!(applied).to_string();
        let path = self.paths.applied(table.name());
        at(&path, net::file::replace(&path, text.as_bytes(), PRIVATE)).map(drop)
    }

    /// With the elements of all records, while no plugin writes either.
    fn rebuild_pods_table(&self, text: &str) -> Result<(), ApplyError> {
        let path = self.paths.pods_table_lock();
        let lock = at(&path, File::options().create(true).append(true).open(&path))?;
        if !at(&path, lock_within(&lock, PLUGIN_AT_WORK))? {
            return Err(ApplyError::PluginAtWork);
        }
        let records = at(&self.paths.state, self.paths.records())?;
        let elements = firewall::elements(&records.attachments);
        Ok(net::nft::apply(&format!("{text}{elements}"))?)
    }

    fn apply_runtime(&mut self, step: &cni_config::Step) -> Result<(), ApplyError> {
        match step {
            cni_config::Step::InstallPlugin(name) => {
                let mut program = File::open(&self.paths.plugin).map_err(|source| {
                    ApplyError::Plugin { path: self.paths.plugin.display().to_string(), source }
                })?;
                at(&self.paths.bin, fs::create_dir_all(&self.paths.bin))?;
                let path = self.paths.bin.join(name);
                at(&path, net::file::copy(&mut program, &path, PROGRAM))
            }
            cni_config::Step::Init(program) => {
                let call = Call { program, arguments: &["init"], input: "", timeout: INIT };
                call.run()?;
                self.initialised = true;
                Ok(())
            }
            cni_config::Step::WriteConflist(text) => {
                at(&self.paths.conf, fs::create_dir_all(&self.paths.conf))?;
                let path = self.paths.conflist();
                at(&path, net::file::replace(&path, text.as_bytes(), READABLE)).map(drop)
            }
            cni_config::Step::Disable(name) => {
                let path = self.paths.conf.join(name);
                let disabled = self.paths.conf.join(format!("{name}{}", names::DISABLED_SUFFIX));
                at(&path, fs::rename(&path, disabled))
            }
        }
    }
}

/// Whether `file` could be locked exclusively within `limit`.
pub(crate) fn lock_within(file: &File, limit: Duration) -> io::Result<bool> {
    let deadline = Instant::now() + limit;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(true),
            Err(TryLockError::Error(error)) => return Err(error),
            Err(TryLockError::WouldBlock) if Instant::now() >= deadline => return Ok(false),
            #[expect(clippy::disallowed_methods, reason = "flock(2) knows no time limit")]
            Err(TryLockError::WouldBlock) => std::thread::sleep(Duration::from_millis(1)),
        }
    }
}

fn at<T>(path: &Path, result: io::Result<T>) -> Result<T, ApplyError> {
    result.map_err(|source| {
        let text = |path: &Path| path.display().to_string();
        let folders =
            path.ancestors().filter_map(|folder| Some((folder, fs::metadata(folder).ok()?)));
        let folder = folders.into_iter().find(|(_, folder)| folder.is_dir());
        match folder {
            Some((folder, its)) if source.kind() == io::ErrorKind::PermissionDenied => {
                let (owner, mode) = (its.uid(), its.mode() & 0o7777);
                ApplyError::Denied { path: text(path), folder: text(folder), owner, mode, source }
            }
            _ => ApplyError::File { path: text(path), source },
        }
    })
}
