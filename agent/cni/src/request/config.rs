//! Pure: our part of the network configuration, checked: a value that passes can be used as it is.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use common::attachment::{self, HostPort, Protocol};
use common::conflist::{PluginConfig, Range};
use common::{Family, PerFamily, names};
use net::Mac;
use serde::Deserialize;
use serde_json::Value;

use super::asked::Asked;
use super::bandwidth::{self, Rates};
use super::dns::{self, Dns};
use super::{Args, Conf};
use crate::error::Error;
use crate::ranges::{self, Want};

/// The least MTU, in bytes: RFC 791 and RFC 8200, section 5.
const LEAST_MTU: PerFamily<u32> = PerFamily { v4: 68, v6: 1280 };

/// What a runtime may say in `runtimeConfig`.
const CAPABILITIES: [&str; 6] = ["portMappings", "bandwidth", "ips", "ipRanges", "mac", "dns"];

/// Fields of `bridge`, `portmap`, `bandwidth`, `tuning` and `firewall` that give a pod something else than
/// it gets here.
const UNHEEDED: [&str; 24] = [
    "vlan",
    "vlanTrunk",
    "macspoofchk",
    "enabledad",
    "disableContainerInterface",
    "portIsolation",
    "promiscMode",
    "masqAll",
    "markMasqBit",
    "externalSetMarkChain",
    "conditionsV4",
    "conditionsV6",
    "ingressRate",
    "ingressBurst",
    "egressRate",
    "egressBurst",
    "shapedSubnets",
    "unshapedSubnets",
    "sysctl",
    "mac",
    "promisc",
    "allmulti",
    "txQLen",
    "ingressPolicy",
];

/// What ADD, CHECK and STATUS work from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Config {
    /// The network's name.
    pub(crate) network: String,
    pub(crate) bridge: String,
    /// In bytes; the bridge's, where none is given.
    pub(crate) mtu: Option<u32>,
    /// Of the routes that leave the segment, in bytes; the link's, where none is given.
    pub(crate) route_mtu: Option<u32>,
    pub(crate) hairpin: bool,
    /// In the order that they are given in.
    pub(crate) ranges: Vec<Range>,
    /// Of each family in that order.
    pub(crate) wants: Vec<Want>,
    /// What the container end is to have; what follows from its address, where nobody asks.
    pub(crate) mac: Option<Mac>,
    pub(crate) dns: Option<Dns>,
    pub(crate) state_dir: PathBuf,
    pub(crate) host_ports: Vec<HostPort>,
    pub(crate) rates: Rates,
}

/// As CNI's conventions have it ("dynamic plugin specific fields", `portMappings`), or with the
/// capitals that containerd writes (`PortMapping` in go-cni has no JSON names, and Go reads both).
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct PortMapping {
    #[serde(alias = "HostPort")]
    host_port: i64,
    #[serde(alias = "ContainerPort")]
    container_port: i64,
    #[serde(default, alias = "Protocol")]
    protocol: String,
    #[serde(default, rename = "hostIP", alias = "HostIP")]
    host_ip: String,
}

impl Config {
    pub(crate) fn parse(mut conf: Conf, args: &Args) -> Result<Self, Error> {
        // A runtime sends only what our capabilities ask for; whoever added one wants it heeded.
        let runtime_config = match conf.remove("runtimeConfig") {
            None | Some(Value::Null) => Conf::new(),
            Some(Value::Object(fields)) => fields,
            Some(_) => return Err(Error::Config(vec!["runtimeConfig is no object".to_owned()])),
        };
        refuse_unheeded(&conf, &runtime_config)?;
        let mut mistakes = Vec::new();
        let network = network_name(&conf).unwrap_or_else(|mistake| {
            mistakes.push(mistake);
            String::new()
        });
        let mappings = runtime_config.get("portMappings");
        let host_ports = host_ports(mappings, &mut mistakes);
        let rates = bandwidth::rates(runtime_config.get("bandwidth"), &mut mistakes);
        let asked = Asked::parse(&runtime_config, conf.get("args"), args, &mut mistakes);
        let dns = dns::parse(&runtime_config, conf.get("dns"), &mut mistakes);
        let mut wants = Vec::new();
        let plugin = PluginConfig::deserialize(Value::Object(conf));
        let plugin = plugin.map_err(|error| mistakes.push(error.to_string()));
        if let Ok(plugin) = &plugin {
            mistakes.extend(
                attachment::check_ifname(&plugin.bridge).err().map(|e| format!("bridge: {e}")),
            );
            mistakes.extend(absolute(Path::new(&plugin.state_dir)).err());
            check_ranges(plugin, &mut mistakes);
            wants = asked.wants(&plugin.ranges, &mut mistakes);
        }
        match plugin {
            Ok(plugin) if mistakes.is_empty() => Ok(Self {
                network,
                bridge: plugin.bridge,
                mtu: plugin.mtu,
                route_mtu: plugin.route_mtu,
                hairpin: plugin.hairpin,
                ranges: plugin.ranges,
                wants,
                mac: asked.mac,
                dns,
                state_dir: plugin.state_dir.into(),
                host_ports,
                rates,
            }),
            _ => Err(Error::Config(mistakes)),
        }
    }
}

fn refuse_unheeded(conf: &Conf, runtime_config: &Conf) -> Result<(), Error> {
    let foreign = runtime_config.iter().find(|(key, _)| !CAPABILITIES.contains(&key.as_str()));
    let foreign = foreign.map(|(key, value)| (format!("runtimeConfig.{key}"), value));
    let mut unheeded =
        ["ipam"].iter().chain(&UNHEEDED).filter_map(|key| Some((key, conf.get(*key)?)));
    let unheeded = unheeded.find(|(_, value)| !says_nothing(value));
    match foreign.or(unheeded.map(|(key, value)| ((*key).to_owned(), value))) {
        Some((key, value)) => Err(Error::UnsupportedField { key, value: value.to_string() }),
        None => Ok(()),
    }
}

/// What Go takes for a field that is not there.
fn says_nothing(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(value) => !value,
        Value::Number(value) => value.as_u64() == Some(0),
        Value::String(value) => value.is_empty(),
        Value::Array(values) => values.is_empty(),
        Value::Object(fields) => fields.values().all(says_nothing),
    }
}

/// Where leases and records are; with the network's name the only thing that DEL and GC need to know.
pub(super) fn state_dir(conf: &Conf) -> Result<PathBuf, Error> {
    let path = match conf.get("stateDir") {
        None | Some(Value::Null) => Path::new(names::STATE_DIR),
        Some(Value::String(path)) => Path::new(path),
        Some(_) => return Err(Error::Config(vec!["stateDir is no text".to_owned()])),
    };
    absolute(path).map_err(|mistake| Error::Config(vec![mistake]))?;
    Ok(path.to_owned())
}

fn absolute(path: &Path) -> Result<(), String> {
    let usable = path.is_absolute() && !path.as_os_str().as_encoded_bytes().contains(&0);
    if usable { Ok(()) } else { Err(format!("stateDir: {} is no absolute path", path.display())) }
}

/// CNI spec 1.1, section 1: as a container id.
pub(super) fn network_name(conf: &Conf) -> Result<String, String> {
    match conf.get("name") {
        None => Err("name of the network is missing".to_owned()),
        Some(Value::String(name)) if attachment::check_container_id(name).is_ok() => {
            Ok(name.clone())
        }
        Some(other) => Err(format!("{other} is no name of a network")),
    }
}

fn check_ranges(plugin: &PluginConfig, mistakes: &mut Vec<String>) {
    if plugin.ranges.is_empty() {
        mistakes.push("ranges: none is given".to_owned());
    }
    mistakes.extend(ranges::mistakes(&plugin.ranges));
    for family in Family::BOTH {
        let has_family = plugin.ranges.iter().any(|range| range.subnet.family() == family);
        let least = LEAST_MTU[family];
        for (name, mtu) in [("mtu", plugin.mtu), ("routeMtu", plugin.route_mtu)] {
            if let Some(mtu) = mtu.filter(|&mtu| has_family && mtu < least) {
                mistakes.push(format!("{name}: {mtu} is less than {family} allows: {least}"));
            }
        }
    }
}

/// The host ports that are asked for; a mapping without one asks for none.
fn host_ports(mappings: Option<&Value>, mistakes: &mut Vec<String>) -> Vec<HostPort> {
    let mappings = match mappings.map(Option::<Vec<PortMapping>>::deserialize) {
        None => Vec::new(),
        Some(Ok(mappings)) => mappings.unwrap_or_default(),
        Some(Err(error)) => {
            mistakes.push(format!("portMappings: {error}"));
            Vec::new()
        }
    };
    let mut ports = BTreeMap::new();
    for mapping in mappings.iter().filter(|mapping| mapping.host_port != 0) {
        match mapping.parse() {
            Ok(port) => {
                let key = (port.protocol, port.host_ip, port.host_port);
                if ports.insert(key, port).is_some_and(|before| before != port) {
                    let port = port.host_port;
                    mistakes.push(format!("portMappings: host port {port} is mapped twice"));
                }
            }
            Err(mistake) => mistakes.push(format!("portMappings: {mistake}")),
        }
    }
    ports.into_values().collect()
}

impl PortMapping {
    fn parse(&self) -> Result<HostPort, String> {
        let port = |name: &str, port: i64| {
            let valid = u16::try_from(port).ok().filter(|&port| port != 0);
            valid.ok_or_else(|| format!("{name} {port} is no port"))
        };
        let protocol = match self.protocol.to_ascii_lowercase().as_str() {
            "" | "tcp" => Protocol::Tcp,
            "udp" => Protocol::Udp,
            "sctp" => Protocol::Sctp,
            _ => return Err(format!("{:?} is no protocol: want tcp, udp or sctp", self.protocol)),
        };
        let host_ip = match self.host_ip.as_str() {
            "" => None,
            text => {
                let ip = text.parse::<IpAddr>();
                Some(ip.map_err(|_| format!("hostIP {text:?} is no address"))?.to_canonical())
            }
        };
        Ok(HostPort {
            protocol,
            host_ip,
            host_port: port("hostPort", self.host_port)?,
            container_port: port("containerPort", self.container_port)?,
        })
    }
}
