//! Tables of flags and what becomes of them.

use super::*;

fn settings(arguments: &str) -> Result<Settings, String> {
    let words = std::iter::once(names::CONTROLLER).chain(arguments.split('|'));
    let flags = Flags::try_parse_from(words.filter(|word| !word.is_empty())).unwrap();
    flags.check().map_err(|mistakes| mistakes.to_string())
}

/// Flags, separated by `|`, and the ranges that they give, or all mistakes.
#[track_caller]
fn check(arguments: &str, expected: &str) {
    let got = settings(arguments).map(|settings| {
        let ranges =
            settings.ranges.iter().map(|range| format!("{}:{}", range.cidr(), range.mask()));
        ranges.collect::<Vec<_>>().join(" ")
    });
    let lines = |text: String| text.lines().map(str::trim).collect::<Vec<_>>().join("\n");
    assert_eq!(got.unwrap_or_else(lines), expected, "{arguments}");
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
    check(&format!("{DUAL}|--node-cidr-mask-size-ipv4=26"), "10.244.0.0/16:26 fd00:10:244::/56:64");
    check(&format!("{DUAL}|--node-cidr-mask-size-ipv6=72"), "10.244.0.0/16:24 fd00:10:244::/56:72");
    check(&format!("{V4}|--node-cidr-mask-size=25"), "10.244.0.0/16:25");
    check("--cluster-cidr=fd00::/64|--node-cidr-mask-size=80", "fd00::/64:80");
    check(&format!("{V4}|--node-cidr-mask-size-ipv4=26"), "10.244.0.0/16:26");
    check("--cluster-cidr=fd00::/64|--node-cidr-mask-size-ipv6=80", "fd00::/64:80");
    check(
        &format!("{V4}|--node-cidr-mask-size=0|--node-cidr-mask-size-ipv6=0"),
        "10.244.0.0/16:24",
    );
}

#[test]
fn masks_that_do_not_go_together_are_refused() {
    let one = "is for one family; use --node-cidr-mask-size-ipv4 and --node-cidr-mask-size-ipv6";
    let one = format!("--node-cidr-mask-size: {one}");
    check(&format!("{DUAL}|--node-cidr-mask-size=64"), &one);
    check(
        &format!("{V4}|--node-cidr-mask-size=25|--node-cidr-mask-size-ipv4=26"),
        "--node-cidr-mask-size-ipv4: cannot be used together with --node-cidr-mask-size",
    );
    check(
        &format!("{V4}|--node-cidr-mask-size=25|--node-cidr-mask-size-ipv6=80"),
        "--node-cidr-mask-size-ipv6: cannot be used together with --node-cidr-mask-size",
    );
    check(
        &format!("{V6}|--node-cidr-mask-size-ipv4=26"),
        "--node-cidr-mask-size-ipv4: there is no IPv4 in --cluster-cidr",
    );
    check(
        &format!("{V4}|--node-cidr-mask-size-ipv6=80"),
        "--node-cidr-mask-size-ipv6: there is no IPv6 in --cluster-cidr",
    );
}

#[test]
fn a_block_must_fit_and_ipv6_has_at_most_65536() {
    check("--cluster-cidr=10.0.0.0/8|--node-cidr-mask-size=32", "10.0.0.0/8:32");
    check("--cluster-cidr=10.1.2.3/24", "10.1.2.0/24:24");
    check(
        "--cluster-cidr=10.0.0.0/26",
        "--node-cidr-mask-size-ipv4: /24 is larger than all of --cluster-cidr 10.0.0.0/26",
    );
    check(
        &format!("{V4}|--node-cidr-mask-size=40"),
        "--node-cidr-mask-size: /40 is too long for IPv4, which has 32 bits",
    );
    check("--cluster-cidr=beef:1234::/32|--node-cidr-mask-size=48", "beef:1234::/32:48");
    check(
        "--cluster-cidr=beef:1234::/32|--node-cidr-mask-size=49",
        "--node-cidr-mask-size: /49 cuts --cluster-cidr beef:1234::/32 into more than 65536 \
         blocks: want a cluster CIDR of /33 or longer, or a smaller mask",
    );
    check(
        "--cluster-cidr=10.0.0.0/24,2000::/64|--node-cidr-mask-size-ipv6=48",
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
    let services = |text: &str| {
        let settings = settings(&format!("{V4}|--service-cluster-ip-range={text}"));
        settings.map(|settings| settings.services.len())
    };
    assert_eq!(services(""), Ok(0));
    assert_eq!(services("10.96.0.0/12"), Ok(1));
    assert_eq!(services("10.96.0.0/12,"), Ok(1));
    assert_eq!(services("fd00:10:96::/112,10.96.0.0/12"), Ok(2));
    assert!(services("10.96.0.0/12,10.97.0.0/16").unwrap_err().contains("not two of IPv4"));
    assert!(services("10.96.0.0/12,fd00::/112,fd01::/112").unwrap_err().contains("not 3"));
    assert!(services("10.96.0.0").unwrap_err().contains("is no CIDR"));
}

#[test]
fn flags_of_kube_controller_manager_may_stay() {
    check(&format!("{V4}|--allocate-node-cidrs"), "10.244.0.0/16:24");
    check(&format!("{V4}|--allocate-node-cidrs=true"), "10.244.0.0/16:24");
    check(
        &format!("{V4}|--cidr-allocator-type=RangeAllocator|--configure-cloud-routes=false"),
        "10.244.0.0/16:24",
    );
    check(
        &format!("{V4}|--cidr-allocator-type=CloudAllocator"),
        "--cidr-allocator-type: want RangeAllocator",
    );
    let text = "there is nothing else to do: say true, or do not start this program";
    check(&format!("{V4}|--allocate-node-cidrs=false"), &format!("--allocate-node-cidrs: {text}"));
}

#[test]
fn all_mistakes_are_named_at_once() {
    let arguments = "--cluster-cidr=banana|--node-cidr-mask-size=-1|--service-cluster-ip-range=x/8|--log-format=xml";
    let text = settings(arguments).unwrap_err();
    let flags = text.lines().map(|line| line.trim().split(": ").next().unwrap());
    let expected = [MASK, CLUSTER_CIDR, SERVICES, "--log-format"];
    assert_eq!(flags.collect::<Vec<_>>(), expected, "{text}");
}

/// 010 is ten to Go before 1.17, and eight to the C library.
#[test]
fn numbers_that_begin_with_zero_are_refused() {
    let wrong = settings("--cluster-cidr=010.0.0.0/16|--service-cluster-ip-range=10.096.0.0/12");
    let wrong = wrong.unwrap_err();
    for flag in ["--cluster-cidr: ", "--service-cluster-ip-range: "] {
        assert!(wrong.contains(flag), "{wrong}");
    }
}
