//! Makes attachments ours that another plugin has made, while they carry what they carry.
//!
//! The host link gets a further name and our alias, the attachment its claim, leases and record: from
//! then on it is one like any other. A lease whose link nobody knows is held, so that its address is
//! given to nobody else: a file among the leases that is no claim's.

use std::net::IpAddr;
use std::path::Path;

use common::attachment::{Attachment, AttachmentId};
use common::conflist::Range;
use net::NetError;
use net::link::LinkChange;

use crate::error::Error;
use crate::kernel::Kernel;
use crate::ranges::Pool;
use crate::state::State;
use crate::veth;

/// The agent's part in a take-over.
#[derive(Debug)]
pub struct Heir {
    kernel: Kernel,
    state: State,
}

impl Heir {
    /// Works in the network namespace of the calling thread, on the state in `state_dir`, which is made
    /// where it is missing.
    pub fn open(state_dir: &Path) -> Result<Self, Error> {
        let mut kernel = Kernel::open()?;
        let state = State::open(state_dir, || Ok(veth::living(&mut kernel.links)?))?;
        Ok(Self { kernel, state })
    }

    /// Makes `record` that of the pod at the host end `link`; may be repeated.
    ///
    /// The link comes first: a lease without one is dead.
    ///
    /// # Errors
    /// Also if one of its addresses is another's.
    pub fn adopt(&mut self, record: &Attachment, link: u32) -> Result<(), Error> {
        let id = record.id().map_err(|error| Error::Config(vec![error.to_string()]))?;
        let (claim, _) = self.state.claim(&id)?;
        self.name(link, &id, record)?;
        for &address in &record.addresses {
            let is_held = self.state.holder(address)?.as_ref() == Some(&id);
            if is_held {
                self.state.take_hold(&claim, address)?;
            } else if !self.state.lease(&claim, address)? && !self.state.is_leased(address, &id) {
                return Err(Error::AddressTaken { address, holder: None });
            }
        }
        self.state.write_record(&id, record)
    }

    fn name(&mut self, link: u32, id: &AttachmentId, record: &Attachment) -> Result<(), NetError> {
        let links = &mut self.kernel.links;
        let alias = LinkChange { alias: Some(record.alias()), ..LinkChange::default() };
        links.set_link(link, &alias)?;
        if links.link(&id.host_link())?.is_some_and(|named| named.index == link) {
            return Ok(());
        }
        links.add_alt_name(link, &id.host_link())
    }

    /// Addresses that are held for somebody whose link nobody knows.
    pub fn held(&self) -> Result<Vec<IpAddr>, Error> {
        self.state.held()
    }

    /// Lets nobody have `address`, which is that of `id`.
    pub fn hold(&self, address: IpAddr, id: &AttachmentId) -> Result<(), Error> {
        self.state.hold(address, id)
    }

    /// `address` is free.
    pub fn let_go(&self, address: IpAddr) -> Result<(), Error> {
        self.state.let_go(address)
    }

    /// Has the first address that is given of `range` come half a round behind `last`, if none was given
    /// yet: whoever gave `last` may be giving the next ones this very moment.
    pub fn keep_away_from(&self, range: Range, last: IpAddr) -> Result<(), Error> {
        let pool = Pool::from(range);
        match pool.opposite(last) {
            Some(opposite) => self.state.begin_behind(&pool, opposite),
            None => Ok(()),
        }
    }
}
