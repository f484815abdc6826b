//! An attachment's elements in the table of host ports, together with its record.
//!
//! The agent rebuilds that table from all records under an exclusive lock. Who writes a record and its
//! elements holds it shared, so a rebuild sees both or neither. The record says that they are pending
//! until they are all there: of two records of one host port, which an ADD leaves that is killed, the
//! one that is not pending owns it. A tombstone owns none, whatever is there of its elements.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

use common::attachment::{Attachment, AttachmentId, Protocol};
use common::pods_table::{self, Element, Field};
use common::{Family, names};
use net::conntrack::Conntrack;
use net::nftables::{ElementsError, Nftables};

use crate::error::{Error, Holder};
use crate::kernel::Kernel;
use crate::state::{Lock, State, locked};
use crate::wait;

/// How long ADD waits for a table that the agent is about to make.
const TABLE_LIMIT: Duration = Duration::from_secs(2);

/// What became of elements that were to be added.
enum Added {
    All,
    /// The table is missing.
    None(String),
    Conflict(Box<Element>),
}

/// Writes the record, and adds its elements if it has host ports.
///
/// The elements of the `dead`, whose claims are held, go in the same transaction: one after the other,
/// a third could come between.
///
/// # Errors
/// [`Error::HostPortTaken`] if another attachment has one, [`Error::TryLater`] while there is no table.
pub(crate) fn publish(
    kernel: &mut Kernel,
    state: &State,
    id: &AttachmentId,
    record: &Attachment,
    dead: &[Attachment],
) -> Result<(), Error> {
    let elements = pods_table::elements(record);
    if elements.is_empty() {
        return state.write_record(id, record);
    }
    let nftables = kernel.nftables()?;
    let old = dead.iter().flat_map(pods_table::elements).collect::<Vec<_>>();
    let mut missing = String::new();
    let added = wait::until(TABLE_LIMIT, || {
        // Not while waiting: the agent makes the table under the exclusive lock.
        let _lock = table_lock(state)?;
        state.write_record(id, &pending(record))?;
        Ok::<_, Error>(match add(nftables, &old, &elements)? {
            Added::None(why) => {
                missing = why;
                None
            }
            Added::All => {
                state.write_record(id, record)?;
                Some(Added::All)
            }
            conflict @ Added::Conflict(_) => Some(conflict),
        })
    })?;
    match added {
        Some(Added::Conflict(element)) => Err(Error::HostPortTaken {
            port: port_of(&element),
            owner: owner(state, id, &element)?.map(Box::new),
        }),
        Some(_) => {
            forget_flows(kernel, &elements);
            Ok(())
        }
        None => Err(Error::TryLater(format!("{missing}: kubenet's agent makes it"))),
    }
}

fn add(nftables: &mut Nftables, old: &[Element], elements: &[Element]) -> Result<Added, Error> {
    let changed = present(nftables, old)
        .and_then(|old| nftables.replace_elements(names::PODS_TABLE, &old, elements));
    match changed {
        Ok(()) => Ok(Added::All),
        Err(error @ ElementsError::TableMissing { .. }) => Ok(Added::None(error.to_string())),
        // It was, and has come before anybody could ask which set it is that is missing.
        Err(ElementsError::Net(error)) if error.is_missing() => Ok(Added::None(error.to_string())),
        Err(ElementsError::Exists { element }) => {
            // A rebuild between two attempts has added all of them, from the record.
            let lacking = nftables.missing_elements(names::PODS_TABLE, elements)?;
            let conflict = Added::Conflict(Box::new(element));
            Ok(if lacking.is_empty() { Added::All } else { conflict })
        }
        Err(error) => Err(error.into()),
    }
}

/// Deletes the elements of `records`, and only those; and all that lead to `lost` addresses, whose records
/// nobody can read.
pub(crate) fn retract<'a>(
    kernel: &mut Kernel,
    state: &State,
    records: impl IntoIterator<Item = &'a Attachment>,
    lost: &[IpAddr],
) -> Result<(), Error> {
    let mut elements = records.into_iter().flat_map(pods_table::elements).collect::<Vec<_>>();
    if !lost.is_empty() {
        elements.extend(kernel.nftables()?.elements_to(names::PODS_TABLE, lost)?);
    }
    if elements.is_empty() {
        return Ok(());
    }
    let _lock = table_lock(state)?;
    let nftables = kernel.nftables()?;
    let changed = present(nftables, &elements)
        .and_then(|own| nftables.delete_elements(names::PODS_TABLE, &own));
    forget_flows(kernel, &elements);
    match changed {
        Err(ElementsError::TableMissing { .. }) => Ok(()),
        changed => Ok(changed?),
    }
}

/// Lets UDP flows to the host ports of `elements` begin anew: else they go on to where they went, to the
/// machine itself or to a pod that is gone.
///
/// It is no reason to start no pod, and none to keep one that ends.
fn forget_flows(kernel: &mut Kernel, elements: &[Element]) {
    let udp = elements.iter().filter_map(udp_port).collect::<BTreeSet<_>>();
    if udp.is_empty() {
        return;
    }
    let forget = || {
        let local = kernel.links.addresses()?;
        let mut conntrack = Conntrack::open()?;
        udp.into_iter().try_for_each(|(family, at, port)| {
            let is_local = |ip| local.iter().any(|held| held.address == ip);
            let is_ours = |ip| at.map_or_else(|| is_local(ip), |at| at == ip);
            conntrack.forget_udp(family, port, is_ours)
        })
    };
    if let Err(error) = forget() {
        eprintln!("kubenet: UDP flows to a host port may go where they went before: {error}");
    }
}

/// Family, address of the machine and number of a UDP host port.
fn udp_port(element: &Element) -> Option<(Family, Option<IpAddr>, u16)> {
    let family = element.data.iter().find_map(|field| match field {
        Field::Address(pod) => Some(Family::from(*pod)),
        _ => None,
    });
    match element.key[..] {
        [Field::Protocol(Protocol::Udp), Field::Port(port)] => Some((family?, None, port)),
        [Field::Address(at), Field::Protocol(Protocol::Udp), Field::Port(port)] => {
            Some((family?, Some(at), port))
        }
        _ => None,
    }
}

/// Those of `elements` that are there: a deletion goes by the key, which may have another's data by now.
fn present(nftables: &mut Nftables, elements: &[Element]) -> Result<Vec<Element>, ElementsError> {
    let missing = nftables.missing_elements(names::PODS_TABLE, elements)?;
    Ok(elements.iter().filter(|element| !missing.contains(element)).cloned().collect())
}

/// The record of an attachment whose elements are about to be changed.
fn pending(record: &Attachment) -> Attachment {
    Attachment { pending: true, ..record.clone() }
}

/// The elements of `record` that are not there.
pub(crate) fn missing(record: &Attachment) -> Result<Vec<String>, Error> {
    let elements = pods_table::elements(record);
    if elements.is_empty() {
        return Ok(Vec::new());
    }
    let missing = match Nftables::open()?.missing_elements(names::PODS_TABLE, &elements) {
        Err(ElementsError::TableMissing { .. }) => elements,
        missing => missing?,
    };
    Ok(missing
        .iter()
        .map(|element| format!("{} lacks {}", element.set, port_of(element)))
        .collect())
}

/// Whose record has the key of `element`.
fn owner(
    state: &State,
    besides: &AttachmentId,
    element: &Element,
) -> Result<Option<Holder>, Error> {
    for id in state.ids()?.into_iter().filter(|id| id != besides) {
        let Some(record) = state.last_record(&id)? else { continue };
        let elements = pods_table::elements(&record);
        if elements.into_iter().any(|its| (its.set, &its.key) == (element.set, &element.key)) {
            return Ok(Some(Holder { id, pod: record.pod }));
        }
    }
    Ok(None)
}

fn table_lock(state: &State) -> Result<std::fs::File, Error> {
    locked(&state.path(names::PODS_TABLE_LOCK_FILE), Lock::Shared, "the table of host ports")
}

/// A key in words: `tcp 8080 of 192.0.2.1 (IPv4)`.
fn port_of(element: &Element) -> String {
    let words = element.key.iter().map(|field| match field {
        Field::Address(address) => address.to_string(),
        Field::Protocol(Protocol::Tcp) => "tcp".to_owned(),
        Field::Protocol(Protocol::Udp) => "udp".to_owned(),
        Field::Protocol(Protocol::Sctp) => "sctp".to_owned(),
        Field::Port(port) => port.to_string(),
    });
    let family = element.data.iter().find_map(|field| match field {
        Field::Address(address) => Some(Family::from(*address)),
        _ => None,
    });
    let words = words.collect::<Vec<_>>().join(" ");
    family.map(|family| format!("{words} ({family})")).unwrap_or(words)
}
