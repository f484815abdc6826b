//! Records of attachments: one JSON file for each, complete when it has its name.
//!
//! The record of an attachment that is being removed is a tombstone: it has moved to a directory of its
//! own, so that nobody repairs what it names, and whoever finds it removes that.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use common::attachment::{Attachment, AttachmentId};
use common::names;

use super::{State, make_directory, remove_file, write_new};
use crate::error::{During, Error};

impl State {
    /// The record of `id`; none if there is none, or none that can be read.
    ///
    /// Nobody can mend a record, and DEL must go on without: the agent rebuilds from the kernel.
    pub(crate) fn record(&self, id: &AttachmentId) -> Result<Option<Attachment>, Error> {
        read(&self.record_path(id))
    }

    /// The tombstone of `id`, or its record where it has not become one.
    pub(crate) fn last_record(&self, id: &AttachmentId) -> Result<Option<Attachment>, Error> {
        match read(&self.tombstone_path(id))? {
            None => self.record(id),
            tombstone => Ok(tombstone),
        }
    }

    /// Makes the record of `id` a tombstone; false if there is neither.
    pub(crate) fn bury(&self, id: &AttachmentId) -> Result<bool, Error> {
        let (record, tombstone) = (self.record_path(id), self.tombstone_path(id));
        let rename = || match fs::rename(&record, &tombstone) {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(tombstone.exists()),
            renamed => renamed.map(|()| true),
        };
        let mut buried = rename();
        if matches!(buried, Ok(false)) && record.exists() {
            // Whoever made the state directory knew of no tombstones.
            make_directory(&self.path(names::TOMBSTONES))?;
            buried = rename();
        }
        buried.during(|| format!("make {} a tombstone", record.display()))
    }

    /// Whether `id` is being removed.
    pub(crate) fn is_buried(&self, id: &AttachmentId) -> bool {
        self.tombstone_path(id).exists()
    }

    /// The attachments that have a tombstone.
    pub(crate) fn tombstones(&self) -> Result<Vec<AttachmentId>, Error> {
        let names = self.file_names(names::TOMBSTONES)?;
        Ok(names.iter().filter_map(|name| name.parse().ok()).collect())
    }

    pub(crate) fn write_record(&self, id: &AttachmentId, record: &Attachment) -> Result<(), Error> {
        // No name of a claim has a space.
        let (new, path) =
            (self.path(names::CLAIMS).join(format!("{id} new")), self.record_path(id));
        let text = serde_json::to_vec(record).unwrap_or_default();
        let written = write_new(&new, &text).and_then(|()| fs::rename(&new, &path));
        written.during(|| format!("write {}", path.display()))
    }

    pub(super) fn remove_record(&self, id: &AttachmentId) -> Result<(), Error> {
        remove_file(&self.path(names::CLAIMS).join(format!("{id} new")))?;
        remove_file(&self.record_path(id))?;
        remove_file(&self.tombstone_path(id))
    }

    /// The attachments that have a record, a tombstone or a claim.
    pub(crate) fn ids(&self) -> Result<Vec<AttachmentId>, Error> {
        let mut ids = Vec::new();
        for name in [names::ATTACHMENTS, names::TOMBSTONES, names::CLAIMS] {
            ids.extend(self.file_names(name)?.iter().filter_map(|name| name.parse().ok()));
        }
        ids.sort();
        ids.dedup();
        Ok(ids)
    }

    /// The names of what is in a directory; none if it is missing.
    pub(super) fn file_names(&self, directory: &str) -> Result<Vec<String>, Error> {
        let path = self.path(directory);
        let what = || format!("list {}", path.display());
        let entries = match path.read_dir() {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries.during(what)?,
        };
        let names = entries.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()));
        names.collect::<Result<_, _>>().during(what)
    }

    fn record_path(&self, id: &AttachmentId) -> PathBuf {
        self.path(names::ATTACHMENTS).join(id.to_string())
    }

    fn tombstone_path(&self, id: &AttachmentId) -> PathBuf {
        self.path(names::TOMBSTONES).join(id.to_string())
    }
}

fn read(path: &Path) -> Result<Option<Attachment>, Error> {
    let senseless = |error: &dyn std::error::Error| {
        eprintln!("kubenet: cannot read {}: {error}", path.display());
    };
    match net::file::read(path) {
        // A link, or whatever else is no file.
        Err(error) if error.kind() == ErrorKind::InvalidInput => {
            senseless(&error);
            Ok(None)
        }
        read => {
            let text = read.during(|| format!("read {}", path.display()))?;
            let record = text.map(|text| serde_json::from_slice(&text));
            Ok(record.transpose().inspect_err(|error| senseless(error)).unwrap_or(None))
        }
    }
}
