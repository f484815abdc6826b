//! An IP network in CIDR notation, without host bits.

use std::fmt;
use std::net::{AddrParseError, IpAddr};
use std::num::ParseIntError;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::Family;

/// An IP network: an address whose host bits are zero, and a length (RFC 4632, RFC 4291).
///
/// Ordered by family, address, length: a network stands directly before what it contains.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Prefix {
    family: Family,
    bits: u128,
    length: u8,
}

/// Why a text is no [`Prefix`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PrefixError {
    #[error("{0:?} is no CIDR: want ADDRESS/LENGTH, as in 10.244.0.0/16 or fd00:10:244::/56")]
    NoSlash(String),
    #[error("{text:?} is no CIDR")]
    Address { text: String, source: AddrParseError },
    #[error("{text:?} is no CIDR: its length is no number")]
    Length { text: String, source: ParseIntError },
    #[error("/{length} is too long for {family}, which has {} bits", family.width())]
    TooLong { family: Family, length: u8 },
    #[error("{text:?} has host bits set: the network is {network}")]
    HostBits { text: String, network: Prefix },
}

impl Prefix {
    /// The network of `length` that `address` is in; host bits are cut off.
    ///
    /// # Errors
    /// [`PrefixError::TooLong`] if the family has fewer bits.
    pub fn containing(address: IpAddr, length: u8) -> Result<Self, PrefixError> {
        let family = Family::from(address);
        if length > family.width() {
            return Err(PrefixError::TooLong { family, length });
        }
        let mut prefix = Self { family, bits: bits(address), length };
        prefix.bits &= !prefix.host_mask();
        Ok(prefix)
    }

    /// The network of one address.
    pub fn host(address: IpAddr) -> Self {
        let family = Family::from(address);
        Self { family, bits: bits(address), length: family.width() }
    }

    /// Parses `ADDRESS/LENGTH` and cuts off host bits, as Kubernetes does with a cluster CIDR.
    pub fn parse_masking(text: &str) -> Result<Self, PrefixError> {
        let (address, length) =
            text.split_once('/').ok_or_else(|| PrefixError::NoSlash(text.to_owned()))?;
        let address = address
            .parse::<IpAddr>()
            .map_err(|source| PrefixError::Address { text: text.to_owned(), source })?;
        let length = length
            .parse::<u8>()
            .map_err(|source| PrefixError::Length { text: text.to_owned(), source })?;
        Self::containing(address, length)
    }

    pub const fn family(self) -> Family {
        self.family
    }

    /// The address of the network: the one before the slash.
    pub const fn network(self) -> IpAddr {
        self.family.address(self.bits)
    }

    /// Leading bits that its addresses share.
    pub const fn length(self) -> u8 {
        self.length
    }

    /// The address `offset` places after the network's; none if that lies outside.
    pub fn nth(self, offset: u128) -> Option<IpAddr> {
        (offset <= self.host_mask()).then(|| self.family.address(self.bits | offset))
    }

    /// How far `address` lies after the network's; none if it lies outside.
    pub fn offset_of(self, address: IpAddr) -> Option<u128> {
        self.contains(address).then(|| bits(address) & self.host_mask())
    }

    /// The last address: IPv4's broadcast.
    pub const fn last(self) -> IpAddr {
        self.family.address(self.bits | self.host_mask())
    }

    /// The address of cbr0 in a PodCIDR: the first after the network's, as kubenet had it.
    ///
    /// None in a network of one address.
    pub fn gateway(self) -> Option<IpAddr> {
        self.nth(1)
    }

    pub fn contains(self, address: IpAddr) -> bool {
        self.covers(Self::host(address))
    }

    /// Whether every address of `other` is in this network.
    pub fn covers(self, other: Self) -> bool {
        self.family == other.family
            && self.length <= other.length
            && other.bits & !self.host_mask() == self.bits
    }

    pub fn overlaps(self, other: Self) -> bool {
        self.covers(other) || other.covers(self)
    }

    /// How many networks of `length` it holds, as a power of two; none if it holds none.
    pub fn subnet_bits(self, length: u8) -> Option<u8> {
        (length <= self.family.width()).then(|| length.checked_sub(self.length)).flatten()
    }

    /// The `index`th of its subnets of `length`; none if there are fewer.
    pub fn subnet(self, length: u8, index: u128) -> Option<Self> {
        let subnet_bits = self.subnet_bits(length)?;
        if index.checked_shr(subnet_bits.into()).unwrap_or(0) != 0 {
            return None;
        }
        let shift = u32::from(self.family.width() - length);
        let offset = index.checked_shl(shift).unwrap_or(0);
        Some(Self { family: self.family, bits: self.bits | offset, length })
    }

    /// Ones where an address of this network may differ from another.
    const fn host_mask(self) -> u128 {
        let host_bits = self.family.width() - self.length;
        if host_bits == 128 { u128::MAX } else { (1 << host_bits) - 1 }
    }
}

fn bits(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => address.to_bits().into(),
        IpAddr::V6(address) => address.to_bits(),
    }
}

impl FromStr for Prefix {
    type Err = PrefixError;

    /// Parses `ADDRESS/LENGTH` and refuses host bits.
    fn from_str(text: &str) -> Result<Self, PrefixError> {
        let network = Self::parse_masking(text)?;
        if text.split_once('/').is_some_and(|(address, _)| address.parse() != Ok(network.network()))
        {
            return Err(PrefixError::HostBits { text: text.to_owned(), network });
        }
        Ok(network)
    }
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.network(), self.length)
    }
}

impl fmt::Debug for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl From<Prefix> for String {
    fn from(prefix: Prefix) -> Self {
        prefix.to_string()
    }
}

impl TryFrom<String> for Prefix {
    type Error = PrefixError;

    fn try_from(text: String) -> Result<Self, PrefixError> {
        text.parse()
    }
}

#[cfg(test)]
mod tests;
