//! Rate limits: token bucket filters (tc-tbf(8)) on links.
//!
//! A filter limits what a link sends. What a host end receives, which is what its pod sends, goes
//! through an ifb link first, whose filter it then passes; the pod can't get around it. Filters are put
//! on links that are down: one that is put on a link in use waits for a grace period of RCU, about
//! 20 ms (`dev_deactivate` in `net/sched/sch_generic.c`).

use common::bandwidth::Limit;
use netlink_packet_core::{DefaultNla, NLM_F_CREATE, NLM_F_EXCL};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::link::{InfoKind, LinkAttribute, LinkInfo, LinkMessage};
use netlink_packet_route::tc::{TcAttribute, TcHandle, TcHeader, TcMessage, TcOption};

use crate::attribute::{attribute, i32_of, nested, text, text_of, u32_of};
use crate::connection::Message;
use crate::error::During;
use crate::link::{AddrGen, LinkChange};
use crate::netlink::Request;
use crate::{NetError, Netlink};

/// How a link is limited.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Shaping {
    /// What it sends.
    pub limit: Option<Limit>,
    /// Index of the ifb link to which goes what it receives.
    pub redirect: Option<u32>,
}

const TBF: &str = "tbf";
const U32: &str = "u32";

/// `linux/rtnetlink.h`: attributes of qdiscs and filters.
const TCA_KIND: u16 = 1;
const TCA_OPTIONS: u16 = 2;
const TCA_STAB: u16 = 8;

/// `linux/pkt_sched.h`
const TC_H_ROOT: TcHandle = TcHandle { major: 0xffff, minor: 0xffff };
const TC_H_INGRESS: TcHandle = TcHandle { major: 0xffff, minor: 0xfff1 };
const INGRESS: TcHandle = TcHandle { major: 0xffff, minor: 0 };
const TC_LINKLAYER_ETHERNET: u8 = 1;
const TCA_TBF_PARMS: u16 = 1;
const TCA_TBF_RATE64: u16 = 4;
const TCA_TBF_BURST: u16 = 6;
const TCA_STAB_BASE: u16 = 1;

/// Nanoseconds of a tick, in which the kernel tells a burst (`PSCHED_SHIFT` in `net/pkt_sched.h`).
const TICK: u128 = 64;

/// `linux/pkt_cls.h` and `linux/tc_act/tc_mirred.h`
const TCA_U32_SEL: u16 = 5;
const TCA_U32_ACT: u16 = 7;
const TC_U32_TERMINAL: u8 = 1;
const TCA_ACT_KIND: u16 = 1;
const TCA_ACT_OPTIONS: u16 = 2;
const TCA_MIRRED_PARMS: u16 = 2;
const TC_ACT_STOLEN: u32 = 4;
const TCA_EGRESS_REDIR: u32 = 1;

/// `linux/if_ether.h`
const ETH_P_ALL: u16 = 3;
const ETH_HLEN: i32 = 14;

/// `struct tcmsg` (linux/rtnetlink.h).
const HEADER: usize = 20;

/// Where the index stands in `struct tc_mirred`, behind `tc_gen` and what is done with the packet.
const MIRRED_INDEX: std::ops::Range<usize> = 24..28;

impl Netlink {
    /// Makes an ifb link that sends at `limit` what other links redirect to it; or leaves nothing
    /// behind. Returns its index.
    ///
    /// # Errors
    /// [`NetError::already_exists`] if the name is taken.
    pub fn create_ifb(&mut self, name: &str, alias: &str, limit: &Limit) -> Result<u32, NetError> {
        let mut message = LinkMessage::default();
        message.attributes = vec![
            LinkAttribute::IfName(name.to_owned()),
            LinkAttribute::LinkInfo(vec![LinkInfo::Kind(InfoKind::Ifb)]),
        ];
        let flags = NLM_F_CREATE | NLM_F_EXCL;
        let request = Request { message: RouteNetlinkMessage::NewLink(message), flags };
        self.change(request, "create ifb", name)?;
        let index = self.made(name)?.index;
        let change = LinkChange {
            up: Some(true),
            alias: Some(alias.to_owned()),
            addr_gen: Some(AddrGen::None),
            ..LinkChange::default()
        };
        let shaping = Shaping { limit: Some(*limit), redirect: None };
        let finished = self.shape(index, &shaping).and_then(|()| self.set_link(index, &change));
        if finished.is_err() {
            // The error that led here says more than one of this would.
            let _ = self.delete_link(index);
        }
        finished.map(|()| index)
    }

    /// Limits a link that is down and has no limit.
    pub(crate) fn shape(&mut self, index: u32, shaping: &Shaping) -> Result<(), NetError> {
        let limit = shaping.limit.map(|limit| limiting(index, &limit));
        let redirect = shaping.redirect.map(|to| [ingress(index), redirecting(index, to)]);
        let requests = limit.into_iter().chain(redirect.into_iter().flatten()).collect::<Vec<_>>();
        let object = || format!("link {index}");
        let outcomes = self.batch(requests).during("limit", object())?;
        let outcome = outcomes.into_iter().collect::<Result<(), _>>();
        outcome.map_err(|refusal| refusal.during("limit", object()))
    }

    /// How a link is limited; its burst is what the kernel has made of it in ticks of 64 ns.
    pub fn shaping(&mut self, index: u32) -> Result<Shaping, NetError> {
        // The kernel answers nothing when it is asked for a qdisc that is its own default.
        let all = RouteNetlinkMessage::GetQueueDiscipline(TcMessage::default());
        let limits = self.dump(&all, |message| limit_of(message, index));
        let limit = limits.during("list", "limits")?.into_iter().next();
        let filters = RouteNetlinkMessage::GetTrafficFilter(message(index, INGRESS));
        let redirects = self.dump(&filters, redirect_of);
        let redirect = match redirects.during("list", format_args!("filters of link {index}")) {
            // There is no qdisc for what it receives.
            Err(error)
                if error.is_missing() || error.kind() == std::io::ErrorKind::InvalidInput =>
            {
                None
            }
            redirects => redirects?.into_iter().next(),
        };
        Ok(Shaping { limit, redirect })
    }
}

fn message(index: u32, parent: TcHandle) -> TcMessage {
    let mut message = TcMessage::with_index(index.cast_signed());
    message.header.parent = parent;
    message
}

fn options(kind: &str, options: Vec<DefaultNla>) -> Vec<TcAttribute> {
    let options = options.into_iter().map(TcOption::Other).collect();
    vec![TcAttribute::Kind(kind.to_owned()), TcAttribute::Options(options)]
}

/// Puts a token bucket filter before all that the link sends.
fn limiting(index: u32, limit: &Limit) -> Request {
    // `struct tc_ratespec`, one of which stands for no peak rate; the real one is in an attribute of its
    // own where it does not fit.
    let rate = u32::try_from(limit.bytes_per_second).unwrap_or(u32::MAX);
    let [a, b, c, d] = rate.to_ne_bytes();
    let mut parameters = vec![0, TC_LINKLAYER_ETHERNET, 0, 0, 0, 0, 0, 0, a, b, c, d];
    parameters.extend([0; 12]);
    parameters.extend(limit.queue().to_ne_bytes());
    // Buffer and MTU in ticks: the attribute of the burst is taken instead.
    parameters.extend([0; 8]);
    let rate64 = (rate == u32::MAX)
        .then(|| DefaultNla::new(TCA_TBF_RATE64, limit.bytes_per_second.to_ne_bytes().to_vec()));
    let burst = DefaultNla::new(TCA_TBF_BURST, limit.burst.to_ne_bytes().to_vec());
    let parameters = DefaultNla::new(TCA_TBF_PARMS, parameters);
    let mut message = message(index, TC_H_ROOT);
    message.attributes = options(TBF, [parameters, burst].into_iter().chain(rate64).collect());
    message.attributes.push(TcAttribute::Other(without_link_header()));
    let flags = NLM_F_CREATE | NLM_F_EXCL;
    Request { message: RouteNetlinkMessage::NewQueueDiscipline(message), flags }
}

/// Counts a packet without its Ethernet header, as the one who set the rate does: with the header, and
/// that of each segment of a large packet, TCP over IPv6 gets 94 % of the rate (tc-stab(8)).
fn without_link_header() -> DefaultNla {
    // `struct tc_sizespec` of a table without entries.
    let mut sizes = vec![0; 4];
    sizes.extend((-ETH_HLEN).to_ne_bytes());
    sizes.resize(24, 0);
    nested(TCA_STAB, &[DefaultNla::new(TCA_STAB_BASE, sizes)])
}

/// Gives the link a place for filters of what it receives.
fn ingress(index: u32) -> Request {
    let mut message = message(index, TC_H_INGRESS);
    message.header.handle = INGRESS;
    message.attributes = vec![TcAttribute::Kind("ingress".to_owned())];
    let flags = NLM_F_CREATE | NLM_F_EXCL;
    Request { message: RouteNetlinkMessage::NewQueueDiscipline(message), flags }
}

/// Takes all that the link receives to the link `to`.
fn redirecting(index: u32, to: u32) -> Request {
    // `struct tc_u32_sel` with one key, whose mask is zero: every packet has it.
    let mut selector = vec![TC_U32_TERMINAL, 0, 1];
    selector.resize(16 + 16, 0);
    let mut mirred = vec![0; 8];
    mirred.extend(TC_ACT_STOLEN.to_ne_bytes());
    mirred.extend([0; 8]);
    mirred.extend(TCA_EGRESS_REDIR.to_ne_bytes());
    mirred.extend(to.to_ne_bytes());
    let action = nested(
        1,
        &[
            text(TCA_ACT_KIND, "mirred"),
            nested(TCA_ACT_OPTIONS, &[DefaultNla::new(TCA_MIRRED_PARMS, mirred)]),
        ],
    );
    let mut message = message(index, INGRESS);
    message.header.info = u32::from(ETH_P_ALL.to_be()) | 1 << 16;
    let selector = DefaultNla::new(TCA_U32_SEL, selector);
    message.attributes = options(U32, vec![selector, nested(TCA_U32_ACT, &[action])]);
    let flags = NLM_F_CREATE | NLM_F_EXCL;
    Request { message: RouteNetlinkMessage::NewTrafficFilter(message), flags }
}

/// The limit of all that the link with this `index` sends; none if the qdisc is another.
fn limit_of(message: &Message<'_>, index: u32) -> Option<Limit> {
    let header = TcHeader::parse(message.body).ok()?;
    if (header.index, header.parent) != (index.cast_signed(), TC_H_ROOT) {
        return None;
    }
    let attributes = message.body.get(HEADER..)?;
    let is_tbf = text_of(attribute(attributes, TCA_KIND)?) == TBF;
    let options = attribute(attributes, TCA_OPTIONS).filter(|_| is_tbf)?;
    let parameters = attribute(options, TCA_TBF_PARMS)?;
    let rate64 = attribute(options, TCA_TBF_RATE64).and_then(|value| value.try_into().ok());
    let bytes_per_second = match rate64.map(u64::from_ne_bytes) {
        Some(rate) => rate,
        None => u32_of(parameters.get(8..12)?)?.into(),
    };
    let ticks = u128::from(u32_of(parameters.get(28..32)?)?);
    let burst = (u128::from(bytes_per_second) * ticks * TICK).div_ceil(1_000_000_000);
    Some(Limit { bytes_per_second, burst: u32::try_from(burst).unwrap_or(u32::MAX) })
}

/// Where a filter takes packets to; none if it does something else with them.
fn redirect_of(message: &Message<'_>) -> Option<u32> {
    let options = attribute(message.body.get(HEADER..)?, TCA_OPTIONS)?;
    let action = attribute(attribute(options, TCA_U32_ACT)?, 1)?;
    let mirred = attribute(attribute(action, TCA_ACT_OPTIONS)?, TCA_MIRRED_PARMS)?;
    i32_of(mirred.get(MIRRED_INDEX)?).and_then(|index| u32::try_from(index).ok())
}

#[cfg(test)]
mod tests;
