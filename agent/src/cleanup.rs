//! Pure: what of kubenet goes from a machine that is cleaned up, in which order, and what keeps it.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use common::alias::{pod_of_alias, read_alias};
use common::attachment::{Attachment, AttachmentId, Pod};
use common::names;
use net::link::{Kind, Link};
use net::route::Route;

use crate::before::Change;
use crate::cni_config::Installed;
use crate::firewall::Table;
use crate::machine::Paths;
use crate::ports;
use crate::state::Observed;

mod run;

pub use run::{Flags, run};

/// One thing that goes; safe to repeat.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Removal {
    File(PathBuf),
    Link {
        index: u32,
        name: String,
    },
    Routes(Vec<Route>),
    Table(Table),
    /// It gets back what it had.
    Setting(Change),
    /// Another network's configuration gets back the name that a runtime reads.
    Enable(PathBuf),
}

/// What goes, given which tables there are, what of the settings was changed, and which configurations
/// were disabled, in order.
///
/// The configuration comes first: a runtime that does not see it starts no pods. Links come after their
/// settings, which go back in the opposite order of their change; one that somebody else has changed since is left alone.
pub fn plan(
    paths: &Paths,
    observed: &Observed,
    tables: &[Table],
    changes: &[(Change, Option<String>)],
    disabled: &[PathBuf],
) -> Vec<Removal> {
    let conflist = observed.conflist.iter().map(|_| paths.conflist());
    let installed = observed.plugins.iter().filter(|(_, installed)| match installed {
        Installed::Current | Installed::Outdated => true,
        Installed::Missing | Installed::Foreign => false,
    });
    let plugins = installed.map(|(name, _)| paths.bin.join(name));
    let pods =
        observed.links.iter().filter(|link| ports::owner(link).is_some() || is_limiter(link));
    let links = pods.chain(observed.bridge().filter(|link| link.kind == Kind::Bridge));
    let routes = observed.routes.iter().filter(|route| route.protocol == names::ROUTE_PROTOCOL);
    let routes = routes.copied().collect::<Vec<_>>();
    let settings = changes.iter().rev().filter(|(change, now)| now.as_ref() == Some(&change.given));

    let mut removals = conflist.chain(plugins).map(Removal::File).collect::<Vec<_>>();
    removals.extend((!routes.is_empty()).then_some(Removal::Routes(routes)));
    removals.extend(settings.map(|(change, _)| Removal::Setting(change.clone())));
    removals.extend(tables.iter().copied().map(Removal::Table));
    removals.extend(disabled.iter().cloned().map(Removal::Enable));
    removals.extend(links.map(|link| Removal::Link { index: link.index, name: link.name.clone() }));
    removals
}

/// Whether `link` shapes what a pod sends; it outlives its pod.
fn is_limiter(link: &Link) -> bool {
    let owner = link.alias.as_deref().and_then(AttachmentId::of_alias);
    link.kind == Kind::Ifb && owner.is_some_and(|id| id.limiter() == link.name)
}

/// Who still lives on cbr0, by name: pods, and ports that are not ours.
pub fn living(observed: &Observed, records: &[Attachment]) -> Vec<String> {
    let pods = records.iter().filter_map(|record| Some((record.id().ok()?, record.pod.clone()?)));
    let pods = pods.collect::<BTreeMap<AttachmentId, Pod>>();
    let named = |link: &Link| {
        let alias = link.alias.as_deref()?;
        let (id, addresses) = read_alias(alias)?;
        ports::owner(link)?;
        let pod = pods.get(&id).cloned().or_else(|| pod_of_alias(alias));
        let pod = pod.map(|pod| format!("pod {pod}, ")).unwrap_or_default();
        let addresses = addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
        Some(format!("{pod}attachment {id} {addresses}"))
    };
    let bridge = observed.bridge().map(|link| link.index);
    let is_port = |link: &Link| link.master.is_some() && link.master == bridge;
    let links = observed.links.iter();
    let port = |link: &Link| format!("port {} of {}", link.name, names::BRIDGE);
    links.filter_map(|link| named(link).or_else(|| is_port(link).then(|| port(link)))).collect()
}

impl fmt::Display for Removal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "remove {}", path.display()),
            Self::Link { name, .. } => write!(f, "delete link {name}"),
            Self::Routes(routes) => write!(f, "delete {} routes", routes.len()),
            Self::Table(table) => write!(f, "delete nft table {} {}", table.family(), table.name()),
            Self::Enable(path) => write!(f, "name {} as it was", path.display()),
            Self::Setting(Change { key, before, .. }) => write!(f, "set {key} back to {before}"),
        }
    }
}

#[cfg(test)]
mod tests;
