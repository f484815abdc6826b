//! What the agent remembers of the machine as it was: kernel settings before its first change of each.
//!
//! Void after a boot, which sets them anew.

use std::io;

use net::sysctl::Sysctl;
use serde::{Deserialize, Serialize};

use crate::machine::{Machine, Paths};
use crate::sysctl::Setting;

/// Who is to read it, is root.
const PRIVATE: u32 = 0o600;

/// What identifies this boot (random(4)).
const BOOT_ID: &str = "kernel/random/boot_id";

/// Changes of kernel settings, the first one first.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Before {
    boot: String,
    pub changes: Vec<Change>,
}

/// One setting that was changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    pub key: String,
    /// What it was.
    pub before: String,
    /// What it was given.
    pub given: String,
}

impl Before {
    /// What is remembered of this boot; nothing where there is nothing that makes sense.
    pub fn read(paths: &Paths) -> io::Result<Self> {
        let boot = Sysctl::default().read(BOOT_ID)?;
        let text = net::file::read(&paths.before())?.unwrap_or_default();
        let kept = serde_json::from_slice::<Self>(&text).unwrap_or_default();
        let changes = if kept.boot == boot { kept.changes } else { Vec::new() };
        Ok(Self { boot, changes })
    }
}

impl Machine {
    /// Changes a kernel setting, and remembers first what it was before anybody of ours changed it.
    pub(crate) fn change_setting(&self, setting: &Setting) -> io::Result<()> {
        let Setting { key, value } = setting;
        let before = self.sysctl.read(key)?;
        let mut known = Before::read(&self.paths)?;
        if before != *value && known.changes.iter().all(|change| change.key != *key) {
            let given = (*value).to_owned();
            known.changes.push(Change { key: key.clone(), before, given });
            let text = serde_json::json!(known).to_string();
            net::file::replace(&self.paths.before(), text.as_bytes(), PRIVATE)?;
        }
        self.sysctl.write(key, value).map(drop)
    }
}
