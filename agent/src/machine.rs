//! The handles on this machine that `observe` and `apply` share, and where its files are.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use common::attachment::{Attachment, AttachmentId};
use common::names;
use net::nftables::{Chain, Nftables};
use net::sysctl::Sysctl;
use net::{NetError, Netlink};

use crate::exceptions::Source;
use crate::firewall::Table;
use crate::known_routes::KnownRoutes;
use crate::programs::Programs;
use crate::reaper::Reaper;

/// Where the agent's files are; a test has its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Paths {
    /// Kernel settings: `/proc/sys`, or where else that is mounted.
    pub sysctl: PathBuf,
    /// Leases, records, locks.
    pub state: PathBuf,
    /// Where the runtime looks for plugins, and ours is installed.
    pub bin: PathBuf,
    /// Where else it looks for plugins.
    pub other_bins: Vec<PathBuf>,
    /// Where the runtime looks for network configurations.
    pub conf: PathBuf,
    /// Where another network's plugins keep what they know of pods.
    pub data: PathBuf,
    /// The plugin's program to install.
    pub plugin: PathBuf,
    /// What is not masqueraded, as [`crate::exceptions`] has it.
    pub exceptions: Option<PathBuf>,
}

/// What the plugin left on record.
#[derive(Clone, Debug, Default)]
pub struct Records {
    pub attachments: Vec<Attachment>,
    /// What is wrong with the others.
    pub unreadable: Vec<String>,
}

/// This machine: the network namespace of the thread that opened it, and its files.
#[derive(Debug)]
pub struct Machine {
    pub(crate) netlink: Netlink,
    pub(crate) routes: KnownRoutes,
    pub(crate) sysctl: Sysctl,
    pub(crate) paths: Paths,
    pub(crate) nftables: Nftables,
    pub(crate) reaper: Reaper,
    pub(crate) exceptions: Source,
    pub(crate) programs: Programs,
    /// The index of cbr0 when it was seen last.
    pub(crate) bridge: Option<u32>,
    /// What nft said last, as long as the ruleset is of the same generation.
    pub(crate) ruleset: Option<Ruleset>,
    /// Whether the plugin that ours adapts was told that the agent has started.
    pub(crate) initialised: bool,
}

/// What is to be known of the nft ruleset in one of its generations.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Ruleset {
    pub(crate) generation: u32,
    /// What nft prints of our tables.
    pub(crate) listings: BTreeMap<Table, String>,
    /// Chains of others that drop what is forwarded.
    pub(crate) dropping: Vec<Chain>,
}

impl Machine {
    pub fn open(paths: Paths) -> Result<Self, NetError> {
        let netlink = Netlink::open()?;
        Ok(Self {
            routes: KnownRoutes::open(&netlink)?,
            netlink,
            nftables: Nftables::open()?,
            reaper: Reaper::open(&paths.state)?,
            exceptions: Source::new(paths.exceptions.clone(), &paths.state),
            sysctl: Sysctl::at(&paths.sysctl),
            programs: Programs::default(),
            bridge: None,
            ruleset: None,
            initialised: false,
            paths,
        })
    }
}

impl Paths {
    /// All folders where the runtime looks for plugins.
    pub fn bins(&self) -> impl Iterator<Item = &Path> {
        [&self.bin].into_iter().chain(&self.other_bins).map(PathBuf::as_path)
    }

    /// All folders where a change matters.
    pub fn watched(&self) -> impl Iterator<Item = PathBuf> {
        let exceptions = self.exceptions.as_deref().and_then(Path::parent);
        let files = [names::ATTACHMENTS, names::LEASES].map(|name| self.state.join(name));
        let others = self.bins().chain([self.conf.as_path()]).chain(exceptions);
        others.map(Path::to_owned).chain(files)
    }

    pub fn conflist(&self) -> PathBuf {
        self.conf.join(names::CONFLIST)
    }

    pub fn reason(&self) -> PathBuf {
        self.state.join(names::REASON_FILE)
    }

    /// There while the machine is being cleaned up.
    pub fn cleaning(&self) -> PathBuf {
        self.state.join(names::CLEANING_FILE)
    }

    /// Kernel settings as they were before the agent changed them.
    pub fn before(&self) -> PathBuf {
        self.state.join(names::BEFORE_FILE)
    }

    /// The MAC address of a bridge that was taken over.
    pub fn bridge_mac(&self) -> PathBuf {
        self.state.join(names::BRIDGE_MAC_FILE)
    }

    /// The Nodes that the agent knew last.
    pub fn nodes(&self) -> PathBuf {
        self.state.join(names::NODES_FILE)
    }

    pub fn agent_lock(&self) -> PathBuf {
        self.state.join(names::AGENT_LOCK_FILE)
    }

    /// Where DELs knock.
    pub fn agent_socket(&self) -> PathBuf {
        self.state.join(names::AGENT_SOCKET_FILE)
    }

    pub fn pods_table_lock(&self) -> PathBuf {
        self.state.join(names::PODS_TABLE_LOCK_FILE)
    }

    pub fn record(&self, id: &AttachmentId) -> PathBuf {
        self.state.join(names::ATTACHMENTS).join(id.to_string())
    }

    /// Locked by whoever works on the attachment.
    pub fn claim(&self, id: &AttachmentId) -> PathBuf {
        self.state.join(names::CLAIMS).join(id.to_string())
    }

    /// What was applied of the nft table of that name.
    pub fn applied(&self, table: &str) -> PathBuf {
        self.state.join(format!("{table}.applied"))
    }

    /// The records of all attachments.
    pub fn records(&self) -> io::Result<Records> {
        Records::read(&self.state.join(names::ATTACHMENTS))
    }
}

impl Records {
    /// Those in `directory`, which may be missing.
    pub(crate) fn read(directory: &Path) -> io::Result<Self> {
        let entries = match directory.read_dir() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Self::default()),
            entries => entries?,
        };
        let mut records = Self::default();
        for entry in entries {
            let entry = entry?;
            // Only a complete record has its attachment's name.
            if entry.file_name().to_string_lossy().contains('@') {
                records.add(&entry.path());
            }
        }
        Ok(records)
    }

    /// One that is gone by now is as good as none.
    fn add(&mut self, path: &Path) {
        let Some(text) = net::file::read(path).transpose() else { return };
        match text.and_then(|text| Ok(serde_json::from_slice(&text)?)) {
            Ok(attachment) => self.attachments.push(attachment),
            Err(error) => {
                self.unreadable.push(format!("cannot read record {}: {error}", path.display()));
            }
        }
    }
}
