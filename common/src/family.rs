//! The two address families of a cluster, and a value for each.
//!
//! Code that treats both alike loops over [`Family::BOTH`] or holds a [`PerFamily`];
//! nothing has a `_v4` and a `_v6` twin.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ops::{Index, IndexMut};

/// An IP address family.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Family {
    V4,
    V6,
}

impl Family {
    /// In the order in which Kubernetes lists them by default.
    pub const BOTH: [Self; 2] = [Self::V4, Self::V6];

    /// Bits in an address: 32 or 128.
    pub const fn width(self) -> u8 {
        match self {
            Self::V4 => 32,
            Self::V6 => 128,
        }
    }

    /// The address whose number is `bits`; IPv4 takes the low 32.
    pub const fn address(self, bits: u128) -> IpAddr {
        match self {
            #[expect(clippy::cast_possible_truncation, reason = "an IPv4 address has 32 bits")]
            Self::V4 => IpAddr::V4(Ipv4Addr::from_bits(bits as u32)),
            Self::V6 => IpAddr::V6(Ipv6Addr::from_bits(bits)),
        }
    }
}

impl From<IpAddr> for Family {
    fn from(address: IpAddr) -> Self {
        if address.is_ipv4() { Self::V4 } else { Self::V6 }
    }
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::V4 => "IPv4",
            Self::V6 => "IPv6",
        })
    }
}

/// One `T` for each family.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PerFamily<T> {
    pub v4: T,
    pub v6: T,
}

impl<T> PerFamily<T> {
    /// What `make` gives for each family.
    pub fn from_fn(mut make: impl FnMut(Family) -> T) -> Self {
        Self { v4: make(Family::V4), v6: make(Family::V6) }
    }

    /// Both values with their family, IPv4 first.
    pub fn iter(&self) -> impl Iterator<Item = (Family, &T)> {
        [(Family::V4, &self.v4), (Family::V6, &self.v6)].into_iter()
    }
}

impl<T> Index<Family> for PerFamily<T> {
    type Output = T;

    fn index(&self, family: Family) -> &T {
        match family {
            Family::V4 => &self.v4,
            Family::V6 => &self.v6,
        }
    }
}

impl<T> IndexMut<Family> for PerFamily<T> {
    fn index_mut(&mut self, family: Family) -> &mut T {
        match family {
            Family::V4 => &mut self.v4,
            Family::V6 => &mut self.v6,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_its_number() {
        assert_eq!(Family::V4.address(0x0a00_0001), "10.0.0.1".parse::<IpAddr>().unwrap());
        assert_eq!(Family::V6.address(1), "::1".parse::<IpAddr>().unwrap());
    }

    #[test]
    fn a_value_is_found_by_its_family() {
        let widths = PerFamily::from_fn(Family::width);
        for (family, &width) in widths.iter() {
            assert_eq!(widths[family], width);
            assert_eq!(Family::from(family.address(0)), family);
        }
    }
}
