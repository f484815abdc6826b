//! Elements of nft sets and maps, one by one, without a process (nfnetlink).
//!
//! The numbers are those of linux/netfilter/nfnetlink.h and linux/netfilter/nf_tables.h.

use common::pods_table::{Element, Field};
use netlink_packet_core::{
    DefaultNla, Emitable, NLM_F_ACK, NLM_F_CREATE, NLM_F_EXCL, NLM_F_REQUEST, NetlinkHeader,
};
use netlink_sys::protocols::NETLINK_NETFILTER;
use nix::errno::Errno;

use crate::NetError;
use crate::attribute::{attribute, nested, text};
use crate::connection::{Connection, Message, Refusal};
use crate::error::During;

const NFNL_SUBSYS_NFTABLES: u16 = 10;
const NFNL_MSG_BATCH_BEGIN: u16 = 16;
const NFNL_MSG_BATCH_END: u16 = 17;
const NFT_MSG_GETSET: u16 = NFNL_SUBSYS_NFTABLES << 8 | 10;
const NFT_MSG_NEWSETELEM: u16 = NFNL_SUBSYS_NFTABLES << 8 | 12;
const NFT_MSG_GETSETELEM: u16 = NFNL_SUBSYS_NFTABLES << 8 | 13;
const NFT_MSG_DELSETELEM: u16 = NFNL_SUBSYS_NFTABLES << 8 | 14;
const NFTA_SET_ELEM_LIST_TABLE: u16 = 1;
const NFTA_SET_ELEM_LIST_SET: u16 = 2;
const NFTA_SET_ELEM_LIST_ELEMENTS: u16 = 3;
const NFTA_LIST_ELEM: u16 = 1;
const NFTA_SET_ELEM_KEY: u16 = 1;
const NFTA_SET_ELEM_DATA: u16 = 2;
const NFTA_DATA_VALUE: u16 = 1;
const NFPROTO_INET: u8 = 1;

/// A message's header, and family, version and resource after it (`struct nfgenmsg`).
const HEADER: usize = 16;
const FAMILY: usize = 4;

/// Deletions in one transaction: if all are refused, the refusals fit the receive buffer.
const BATCH: usize = 128;

/// Talks to the nf_tables of the network namespace in which it was opened.
#[derive(Debug)]
pub struct Nftables {
    connection: Connection,
}

/// Why elements were not changed; none of the transaction was then.
#[derive(Debug, thiserror::Error)]
pub enum ElementsError {
    /// The table, or one of its sets, is missing: only the agent makes them.
    #[error("set {set} is missing in table inet {table}")]
    TableMissing { table: String, set: &'static str },
    /// The key of an element is in the set: a host port that is taken.
    #[error("{element:?} conflicts with an element that is there")]
    Exists { element: Element },
    #[error(transparent)]
    Net(#[from] NetError),
}

/// One message of a transaction.
#[derive(Clone, Copy)]
enum Change<'a> {
    Delete(&'a Element),
    Add(&'a Element),
}

impl Nftables {
    /// Opens a socket into the calling thread's network namespace.
    pub fn open() -> Result<Self, NetError> {
        let connection =
            Connection::open(NETLINK_NETFILTER).during("open", "an nftables socket")?;
        Ok(Self { connection })
    }

    /// Adds all `elements` to the sets of `table`, or none.
    ///
    /// # Errors
    /// [`ElementsError::Exists`] names the first whose key is there, with whatever data.
    pub fn add_elements(&mut self, table: &str, elements: &[Element]) -> Result<(), ElementsError> {
        self.replace_elements(table, &[], elements)
    }

    /// Deletes those of `elements` that are there, by their keys.
    pub fn delete_elements(
        &mut self,
        table: &str,
        elements: &[Element],
    ) -> Result<(), ElementsError> {
        elements.chunks(BATCH).try_for_each(|some| self.replace_elements(table, some, &[]))
    }

    /// Deletes those of `old` that are there and adds all of `new`, in one transaction.
    pub fn replace_elements(
        &mut self,
        table: &str,
        old: &[Element],
        new: &[Element],
    ) -> Result<(), ElementsError> {
        let old = old.iter().map(Change::Delete);
        let mut changes = old.chain(new.iter().map(Change::Add)).collect::<Vec<_>>();
        // One that is not there spoils the transaction, so that it is sent again without it: a
        // kernel before 6.3 has no other way (`NFT_MSG_DESTROYSETELEM`).
        while !changes.is_empty() {
            let outcomes = self.transact(table, &changes).during("change elements of", table)?;
            let mut absent = Vec::new();
            for (&change, outcome) in changes.iter().zip(outcomes) {
                let gone = self.judge(table, change, outcome)?;
                absent.push(gone == Presence::Absent);
            }
            if !absent.contains(&true) {
                return Ok(());
            }
            let mut absent = absent.into_iter();
            changes.retain(|_| absent.next() == Some(false));
        }
        Ok(())
    }

    /// Those of `elements` that are not there with the same data.
    pub fn missing_elements(
        &mut self,
        table: &str,
        elements: &[Element],
    ) -> Result<Vec<Element>, ElementsError> {
        let mut missing = Vec::new();
        for element in elements {
            let key = [entry(&element.key, &[])];
            let found = self.ask(NFT_MSG_GETSETELEM, &list(table, element.set, &key), |message| {
                Some(data_of(message) == Some(&bytes(&element.data)[..]))
            });
            let same = match found {
                Err(refusal) if refusal.errno() == Some(Errno::ENOENT) => {
                    self.find_set(table, element.set)?;
                    false
                }
                found => found.during("find", format_args!("{element:?}"))?,
            };
            if !same {
                missing.push(element.clone());
            }
        }
        Ok(missing)
    }

    /// What an outcome means for its change, and for the transaction.
    fn judge(
        &mut self,
        table: &str,
        change: Change<'_>,
        outcome: Result<(), Refusal>,
    ) -> Result<Presence, ElementsError> {
        let Err(refusal) = outcome else { return Ok(Presence::AsAsked) };
        match (change, refusal.errno()) {
            (Change::Delete(element), Some(Errno::ENOENT)) => {
                self.find_set(table, element.set)?;
                Ok(Presence::Absent)
            }
            // EBUSY where the data differ, whether or not NLM_F_EXCL is given.
            (Change::Add(element), Some(Errno::EEXIST | Errno::EBUSY)) => {
                Err(ElementsError::Exists { element: element.clone() })
            }
            (Change::Add(element), Some(Errno::ENOENT)) => {
                self.find_set(table, element.set)?;
                Err(refusal.during("add", format_args!("{element:?}")).into())
            }
            (Change::Add(element), _) => {
                Err(refusal.during("add", format_args!("{element:?}")).into())
            }
            (Change::Delete(element), _) => {
                Err(refusal.during("delete", format_args!("{element:?}")).into())
            }
        }
    }

    /// Tells a missing set from a missing element: the kernel says ENOENT for both.
    fn find_set(&mut self, table: &str, set: &'static str) -> Result<(), ElementsError> {
        match self.ask(NFT_MSG_GETSET, &list(table, set, &[]), |_| Some(())) {
            Err(refusal) if refusal.errno() == Some(Errno::ENOENT) => {
                Err(ElementsError::TableMissing { table: table.to_owned(), set })
            }
            found => Ok(found.during("find set", set)?),
        }
    }

    fn ask<T>(
        &mut self,
        kind: u16,
        attributes: &[DefaultNla],
        read: impl Fn(&Message<'_>) -> Option<T>,
    ) -> Result<T, Refusal> {
        let number = self.connection.number();
        let mut datagram = Vec::new();
        append(&mut datagram, kind, (0, number), attributes);
        self.connection.send(&datagram)?;
        self.connection.answer(number, read)
    }

    /// Sends all changes as one transaction, which must not be empty.
    fn transact(
        &mut self,
        table: &str,
        changes: &[Change<'_>],
    ) -> Result<Vec<Result<(), Refusal>>, Refusal> {
        let begin = self.connection.number();
        let mut numbers = Vec::with_capacity(changes.len());
        let mut datagram = Vec::new();
        append(&mut datagram, NFNL_MSG_BATCH_BEGIN, (0, begin), &[]);
        for (position, change) in changes.iter().enumerate() {
            let number = self.connection.number();
            numbers.push(number);
            let last = if position + 1 == changes.len() { NLM_F_ACK } else { 0 };
            let (kind, flags, element, entry) = match change {
                Change::Delete(e) => (NFT_MSG_DELSETELEM, 0, e, entry(&e.key, &[])),
                Change::Add(e) => {
                    let flags = NLM_F_CREATE | NLM_F_EXCL;
                    (NFT_MSG_NEWSETELEM, flags, e, entry(&e.key, &e.data))
                }
            };
            let attributes = list(table, element.set, &[entry]);
            append(&mut datagram, kind, (flags | last, number), &attributes);
        }
        let end = self.connection.number();
        append(&mut datagram, NFNL_MSG_BATCH_END, (0, end), &[]);
        self.connection.send(&datagram)?;
        // A commit that fails is told under the number of the batch's begin.
        self.connection.outcomes(&numbers, Some(begin))
    }
}

/// Whether an element was where a change wanted it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Presence {
    AsAsked,
    Absent,
}

/// Appends one message; `flags` are those beside `NLM_F_REQUEST`.
fn append(
    datagram: &mut Vec<u8>,
    kind: u16,
    (flags, number): (u16, u32),
    attributes: &[DefaultNla],
) {
    let start = datagram.len();
    let length = HEADER + FAMILY + attributes.buffer_len();
    datagram.resize(start + length, 0);
    let mut header = NetlinkHeader::default();
    header.length = u32::try_from(length).unwrap_or(u32::MAX);
    header.message_type = kind;
    header.flags = NLM_F_REQUEST | flags;
    header.sequence_number = number;
    let message = datagram.get_mut(start..).unwrap_or_default();
    let Some((head, body)) = message.split_at_mut_checked(HEADER) else { return };
    header.emit(head);
    let Some((family, rest)) = body.split_at_mut_checked(FAMILY) else { return };
    // Of a batch the resource is the subsystem, and the family nobody's.
    let batch = matches!(kind, NFNL_MSG_BATCH_BEGIN | NFNL_MSG_BATCH_END);
    let [high, low] = if batch { NFNL_SUBSYS_NFTABLES } else { 0 }.to_be_bytes();
    family.copy_from_slice(&[if batch { 0 } else { NFPROTO_INET }, 0, high, low]);
    attributes.emit(rest);
}

/// Table, set and elements; a request for a set itself begins alike.
fn list(table: &str, set: &str, entries: &[DefaultNla]) -> Vec<DefaultNla> {
    let mut attributes =
        vec![text(NFTA_SET_ELEM_LIST_TABLE, table), text(NFTA_SET_ELEM_LIST_SET, set)];
    if !entries.is_empty() {
        attributes.push(nested(NFTA_SET_ELEM_LIST_ELEMENTS, entries));
    }
    attributes
}

fn entry(key: &[Field], data: &[Field]) -> DefaultNla {
    let value = |number, fields| nested(number, &[DefaultNla::new(NFTA_DATA_VALUE, bytes(fields))]);
    let mut parts = vec![value(NFTA_SET_ELEM_KEY, key)];
    if !data.is_empty() {
        parts.push(value(NFTA_SET_ELEM_DATA, data));
    }
    nested(NFTA_LIST_ELEM, &parts)
}

/// The data of the one element in an answer: empty for a set, which has none.
fn data_of<'a>(message: &Message<'a>) -> Option<&'a [u8]> {
    let entries = attribute(message.body.get(FAMILY..)?, NFTA_SET_ELEM_LIST_ELEMENTS)?;
    let entry = attribute(entries, NFTA_LIST_ELEM)?;
    attribute(entry, NFTA_SET_ELEM_DATA).map_or(Some(&[]), |data| attribute(data, NFTA_DATA_VALUE))
}

/// The parts of a concatenation, in network order, each filled up to a register of 4 bytes; a value
/// of one part is as long as its type.
fn bytes(fields: &[Field]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for field in fields {
        match *field {
            Field::Address(std::net::IpAddr::V4(ip)) => bytes.extend(ip.octets()),
            Field::Address(std::net::IpAddr::V6(ip)) => bytes.extend(ip.octets()),
            Field::Protocol(protocol) => bytes.push(protocol.number()),
            Field::Port(port) => bytes.extend(port.to_be_bytes()),
        }
        if fields.len() > 1 {
            bytes.resize(bytes.len().next_multiple_of(4), 0);
        }
    }
    bytes
}

#[cfg(test)]
mod tests;
