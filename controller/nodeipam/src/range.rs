//! Pure: a network that is cut into blocks of one length.

use common::Prefix;

/// A network, and the length of its blocks: there is at least one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range {
    cidr: Prefix,
    mask: u8,
}

/// Why a network can't be cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{cidr} holds no block of /{mask}")]
pub struct NoBlocks {
    pub cidr: Prefix,
    pub mask: u8,
}

impl Range {
    /// All blocks of `/mask` in `cidr`.
    pub fn new(cidr: Prefix, mask: u8) -> Result<Self, NoBlocks> {
        let holds_some = cidr.subnet_bits(mask).is_some();
        if holds_some { Ok(Self { cidr, mask }) } else { Err(NoBlocks { cidr, mask }) }
    }

    pub const fn cidr(self) -> Prefix {
        self.cidr
    }

    /// Length of its blocks.
    pub const fn mask(self) -> u8 {
        self.mask
    }

    /// Whether `block` has addresses of it, and is none of its blocks.
    pub fn is_cut_by(self, block: Prefix) -> bool {
        self.cidr.overlaps(block) && self.mask != block.length()
    }

    /// Bits of an address within a block.
    pub const fn host_bits(self) -> u8 {
        self.cidr.family().width() - self.mask
    }

    /// Index of the last block; the first one's is 0.
    pub const fn last(self) -> u128 {
        match self.mask - self.cidr.length() {
            0 => 0,
            bits => u128::MAX >> (128 - bits),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_must_be_a_block() {
        let range = |cidr: &str, mask| Range::new(Prefix::parse_masking(cidr).unwrap(), mask);
        let error = range("10.0.0.0/24", 16).unwrap_err();
        assert_eq!(error.to_string(), "10.0.0.0/24 holds no block of /16");
        assert!(range("10.0.0.0/24", 33).is_err());
        assert_eq!(range("10.0.0.0/24", 24).unwrap().last(), 0);
        assert_eq!(range("10.0.0.0/16", 24).unwrap().last(), 255);
        assert_eq!(range("::/0", 128).unwrap().last(), u128::MAX);
    }
}
