//! A request to the server, in numbers.

use super::super::picture::seen;
use super::super::world::{NEW, block_number, number};
use crate::registrar::Command;

/// A [`Command`]; `fresh` is whether the claim that it names is the server's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Request {
    Claim { block: u8, node: u8 },
    Read { block: u8 },
    Adopt { block: u8, node: u8, fresh: bool },
    Release { block: u8, fresh: bool },
    Look { node: u8 },
    Assign { block: u8, node: u8 },
}

/// How many requests can change something.
pub(super) const PLACES: usize = 39;

impl Request {
    pub(super) fn of(command: &Command) -> Self {
        match command {
            Command::Claim { block, holder } => {
                Self::Claim { block: block_number(*block), node: seen(holder).0 }
            }
            Command::Read { block, .. } => Self::Read { block: block_number(*block) },
            Command::Adopt { block, mark, to } => {
                let (block, node) = (block_number(*block), seen(to).0);
                Self::Adopt { block, node, fresh: mark.version == NEW }
            }
            Command::Release { block, mark } => {
                Self::Release { block: block_number(*block), fresh: mark.version == NEW }
            }
            Command::Look(holder) => Self::Look { node: seen(holder).0 },
            Command::Assign(assignment) => {
                let block = block_number(assignment.cidrs[0]);
                Self::Assign { block, node: number(&assignment.uid) }
            }
        }
    }

    /// Its place among all that can change something.
    pub(super) const fn place(self) -> Option<u8> {
        match self {
            Self::Claim { block, node } => Some(4 * block + node),
            Self::Assign { block, node } => Some(12 + 4 * block + node),
            Self::Adopt { block, node, fresh: true } => Some(24 + 4 * block + node),
            Self::Release { block, fresh: true } => Some(36 + block),
            _ => None,
        }
    }

    pub(super) const fn at(place: u8) -> Self {
        let (block, node) = (place / 4 % 3, place % 4);
        match place {
            0..12 => Self::Claim { block, node },
            12..24 => Self::Assign { block, node },
            24..36 => Self::Adopt { block, node, fresh: true },
            _ => Self::Release { block: place - 36, fresh: true },
        }
    }

    /// Its place, if it can be carried out after all else that is known of it is forgotten; claims
    /// are made anyway.
    pub(super) fn late_place(self) -> Option<u8> {
        self.place().filter(|_| !matches!(self, Self::Claim { .. }))
    }
}
