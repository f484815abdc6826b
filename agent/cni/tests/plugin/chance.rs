//! Calls of all verbs at once, of which any may be killed at any time: what lives has its addresses alone,
//! and nothing is left when all has ended.
//!
//! `SEED=7 WAVES=5000 cargo test -p cni --test plugin chance` plays a seed that was printed, and for longer.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::process::Child;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use common::alias::read_alias;
use common::attachment::AttachmentId;
use net::Netns;
use serde_json::{Value, json};

use crate::hostports::{listing, make_table, mapping};
use crate::lab::{Host, IPV6, Outcome, call, pod};

/// Fewer addresses than pods.
const SMALL: (&str, &str) = ("10.244.1.0/29", "10.244.1.1");

const PODS: usize = 8;

/// As long as the slowest call takes, so that a kill may come at any time of it.
const LONGEST: u64 = 30_000;

/// A generator of random numbers with 64 bits of state (`SplitMix64`).
struct Dice(u64);

impl Dice {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % end
    }

    fn pod(&mut self) -> usize {
        usize::try_from(self.below(PODS as u64)).unwrap()
    }

    fn one_in(&mut self, many: u64) -> bool {
        self.below(many) == 0
    }
}

struct Game {
    host: Host,
    dice: Dice,
    pods: [(String, Netns); PODS],
}

/// A call, whom it was for, and when it is killed.
struct Started {
    verb: &'static str,
    pod: usize,
    child: Child,
    end: Option<Instant>,
}

fn variable(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).map_or(otherwise, |text| text.parse().unwrap())
}

impl Game {
    fn new(seed: u64) -> Self {
        let host = Host::new(&[SMALL, IPV6]);
        make_table(&host);
        let pods = std::array::from_fn(|number| (format!("c{number}"), pod()));
        Self { host, dice: Dice(seed), pods }
    }

    fn conf(&mut self) -> Value {
        let port = 8000 + u16::try_from(self.dice.below(4)).unwrap();
        let mut asked = json!({});
        if self.dice.one_in(2) {
            asked["portMappings"] = json!([mapping(port, 80, "udp", "")]);
        }
        if self.dice.one_in(3) {
            asked["bandwidth"] = json!({ "ingressRate": 8_000_000, "egressRate": 8_000_000 });
        }
        self.host.conf(&json!({ "runtimeConfig": asked }))
    }

    /// Whoever is not in the list is to go.
    fn collection(&mut self) -> Value {
        let ids = self.pods.iter().filter(|_| !self.dice.one_in(4));
        let valid = ids.map(|(id, _)| json!({ "containerID": id, "ifname": "eth0" }));
        let valid = valid.collect::<Vec<_>>();
        self.host.conf(&json!({ "cni.dev/valid-attachments": valid }))
    }

    fn start(&mut self) -> Started {
        let pod = self.dice.pod();
        let (verb, conf) = match self.dice.below(10) {
            0 => ("GC", self.collection()),
            1..4 => ("DEL", self.host.conf.clone()),
            _ => ("ADD", self.conf()),
        };
        let (id, netns) = &self.pods[pod];
        let child = self.host.start(&call(verb, id, Some(netns)), conf.to_string().as_bytes());
        let limit = self.dice.one_in(2).then(|| self.dice.below(LONGEST));
        let end = limit.map(|limit| Instant::now() + Duration::from_micros(limit));
        Started { verb, pod, child, end }
    }

    /// Some calls at once; those that end of themselves have done what they say.
    fn wave(&mut self) {
        if self.dice.one_in(4) {
            let pod = self.dice.pod();
            self.pods[pod].1 = crate::lab::pod();
        }
        let count = 1 + self.dice.below(6);
        let mut started = (0..count).map(|_| self.start()).collect::<Vec<_>>();
        started.sort_by_key(|call| call.end);
        let alone = started.len() == 1;
        for mut call in started {
            if let Some(end) = call.end {
                while Instant::now() < end {
                    std::thread::yield_now();
                }
                call.child.kill().unwrap();
            }
            let outcome = Outcome::of(call.child);
            assert!(!outcome.stderr.contains("panicked"), "{outcome:?}");
            if alone && call.end.is_none() && outcome.success {
                self.is_done(call.verb, call.pod, &outcome);
            }
        }
        self.nobody_shares();
    }

    fn is_done(&mut self, verb: &str, pod: usize, outcome: &Outcome) {
        let (id, netns) = &self.pods[pod];
        if verb == "ADD" {
            let conf = self.host.conf(&json!({ "prevResult": outcome.result() }));
            self.host.call("CHECK", id, Some(netns), &conf).succeeded();
        } else if verb == "DEL" {
            let id = id.clone();
            let mark = format!("{id}@eth0");
            let traces = self.host.traces();
            assert!(traces.iter().all(|trace| !trace.contains(&mark)), "{traces:?}");
            assert!(self.host.host_link(&id).is_none());
        }
    }

    /// Each address is that of one link, and no lease of it is another's.
    fn nobody_shares(&mut self) {
        let mut holders = BTreeMap::<IpAddr, AttachmentId>::new();
        for alias in self.host.netlink.links().unwrap().into_iter().filter_map(|link| link.alias) {
            let Some((id, addresses)) = read_alias(&alias) else { continue };
            for address in addresses {
                let before = holders.insert(address, id.clone());
                assert!(before.is_none_or(|before| before == id), "{address}: {id} and another");
                let lease = self.host.file("leases").join(address.to_string());
                let lease = std::fs::read_to_string(lease).unwrap_or_default();
                let whose = format!("{}\r\n{}", id.container_id(), id.ifname());
                assert_eq!(lease, whose, "the lease of {address}, which {id} has");
            }
        }
    }
}

#[test]
fn whatever_is_killed_nobody_shares_an_address_and_nothing_is_left() {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().subsec_nanos();
    let seed = variable("SEED", now.into());
    eprintln!("SEED={seed}");
    let mut game = Game::new(seed);
    let table = listing(&game.host);
    for wave in 0..variable("WAVES", 60) {
        game.wave();
        if wave % 20 == 19 {
            if game.dice.one_in(2) {
                let none = game.host.conf(&json!({ "cni.dev/valid-attachments": [] }));
                game.host.call("GC", "", None, &none).succeeded();
            } else {
                for (id, _) in &game.pods {
                    game.host.del(id).succeeded();
                }
            }
            assert_eq!((game.host.traces(), listing(&game.host)), (Vec::new(), table.clone()));
        }
    }
}
