//! Dumps while the table changes.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use netlink_packet_route::address::AddressMessage;

use super::*;
use crate::testing::Machine;

#[test]
fn a_dump_of_a_table_that_changes_is_started_again() {
    let mut machine = Machine::new();
    // More than one datagram, so that a change can come between two.
    for index in 0..1000_u32 {
        let ip = [10, 0, (index / 250 + 1).to_le_bytes()[0], (index % 250).to_le_bytes()[0]];
        machine.netlink.add_address(1, ip.into(), 32).unwrap();
    }
    let mut other = machine.netns.run(Netlink::open).unwrap().unwrap();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                other.add_address(1, [10, 9, 9, 9].into(), 32).unwrap();
                other.delete_address(1, [10, 9, 9, 9].into(), 32).unwrap();
                // Now and then it is quiet.
                std::thread::park_timeout(Duration::from_millis(1));
            }
        });
        let all = RouteNetlinkMessage::GetAddress(AddressMessage::default());
        let deadline = Instant::now() + Duration::from_secs(20);
        let (mut interrupted, mut complete) = (0, 0);
        while (interrupted == 0 || complete == 0) && Instant::now() < deadline {
            match machine.netlink.dump_once(all.clone(), |message| Some(message.kind)) {
                Ok(None) => interrupted += 1,
                Ok(Some(_)) => complete += 1,
                Err(_) => break,
            }
        }
        let mut listed = machine.netlink.addresses();
        // On a busy machine it may find no peace in all its attempts.
        while listed.is_err() && Instant::now() < deadline {
            listed = machine.netlink.addresses();
        }
        // Whoever fails before this waits for the other for ever.
        done.store(true, Ordering::Relaxed);
        let listed = listed.unwrap();
        assert!(interrupted > 0 && complete > 0, "{interrupted} {complete}");
        assert!(listed.len() == 1000 || listed.len() == 1001, "{}", listed.len());
    });
}

#[test]
fn a_refusal_says_why_in_the_words_of_the_kernel() {
    let mut machine = Machine::new();
    let mut all = AddressMessage::default();
    all.header.prefix_len = 24;
    let refusal = machine
        .netlink
        .dump(&RouteNetlinkMessage::GetAddress(all), |message| Some(message.kind))
        .unwrap_err();
    assert!(refusal.explanation.unwrap().contains("Invalid values in header"));
}
