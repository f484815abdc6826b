//! Flags and what becomes of them.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use super::*;
use crate::hairpin::Hairpin;
use crate::mode::{ExecPlugin, Runtime};
use crate::routes::Routing;

fn settings(arguments: &[&str]) -> Result<Settings, String> {
    let program = [names::AGENT, "--plugin=/proc/self/exe"];
    let flags = Flags::try_parse_from(program.iter().chain(arguments)).unwrap();
    flags.check().map_err(|mistakes| mistakes.to_string())
}

#[test]
fn good_flags_are_settings() {
    let arguments = ["--node-name=n1", "--cluster-cidr=10.244.0.0/16,fd00::/48"];
    let Settings { config, paths, .. } = settings(&arguments).unwrap();
    assert_eq!((config.node.as_str(), config.mtu), ("n1", None));
    assert_eq!(config.cluster_cidrs.len(), 2);
    assert_eq!(paths.conflist(), PathBuf::from("/etc/cni/net.d/10-kubenet.conflist"));
    assert_eq!(paths.bin, PathBuf::from("/opt/cni/bin"));
    assert_eq!((config.state_dir, paths.sysctl), ("/run/kubenet".into(), "/proc/sys".into()));
}

#[test]
fn all_mistakes_are_named_at_once() {
    let text = settings(&[
        "--node-name=",
        "--cluster-cidr=10.244.0.0/16,10.0.0.0/8,fd00::/200",
        "--network-plugin-mtu=100",
    ])
    .unwrap_err();
    let lines = text.lines().map(str::trim).collect::<Vec<_>>();
    assert_eq!(
        lines,
        [
            "--node-name: name the Node that this machine is, here or in NODE_NAME; or give \
             --pod-cidr, and no API server is needed",
            "--cluster-cidr: /200 is too long for IPv6, which has 128 bits",
            "--cluster-cidr: give at most one CIDR of IPv4",
            "--network-plugin-mtu: 100 is not between 576 and 65535",
        ]
    );
}

#[test]
fn ipv6_asks_for_a_larger_mtu() {
    let both =
        ["--node-name=n", "--cluster-cidr=10.0.0.0/8,fd00::/48", "--network-plugin-mtu=1200"];
    assert!(settings(&both).unwrap_err().contains("between 1280 and 65535"));
    let v4 = ["--node-name=n", "--cluster-cidr=10.0.0.0/8", "--network-plugin-mtu=1200"];
    assert_eq!(settings(&v4).unwrap().config.mtu, Some(1200));
}

#[track_caller]
fn mode(arguments: &[&str]) -> (bool, String, Source) {
    let Settings { config, source, .. } = settings(arguments).unwrap();
    (config.mode.bridge, format!("{:?}", config.mode.runtime), source)
}

const NODE: [&str; 2] = ["--node-name=n", "--cluster-cidr=10.244.0.0/16"];

#[test]
fn kubenet_is_the_default_and_an_empty_value_is_noop() {
    let [node, cluster] = NODE;
    assert_eq!(mode(&NODE), (true, "Kubenet".to_owned(), Source::Cluster));
    let named = ["--network-plugin=kubenet", node, cluster];
    assert_eq!(mode(&named), mode(&NODE));
    let alone = Source::Flags(Vec::new());
    for noop in ["--network-plugin=", "--network-plugin=noop"] {
        assert_eq!(mode(&[noop]), (false, "Nothing".to_owned(), alone.clone()));
    }
    assert_eq!(mode(&["--network-plugin=noop", node]).2, Source::Cluster);
    assert_eq!(mode(&["--network-plugin=cni"]), (false, "Others".to_owned(), alone));
}

#[test]
fn configure_cbr0_excludes_kubenet_and_both_are_named() {
    let [node, cluster] = NODE;
    for more in [&["--configure-cbr0"][..], &["--configure-cbr0", "--network-plugin=kubenet"]] {
        let text = settings(&[&NODE[..], more].concat()).unwrap_err();
        assert!(text.contains("--configure-cbr0: --network-plugin kubenet"), "{text}");
    }
    for flag in ["--configure-cbr0", "--configure-cbr0=true"] {
        let (bridge, runtime, _) = mode(&[flag, "--network-plugin=cni", node, cluster]);
        assert_eq!((bridge, runtime.as_str()), (true, "Others"));
    }
    assert_eq!(mode(&["--configure-cbr0=false", node, cluster]), mode(&NODE));
}

#[test]
fn a_range_by_configuration_needs_no_api_server() {
    let (_, _, source) = mode(&["--pod-cidr=10.244.1.7/24,fd00:0:0:1::/64"]);
    let cidrs = ["10.244.1.0/24", "fd00:0:0:1::/64"].map(|cidr| cidr.parse().unwrap());
    assert_eq!(source, Source::Flags(cidrs.into()));
    let config = settings(&["--pod-cidr=10.244.1.0/24"]).unwrap().config;
    assert_eq!(config.cluster_cidrs, ["10.244.1.0/24".parse().unwrap()]);
    let [node, cluster] = NODE;
    assert_eq!(mode(&["--pod-cidr=10.244.1.0/24,fd00:0:0:1::/64", node, cluster]).2, source);
    for (bad, text) in [
        ("--pod-cidr=10.244.1.0/31", "no room for a gateway"),
        ("--pod-cidr=pods", "--pod-cidr"),
        ("--pod-cidr=10.244.1.0/24,10.244.2.0/24", "at most one CIDR of IPv4"),
    ] {
        let mistakes = settings(&[bad]).unwrap_err();
        assert!(mistakes.contains(text), "{mistakes}");
    }
    let text = settings(&["--network-plugin=cni", "--pod-cidr=10.244.1.0/24"]).unwrap_err();
    assert!(text.contains("give --configure-cbr0"), "{text}");
}

#[test]
fn plugins_are_probed_once_and_one_is_chosen() {
    let dir = tempfile::tempdir().unwrap();
    let flag = format!("--network-plugin-dir={}", dir.path().display());
    let text = settings(&["--network-plugin=exec", &flag]).unwrap_err();
    assert!(text.contains("--network-plugin: exec takes the only plugin in"), "{text}");
    let program = dir.path().join("acme~sdn/sdn");
    fs::create_dir(program.parent().unwrap()).unwrap();
    fs::write(&program, "#!/bin/sh\n").unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    for name in ["exec", "acme/sdn"] {
        let plugin = format!("--network-plugin={name}");
        let config = settings(&[&plugin, &flag]).unwrap().config;
        let expected = ExecPlugin { name: "acme/sdn".to_owned(), program: program.clone() };
        assert_eq!(config.mode, Mode { bridge: false, runtime: Runtime::Exec(expected) });
    }
}

#[test]
fn plugins_may_be_in_several_folders() {
    let [node, cluster] = NODE;
    let paths = settings(&["--cni-bin-dir=/a,/b", node, cluster]).unwrap().paths;
    assert_eq!((paths.bin, paths.other_bins), ("/a".into(), vec!["/b".into()]));
}

#[test]
fn routes_hairpin_and_masquerade_are_the_operators_to_say() {
    let least = ["--node-name=n", "--cluster-cidr=10.0.0.0/8"];
    let config = |more: &[&str]| settings(&[&least, more].concat()).map(|s| s.config);
    assert_eq!(config(&[]).unwrap().routing, Routing::Direct);
    let many =
        ["--non-masquerade-cidr=172.16.0.0/12,fd00::/8", "--non-masquerade-cidr=192.0.2.0/24"];
    assert_eq!(config(&many).unwrap().unmasqueraded.len(), 3);
    let services = config(&["--service-cluster-ip-range=10.96.0.1/16,fd00:96::/112"]).unwrap();
    assert_eq!(services.services, ["10.96.0.0/16", "fd00:96::/112"].map(|c| c.parse().unwrap()));
    let text = config(&["--service-cluster-ip-range=10.96.0.0/16,10.97.0.0/16"]).unwrap_err();
    assert!(text.contains("--service-cluster-ip-range: give at most one CIDR of IPv4"), "{text}");
    assert_eq!(config(&[]).unwrap().hairpin, Hairpin::Veth);
    assert_eq!(config(&["--hairpin-mode=none"]).unwrap().hairpin, Hairpin::None);
    assert_eq!(config(&[]).unwrap().loopback, Loopback::Reached);
    let off = config(&["--loopback-host-ports=false"]).unwrap();
    assert_eq!(off.loopback, Loopback::Unreached);
    assert_eq!(config(&["--routing=cloud"]).unwrap().routing, Routing::Cloud);
    let text = config(&["--routing=bgp", "--non-masquerade-cidr=ten"]).unwrap_err();
    let lines = text.lines().map(str::trim).collect::<Vec<_>>();
    assert_eq!(lines[0], "--routing: \"bgp\" is no mode: want direct, cloud or none");
    assert!(lines[1].starts_with("--non-masquerade-cidr: "), "{text}");
}
