//! Elements of nft sets and maps, one by one, without a process (nfnetlink); and what can be asked of
//! the whole ruleset at little cost.
//!
//! How they are written as messages is in `nftables/message.rs`.

use common::pods_table::Element;
use netlink_packet_core::{DefaultNla, NLM_F_ACK, NLM_F_CREATE, NLM_F_DUMP, NLM_F_EXCL};
use netlink_sys::protocols::NETLINK_NETFILTER;
use nix::errno::Errno;

use crate::NetError;
use crate::connection::{Connection, DUMP_ATTEMPTS, Message, Refusal};
use crate::error::During;
use crate::nftables::message::{
    NFNL_MSG_BATCH_BEGIN, NFNL_MSG_BATCH_END, NFT_MSG_DELSETELEM, NFT_MSG_GETCHAIN, NFT_MSG_GETGEN,
    NFT_MSG_GETSET, NFT_MSG_GETSETELEM, NFT_MSG_GETTABLE, NFT_MSG_NEWSETELEM, append, bytes,
    data_of, dropping, entry, generation_of, list,
};

mod message;
mod search;

/// Deletions in one transaction: if all are refused, the refusals fit the receive buffer.
const BATCH: usize = 128;

/// Talks to the nftables of the network namespace in which it was opened.
#[derive(Debug)]
pub struct Nftables {
    connection: Connection,
}

/// A chain, by what nft calls it: `ip filter FORWARD`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Chain {
    pub family: &'static str,
    pub table: String,
    pub name: String,
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
        let (Change::Delete(element) | Change::Add(element)) = change;
        let errno = refusal.errno();
        if errno == Some(Errno::ENOENT) {
            self.find_set(table, element.set)?;
        }
        match (change, errno) {
            (Change::Delete(_), Some(Errno::ENOENT)) => Ok(Presence::Absent),
            // EBUSY where the data differ, whether or not NLM_F_EXCL is given.
            (Change::Add(_), Some(Errno::EEXIST | Errno::EBUSY)) => {
                Err(ElementsError::Exists { element: element.clone() })
            }
            _ => Err(refusal.during("change", format_args!("{element:?}")).into()),
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

    /// Whether there is a table `inet TABLE`: a question that takes no process.
    pub fn has_table(&mut self, table: &str) -> Result<bool, NetError> {
        match self.ask(NFT_MSG_GETTABLE, &message::table(table), |_| Some(())) {
            Err(refusal) if refusal.errno() == Some(Errno::ENOENT) => Ok(false),
            found => found.during("find table", table).map(|()| true),
        }
    }

    /// A number that is another one after each change of the ruleset, by whomever.
    pub fn generation(&mut self) -> Result<u32, NetError> {
        self.ask(NFT_MSG_GETGEN, &[], generation_of).during("read", "the ruleset's generation")
    }

    /// Chains of any table that drop what they do not accept, of what is forwarded.
    pub fn dropping_forward(&mut self) -> Result<Vec<Chain>, NetError> {
        let dump = |connection: &mut Connection| {
            let number = connection.number();
            let mut datagram = Vec::new();
            append(&mut datagram, NFT_MSG_GETCHAIN, (NLM_F_DUMP, number), &[]);
            connection.send(&datagram)?;
            connection.collect(number, dropping)
        };
        for _ in 0..DUMP_ATTEMPTS {
            if let Some(chains) = dump(&mut self.connection).during("list", "nft chains")? {
                return Ok(chains);
            }
        }
        Err(Refusal::restless()).during("list", "nft chains")
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

#[cfg(test)]
mod tests;
