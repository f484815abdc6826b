//! When all routes have come.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use net::Netlink;
use net::events::Events;

use crate::place::Place;

const PATIENCE: Duration = Duration::from_mins(3);

/// So long nothing is told before the routes are listed: a list of thousands, again and again, would slow down
/// what is measured.
const QUIET: Duration = Duration::from_millis(20);

/// Of routes by way of others, on one machine.
pub(super) struct Arrivals<'a> {
    place: &'a Place,
    events: Events,
}

impl<'a> Arrivals<'a> {
    pub(super) fn open(place: &'a Place) -> Result<Self> {
        let arrivals = Self { place, events: place.netns.run(Events::of_routing)?? };
        ensure!(arrivals.count()? == 0, "routes are left of an earlier start");
        Ok(arrivals)
    }

    /// When the last change came by which there were `count` routes.
    pub(super) fn last_of(&mut self, count: usize) -> Result<Instant> {
        let start = Instant::now();
        let mut last = start;
        loop {
            let before = Instant::now();
            self.events.wait(QUIET)?;
            if before.elapsed() < QUIET {
                last = Instant::now();
            } else if self.count()? == count {
                return Ok(last);
            }
            ensure!(start.elapsed() < PATIENCE, "not all of {count} routes came");
        }
    }

    fn count(&self) -> Result<usize> {
        let routes = self.place.netns.run(|| Netlink::open()?.routes())??;
        Ok(routes.iter().filter(|route| route.via.is_some()).count())
    }
}
