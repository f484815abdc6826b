//! The controller's flags, checked once at start: kube-controller-manager's names, defaults and
//! limits, so that an operator can move them over.

use clap::Parser;
use common::{Family, PerFamily, Prefix, names};
use process::serve::{Addresses, ServeFlags};
use process::settings::{Mistakes, Shared, SharedFlags};

use crate::fence_flags::{Fence, FenceFlags};
use crate::leader_flags::{Election, LeaderFlags};
use nodeipam::range::Range;

const CLUSTER_CIDR: &str = "--cluster-cidr";
const SERVICES: &str = "--service-cluster-ip-range";
const MASK: &str = "--node-cidr-mask-size";
const MASKS: PerFamily<&str> =
    PerFamily { v4: "--node-cidr-mask-size-ipv4", v6: "--node-cidr-mask-size-ipv6" };

/// kube-controller-manager's only type that asks no cloud.
const RANGE_ALLOCATOR: &str = "RangeAllocator";

/// What a Node gets if no flag says otherwise.
const DEFAULT_MASKS: PerFamily<u8> = PerFamily { v4: 24, v6: 64 };

/// kube-controller-manager keeps one bit for each IPv6 block, and allows 2^16 of them.
const MOST_V6_BITS: u8 = 16;

/// kubenet-controller: gives each Node its podCIDRs
#[derive(Clone, Debug, Parser)]
#[command(name = names::CONTROLLER, version = common::version())]
pub struct Flags {
    #[command(flatten)]
    shared: SharedFlags,

    #[command(flatten)]
    serve: ServeFlags,

    #[command(flatten)]
    leader: LeaderFlags,

    #[command(flatten)]
    fence: FenceFlags,

    /// Print what would be assigned, write nothing, and end
    #[arg(long)]
    dry_run: bool,

    /// Pod addresses of the whole cluster, one CIDR for each family, in the order that Nodes get
    #[arg(long, value_name = "CIDR[,CIDR]", default_value = "")]
    cluster_cidr: String,

    /// Service addresses, one CIDR for each family: no Node gets any of them
    #[arg(long, value_name = "CIDR[,CIDR]", default_value = "")]
    service_cluster_ip_range: String,

    /// Prefix length of each Node's podCIDR, in a cluster of one family; 0: 24 for IPv4, 64 for IPv6
    #[arg(long, value_name = "LENGTH", default_value = "0")]
    node_cidr_mask_size: String,

    /// Prefix length of each Node's IPv4 podCIDR; 0: 24
    #[arg(long, value_name = "LENGTH", default_value = "0")]
    node_cidr_mask_size_ipv4: String,

    /// Prefix length of each Node's IPv6 podCIDR; 0: 64
    #[arg(long, value_name = "LENGTH", default_value = "0")]
    node_cidr_mask_size_ipv6: String,

    /// Taken for kube-controller-manager's sake; this program does nothing else, so true
    #[arg(
        long,
        value_name = "BOOL",
        num_args = 0..=1,
        require_equals = true,
        default_value = "true",
        default_missing_value = "true"
    )]
    allocate_node_cidrs: String,

    /// Taken for kube-controller-manager's sake; the others of its types are a cloud's
    #[arg(long, value_name = "TYPE", default_value = RANGE_ALLOCATOR)]
    cidr_allocator_type: String,

    /// Taken for kube-controller-manager's sake, and without effect: routes are the agents'
    #[arg(
        long,
        value_name = "BOOL",
        num_args = 0..=1,
        require_equals = true,
        default_value = "true",
        default_missing_value = "true"
    )]
    configure_cloud_routes: String,
}

/// What the controller was told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    pub shared: Shared,
    pub serve: Addresses,
    pub dry_run: bool,
    /// How one of several controllers is chosen; none where there is only this one.
    pub election: Option<Election>,
    /// None: leader election alone keeps two from giving out the same block.
    pub fence: Option<Fence>,
    /// One, or one of each family.
    pub ranges: Vec<Range>,
    /// At most one of each family.
    pub services: Vec<Prefix>,
}

/// Mask flags that were given, with their names.
struct Masks {
    any: Option<u8>,
    of: PerFamily<Option<u8>>,
}

impl Flags {
    /// Checks all flags, and names all mistakes together.
    pub fn check(self) -> Result<Settings, Mistakes> {
        let mut mistakes = Mistakes::default();
        if self.allocate_node_cidrs != "true" {
            let text = "there is nothing else to do: say true, or do not start this program";
            mistakes.add("--allocate-node-cidrs", text);
        }
        if self.cidr_allocator_type != RANGE_ALLOCATOR {
            mistakes.add("--cidr-allocator-type", format!("want {RANGE_ALLOCATOR}"));
        }
        let bool = self.configure_cloud_routes.parse::<bool>();
        mistakes.keep("--configure-cloud-routes", bool.map_err(|_| "want true or false"));
        let masks = Masks {
            any: mask(MASK, &self.node_cidr_mask_size, &mut mistakes),
            of: PerFamily {
                v4: mask(MASKS.v4, &self.node_cidr_mask_size_ipv4, &mut mistakes),
                v6: mask(MASKS.v6, &self.node_cidr_mask_size_ipv6, &mut mistakes),
            },
        };
        let cidrs = cluster_cidrs(&self.cluster_cidr, &mut mistakes);
        let masks = masks.usable(&cidrs, &mut mistakes);
        let ranges = cidrs.iter().filter_map(|&cidr| masks.range(cidr, &mut mistakes)).collect();
        let services = services(&self.service_cluster_ip_range, &mut mistakes);
        let shared = self.shared.check(&mut mistakes);
        let serve = self.serve.check(names::CONTROLLER_PORT, &mut mistakes);
        let dry_run = self.dry_run;
        let election = self.leader.check(&mut mistakes);
        let fence = self.fence.check(&mut mistakes);
        mistakes.or(Some(Settings { shared, serve, dry_run, election, fence, ranges, services }))
    }
}

/// 0 is what kube-controller-manager calls unset.
fn mask(flag: &str, text: &str, mistakes: &mut Mistakes) -> Option<u8> {
    let parsed = text.parse::<u8>();
    let parsed =
        parsed.map_err(|_| format!("{text:?} is no prefix length: want a number up to 128"));
    mistakes.keep(flag, parsed).filter(|&mask| mask != 0)
}

/// The CIDRs of a comma list, as far as they are some.
fn cidrs(flag: &str, texts: &[&str], mistakes: &mut Mistakes) -> Vec<Prefix> {
    let parsed = texts.iter().map(|text| Prefix::parse_masking(text.trim()));
    parsed.filter_map(|cidr| mistakes.keep(flag, cidr)).collect()
}

fn cluster_cidrs(text: &str, mistakes: &mut Mistakes) -> Vec<Prefix> {
    if text.trim().is_empty() {
        mistakes.add(CLUSTER_CIDR, "give the pod addresses of the cluster, as in 10.244.0.0/16");
        return Vec::new();
    }
    let texts = text.trim().split(',').collect::<Vec<_>>();
    let cidrs = cidrs(CLUSTER_CIDR, &texts, mistakes);
    if cidrs.len() == texts.len() {
        check_families(CLUSTER_CIDR, &cidrs, mistakes);
    }
    cidrs
}

fn services(text: &str, mistakes: &mut Mistakes) -> Vec<Prefix> {
    let texts = text.split(',').filter(|text| !text.trim().is_empty()).collect::<Vec<_>>();
    let cidrs = cidrs(SERVICES, &texts, mistakes);
    check_families(SERVICES, &cidrs, mistakes);
    cidrs
}

/// One CIDR, or two of different families.
fn check_families(flag: &str, cidrs: &[Prefix], mistakes: &mut Mistakes) {
    let of = |family| cidrs.iter().filter(move |cidr| cidr.family() == family).count();
    if cidrs.len() > 2 {
        mistakes.add(flag, format!("want at most two CIDRs, not {}", cidrs.len()));
    } else if let Some(family) = Family::BOTH.into_iter().find(|&family| of(family) > 1) {
        mistakes.add(flag, format!("want one CIDR of each family, not two of {family}"));
    }
}

impl Masks {
    /// Those that go together with each other and with the families in use.
    fn usable(self, cidrs: &[Prefix], mistakes: &mut Mistakes) -> Self {
        let families = cidrs.iter().map(|cidr| cidr.family()).collect::<Vec<_>>();
        for (family, _) in self.of.iter().filter(|(_, mask)| mask.is_some()) {
            if self.any.is_some() && families.len() < 2 {
                mistakes.add(MASKS[family], format!("cannot be used together with {MASK}"));
            } else if !families.is_empty() && !families.contains(&family) {
                let text = format!("there is no {family} in {CLUSTER_CIDR}");
                mistakes.add(MASKS[family], text);
            }
        }
        if self.any.is_some() && families.len() > 1 {
            let text = format!("is for one family; use {} and {}", MASKS.v4, MASKS.v6);
            mistakes.add(MASK, text);
            return Self { any: None, ..self };
        }
        self
    }

    /// `cidr` with its mask, within the limits of kube-controller-manager.
    fn range(&self, cidr: Prefix, mistakes: &mut Mistakes) -> Option<Range> {
        let family = cidr.family();
        let (flag, mask) = match (self.any, self.of[family]) {
            (_, Some(mask)) => (MASKS[family], mask),
            (Some(mask), None) => (MASK, mask),
            (None, None) => (MASKS[family], DEFAULT_MASKS[family]),
        };
        if mask > family.width() {
            let text =
                format!("/{mask} is too long for {family}, which has {} bits", family.width());
            mistakes.add(flag, text);
        } else if mask < cidr.length() {
            let text = format!("/{mask} is larger than all of {CLUSTER_CIDR} {cidr}");
            mistakes.add(flag, text);
        } else if family == Family::V6 && mask - cidr.length() > MOST_V6_BITS {
            let least = mask - MOST_V6_BITS;
            let text = format!(
                "/{mask} cuts {CLUSTER_CIDR} {cidr} into more than 65536 blocks: \
                 want a cluster CIDR of /{least} or longer, or a smaller mask"
            );
            mistakes.add(flag, text);
        }
        Range::new(cidr, mask).ok()
    }
}

#[cfg(test)]
mod tests;
