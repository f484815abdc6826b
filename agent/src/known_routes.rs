//! The machine's routes as they were listed last, with what we changed since, for as long as the kernel
//! tells of no change by others: in a large cluster a list of them all takes longer than the one change
//! that it would be made for.

use std::collections::BTreeSet;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use net::events::Events;
use net::route::{Route, RouteChange};
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
    routes: Arc<Vec<Route>>,
}

impl KnownRoutes {
    /// Routes are to be changed by `netlink` through [`Self::change`] alone.
    pub(crate) fn open(netlink: &Netlink) -> Result<Self, NetError> {
        Ok(Self { events: Events::of_routing_by_others(netlink)?, listed: None })
    }

    /// All routes, as [`Netlink::routes`] has them.
    ///
    /// Whatever is told of links and addresses counts as well: of IPv4 routes that go with theirs
    /// nothing is told. So does more than the socket could hold.
    pub(crate) fn now(&mut self, netlink: &mut Netlink) -> Result<Arc<Vec<Route>>, NetError> {
        let quiet =
            matches!(self.events.next(), Err(error) if error.kind() == io::ErrorKind::WouldBlock);
        let listed = self.listed.take().filter(|listed| quiet && listed.at.elapsed() < RESYNC);
        let listed = match listed {
            Some(listed) => listed,
            // What changes meanwhile is told by then, and looked at by the next call.
            None => Listed { at: Instant::now(), routes: netlink.routes()?.into() },
        };
        Ok(self.listed.insert(listed).routes.clone())
    }

    /// As [`Netlink::change_routes`], for changes of which none concerns a route that another one sets;
    /// what was made is known.
    pub(crate) fn change(
        &mut self,
        netlink: &mut Netlink,
        changes: &[RouteChange],
    ) -> Result<Vec<Result<(), NetError>>, NetError> {
        // Where the socket fails nobody knows what was made.
        let listed = self.listed.take();
        let outcomes = netlink.change_routes(changes)?;
        let made = changes.iter().zip(&outcomes).filter(|(_, outcome)| outcome.is_ok());
        let made = made.map(|(change, _)| *change).collect::<Vec<_>>();
        self.listed = listed.map(|Listed { at, routes }| {
            let routes = after(Arc::unwrap_or_clone(routes), &made).into();
            Listed { at, routes }
        });
        Ok(outcomes)
    }
}

/// Pure: `routes` with `changes` made.
fn after(mut routes: Vec<Route>, changes: &[RouteChange]) -> Vec<Route> {
    let (mut deleted, mut set) = (BTreeSet::new(), Vec::new());
    for change in changes {
        match change {
            RouteChange::Delete(route) => drop(deleted.insert(*route)),
            RouteChange::Replace(route) => set.push(*route),
        }
    }
    // The kernel tells routes apart by these.
    let key = |route: &Route| (route.destination, route.metric);
    let replaced = set.iter().map(key).collect::<BTreeSet<_>>();
    routes.retain(|route| !deleted.contains(route) && !replaced.contains(&key(route)));
    routes.extend(set);
    routes
}

#[cfg(test)]
mod tests {
    use net::link::LinkChange;
    use nix::sys::socket::{setsockopt, sockopt};

    use super::*;
    use crate::testing::lab::{Lab, index};
    use crate::testing::route;

    /// What is known agrees with what is, and whether it was listed anew.
    #[track_caller]
    fn look(known: &mut KnownRoutes, netlink: &mut Netlink) -> bool {
        let before = known.listed.as_ref().map(|listed| listed.at);
        let sorted = |mut routes: Vec<Route>| {
            routes.sort();
            routes
        };
        let told = Arc::unwrap_or_clone(known.now(netlink).unwrap());
        assert_eq!(sorted(told), sorted(netlink.routes().unwrap()));
        known.listed.as_ref().map(|listed| listed.at) != before
    }

    /// In a moment in which others change nothing: of a new link's carrier the kernel tells when it has
    /// time (`net/core/link_watch.c`), also after a second.
    #[track_caller]
    fn at_last(mut holds: impl FnMut() -> bool) {
        let deadline = Instant::now() + Duration::from_secs(20);
        while !holds() {
            assert!(Instant::now() < deadline, "it never holds");
        }
    }

    /// What knows all routes, by which socket, and one more route that can be.
    fn all_known() -> (KnownRoutes, Netlink, Route) {
        let mut netlink = Netlink::open().unwrap();
        let mut known = KnownRoutes::open(&netlink).unwrap();
        assert!(look(&mut known, &mut netlink));
        at_last(|| !look(&mut known, &mut netlink));
        let link = Some(index(&mut netlink, "eth0"));
        (known, netlink, Route { link, ..route("198.51.100.0/24 via 192.0.2.9") })
    }

    #[test]
    fn they_are_listed_again_only_after_a_change_by_others() {
        let lab = Lab::new();
        lab.inside(|| {
            let (mut known, mut netlink, far) = all_known();
            let mut other = Netlink::open().unwrap();
            for change in [RouteChange::Replace(far), RouteChange::Delete(far)] {
                other.change_routes(&[change]).unwrap().remove(0).unwrap();
                assert!(look(&mut known, &mut netlink));
                at_last(|| !look(&mut known, &mut netlink));
            }
            // The kernel does not tell of IPv4's that go with a link.
            let eth0 = index(&mut netlink, "eth0");
            for up in [false, true] {
                netlink
                    .set_link(eth0, &LinkChange { up: Some(up), ..LinkChange::default() })
                    .unwrap();
                assert!(look(&mut known, &mut netlink));
            }
        });
    }

    #[test]
    fn what_we_change_is_known_without_a_list() {
        let lab = Lab::new();
        lab.inside(|| {
            let (mut known, mut netlink, far) = all_known();
            let elsewhere = Route { via: Some("192.0.2.8".parse().unwrap()), ..far };
            let v6 =
                Route { link: far.link, metric: 1024, ..route("2001:db8:9::/64 via 2001:db8::9") };
            let absent = Route { destination: "203.0.113.0/24".parse().unwrap(), ..far };
            for changes in [
                &[RouteChange::Replace(far), RouteChange::Replace(v6)][..],
                &[RouteChange::Delete(absent), RouteChange::Replace(elsewhere)],
                &[RouteChange::Delete(elsewhere), RouteChange::Delete(v6)],
            ] {
                at_last(|| {
                    known.change(&mut netlink, changes).unwrap();
                    !look(&mut known, &mut netlink)
                });
            }
        });
    }

    #[test]
    fn after_a_lost_reply_nobody_relies_on_what_was_known() {
        let lab = Lab::new();
        lab.inside(|| {
            let (mut known, mut netlink, far) = all_known();
            let absent = Route { destination: "203.0.113.0/24".parse().unwrap(), ..far };
            // Refusals are replies as well, and so many the socket can't hold.
            let mut changes = vec![RouteChange::Delete(absent); 100];
            changes.insert(0, RouteChange::Replace(far));
            setsockopt(&netlink, sockopt::RcvBuf, &0).unwrap();
            known.change(&mut netlink, &changes).unwrap_err();
            setsockopt(&netlink, sockopt::RcvBuf, &(1 << 18)).unwrap();
            assert!(netlink.routes().unwrap().contains(&far));
            assert!(look(&mut known, &mut netlink));
        });
    }

    #[test]
    fn they_are_listed_again_in_time_even_if_nothing_is_told() {
        let lab = Lab::new();
        lab.inside(|| {
            let mut netlink = Netlink::open().unwrap();
            let mut known = KnownRoutes::open(&netlink).unwrap();
            let at = Instant::now().checked_sub(RESYNC).unwrap();
            known.listed = Some(Listed { at, routes: Arc::default() });
            assert!(look(&mut known, &mut netlink));
            at_last(|| {
                known.listed = Some(Listed { at: Instant::now(), routes: Arc::default() });
                known.now(&mut netlink).unwrap().is_empty()
            });
        });
    }
}
