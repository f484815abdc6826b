//! Elements of nft sets and maps, one by one, without a process (nfnetlink).

use common::pods_table::{Element, Field};

use crate::NetError;

/// Talks to the nf_tables of the network namespace in which it was opened.
#[derive(Debug)]
pub struct Nftables(());

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

/// An element as the kernel has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    pub key: Vec<Field>,
    pub data: Vec<Field>,
}

impl Nftables {
    /// Opens a socket into the calling thread's network namespace.
    pub fn open() -> Result<Self, NetError> {
        unimplemented!()
    }

    /// Adds all `elements` to the sets of `table`, or none.
    pub fn add_elements(
        &mut self,
        _table: &str,
        _elements: &[Element],
    ) -> Result<(), ElementsError> {
        unimplemented!()
    }

    /// Deletes those of `elements` that are there, by their keys.
    pub fn delete_elements(
        &mut self,
        _table: &str,
        _elements: &[Element],
    ) -> Result<(), ElementsError> {
        unimplemented!()
    }

    /// Deletes `old` and adds `new` in one transaction.
    pub fn replace_elements(
        &mut self,
        _table: &str,
        _old: &[Element],
        _new: &[Element],
    ) -> Result<(), ElementsError> {
        unimplemented!()
    }

    /// Those of `elements` that are not there with the same data.
    pub fn missing_elements(
        &mut self,
        _table: &str,
        _elements: &[Element],
    ) -> Result<Vec<Element>, ElementsError> {
        unimplemented!()
    }
}
