//! Elements as nfnetlink messages.
//!
//! The numbers are those of `linux/netfilter/nfnetlink.h` and `linux/netfilter/nf_tables.h`.

use std::net::IpAddr;

use common::pods_table::Field;
use netlink_packet_core::DefaultNla;

use super::Chain;
use crate::attribute::{attribute, attributes, nested, text, text_of};
use crate::connection::Message;
use crate::nfnetlink::{self, About, FAMILY};

const NFNL_SUBSYS_NFTABLES: u16 = 10;
pub(super) const NFNL_MSG_BATCH_BEGIN: u16 = 16;
pub(super) const NFNL_MSG_BATCH_END: u16 = 17;
pub(super) const NFT_MSG_GETTABLE: u16 = (NFNL_SUBSYS_NFTABLES << 8) + 1;
pub(super) const NFT_MSG_GETCHAIN: u16 = (NFNL_SUBSYS_NFTABLES << 8) + 4;
pub(super) const NFT_MSG_GETGEN: u16 = (NFNL_SUBSYS_NFTABLES << 8) + 16;
pub(super) const NFT_MSG_GETSET: u16 = (NFNL_SUBSYS_NFTABLES << 8) + 10;
pub(super) const NFT_MSG_NEWSETELEM: u16 = (NFNL_SUBSYS_NFTABLES << 8) + 12;
pub(super) const NFT_MSG_GETSETELEM: u16 = (NFNL_SUBSYS_NFTABLES << 8) + 13;
pub(super) const NFT_MSG_DELSETELEM: u16 = (NFNL_SUBSYS_NFTABLES << 8) + 14;
const NFTA_TABLE_NAME: u16 = 1;
const NFTA_SET_ELEM_LIST_TABLE: u16 = 1;
const NFTA_SET_ELEM_LIST_SET: u16 = 2;
const NFTA_SET_ELEM_LIST_ELEMENTS: u16 = 3;
const NFTA_LIST_ELEM: u16 = 1;
const NFTA_SET_ELEM_KEY: u16 = 1;
const NFTA_SET_ELEM_DATA: u16 = 2;
const NFTA_DATA_VALUE: u16 = 1;
const NFTA_CHAIN_TABLE: u16 = 1;
const NFTA_CHAIN_NAME: u16 = 3;
const NFTA_CHAIN_HOOK: u16 = 4;
const NFTA_CHAIN_POLICY: u16 = 5;
const NFTA_HOOK_HOOKNUM: u16 = 1;
const NFTA_GEN_ID: u16 = 1;
const NFPROTO_UNSPEC: u8 = 0;
const NFPROTO_INET: u8 = 1;

/// linux/netfilter.h; of the bridge family the number is the same.
const NF_INET_FORWARD: u32 = 2;
const NF_DROP: u32 = 0;

/// Appends one message; `flags` are those beside `NLM_F_REQUEST`.
pub(super) fn append(
    datagram: &mut Vec<u8>,
    kind: u16,
    (flags, number): (u16, u32),
    attributes: &[DefaultNla],
) {
    // Of a batch the resource is the subsystem, and the family nobody's.
    let batch = matches!(kind, NFNL_MSG_BATCH_BEGIN | NFNL_MSG_BATCH_END);
    let all = batch || matches!(kind, NFT_MSG_GETCHAIN | NFT_MSG_GETGEN);
    let about = About {
        family: if all { NFPROTO_UNSPEC } else { NFPROTO_INET },
        resource: if batch { NFNL_SUBSYS_NFTABLES } else { 0 },
    };
    nfnetlink::append(datagram, kind, (flags, number), about, attributes);
}

pub(super) fn table(name: &str) -> [DefaultNla; 1] {
    [text(NFTA_TABLE_NAME, name)]
}

/// Table, set and elements; a request for a set itself begins alike.
pub(super) fn list(table: &str, set: &str, entries: &[DefaultNla]) -> Vec<DefaultNla> {
    let mut attributes =
        vec![text(NFTA_SET_ELEM_LIST_TABLE, table), text(NFTA_SET_ELEM_LIST_SET, set)];
    if !entries.is_empty() {
        attributes.push(nested(NFTA_SET_ELEM_LIST_ELEMENTS, entries));
    }
    attributes
}

pub(super) fn entry(key: &[Field], data: &[Field]) -> DefaultNla {
    let value = |number, fields| nested(number, &[DefaultNla::new(NFTA_DATA_VALUE, bytes(fields))]);
    let mut parts = vec![value(NFTA_SET_ELEM_KEY, key)];
    if !data.is_empty() {
        parts.push(value(NFTA_SET_ELEM_DATA, data));
    }
    nested(NFTA_LIST_ELEM, &parts)
}

/// The chain in this message, if what it does not accept of what is forwarded is dropped.
pub(super) fn dropping(message: &Message<'_>) -> Option<Chain> {
    let (family, attributes) = message.body.split_at_checked(FAMILY)?;
    let hook = attribute(attributes, NFTA_CHAIN_HOOK)?;
    let number = |value: &[u8]| value.try_into().ok().map(u32::from_be_bytes);
    let forward =
        attribute(hook, NFTA_HOOK_HOOKNUM).and_then(number).filter(|&hook| hook == NF_INET_FORWARD);
    let drop = attribute(attributes, NFTA_CHAIN_POLICY)
        .and_then(number)
        .filter(|&policy| policy == NF_DROP);
    let family = match *family.first()? {
        1 => "inet",
        2 => "ip",
        7 => "bridge",
        10 => "ip6",
        _ => return None,
    };
    forward.and(drop)?;
    Some(Chain {
        family,
        table: text_of(attribute(attributes, NFTA_CHAIN_TABLE)?),
        name: text_of(attribute(attributes, NFTA_CHAIN_NAME)?),
    })
}

pub(super) fn generation_of(message: &Message<'_>) -> Option<u32> {
    let id = attribute(message.body.get(FAMILY..)?, NFTA_GEN_ID)?;
    id.try_into().ok().map(u32::from_be_bytes)
}

/// The data of the one element in an answer: empty for a set, which has none.
pub(super) fn data_of<'a>(message: &Message<'a>) -> Option<&'a [u8]> {
    let entries = attribute(message.body.get(FAMILY..)?, NFTA_SET_ELEM_LIST_ELEMENTS)?;
    let entry = attribute(entries, NFTA_LIST_ELEM)?;
    attribute(entry, NFTA_SET_ELEM_DATA).map_or(Some(&[]), |data| attribute(data, NFTA_DATA_VALUE))
}

/// Key and data of each element in a message of a dump.
pub(super) fn elements_in<'a>(message: &Message<'a>) -> impl Iterator<Item = (&'a [u8], &'a [u8])> {
    let list =
        message.body.get(FAMILY..).and_then(|all| attribute(all, NFTA_SET_ELEM_LIST_ELEMENTS));
    attributes(list.unwrap_or_default()).filter_map(|(_, entry)| {
        let value = |number| attribute(attribute(entry, number)?, NFTA_DATA_VALUE);
        Some((value(NFTA_SET_ELEM_KEY)?, value(NFTA_SET_ELEM_DATA).unwrap_or_default()))
    })
}

/// The parts of a concatenation, in network order, each filled up to a register of 4 bytes; a value
/// of one part is as long as its type.
pub(super) fn bytes(fields: &[Field]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for field in fields {
        match *field {
            Field::Address(IpAddr::V4(ip)) => bytes.extend(ip.octets()),
            Field::Address(IpAddr::V6(ip)) => bytes.extend(ip.octets()),
            Field::Protocol(protocol) => bytes.push(protocol.number()),
            Field::Port(port) => bytes.extend(port.to_be_bytes()),
        }
        if fields.len() > 1 {
            bytes.resize(bytes.len().next_multiple_of(4), 0);
        }
    }
    bytes
}
