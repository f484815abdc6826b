//! The frame of a message to one of netfilter's parts (`linux/netfilter/nfnetlink.h`).

use netlink_packet_core::{DefaultNla, Emitable, NLM_F_REQUEST, NetlinkHeader};

/// A message's header, and family, version and resource after it (`struct nfgenmsg`).
const HEADER: usize = 16;
pub(crate) const FAMILY: usize = 4;

/// What a message is about.
#[derive(Clone, Copy)]
pub(crate) struct About {
    pub(crate) family: u8,
    pub(crate) resource: u16,
}

/// Appends one message of a `kind` with its subsystem; `flags` are those beside `NLM_F_REQUEST`.
pub(crate) fn append(
    datagram: &mut Vec<u8>,
    kind: u16,
    (flags, number): (u16, u32),
    about: About,
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
    let [high, low] = about.resource.to_be_bytes();
    family.copy_from_slice(&[about.family, 0, high, low]);
    attributes.emit(rest);
}
