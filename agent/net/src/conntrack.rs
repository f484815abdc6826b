//! The kernel's memory of flows, of which stale ones are forgotten without a process (nfnetlink).
//!
//! A flow goes on by the translation that its first packet found. That of a UDP client which never falls
//! silent never ends, so what it says to a host port keeps going to a pod that is gone, or to nobody.

use std::net::IpAddr;

use common::Family;
use netlink_packet_core::{DefaultNla, NLM_F_ACK, NLM_F_DUMP};
use netlink_sys::protocols::NETLINK_NETFILTER;

use crate::NetError;
use crate::attribute::{attribute, attributes, ip_of, nested};
use crate::connection::{Connection, DUMP_ATTEMPTS, Message, Refusal};
use crate::error::During;
use crate::nfnetlink::{About, FAMILY, append};

/// `linux/netfilter/nfnetlink.h`, `NFNL_SUBSYS_CTNETLINK`, and after it the numbers of
/// `linux/netfilter/nfnetlink_conntrack.h`.
const CTNETLINK: u16 = 1 << 8;
const IPCTNL_MSG_CT_GET: u16 = CTNETLINK + 1;
const IPCTNL_MSG_CT_DELETE: u16 = CTNETLINK + 2;
const CTA_TUPLE_ORIG: u16 = 1;
const CTA_ID: u16 = 12;
const CTA_ZONE: u16 = 18;
const CTA_FILTER: u16 = 25;
const CTA_FILTER_ORIG_FLAGS: u16 = 1;
const CTA_FILTER_REPLY_FLAGS: u16 = 2;
const CTA_TUPLE_IP: u16 = 1;
const CTA_TUPLE_PROTO: u16 = 2;
const CTA_PROTO_NUM: u16 = 1;
const CTA_PROTO_DST_PORT: u16 = 3;

/// `net/netfilter/nf_internals.h`, `CTA_FILTER_F_CTA_PROTO_NUM` and `CTA_FILTER_F_CTA_PROTO_DST_PORT`.
const BY_PROTOCOL_AND_PORT: u32 = 1 << 3 | 1 << 5;

const UDP: u8 = 17;

/// Deletions in one datagram: if all are refused, the refusals fit the receive buffer.
const BATCH: usize = 128;

/// Talks to the connection tracking of the network namespace in which it was opened.
#[derive(Debug)]
pub struct Conntrack {
    connection: Connection,
}

impl Conntrack {
    /// Opens a socket into the calling thread's network namespace.
    pub fn open() -> Result<Self, NetError> {
        let connection =
            Connection::open(NETLINK_NETFILTER).during("open", "a conntrack socket")?;
        Ok(Self { connection })
    }

    /// Forgets UDP flows that were begun to `port` of an address that `is_stale`.
    pub fn forget_udp(
        &mut self,
        family: Family,
        port: u16,
        is_stale: impl Fn(IpAddr) -> bool,
    ) -> Result<(), NetError> {
        let flows = self.udp(family, port, &is_stale).during("list UDP flows to port", port)?;
        for some in flows.chunks(BATCH) {
            let outcomes = self.delete(family, some).during("forget UDP flows to port", port)?;
            for outcome in outcomes {
                match outcome.during("forget a UDP flow to port", port) {
                    // It has ended meanwhile.
                    Err(error) if error.is_missing() => {}
                    outcome => outcome?,
                }
            }
        }
        Ok(())
    }

    /// What identifies each flow to `port` of such an address.
    fn udp(
        &mut self,
        family: Family,
        port: u16,
        is_stale: &impl Fn(IpAddr) -> bool,
    ) -> Result<Vec<Vec<DefaultNla>>, Refusal> {
        let flags = |number, flags: u32| DefaultNla::new(number, flags.to_ne_bytes().to_vec());
        // A kernel before 5.8 does not know the filter, and lists all.
        let filter = [
            nested(
                CTA_TUPLE_ORIG,
                &[nested(
                    CTA_TUPLE_PROTO,
                    &[
                        DefaultNla::new(CTA_PROTO_NUM, vec![UDP]),
                        DefaultNla::new(CTA_PROTO_DST_PORT, port.to_be_bytes().to_vec()),
                    ],
                )],
            ),
            nested(
                CTA_FILTER,
                &[
                    flags(CTA_FILTER_ORIG_FLAGS, BY_PROTOCOL_AND_PORT),
                    flags(CTA_FILTER_REPLY_FLAGS, 0),
                ],
            ),
        ];
        for _ in 0..DUMP_ATTEMPTS {
            let number = self.connection.number();
            let mut datagram = Vec::new();
            let kind = IPCTNL_MSG_CT_GET;
            append(&mut datagram, kind, (NLM_F_DUMP, number), about(family), &filter);
            self.connection.send(&datagram)?;
            let read = |message: &Message<'_>| identity(message, port, is_stale);
            if let Some(flows) = self.connection.collect(number, read)? {
                return Ok(flows);
            }
        }
        Err(Refusal::restless())
    }

    fn delete(
        &mut self,
        family: Family,
        flows: &[Vec<DefaultNla>],
    ) -> Result<Vec<Result<(), Refusal>>, Refusal> {
        let (mut datagram, mut numbers) = (Vec::new(), Vec::new());
        for flow in flows {
            let number = self.connection.number();
            let flags = if numbers.len() + 1 == flows.len() { NLM_F_ACK } else { 0 };
            numbers.push(number);
            let kind = IPCTNL_MSG_CT_DELETE;
            append(&mut datagram, kind, (flags, number), about(family), flow);
        }
        self.connection.send(&datagram)?;
        self.connection.outcomes(&numbers, None)
    }
}

fn about(family: Family) -> About {
    // linux/socket.h: AF_INET, AF_INET6.
    About { family: common::PerFamily { v4: 2, v6: 10 }[family], resource: 0 }
}

/// The attributes by which a flow is found again, if it is one to `port` of an address that `is_stale`.
fn identity(
    message: &Message<'_>,
    port: u16,
    is_stale: &impl Fn(IpAddr) -> bool,
) -> Option<Vec<DefaultNla>> {
    let all = message.body.get(FAMILY..)?;
    let tuple = attribute(all, CTA_TUPLE_ORIG)?;
    let protocol = attribute(tuple, CTA_TUPLE_PROTO)?;
    let wanted = attribute(protocol, CTA_PROTO_NUM) == Some(&[UDP])
        && attribute(protocol, CTA_PROTO_DST_PORT) == Some(&port.to_be_bytes());
    // Of either family the source has the lower number, and the destination comes after it.
    let (_, destination) = attributes(attribute(tuple, CTA_TUPLE_IP)?).max_by_key(|(n, _)| *n)?;
    (wanted && is_stale(ip_of(destination)?)).then(|| {
        let identifying = [CTA_TUPLE_ORIG, CTA_ZONE, CTA_ID];
        let own = attributes(all).filter(|(number, _)| identifying.contains(number));
        own.map(|(number, value)| DefaultNla::new(number, value.to_vec())).collect()
    })
}

#[cfg(test)]
mod tests;
