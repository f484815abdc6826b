//! What befalls the uplink: the clock is tokio's, which jumps to whatever is waited for next.

use net::link::LinkChange;

use super::*;
use crate::testing::lab::index;

/// As long as the kernel needs to forget a neighbour, and others give up.
const OUTAGE: Duration = Duration::from_secs(25);

/// What the loop promises.
const LIMIT: Duration = Duration::from_secs(1);

/// Runs `scenario` beside a loop that has made the machine right.
fn with_jumping_clock(lab: &Lab, scenario: impl AsyncFnOnce(Verdicts) + Send) {
    lab.inside(|| {
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = runtime.enable_all().start_paused(true).build().unwrap();
        let metrics = Metrics::new(&mut Registry::default());
        runtime.block_on(beside(lab, metrics, async |nodes, _, mut verdicts| {
            nodes.send_replace(Some(lab.nodes.clone()));
            until(&mut verdicts, Ok(())).await;
            scenario(verdicts).await;
            drop(nodes);
        }));
    });
}

#[test]
fn an_uplink_that_was_down_for_25_s_has_its_routes_again_when_it_is_up() {
    let lab = Lab::new();
    with_jumping_clock(&lab, async |verdicts| {
        let routes = ours();
        assert_eq!(routes.len(), 2);
        let mut netlink = Netlink::open().unwrap();
        let eth0 = index(&mut netlink, "eth0");
        let up = |up| LinkChange { up: Some(up), ..LinkChange::default() };
        netlink.set_link(eth0, &up(false)).unwrap();
        tokio::time::sleep(OUTAGE).await;
        assert_eq!(ours(), []);
        assert_eq!(*verdicts.borrow(), Some(Ok(())));
        netlink.set_link(eth0, &up(true)).unwrap();
        // IPv6 addresses went with the link: whoever gave them gives them again.
        netlink.add_address(eth0, "2001:db8::1".parse().unwrap(), 64).unwrap();
        tokio::time::sleep(LIMIT).await;
        assert_eq!(ours(), routes);
    });
}

#[test]
fn an_uplink_that_is_renamed_keeps_its_routes_and_is_cared_for() {
    let lab = Lab::new();
    with_jumping_clock(&lab, async |verdicts| {
        let routes = ours();
        let mut netlink = Netlink::open().unwrap();
        let eth0 = index(&mut netlink, "eth0");
        netlink.rename_link(eth0, "lan0").unwrap();
        tokio::time::sleep(LIMIT).await;
        assert_eq!(ours(), routes);
        let forwarding = "/proc/sys/net/ipv4/conf/lan0/forwarding";
        fs::write(forwarding, "0").unwrap();
        tokio::time::sleep(LIMIT).await;
        assert_eq!(fs::read_to_string(forwarding).unwrap(), "1\n");
        assert_eq!(*verdicts.borrow(), Some(Ok(())));
    });
}
