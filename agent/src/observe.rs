//! Reads the machine: kernel and files to [`Observed`]. It changes nothing and decides nothing.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::Path;

use common::names;
use net::NetError;
use net::nft::NftError;

use crate::cni_config::{Installed, PLUGINS, takes_precedence};
use crate::firewall::{self, Applied, Table};
use crate::machine::{Machine, Paths, Ruleset};
use crate::state::Observed;
use crate::sysctl;

/// Why the machine can't be seen; nothing is changed then.
#[derive(Debug, thiserror::Error)]
pub enum ObserveError {
    #[error(transparent)]
    Net(#[from] NetError),
    #[error("cannot list nft table inet {table}")]
    Table { table: &'static str, source: NftError },
    #[error("cannot read {path}")]
    File { path: String, source: io::Error },
}

impl Machine {
    /// The machine as it is now.
    pub fn observe(&mut self) -> Result<Observed, ObserveError> {
        let links = self.netlink.links()?;
        let addresses = self.netlink.addresses()?;
        let routes = self.netlink.routes()?;
        let ruleset = self.ruleset()?;
        let mut tables = BTreeMap::new();
        for table in Table::BOTH {
            let listing = ruleset.listings.get(&table);
            let text = in_force(&self.paths, table, listing.map(String::as_str))?;
            tables.extend(text.map(|text| (table, text)));
        }
        let records = at(&self.paths.state, self.paths.records())?;
        let conflist = net::file::read(&self.paths.conflist()).unwrap_or(None);
        Ok(Observed {
            sysctls: self.settings(sysctl::watched(&links, &routes))?,
            recorded: records.attachments.iter().filter_map(|record| record.id().ok()).collect(),
            attached: records.attachments.into_iter().flat_map(|record| record.addresses).collect(),
            dropping: ruleset.dropping,
            earlier: at(&self.paths.conf, earlier(&self.paths.conf))?,
            unreadable: records.unreadable,
            plugins: plugins(&self.paths),
            conflist: conflist.map(|text| String::from_utf8_lossy(&text).into_owned()),
            links,
            addresses,
            routes,
            tables,
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
        for table in Table::BOTH {
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
    }
}

/// The files that a runtime takes rather than our configuration.
fn earlier(conf: &Path) -> io::Result<Vec<String>> {
    let entries = match conf.read_dir() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let names = entries.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()));
    let mut names = names.collect::<io::Result<Vec<_>>>()?;
    names.retain(|name| {
        // A runtime follows symbolic links, and skips what it can't read.
        let text = || fs::read_to_string(conf.join(name)).unwrap_or_default();
        name.as_str() < names::CONFLIST && takes_precedence(name, &text())
    });
    names.sort();
    Ok(names)
}

/// A file that can't be read is as good as none: the step that replaces it names what is wrong.
fn plugins(paths: &Paths) -> Vec<(&'static str, Installed)> {
    let same = |path: &Path, other: &Path| same_content(path, other).unwrap_or(None);
    let ours = paths.bin.join(names::PLUGIN);
    let installed = |name| {
        let path = paths.bin.join(name);
        match same(&path, &paths.plugin) {
            None => Installed::Missing,
            Some(true) => Installed::Current,
            Some(false) if name == names::PLUGIN || same(&path, &ours) == Some(true) => {
                Installed::Outdated
            }
            Some(false) => Installed::Foreign,
        }
    };
    PLUGINS.map(|name| (name, installed(name))).into()
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

fn at<T>(path: &Path, result: io::Result<T>) -> Result<T, ObserveError> {
    result.map_err(|source| ObserveError::File { path: path.display().to_string(), source })
}
