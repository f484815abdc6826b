//! Pure: which addresses a runtime asks for, from which ranges, and by which MAC address.
//!
//! Three hands reach us here: `runtimeConfig` (capabilities `ips`, `ipRanges`, `mac`), `args.cni` of the
//! configuration, and `CNI_ARGS`. Addresses of all of them count; of MAC addresses the first's.

use std::net::IpAddr;

use common::conflist::Range;
use common::{Family, Prefix};
use net::Mac;
use serde::Deserialize;
use serde_json::Value;

use super::{Args, Conf};
use crate::ranges::{self, Pool, Want};

/// What is asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Asked {
    ips: Vec<IpAddr>,
    ranges: Vec<AskedRange>,
    pub(super) mac: Option<Mac>,
}

/// As CNI's conventions have it, or with the capitals that go-cni writes, whose empty texts are none.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
struct AskedRange {
    #[serde(alias = "Subnet")]
    subnet: Prefix,
    #[serde(default, alias = "RangeStart", deserialize_with = "address")]
    range_start: Option<IpAddr>,
    #[serde(default, alias = "RangeEnd", deserialize_with = "address")]
    range_end: Option<IpAddr>,
    #[serde(default, alias = "Gateway", deserialize_with = "address")]
    gateway: Option<IpAddr>,
}

/// The conventions have lists of ranges in a list, go-cni writes one list.
#[derive(Deserialize)]
#[serde(untagged)]
enum RangeSet {
    One(AskedRange),
    Several(Vec<AskedRange>),
}

fn address<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<IpAddr>, D::Error> {
    let text = Option::<String>::deserialize(deserializer)?.filter(|text| !text.is_empty());
    let address = text.map(|text| text.parse().map_err(|_| text)).transpose();
    address.map_err(|text| serde::de::Error::custom(format!("{text:?} is no address")))
}

impl Asked {
    pub(super) fn parse(
        runtime: &Conf,
        args: Option<&Value>,
        cni_args: &Args,
        mistakes: &mut Vec<String>,
    ) -> Self {
        let in_conf = args.and_then(|args| args.get("cni"));
        let mut ips = cni_args.ip.into_iter().collect::<Vec<_>>();
        for list in [in_conf.and_then(|cni| cni.get("ips")), runtime.get("ips")] {
            let texts = list.map(Option::<Vec<String>>::deserialize).transpose();
            match texts {
                Ok(texts) => ips.extend(parsed(texts.flatten().unwrap_or_default(), mistakes)),
                Err(error) => mistakes.push(format!("ips: {error}")),
            }
        }
        ips.sort();
        ips.dedup();
        let sets = runtime.get("ipRanges").map(Option::<Vec<RangeSet>>::deserialize).transpose();
        let sets = sets.unwrap_or_else(|error| {
            mistakes.push(format!("ipRanges: {error}"));
            None
        });
        let ranges = sets.flatten().unwrap_or_default().into_iter().flat_map(|set| match set {
            RangeSet::One(range) => vec![range],
            RangeSet::Several(ranges) => ranges,
        });
        let macs = [runtime.get("mac"), in_conf.and_then(|cni| cni.get("mac"))];
        let mac = macs.into_iter().flatten().find(|mac| !mac.is_null() && *mac != "");
        let mac = mac.map(|mac| mac.as_str().unwrap_or_default().parse::<Mac>());
        let mac = mac.transpose().unwrap_or_else(|error| {
            mistakes.push(format!("mac: {error}"));
            None
        });
        let mac = mac.or(cni_args.mac);
        mistakes.extend(mac.and_then(unusable));
        Self { ips, ranges: ranges.collect(), mac }
    }

    /// What that means for each family that `ranges` have.
    pub(super) fn wants(&self, ranges: &[Range], mistakes: &mut Vec<String>) -> Vec<Want> {
        let narrowed = self.ranges.iter().filter_map(|asked| match asked.within(ranges) {
            Ok(range) => Some(range),
            Err(mistake) => {
                mistakes.push(format!("ipRanges: {mistake}"));
                None
            }
        });
        let narrowed = narrowed.collect::<Vec<_>>();
        let mut families = ranges.iter().map(|range| range.subnet.family()).collect::<Vec<_>>();
        let first = families.first().copied();
        families.sort_by_key(|family| Some(*family) != first);
        families.dedup();
        let strangers = self.ips.iter().filter(|ip| !families.contains(&Family::from(**ip)));
        mistakes.extend(strangers.filter_map(|&ip| ranges::refusal(&[], ip)));
        let wants = families.into_iter().map(|family| {
            let pools = ranges::pools(&narrowed, family);
            let pools = if pools.is_empty() { ranges::pools(ranges, family) } else { pools };
            self.want(family, pools, mistakes)
        });
        wants.collect()
    }

    fn want(&self, family: Family, pools: Vec<Pool>, mistakes: &mut Vec<String>) -> Want {
        let ips = self.ips.iter().copied().filter(|ip| Family::from(*ip) == family);
        match ips.collect::<Vec<_>>()[..] {
            [] => Want::OneOf(pools),
            [ip] => {
                mistakes.extend(ranges::refusal(&pools, ip));
                Want::This(ip)
            }
            [ip, ..] => {
                let count = self.ips.iter().filter(|ip| Family::from(**ip) == family).count();
                mistakes.push(format!("{count} addresses of {family} are asked for: want one"));
                Want::This(ip)
            }
        }
    }
}

impl AskedRange {
    /// The part of one of `ranges` that this is: the bridge has no other gateways.
    fn within(&self, ranges: &[Range]) -> Result<Range, String> {
        let subnet = self.subnet;
        let Some(range) = ranges.iter().find(|range| range.subnet.covers(subnet)) else {
            return Err(format!("{subnet} is in no range of the network"));
        };
        if let Some(gateway) = self.gateway.filter(|&gateway| gateway != range.gateway) {
            return Err(format!("the gateway of {subnet} is {}, not {gateway}", range.gateway));
        }
        let ends = [self.range_start, self.range_end];
        if let Some(end) = ends.into_iter().flatten().find(|&end| !subnet.contains(end)) {
            return Err(format!("{end} is not in {subnet}"));
        }
        // A part of a subnet has no network and broadcast address of its own.
        let part = subnet != range.subnet;
        let start = self.range_start.or(part.then(|| subnet.network())).or(range.range_start);
        let end = self.range_end.or(part.then(|| subnet.last())).or(range.range_end);
        Ok(Range { range_start: start, range_end: end, ..*range })
    }
}

fn parsed(texts: Vec<String>, mistakes: &mut Vec<String>) -> Vec<IpAddr> {
    let parsed = texts.into_iter().filter_map(|text| {
        let ip = without_length(&text);
        if ip.is_none() {
            mistakes.push(format!("ips: {text:?} is no address"));
        }
        ip
    });
    parsed.collect()
}

/// An address, with or without a length behind it: that is the range's.
pub(super) fn without_length(text: &str) -> Option<IpAddr> {
    let (ip, length) = text.split_once('/').unwrap_or((text, "0"));
    let ip = ip.parse::<IpAddr>().ok()?;
    let fits = length.parse::<u8>().is_ok_and(|length| length <= Family::from(ip).width());
    fits.then(|| ip.to_canonical())
}

/// Why no interface may have `mac`.
fn unusable(mac: Mac) -> Option<String> {
    let Mac([first, second, ..]) = mac;
    if mac == Mac([0; 6]) || first & 1 == 1 {
        Some(format!("mac: {mac} is no address of one interface"))
    } else if first == 0x0a && matches!(second, 0x58 | 0x59) {
        Some(format!("mac: {mac} is of those that follow from an IP address: 0a:58 and 0a:59"))
    } else {
        None
    }
}

#[cfg(test)]
mod tests;
