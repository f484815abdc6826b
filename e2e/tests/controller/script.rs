//! Pure: what happens to a cluster's Nodes, drawn from a seed.
//!
//! A step is drawn without knowing what was given; what it means is found from what Nodes have when
//! its turn comes. So two allocators see the same as long as they give the same.

use std::collections::BTreeMap;
use std::fmt;

use common::Prefix;
use fastrand::Rng;

/// The podCIDRs of Nodes by their names.
pub(crate) type Given = BTreeMap<String, Vec<Prefix>>;

/// What the allocator is started with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Cluster {
    /// Cluster CIDRs with the length of their blocks, in order.
    pub ranges: Vec<(Prefix, u8)>,
    pub services: Vec<Prefix>,
}

/// What happens next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// A Node without podCIDRs comes.
    Add,
    /// A Node comes with podCIDRs: from the `pick`th free place on, one of each range.
    Preset { pick: usize, size: Size },
    /// A Node comes with podCIDRs of no range.
    Outside,
    /// The `pick`th Node goes.
    Delete { pick: usize },
    /// The allocator is killed and started again.
    Restart,
    /// The same, and the `pick`th Node goes in between.
    RestartWithout { pick: usize },
}

/// How large a preset podCIDR is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Size {
    Block,
    /// A quarter of a block.
    Smaller,
    /// Two blocks.
    Larger,
    /// A block, of the first range alone.
    OneFamily,
}

/// What a step means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    Create {
        name: String,
        cidrs: Vec<Prefix>,
    },
    Delete {
        name: String,
    },
    Restart {
        without: Option<String>,
    },
    /// It can't be told apart who gets what then.
    Skip,
}

/// A cluster and what happens to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Script {
    pub cluster: Cluster,
    pub steps: Vec<Step>,
}

type Ranges = &'static [(&'static str, u8)];

/// Cluster CIDRs with the length of their blocks, and Service CIDRs: 8 to 32 blocks each, and of two
/// ranges it is the first one that is full first.
const CLUSTERS: &[(Ranges, &[&str])] = &[
    (&[("10.0.0.0/20", 24)], &[]),
    (&[("10.128.0.0/9", 12)], &["10.144.0.0/16"]),
    (&[("fd00::/60", 64)], &[]),
    (&[("10.0.0.0/20", 24), ("fd00::/60", 64)], &[]),
    (&[("fd00:0:0:10::/61", 64), ("10.1.0.0/24", 27)], &[]),
    (&[("192.168.4.0/24", 28)], &["192.168.4.32/27", "fd01::/112"]),
    (&[("10.0.0.0/20", 24), ("fd00::/60", 64)], &["10.0.2.0/23", "fd01::/112"]),
    (&[("fd00::/112", 116), ("10.0.0.0/28", 32)], &["fd00::3000/118"]),
    (&[("172.16.0.0/19", 24)], &["172.16.8.128/25"]),
    (&[("10.0.0.0/21", 24), ("2001:db8::/48", 51)], &["10.0.7.0/24", "2001:db9::/108"]),
    (&[("2001:db8::/44", 48)], &["2001:db8:4::/64"]),
    (&[("10.64.0.0/10", 15)], &["10.0.0.0/16"]),
];

impl Script {
    /// The cluster is the `number`th of a fixed list; all else is the seed's.
    pub(crate) fn draw(number: usize, seed: u64) -> Self {
        let mut rng = Rng::with_seed(seed);
        let (ranges, services) = CLUSTERS[number % CLUSTERS.len()];
        let ranges = ranges.iter().map(|&(cidr, mask)| (prefix(cidr), mask)).collect();
        let services = services.iter().map(|text| prefix(text)).collect();
        let cluster = Cluster { ranges, services };
        let most = cluster.free(&Given::new()).iter().map(Vec::len).max().unwrap_or(0);
        // First many come, in half of all scripts until nothing is left; then as many come as go.
        let filling = if rng.bool() { most + 2 } else { rng.usize(1..=most) };
        let steps = (0..most + 16).map(|at| Step::draw(&mut rng, at < filling)).collect();
        Self { cluster, steps }
    }
}

impl Step {
    fn draw(rng: &mut Rng, filling: bool) -> Self {
        let pick = rng.usize(..64);
        let sizes = [Size::Block, Size::Block, Size::Smaller, Size::Larger, Size::OneFamily];
        match rng.u8(..if filling { 10 } else { 20 }) {
            0 | 1 => Self::Preset { pick, size: sizes[rng.usize(..sizes.len())] },
            2..10 => Self::Add,
            10..17 => Self::Delete { pick },
            17 => Self::Outside,
            18 => Self::Restart,
            _ => Self::RestartWithout { pick },
        }
    }

    /// What it is, as the `number`th step, while Nodes have what is `given`.
    pub(crate) fn means(self, number: usize, cluster: &Cluster, given: &Given) -> Action {
        let name = format!("n{number:02}");
        let waits = given.values().any(Vec::is_empty);
        let outside = given.iter().find(|(_, cidrs)| cluster.is_outside(cidrs));
        let picked = |pick: usize| given.keys().nth(pick % given.len().max(1)).cloned();
        let outside = outside.map(|(name, _)| name.clone());
        match (self, outside) {
            // Who waits first is served first here, and by chance there.
            (Self::Add, _) if waits => Action::Skip,
            (Self::Add, _) => Action::Create { name, cidrs: Vec::new() },
            (Self::Preset { pick, size }, _) => match cluster.place(pick, size, given) {
                Some(cidrs) => Action::Create { name, cidrs },
                None => Action::Skip,
            },
            // kube-controller-manager may not have listed Nodes yet, and would end.
            (Self::Outside, None) if given.is_empty() => Action::Skip,
            (Self::Outside, None) => {
                Action::Create { name, cidrs: vec![prefix("198.51.100.0/24")] }
            }
            (Self::Outside, Some(_)) => Action::Skip,
            // kube-controller-manager does not start again while such a Node is there.
            (Self::Restart | Self::RestartWithout { .. }, Some(name)) => Action::Delete { name },
            (Self::Restart, None) => Action::Restart { without: None },
            (Self::RestartWithout { pick }, None) => Action::Restart { without: picked(pick) },
            (Self::Delete { pick }, _) => {
                picked(pick).map_or(Action::Skip, |name| Action::Delete { name })
            }
        }
    }
}

impl Cluster {
    pub(crate) fn flags(&self) -> Vec<String> {
        let join = |cidrs: Vec<Prefix>| {
            cidrs.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
        };
        let mut flags = vec![format!(
            "--cluster-cidr={}",
            join(self.ranges.iter().map(|&(cidr, _)| cidr).collect())
        )];
        if !self.services.is_empty() {
            flags.push(format!("--service-cluster-ip-range={}", join(self.services.clone())));
        }
        for (cidr, mask) in &self.ranges {
            let family = if self.ranges.len() == 1 {
                String::new()
            } else {
                format!("-{}", cidr.family().to_string().to_lowercase())
            };
            flags.push(format!("--node-cidr-mask-size{family}={mask}"));
        }
        flags
    }

    /// The blocks of each range that neither a Node nor a Service has an address of.
    pub(crate) fn free(&self, given: &Given) -> Vec<Vec<Prefix>> {
        let taken = given.values().flatten().chain(&self.services).copied().collect::<Vec<_>>();
        let free = |&(cidr, mask): &(Prefix, u8)| {
            let blocks = blocks(cidr, mask);
            blocks.filter(|block| !taken.iter().any(|taken| taken.overlaps(*block))).collect()
        };
        self.ranges.iter().map(free).collect()
    }

    /// How many blocks of each range a Node or a Service has an address of.
    pub(crate) fn used(&self, given: &Given) -> Vec<usize> {
        let free = self.free(given);
        let all = self.ranges.iter().map(|&(cidr, mask)| blocks(cidr, mask).count());
        all.zip(free).map(|(all, free)| all - free.len()).collect()
    }

    fn is_outside(&self, cidrs: &[Prefix]) -> bool {
        let within = |cidr: &Prefix| self.ranges.iter().any(|(range, _)| range.covers(*cidr));
        !cidrs.iter().all(within)
    }

    /// Free podCIDRs of that size; none if there are no such.
    fn place(&self, pick: usize, size: Size, given: &Given) -> Option<Vec<Prefix>> {
        let free = self.free(given);
        let place = |(free, &(range, mask)): (&Vec<Prefix>, &(Prefix, u8))| {
            let block = *free.get(pick % free.len().max(1))?;
            match size {
                Size::Block | Size::OneFamily => Some(block),
                Size::Smaller if mask + 2 > block.family().width() => Some(block),
                Size::Smaller => block.subnet(mask + 2, 1),
                Size::Larger => {
                    let two = Prefix::containing(block.network(), mask - 1).ok()?;
                    let fits = range.covers(two) && blocks(two, mask).all(|b| free.contains(&b));
                    fits.then_some(two)
                }
            }
        };
        let ranges = if size == Size::OneFamily { 1 } else { free.len() };
        free.iter().zip(&self.ranges).take(ranges).map(place).collect()
    }
}

impl fmt::Display for Cluster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.flags().join(" "))
    }
}

fn blocks(cidr: Prefix, mask: u8) -> impl Iterator<Item = Prefix> {
    (0..).map_while(move |index| cidr.subnet(mask, index))
}

pub(crate) fn prefix(text: &str) -> Prefix {
    match Prefix::parse_masking(text) {
        Ok(prefix) => prefix,
        Err(error) => panic!("{text}: {error}"),
    }
}
