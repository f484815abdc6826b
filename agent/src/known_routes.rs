//! The machine's routes as they were listed last, for as long as the kernel tells of no change: in a
//! large cluster a list of them all takes longer than the one change that it would be made for.

use std::io;
use std::time::{Duration, Instant};

use net::events::Events;
use net::route::Route;
use net::{NetError, Netlink};

/// They are listed again after this time, whatever the kernel has told.
const RESYNC: Duration = Duration::from_secs(30);

/// Of the network namespace in which they were opened.
#[derive(Debug)]
pub(crate) struct KnownRoutes {
    events: Events,
    listed: Option<Listed>,
}

#[derive(Debug)]
struct Listed {
    at: Instant,
    routes: Vec<Route>,
}

impl KnownRoutes {
    pub(crate) fn open() -> Result<Self, NetError> {
        Ok(Self { events: Events::of_routing()?, listed: None })
    }

    /// All routes, as [`Netlink::routes`] has them.
    ///
    /// Whatever is told of links and addresses counts as well: of IPv4 routes that go with theirs
    /// nothing is told. So does more than the socket could hold.
    pub(crate) fn now(&mut self, netlink: &mut Netlink) -> Result<Vec<Route>, NetError> {
        let quiet =
            matches!(self.events.next(), Err(error) if error.kind() == io::ErrorKind::WouldBlock);
        let listed = self.listed.take().filter(|listed| quiet && listed.at.elapsed() < RESYNC);
        let listed = match listed {
            Some(listed) => listed,
            // What changes meanwhile is told by then, and looked at by the next call.
            None => Listed { at: Instant::now(), routes: netlink.routes()? },
        };
        Ok(self.listed.insert(listed).routes.clone())
    }
}

#[cfg(test)]
mod tests {
    use net::Netlink;
    use net::link::LinkChange;
    use net::route::RouteChange;

    use super::*;
    use crate::testing::lab::{Lab, index};
    use crate::testing::route;

    /// What is known agrees with what is, and whether it was listed anew.
    #[track_caller]
    fn look(known: &mut KnownRoutes, netlink: &mut Netlink) -> bool {
        let before = known.listed.as_ref().map(|listed| listed.at);
        assert_eq!(known.now(netlink).unwrap(), netlink.routes().unwrap());
        known.listed.as_ref().map(|listed| listed.at) != before
    }

    /// Until nothing is told any more: of a new link the kernel tells bit by bit.
    #[track_caller]
    fn settle(known: &mut KnownRoutes, netlink: &mut Netlink) {
        let deadline = Instant::now() + Duration::from_secs(20);
        while look(known, netlink) {
            assert!(Instant::now() < deadline, "they are listed again all the time");
        }
    }

    #[test]
    fn they_are_listed_again_only_after_a_change() {
        let lab = Lab::new();
        lab.inside(|| {
            let mut netlink = Netlink::open().unwrap();
            let mut known = KnownRoutes::open().unwrap();
            assert!(look(&mut known, &mut netlink));
            settle(&mut known, &mut netlink);
            let eth0 = index(&mut netlink, "eth0");
            let far = Route { link: Some(eth0), ..route("198.51.100.0/24 via 192.0.2.9") };
            for change in [RouteChange::Replace(far), RouteChange::Delete(far)] {
                netlink.change_routes(&[change]).unwrap().remove(0).unwrap();
                assert!(look(&mut known, &mut netlink));
                settle(&mut known, &mut netlink);
            }
            // The kernel does not tell of IPv4's that go with a link.
            for up in [false, true] {
                netlink
                    .set_link(eth0, &LinkChange { up: Some(up), ..LinkChange::default() })
                    .unwrap();
                assert!(look(&mut known, &mut netlink));
            }
        });
    }

    #[test]
    fn they_are_listed_again_in_time_even_if_nothing_is_told() {
        let lab = Lab::new();
        lab.inside(|| {
            let (mut netlink, mut known) = (Netlink::open().unwrap(), KnownRoutes::open().unwrap());
            let at = Instant::now().checked_sub(RESYNC).unwrap();
            known.listed = Some(Listed { at, routes: Vec::new() });
            assert!(look(&mut known, &mut netlink));
            let at = Instant::now();
            known.listed = Some(Listed { at, routes: Vec::new() });
            assert_eq!(known.now(&mut netlink).unwrap(), []);
        });
    }
}
