//! Reads the machine: kernel and files to [`Observed`]. It changes nothing and decides nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use common::names;
use net::NetError;
use net::nft::NftError;

use crate::attachments::{self, Files};
use crate::cni_config::takes_precedence;
use crate::estate::kept_mac;
use crate::firewall::{self, Applied, Table};
use crate::machine::{Machine, Paths, Records, Ruleset};
use crate::mode::{Mode, Runtime};
use crate::others::{ConfigFile, Others};
use crate::state::Observed;
use crate::sysctl;

/// Why the machine can't be seen; nothing is changed then.
#[derive(Debug, thiserror::Error)]
pub enum ObserveError {
    #[error(transparent)]
    Net(#[from] NetError),
    #[error("cannot list nft table {table}")]
    Table { table: &'static str, source: NftError },
    #[error("cannot read {path}")]
    File { path: String, source: io::Error },
}

impl Machine {
    /// The machine as it is now, as far as `mode` has anything to do with it.
    pub fn observe(&mut self, mode: &Mode) -> Result<Observed, ObserveError> {
        let links = self.netlink.links()?;
        let named = links.iter().find(|link| link.name == names::BRIDGE);
        self.bridge = named.map(|link| link.index).or(self.bridge);
        let addresses = self.netlink.addresses()?;
        let routes = self.routes.now(&mut self.netlink)?;
        let mut observed = Observed {
            sysctls: self.settings(sysctl::watched(&links, &routes))?,
            plugins: self.programs.plugins(&self.paths, mode.runtime.plugins()),
            initialised: self.initialised,
            bridge_was: self.bridge,
            links,
            addresses,
            routes,
            ..Observed::default()
        };
        if mode.bridge {
            self.observe_bridge(&mut observed)?;
        }
        match mode.runtime {
            Runtime::Nothing => {}
            Runtime::Others => observed.others = Some(self.others()?),
            Runtime::Kubenet | Runtime::Exec(_) => {
                let conflist = net::file::read(&self.paths.conflist()).unwrap_or(None);
                let text = conflist.map(|text| String::from_utf8_lossy(&text).into_owned());
                observed.conflist = text;
                observed.earlier = at(&self.paths.conf, earlier(&self.paths.conf))?;
            }
        }
        Ok(observed)
    }

    /// What matters where cbr0 is ours.
    fn observe_bridge(&mut self, observed: &mut Observed) -> Result<(), ObserveError> {
        let ruleset = self.ruleset()?;
        for table in Table::ALL {
            let listing = ruleset.listings.get(&table);
            let text = in_force(&self.paths, table, listing.map(String::as_str))?;
            observed.tables.extend(text.map(|text| (table, text)));
        }
        observed.dropping = ruleset.dropping;
        let Records { attachments: records, unreadable } =
            at(&self.paths.state, self.paths.records())?;
        let listed = |name| {
            let folder = self.paths.state.join(name);
            at(&folder, file_names(&folder))
        };
        let leases = listed(names::LEASES)?;
        // Last: whoever lacks one of the others by now has one.
        let dying = listed(names::TOMBSTONES)?;
        observed.files = Files {
            recorded: records.iter().filter_map(|record| record.id().ok()).collect(),
            dying: dying.iter().filter_map(|name| name.parse().ok()).collect(),
            leased: leases.iter().filter_map(|name| name.parse().ok()).collect(),
        };
        let living = attachments::living(&observed.links, observed.bridge());
        let living = living.flat_map(|(_, addresses)| addresses).collect::<Vec<_>>();
        let recorded = records.into_iter().flat_map(|record| record.addresses);
        observed.attached = recorded.chain(living).collect();
        observed.unreadable = unreadable;
        let path = self.paths.bridge_mac();
        observed.kept_mac = at(&path, kept_mac(&path))?;
        Ok(())
    }

    fn others(&self) -> Result<Others, ObserveError> {
        let conf = &self.paths.conf;
        let names = at(conf, file_names(conf))?;
        let files = names.into_iter().map(|name| {
            // A runtime skips what it can't read.
            let text = fs::read_to_string(conf.join(&name)).unwrap_or_default();
            ConfigFile { name, text }
        });
        let mut programs = BTreeSet::new();
        for bin in self.paths.bins() {
            let names = at(bin, file_names(bin))?;
            programs.extend(names.into_iter().filter(|name| is_program(&bin.join(name))));
        }
        let bins = self.paths.bins().map(|bin| bin.display().to_string());
        Ok(Others {
            files: files.collect(),
            programs,
            conf: conf.display().to_string(),
            bins: bins.collect::<Vec<_>>().join(", "),
        })
    }

    /// Runs nft only for a ruleset that is not the one of the last call.
    fn ruleset(&mut self) -> Result<Ruleset, ObserveError> {
        // Before the rest: what changes meanwhile is looked at again by the next call.
        let generation = self.nftables.generation()?;
        if let Some(known) = self.ruleset.clone().filter(|known| known.generation == generation) {
            return Ok(known);
        }
        let mut listings = BTreeMap::new();
        for table in Table::ALL {
            // What is missing is not asked for: each listing is a process.
            let is_there = match table {
                Table::Machine | Table::Pods => self.nftables.has_table(table.name())?,
                Table::Dedup => self.paths.applied(table.name()).exists(),
            };
            if !is_there {
                continue;
            }
            let listing = listing(table)
                .map_err(|source| ObserveError::Table { table: table.name(), source })?;
            listings.extend(listing.map(|listing| (table, listing)));
        }
        let mut dropping = self.nftables.dropping_forward()?;
        dropping.sort();
        let ruleset = Ruleset { generation, listings, dropping };
        self.ruleset = Some(ruleset.clone());
        Ok(ruleset)
    }

    fn settings(&self, keys: Vec<String>) -> Result<sysctl::Values, ObserveError> {
        let mut values = sysctl::Values::new();
        for key in keys {
            match self.sysctl.read(&key) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                value => {
                    let value = at(&self.paths.sysctl.join(&key), value)?;
                    values.insert(key, value);
                }
            }
        }
        Ok(values)
    }
}

/// The text of `table` that is in force; none if somebody has changed it since, or removed it.
fn in_force(
    paths: &Paths,
    table: Table,
    listing: Option<&str>,
) -> Result<Option<String>, ObserveError> {
    let path = paths.applied(table.name());
    let applied = at(&path, net::file::read(&path))?;
    // A file that makes no sense is as good as none: the table is applied again.
    let applied = applied.and_then(|text| serde_json::from_slice::<Applied>(&text).ok());
    Ok(firewall::in_force(applied, listing))
}

/// What nft prints of `table`, without the elements that are the attachments'.
pub(crate) fn listing(table: Table) -> Result<Option<String>, NftError> {
    match table {
        Table::Machine => net::nft::list(table.name()),
        Table::Pods => net::nft::list_terse(table.name()),
        Table::Dedup => net::nft::list_of_bridge(table.name()),
    }
}

/// The files that a runtime takes rather than our configuration.
fn earlier(conf: &Path) -> io::Result<Vec<String>> {
    let mut names = file_names(conf)?;
    names.retain(|name| {
        // A runtime follows symbolic links, and skips what it can't read.
        let text = || fs::read_to_string(conf.join(name)).unwrap_or_default();
        name.as_str() < names::CONFLIST && takes_precedence(name, &text())
    });
    Ok(names)
}

/// The names in a folder in their order; none if there is no such folder.
pub(crate) fn file_names(folder: &Path) -> io::Result<Vec<String>> {
    let entries = match folder.read_dir() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let names = entries.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()));
    let mut names = names.collect::<io::Result<Vec<_>>>()?;
    names.sort();
    Ok(names)
}

fn is_program(path: &Path) -> bool {
    const ANY_EXECUTE: u32 = 0o111;
    fs::metadata(path)
        .is_ok_and(|file| file.is_file() && file.permissions().mode() & ANY_EXECUTE != 0)
}

fn at<T>(path: &Path, result: io::Result<T>) -> Result<T, ObserveError> {
    result.map_err(|source| ObserveError::File { path: path.display().to_string(), source })
}
