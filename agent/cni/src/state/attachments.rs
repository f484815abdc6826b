//! Records of attachments: one JSON file for each, complete when it has its name.

use std::fs;
use std::io::ErrorKind;
use std::path::PathBuf;

use common::attachment::{Attachment, AttachmentId};
use common::names;

use super::{CLAIMS, State, remove_file};
use crate::error::{During, Error};

impl State {
    /// The record of `id`; none if there is none, or none that can be read.
    ///
    /// Nobody can mend a record, and DEL must go on without: the agent rebuilds from the kernel.
    pub(crate) fn record(&self, id: &AttachmentId) -> Result<Option<Attachment>, Error> {
        let path = self.record_path(id);
        let text = match fs::read(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            read => read.during(|| format!("read {}", path.display()))?,
        };
        let record = serde_json::from_slice(&text).inspect_err(|error| {
            eprintln!("kubenet: cannot read {}: {error}", path.display());
        });
        Ok(record.ok())
    }

    pub(crate) fn write_record(&self, id: &AttachmentId, record: &Attachment) -> Result<(), Error> {
        // No name of a claim has a space.
        let (new, path) = (self.path(CLAIMS).join(format!("{id} new")), self.record_path(id));
        let text = serde_json::to_vec(record).unwrap_or_default();
        let written = fs::write(&new, text).and_then(|()| fs::rename(&new, &path));
        written.during(|| format!("write {}", path.display()))
    }

    pub(super) fn remove_record(&self, id: &AttachmentId) -> Result<(), Error> {
        remove_file(&self.path(CLAIMS).join(format!("{id} new")))?;
        remove_file(&self.record_path(id))
    }

    /// The attachments that have a record or a claim.
    pub(crate) fn ids(&self) -> Result<Vec<AttachmentId>, Error> {
        let mut ids = Vec::new();
        for name in [names::ATTACHMENTS, CLAIMS] {
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
}
