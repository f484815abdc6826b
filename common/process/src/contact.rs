//! What a watch tells of the API server: since when it has not answered as it should and why, and how
//! often it did not.

use std::fmt::Debug;

use jiff::Timestamp;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;
use tokio::sync::watch;

/// The API server is away, or refuses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outage {
    pub since: Timestamp,
    /// Of the last try.
    pub why: String,
}

/// What was asked for, and the code of the answer; 0 where there was none.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Failure {
    kind: String,
    code: u16,
}

/// What one watch knows; clones are the same.
#[derive(Clone, Debug, Default)]
pub struct Contact {
    outage: watch::Sender<Option<Outage>>,
    failures: Family<Failure, Counter>,
}

impl Contact {
    /// Its failures are counted in `registry`, by kind and code.
    pub fn counted(registry: &mut Registry) -> Self {
        let contact = Self::default();
        let text =
            "Requests that the API server did not answer as it should, code 0 for not at all";
        registry.register("kubenet_api_failures", text, contact.failures.clone());
        contact
    }

    /// That of another watch, whose failures are counted with those of this one.
    #[must_use]
    pub fn of_another(&self) -> Self {
        Self { failures: self.failures.clone(), ..Self::default() }
    }

    /// None while the API server answers.
    pub fn outage(&self) -> watch::Receiver<Option<Outage>> {
        self.outage.subscribe()
    }

    pub(crate) fn stands(&self) {
        self.outage.send_if_modified(|outage| outage.take().is_some());
    }

    pub(crate) fn fails(&self, kind: &str, code: u16, why: String) {
        self.failures.get_or_create(&Failure { kind: kind.to_owned(), code }).inc();
        self.outage.send_modify(|outage| {
            let since = outage.as_ref().map_or_else(Timestamp::now, |outage| outage.since);
            *outage = Some(Outage { since, why });
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outage_lasts_from_its_first_failure_to_the_next_answer() {
        let mut registry = Registry::default();
        let contact = Contact::counted(&mut registry);
        let outage = contact.outage();
        contact.fails("nodes", 0, "refused".to_owned());
        let first = outage.borrow().clone().unwrap();
        contact.fails("nodes", 403, "forbidden".to_owned());
        let second = outage.borrow().clone().unwrap();
        assert_eq!((second.since, second.why.as_str()), (first.since, "forbidden"));
        contact.of_another().fails("servicecidrs", 403, "forbidden".to_owned());
        contact.stands();
        assert_eq!(*outage.borrow(), None);
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
        for (kind, code) in [("nodes", 0), ("nodes", 403), ("servicecidrs", 403)] {
            let line = format!("kubenet_api_failures_total{{kind=\"{kind}\",code=\"{code}\"}} 1");
            assert!(text.contains(&line), "{line} in {text}");
        }
    }
}
