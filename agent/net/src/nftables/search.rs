//! Finds the elements that lead to an address, where nobody knows any more which ones those are.

use std::net::IpAddr;

use common::attachment::Protocol;
use common::pods_table::{Element, Field, HAIRPIN, HOST_PORTS, HOST_PORTS_AT};
use common::{Family, PerFamily};
use netlink_packet_core::NLM_F_DUMP;
use nix::errno::Errno;

use super::Nftables;
use super::message::{NFT_MSG_GETSETELEM, append, elements_in, list};
use crate::NetError;
use crate::connection::{DUMP_ATTEMPTS, Message, Refusal};
use crate::error::During;

/// A part of a key or value.
#[derive(Clone, Copy)]
enum Part {
    Address,
    Protocol,
    Port,
}

/// What keys and values of the sets are made of.
const SETS: [(PerFamily<&str>, &[Part], &[Part]); 3] = [
    (HOST_PORTS, &[Part::Protocol, Part::Port], &[Part::Address, Part::Port]),
    (HOST_PORTS_AT, &[Part::Address, Part::Protocol, Part::Port], &[Part::Address, Part::Port]),
    (HAIRPIN, &[Part::Address, Part::Address], &[]),
];

impl Nftables {
    /// The elements in `table` that lead to one of `addresses`; none without the table.
    pub fn elements_to(
        &mut self,
        table: &str,
        addresses: &[IpAddr],
    ) -> Result<Vec<Element>, NetError> {
        let mut found = Vec::new();
        for family in Family::BOTH {
            if !addresses.iter().any(|&address| Family::from(address) == family) {
                continue;
            }
            for (set, key, data) in SETS {
                let set = set[family];
                let read = |message: &Message<'_>| {
                    let elements = elements_in(message).filter_map(|(k, d)| {
                        let (key, data) = (fields(k, key, family)?, fields(d, data, family)?);
                        Some(Element { set, key, data })
                    });
                    Some(elements.collect::<Vec<_>>())
                };
                let elements = self.dump(table, set, read).during("list elements of", set)?;
                found.extend(elements.into_iter().filter(|element| leads_to(element, addresses)));
            }
        }
        Ok(found)
    }

    fn dump(
        &mut self,
        table: &str,
        set: &str,
        read: impl Fn(&Message<'_>) -> Option<Vec<Element>>,
    ) -> Result<Vec<Element>, Refusal> {
        for _ in 0..DUMP_ATTEMPTS {
            let number = self.connection.number();
            let mut datagram = Vec::new();
            let kind = NFT_MSG_GETSETELEM;
            append(&mut datagram, kind, (NLM_F_DUMP, number), &list(table, set, &[]));
            self.connection.send(&datagram)?;
            match self.connection.collect(number, &read) {
                Err(refusal) if refusal.errno() == Some(Errno::ENOENT) => return Ok(Vec::new()),
                Err(refusal) => return Err(refusal),
                Ok(None) => {}
                Ok(Some(elements)) => return Ok(elements.concat()),
            }
        }
        Err(Refusal::restless())
    }
}

/// A value that is an address, or else a key that begins with one.
fn leads_to(element: &Element, addresses: &[IpAddr]) -> bool {
    let to = element.data.first().or(element.key.first());
    matches!(to, Some(Field::Address(address)) if addresses.contains(address))
}

/// Reads the parts of a concatenation, each of which is filled up to 4 bytes.
fn fields(mut bytes: &[u8], parts: &[Part], family: Family) -> Option<Vec<Field>> {
    let mut fields = Vec::new();
    for part in parts {
        let length = match part {
            Part::Address => usize::from(family.width() / 8),
            Part::Protocol | Part::Port => 4,
        };
        let (value, rest) = bytes.split_at_checked(length)?;
        bytes = rest;
        fields.push(match part {
            Part::Address => Field::Address(crate::attribute::ip_of(value)?),
            Part::Port => Field::Port(u16::from_be_bytes(*value.first_chunk()?)),
            Part::Protocol => {
                let all = [Protocol::Tcp, Protocol::Udp, Protocol::Sctp];
                let number = value.first()?;
                Field::Protocol(all.into_iter().find(|protocol| protocol.number() == *number)?)
            }
        });
    }
    Some(fields)
}
