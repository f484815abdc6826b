//! Takes over what another plugin chain has left: the round before anything else is changed.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::net::IpAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use cni::Heir;
use common::names;
use net::events::Events;
use net::link::{Kind, Link, LinkChange};
use net::{Mac, NetError};
use process::telemetry::Chain;
use tracing::{debug, info};

use super::{Look, Owned, Station, Step, plan};
use crate::bridge;
use crate::machine::Machine;
use crate::pod_cidrs;
use crate::unready::Unready;

/// Who is to read it, is root.
const PRIVATE: u32 = 0o600;

/// Until a pod that is alive has said that it is.
const ANSWER: Duration = Duration::from_millis(200);

/// Why pods of others could not be seen or taken over.
#[derive(Debug, thiserror::Error)]
enum TakeError {
    #[error(transparent)]
    Net(#[from] NetError),
    #[error(transparent)]
    State(#[from] cni::Error),
    #[error("cannot read what host-local and libcni keep")]
    Estate(#[source] io::Error),
    #[error("cannot use the records")]
    Records(#[source] io::Error),
}

impl Machine {
    /// Makes pods of others on cbr0 ours; returns what could not be done of it.
    ///
    /// # Errors
    /// Where they can't even be seen: then nobody knows which addresses are free.
    pub(crate) fn take_over(&mut self) -> Result<BTreeSet<String>, Unready> {
        let taken = self.take();
        taken.map_err(|error| Unready::Failed(format!("take over pods: {}", Chain(&error))))
    }

    fn take(&mut self) -> Result<BTreeSet<String>, TakeError> {
        let mut estate = Look(&self.paths.data).estate().map_err(TakeError::Estate)?;
        let links = self.netlink.links()?;
        let bridge = links.iter().find(|link| link.name == names::BRIDGE);
        let Some(bridge) = bridge.filter(|link| link.kind == Kind::Bridge) else {
            return Ok(BTreeSet::new());
        };
        let mut heir = Heir::open(&self.paths.state)?;
        let records = self.paths.records().map_err(TakeError::Records)?;
        let owned = Owned {
            recorded: records.attachments.iter().filter_map(|record| record.id().ok()).collect(),
            held: heir.held()?.into_iter().collect(),
        };
        estate.stations = self.stations(bridge, &estate.unclear(&owned), &owned)?;
        let gateways = bridge::held(bridge, &self.netlink.addresses()?);
        let networks = gateways.filter_map(bridge::Held::network).collect::<Vec<_>>();
        let steps = plan(&estate, &links, &networks, &owned);
        if steps.iter().any(|step| matches!(step, Step::Adopt { .. })) {
            self.keep_mac(bridge)?;
            for range in networks.iter().filter_map(|&network| pod_cidrs::range(network)) {
                let last = estate.last.iter().filter(|last| range.subnet.contains(**last));
                last.max().map_or(Ok(()), |&last| heir.keep_away_from(range, last))?;
            }
        }
        let mut failures = BTreeSet::new();
        for step in &steps {
            match step.take(&mut heir) {
                Ok(()) => info!("{step}"),
                Err(error) => drop(failures.insert(format!("{step}: {}", Chain(&error)))),
            }
        }
        Ok(failures)
    }

    /// Who answers at these `addresses` on the `bridge`: one that is alive does so at once. Those of which
    /// nobody has told so far are waited for a moment.
    fn stations(
        &mut self,
        bridge: &Link,
        addresses: &[IpAddr],
        owned: &Owned,
    ) -> Result<BTreeMap<IpAddr, Station>, NetError> {
        if addresses.is_empty() {
            return Ok(BTreeMap::new());
        }
        let start = Instant::now();
        let is_new = addresses.iter().any(|address| !owned.held.contains(address));
        let limit = if is_new { ANSWER } else { Duration::ZERO };
        // Before the first is asked, so that no answer comes unheard.
        let mut news = Events::of_neighbours()?;
        for &address in addresses {
            if let Err(error) = net::neighbour::seek(address) {
                debug!(%address, %error, "cannot ask who has it");
            }
        }
        loop {
            let (known, ports) =
                (self.netlink.neighbours(bridge.index)?, self.netlink.stations(bridge.index)?);
            let station = |address: &IpAddr| {
                let mac = *known.get(address)?;
                Some((*address, Station { mac, port: *ports.get(&mac)? }))
            };
            let stations = addresses.iter().filter_map(station).collect::<BTreeMap<_, _>>();
            let left = limit.saturating_sub(start.elapsed());
            if stations.len() == addresses.len() || left.is_zero() {
                return Ok(stations);
            }
            news.wait(left)?;
        }
    }

    /// Pods have learned the bridge's MAC, and it is to stay whichever ports come and go.
    fn keep_mac(&mut self, bridge: &Link) -> Result<(), TakeError> {
        let path = self.paths.bridge_mac();
        let (Some(mac), false) = (bridge.mac, path.exists()) else { return Ok(()) };
        let text = format!("{mac}\n");
        net::file::replace(&path, text.as_bytes(), PRIVATE).map_err(TakeError::Records)?;
        let change = LinkChange { mac: Some(mac), ..LinkChange::default() };
        Ok(self.netlink.set_link(bridge.index, &change)?)
    }
}

/// The MAC that a bridge had when it was taken over, from the file at `path`.
pub(crate) fn kept_mac(path: &Path) -> io::Result<Option<Mac>> {
    match fs::read_to_string(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        text => text.map(|text| text.trim().parse().ok()),
    }
}

/// The bridge is to have `mac`: if that is another one, the kept one has served its time.
pub(crate) fn forget_mac(path: &Path, mac: Mac) -> io::Result<()> {
    match kept_mac(path)? {
        Some(kept) if kept != mac => fs::remove_file(path),
        _ => Ok(()),
    }
}

impl Step {
    fn take(&self, heir: &mut Heir) -> Result<(), cni::Error> {
        match self {
            Self::Adopt { record, link } => heir.adopt(record, *link),
            Self::Hold { address, id } => heir.hold(*address, id),
            Self::LetGo(address) => heir.let_go(*address),
        }
    }
}
