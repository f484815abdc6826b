//! The flags of the ranges that Nodes get their podCIDRs of.

use common::{Family, PerFamily, Prefix};
use nodeipam::range::Range;
use process::settings::Mistakes;

use super::value::length;

const CLUSTER_CIDR: &str = "--cluster-cidr";
const SERVICES: &str = "--service-cluster-ip-range";
const MASK: &str = "--node-cidr-mask-size";
const MASKS: PerFamily<&str> =
    PerFamily { v4: "--node-cidr-mask-size-ipv4", v6: "--node-cidr-mask-size-ipv6" };

/// What a Node gets if no flag says otherwise.
const DEFAULT_MASKS: PerFamily<u8> = PerFamily { v4: 24, v6: 64 };

/// kube-controller-manager keeps one bit for each IPv6 block, and allows 2^16 of them.
const MOST_V6_BITS: u8 = 16;

/// Ranges as written.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct RangeFlags {
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
}

/// What Nodes get, and what they don't.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ranges {
    /// One, or one of each family.
    pub cluster: Vec<Range>,
    /// At most one of each family.
    pub services: Vec<Prefix>,
}

/// Mask flags that were given, with their names.
struct Masks {
    any: Option<u8>,
    of: PerFamily<Option<u8>>,
}

impl RangeFlags {
    /// Checks each flag, and what goes together; without a mistake there is a range at least.
    pub(super) fn check(self, mistakes: &mut Mistakes) -> Ranges {
        let mut mask = |flag, text: &str| mistakes.keep(flag, length(text)).flatten();
        let masks = Masks {
            any: mask(MASK, &self.node_cidr_mask_size),
            of: PerFamily {
                v4: mask(MASKS.v4, &self.node_cidr_mask_size_ipv4),
                v6: mask(MASKS.v6, &self.node_cidr_mask_size_ipv6),
            },
        };
        let cidrs = cluster_cidrs(&self.cluster_cidr, mistakes);
        let masks = masks.usable(&cidrs, mistakes);
        let cluster = cidrs.iter().filter_map(|&cidr| masks.range(cidr, mistakes)).collect();
        let services = services(&self.service_cluster_ip_range, mistakes);
        Ranges { cluster, services }
    }
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
mod tests {
    use super::*;
    use crate::settings::tests::told;

    /// The ranges that flags give and then the Services', or all mistakes.
    fn ranges(arguments: &str) -> String {
        told(arguments, |flags: RangeFlags, mistakes| {
            let Ranges { cluster, services } = flags.check(mistakes);
            let ranges = cluster.iter().map(|range| format!("{}:{}", range.cidr(), range.mask()));
            ranges.chain(services.iter().map(ToString::to_string)).collect::<Vec<_>>().join(" ")
        })
    }

    #[track_caller]
    fn check(arguments: &str, expected: &str) {
        assert_eq!(ranges(arguments), expected, "{arguments}");
    }

    const V4: &str = "--cluster-cidr=10.244.0.0/16";
    const V6: &str = "--cluster-cidr=fd00:10:244::/48";
    const DUAL: &str = "--cluster-cidr=10.244.0.0/16,fd00:10:244::/56";

    #[test]
    fn masks_follow_the_family() {
        check(V4, "10.244.0.0/16:24");
        check(V6, "fd00:10:244::/48:64");
        check(DUAL, "10.244.0.0/16:24 fd00:10:244::/56:64");
        check("--cluster-cidr=fd00::/48,10.0.0.0/8", "fd00::/48:64 10.0.0.0/8:24");
        check(
            &format!("{DUAL} --node-cidr-mask-size-ipv4=26"),
            "10.244.0.0/16:26 fd00:10:244::/56:64",
        );
        check(
            &format!("{DUAL} --node-cidr-mask-size-ipv6=72"),
            "10.244.0.0/16:24 fd00:10:244::/56:72",
        );
        check(&format!("{V4} --node-cidr-mask-size=25"), "10.244.0.0/16:25");
        check("--cluster-cidr=fd00::/64 --node-cidr-mask-size=80", "fd00::/64:80");
        check(&format!("{V4} --node-cidr-mask-size-ipv4=26"), "10.244.0.0/16:26");
        check("--cluster-cidr=fd00::/64 --node-cidr-mask-size-ipv6=80", "fd00::/64:80");
        check(
            &format!("{V4} --node-cidr-mask-size=0 --node-cidr-mask-size-ipv6=0"),
            "10.244.0.0/16:24",
        );
    }

    #[test]
    fn masks_that_do_not_go_together_are_refused() {
        let one =
            "is for one family; use --node-cidr-mask-size-ipv4 and --node-cidr-mask-size-ipv6";
        let one = format!("--node-cidr-mask-size: {one}");
        check(&format!("{DUAL} --node-cidr-mask-size=64"), &one);
        check(
            &format!("{V4} --node-cidr-mask-size=25 --node-cidr-mask-size-ipv4=26"),
            "--node-cidr-mask-size-ipv4: cannot be used together with --node-cidr-mask-size",
        );
        check(
            &format!("{V4} --node-cidr-mask-size=25 --node-cidr-mask-size-ipv6=80"),
            "--node-cidr-mask-size-ipv6: cannot be used together with --node-cidr-mask-size",
        );
        check(
            &format!("{V6} --node-cidr-mask-size-ipv4=26"),
            "--node-cidr-mask-size-ipv4: there is no IPv4 in --cluster-cidr",
        );
        check(
            &format!("{V4} --node-cidr-mask-size-ipv6=80"),
            "--node-cidr-mask-size-ipv6: there is no IPv6 in --cluster-cidr",
        );
    }

    #[test]
    fn a_block_must_fit_and_ipv6_has_at_most_65536() {
        check("--cluster-cidr=10.0.0.0/8 --node-cidr-mask-size=32", "10.0.0.0/8:32");
        check("--cluster-cidr=10.1.2.3/24", "10.1.2.0/24:24");
        check(
            "--cluster-cidr=10.0.0.0/26",
            "--node-cidr-mask-size-ipv4: /24 is larger than all of --cluster-cidr 10.0.0.0/26",
        );
        check(
            &format!("{V4} --node-cidr-mask-size=40"),
            "--node-cidr-mask-size: /40 is too long for IPv4, which has 32 bits",
        );
        check("--cluster-cidr=beef:1234::/32 --node-cidr-mask-size=48", "beef:1234::/32:48");
        check(
            "--cluster-cidr=beef:1234::/32 --node-cidr-mask-size=49",
            "--node-cidr-mask-size: /49 cuts --cluster-cidr beef:1234::/32 into more than 65536 \
         blocks: want a cluster CIDR of /33 or longer, or a smaller mask",
        );
        check(
            "--cluster-cidr=10.0.0.0/24,2000::/64 --node-cidr-mask-size-ipv6=48",
            "--node-cidr-mask-size-ipv6: /48 is larger than all of --cluster-cidr 2000::/64",
        );
    }

    #[test]
    fn cluster_cidrs_are_one_or_one_of_each_family() {
        check("", "--cluster-cidr: give the pod addresses of the cluster, as in 10.244.0.0/16");
        check(
            "--cluster-cidr=10.0.0.0/16,10.1.0.0/16",
            "--cluster-cidr: want one CIDR of each family, not two of IPv4",
        );
        check(
            "--cluster-cidr=10.0.0.0/16,fd00::/48,10.1.0.0/16",
            "--cluster-cidr: want at most two CIDRs, not 3",
        );
        check(
            "--cluster-cidr=10.0.0.0/16,",
            "--cluster-cidr: \"\" is no CIDR: want ADDRESS/LENGTH, as in 10.244.0.0/16 or fd00:10:244::/56",
        );
    }

    #[test]
    fn services_are_at_most_one_of_each_family() {
        let check = |text: &str, expected: &str| {
            check(&format!("{V4} --service-cluster-ip-range={text}"), expected);
        };
        check("", "10.244.0.0/16:24");
        check("10.96.0.0/12", "10.244.0.0/16:24 10.96.0.0/12");
        check("10.96.0.0/12,", "10.244.0.0/16:24 10.96.0.0/12");
        check("fd00:10:96::/112,10.96.0.0/12", "10.244.0.0/16:24 fd00:10:96::/112 10.96.0.0/12");
        check(
            "10.96.0.0/12,10.97.0.0/16",
            "--service-cluster-ip-range: want one CIDR of each family, not two of IPv4",
        );
        check(
            "10.96.0.0/12,fd00::/112,fd01::/112",
            "--service-cluster-ip-range: want at most two CIDRs, not 3",
        );
        check(
            "10.96.0.0",
            "--service-cluster-ip-range: \"10.96.0.0\" is no CIDR: want ADDRESS/LENGTH, as in 10.244.0.0/16 or fd00:10:244::/56",
        );
    }

    /// 010 is ten to Go before 1.17, and eight to the C library.
    #[test]
    fn numbers_that_begin_with_zero_are_refused() {
        let wrong = ranges("--cluster-cidr=010.0.0.0/16 --service-cluster-ip-range=10.096.0.0/12");
        for flag in ["--cluster-cidr: ", "--service-cluster-ip-range: "] {
            assert!(wrong.contains(flag), "{wrong}");
        }
    }
}
