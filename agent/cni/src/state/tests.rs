//! Claims, leases and records in a directory of the test's own.

use std::net::IpAddr;
use std::sync::Mutex;
use std::thread;

use common::attachment::{Attachment, AttachmentId};
use common::conflist::Range;
use tempfile::TempDir;

use super::*;
use crate::ranges::Pool;

const REST: Duration = Duration::from_secs(30);

fn state() -> (TempDir, State) {
    let directory = tempfile::tempdir().unwrap();
    let state = State::open(&directory.path().join("state"), || Ok(Vec::new())).unwrap();
    (directory, state)
}

fn id(text: &str) -> AttachmentId {
    text.parse().unwrap()
}

fn pool(subnet: &str) -> Pool {
    let subnet: common::Prefix = subnet.parse().unwrap();
    Range::new(subnet, subnet.gateway().unwrap()).into()
}

fn names(state: &State, directory: &str) -> Vec<String> {
    let mut names = state.file_names(directory).unwrap();
    names.sort();
    names
}

#[test]
fn a_claim_is_one_process_at_a_time() {
    let (_directory, state) = state();
    let (claim, found) = state.claim(&id("c@eth0")).unwrap();
    assert_eq!(found, Found::Nothing);
    assert!(state.idle_claim(&id("c@eth0")).unwrap().is_none());
    let refused = state.claim(&id("c@eth0")).unwrap_err();
    assert_eq!(refused.code(), 11, "{refused}");
    drop(claim);
    assert!(state.idle_claim(&id("c@eth0")).unwrap().is_some());
    assert_eq!(state.claim(&id("c@eth0")).unwrap().1, Found::Before);
}

#[test]
fn a_claim_that_was_removed_while_one_waited_is_made_anew() {
    let (_directory, state) = state();
    let (claim, _) = state.claim(&id("c@eth0")).unwrap();
    thread::scope(|scope| {
        let waiting = scope.spawn(|| state.claim(&id("c@eth0")).unwrap());
        state.release(&claim, &[]).unwrap();
        drop(claim);
        assert_eq!(waiting.join().unwrap().1, Found::Nothing);
    });
    assert_eq!(names(&state, names::CLAIMS), ["c@eth0"]);
}

#[test]
fn what_is_released_is_all_gone() {
    let (_directory, state) = state();
    let (claim, _) = state.claim(&id("c@eth0")).unwrap();
    let address = state.reserve(&claim, &[pool("10.0.0.0/29")], REST).unwrap().unwrap();
    state.reserve(&claim, &[pool("fd00::/64")], REST).unwrap().unwrap();
    assert_eq!(names(&state, names::LEASES), ["10.0.0.2", "fd00::2"]);
    assert!(state.is_leased(address, &id("c@eth0")) && !state.is_leased(address, &id("d@eth0")));
    // One address is known from a record, the other is found.
    state.release(&claim, &[address]).unwrap();
    for directory in [names::CLAIMS, names::LEASES, names::ATTACHMENTS] {
        assert_eq!(names(&state, directory), [""; 0]);
    }
    let kept = ["10.0.0.0-29", "fd00::-64", "lock", "released-10.0.0.0", "released-fd00::"];
    assert_eq!(names(&state, POOLS), kept);
}

#[test]
fn a_lease_of_another_is_not_released() {
    let (_directory, state) = state();
    let (one, _) = state.claim(&id("c@eth0")).unwrap();
    let (other, _) = state.claim(&id("d@eth0")).unwrap();
    let address = state.reserve(&other, &[pool("10.0.0.0/29")], REST).unwrap().unwrap();
    state.release(&one, &[address]).unwrap();
    assert!(state.is_leased(address, &id("d@eth0")));
}

#[test]
fn threads_share_a_range_without_a_loss() {
    let (_directory, state) = state();
    let given = Mutex::new(Vec::<IpAddr>::new());
    thread::scope(|scope| {
        for number in 0..5 {
            let (state, given) = (&state, &given);
            scope.spawn(move || {
                let (claim, _) = state.claim(&id(&format!("c{number}@eth0"))).unwrap();
                let address = state.reserve(&claim, &[pool("10.0.0.0/29")], REST).unwrap();
                given.lock().unwrap().push(address.unwrap());
            });
        }
    });
    let mut given = given.into_inner().unwrap();
    given.sort();
    given.dedup();
    assert_eq!(given.len(), 5);
    let (claim, _) = state.claim(&id("one-more@eth0")).unwrap();
    assert_eq!(state.reserve(&claim, &[pool("10.0.0.0/29")], REST).unwrap(), None);
}

#[test]
fn a_released_address_rests_while_another_is_free() {
    let (_directory, state) = state();
    let give = |name: &str, rest| {
        let (claim, _) = state.claim(&id(name)).unwrap();
        let address = state.reserve(&claim, &[pool("10.0.0.0/29")], rest).unwrap();
        (claim, address.map(|address| address.to_string()).unwrap_or_default())
    };
    // One at a time goes round the range, and from the second round on finds it resting.
    for expected in [2, 3, 4, 5, 6, 2, 3, 4] {
        let (claim, address) = give("c@eth0", REST);
        assert_eq!(address, format!("10.0.0.{expected}"));
        state.release(&claim, &[]).unwrap();
    }
    // .2 and .3 were released after .5 and .6, which rest longest now.
    let all = ["a@e", "b@e", "c@e", "d@e", "e@e", "f@e"].map(|name| give(name, REST).1);
    assert_eq!(all, ["10.0.0.5", "10.0.0.6", "10.0.0.2", "10.0.0.3", "10.0.0.4", ""]);
}

#[test]
fn an_address_that_rests_is_passed_over() {
    let (_directory, state) = state();
    let (claim, _) = state.claim(&id("a@e")).unwrap();
    assert!(state.lease(&claim, "10.0.0.3".parse().unwrap()).unwrap());
    state.release(&claim, &[]).unwrap();
    drop(claim);
    let (claim, _) = state.claim(&id("b@e")).unwrap();
    let given = [REST, REST, Duration::ZERO].map(|rest| {
        let address = state.reserve(&claim, &[pool("10.0.0.0/29")], rest).unwrap();
        address.unwrap().to_string()
    });
    assert_eq!(given, ["10.0.0.2", "10.0.0.4", "10.0.0.5"]);
}

#[test]
fn ranges_of_a_family_are_used_up_one_after_the_other() {
    let (_directory, state) = state();
    let pools = [pool("10.0.0.0/30"), pool("10.9.0.0/30")];
    let give = |name: &str| {
        let (claim, _) = state.claim(&id(name)).unwrap();
        let address = state.reserve(&claim, &pools, REST).unwrap();
        (claim, address.map(|address| address.to_string()).unwrap_or_default())
    };
    let (first, address) = give("a@e");
    assert_eq!(address, "10.0.0.2");
    state.release(&first, &[]).unwrap();
    drop(first);
    // The second range comes before the first one's rest is cut short.
    assert_eq!(["b@e", "c@e", "d@e"].map(|name| give(name).1), ["10.9.0.2", "10.0.0.2", ""]);
}

#[test]
fn a_lease_tells_whose_it_is() {
    let (_directory, state) = state();
    let (claim, _) = state.claim(&id("a@eth@0")).unwrap();
    let address = "10.0.0.2".parse().unwrap();
    assert_eq!(state.lessee(address), None);
    assert!(state.lease(&claim, address).unwrap() && !state.lease(&claim, address).unwrap());
    assert_eq!(state.lessee(address), Some(id("a@eth@0")));
}

#[test]
fn without_a_cool_down_an_address_is_free_at_once() {
    let (_directory, state) = state();
    let (claim, _) = state.claim(&id("a@e")).unwrap();
    let pool = pool("10.0.0.0/30");
    let address = state.reserve(&claim, &[pool], REST).unwrap().unwrap();
    state.release(&claim, &[]).unwrap();
    let rests = |cool_down| state.released(cool_down).unwrap().has(address).unwrap();
    assert!(rests(REST) && !rests(Duration::ZERO));
}

#[test]
fn what_was_released_is_known_by_address_and_age_across_blocks() {
    let (_directory, state) = state();
    let order = ["10.0.255.255", "fd00::9", "10.1.0.0", "10.0.0.7", "fd00::1:9", "10.0.0.7"];
    let order = order.map(|address| address.parse::<IpAddr>().unwrap());
    for address in order {
        state.note_release(&[address]).unwrap();
    }
    let mut released = state.released(REST).unwrap();
    for address in order {
        assert!(released.has(address).unwrap(), "{address}");
    }
    for other in ["10.0.0.6", "10.0.0.8", "10.2.0.7", "fd00::8", "fd01::9", "0.0.0.0"] {
        assert!(!released.has(other.parse().unwrap()).unwrap(), "{other}");
    }
    // Of two releases of one address the later counts.
    assert_eq!(released.oldest_first().unwrap(), [0, 1, 2, 4, 5].map(|at| order[at]));
    drop(released);
    let mut seen = state.seen_resting(REST).unwrap();
    seen.sort();
    assert_eq!(seen.len(), 5, "{seen:?}");
}

#[test]
fn to_ask_for_a_release_takes_one_place_however_many_there_were() {
    let (_directory, state) = state();
    let file = state.path(POOLS).join("released-10.0.0.0");
    state.note_release(&["10.0.0.2".parse().unwrap()]).unwrap();
    let length = || fs::metadata(&file).unwrap().len();
    assert_eq!(length(), 3 * 8);
    for _ in 0..1000 {
        state.note_release(&["10.0.0.2".parse().unwrap()]).unwrap();
    }
    assert_eq!(length(), 3 * 8);
}

#[test]
fn a_spoilt_file_of_releases_costs_a_rest_and_no_address() {
    let (_directory, state) = state();
    let (claim, _) = state.claim(&id("c@eth0")).unwrap();
    let file = state.path(POOLS).join("released-10.0.0.0");
    let (to_come, long) = (u64::MAX.to_ne_bytes().repeat(8), vec![0; 1 << 20]);
    let texts: [&[u8]; 4] = [b"\xff", b"", &to_come, &long];
    for spoilt in texts {
        fs::write(&file, spoilt).unwrap();
        assert!(state.seen_resting(REST).unwrap().is_empty());
        let address = state.reserve(&claim, &[pool("10.0.0.0/29")], REST).unwrap().unwrap();
        state.let_go(address).unwrap();
    }
}

#[test]
fn a_spoilt_note_of_the_last_address_is_no_obstacle() {
    let (_directory, state) = state();
    let (claim, _) = state.claim(&id("c@eth0")).unwrap();
    for spoilt in [&b"\xff\xfe"[..], b"", b"192.0.2.1\n"] {
        fs::write(state.path(POOLS).join("10.0.0.0-29"), spoilt).unwrap();
        assert!(state.reserve(&claim, &[pool("10.0.0.0/29")], REST).unwrap().is_some());
    }
}

#[test]
fn a_record_is_read_back_and_listed() {
    let (_directory, state) = state();
    let record = Attachment {
        container_id: "c".into(),
        ifname: "eth@0".into(),
        bridge: "cbr0".into(),
        host_link: "veth0".into(),
        mac: "0a:58:0a:f4:01:05".into(),
        addresses: vec!["10.0.0.2".parse().unwrap()],
        netns_inode: 1,
        ..Attachment::default()
    };
    let id = record.id().unwrap();
    assert_eq!(state.record(&id).unwrap(), None);
    state.write_record(&id, &record).unwrap();
    assert_eq!(state.record(&id).unwrap(), Some(record));
    state.claim(&"d@eth0".parse().unwrap()).unwrap();
    // What an ADD that was killed had begun to write.
    fs::write(state.path(names::CLAIMS).join("e@eth0 new"), "{").unwrap();
    let ids = state.ids().unwrap();
    assert_eq!(ids.iter().map(ToString::to_string).collect::<Vec<_>>(), ["c@eth@0", "d@eth0"]);
}

#[test]
fn a_directory_that_is_missing_is_empty() {
    let directory = tempfile::tempdir().unwrap();
    let state = State::at(&directory.path().join("missing"));
    assert!(state.ids().unwrap().is_empty());
    assert!(state.existing_claim(&id("c@eth0")).unwrap().is_none());
    assert!(state.record(&id("c@eth0")).unwrap().is_none());
}

#[test]
fn an_earlier_boot_is_void() {
    let (_directory, state) = state();
    let (claim, _) = state.claim(&id("c@eth0")).unwrap();
    state.reserve(&claim, &[pool("10.0.0.0/29")], REST).unwrap();
    state.void_earlier_boot().unwrap();
    for directory in [names::CLAIMS, names::LEASES, names::ATTACHMENTS, POOLS] {
        assert_eq!(names(&state, directory), [""; 0]);
    }
    assert!(state.is_of_this_boot().unwrap());
}

#[test]
fn lost_leases_of_the_living_are_made_anew() {
    let (_directory, state) = state();
    let (claim, _) = state.claim(&id("c@eth0")).unwrap();
    state.reserve(&claim, &[pool("10.0.0.0/29")], REST).unwrap();
    drop(claim);
    for lost in [&[names::LEASES][..], &[names::LEASES, names::CLAIMS, POOLS]] {
        for name in lost {
            fs::remove_dir_all(state.path(name)).unwrap();
        }
        let living = || Ok(vec![(id("c@eth0"), vec!["10.0.0.2".parse().unwrap()])]);
        let state = State::open(&state.root, living).unwrap();
        assert!(state.is_leased("10.0.0.2".parse().unwrap(), &id("c@eth0")));
        let lease = fs::read_to_string(state.path(names::LEASES).join("10.0.0.2")).unwrap();
        assert_eq!(lease, "c\r\neth0");
    }
    State::open(&state.root, || panic!("nothing is lost")).unwrap();
}

#[test]
fn an_address_that_is_held_is_given_to_nobody_but_its_own() {
    let (_directory, state) = state();
    let address = "10.0.0.2".parse::<IpAddr>().unwrap();
    let (own, other) = (id("own@eth0"), id("other@eth0"));
    state.hold(address, &own).unwrap();
    state.hold(address, &other).unwrap();
    assert_eq!(
        (state.held().unwrap(), state.holder(address).unwrap()),
        (vec![address], Some(own.clone()))
    );
    let (claim, _) = state.claim(&other).unwrap();
    assert!(!state.lease(&claim, address).unwrap());
    let given = state.reserve(&claim, &[pool("10.0.0.0/29")], REST).unwrap();
    assert_eq!(given, Some("10.0.0.3".parse().unwrap()));
    assert_eq!(state.ids().unwrap(), std::slice::from_ref(&other));
    let (claim, _) = state.claim(&own).unwrap();
    state.take_hold(&claim, address).unwrap();
    assert!(state.is_leased(address, &own) && state.held().unwrap().is_empty());
    state.release(&claim, &[]).unwrap();
    state.hold(address, &own).unwrap();
    state.let_go(address).unwrap();
    assert_eq!(state.holder(address).unwrap(), None);
    assert_eq!(names(&state, names::CLAIMS), ["other@eth0"]);
}
