//! Pure: the text of both nft tables, and when one has to be applied.
//!
//! The machine's table masquerades; the pods' table leads host ports to pods, through maps and sets
//! whose elements are the attachments' own (`common::pods_table`). Neither text grows with Nodes.
//! The kernel's answer is never parsed: what `nft` prints now is compared with what it printed
//! right after the text was applied.

use std::collections::BTreeMap;
use std::fmt::{self, Write};

use common::attachment::{Attachment, Protocol};
use common::pods_table::{self, Field, HAIRPIN, HOST_PORTS, HOST_PORTS_AT};
use common::{Family, PerFamily, Prefix, names};
use serde::{Deserialize, Serialize};

use crate::loopback::Loopback;

/// The tables that the agent makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Table {
    /// [`names::TABLE`]: swapped whole.
    Machine,
    /// [`names::PODS_TABLE`]: rebuilt together with the elements of all attachments.
    Pods,
    /// [`names::DEDUP_TABLE`]: only with a promiscuous bridge; swapped whole.
    Dedup,
}

/// What was applied, and what nft printed of it right after.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Applied {
    pub text: String,
    pub listing: String,
}

/// Replaces a table by `text`, in one transaction; safe to repeat.
///
/// To that of [`Table::Pods`] the [`elements`] are added, which are read under the lock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    pub table: Table,
    pub text: String,
}

/// Words in which the families differ for nft.
struct Words {
    ip: &'static str,
    nfproto: &'static str,
    address_type: &'static str,
    multicast: &'static str,
}

const WORDS: PerFamily<Words> = PerFamily {
    v4: Words { ip: "ip", nfproto: "ipv4", address_type: "ipv4_addr", multicast: "224.0.0.0/4" },
    v6: Words { ip: "ip6", nfproto: "ipv6", address_type: "ipv6_addr", multicast: "ff00::/8" },
};

impl Table {
    pub const ALL: [Self; 3] = [Self::Machine, Self::Pods, Self::Dedup];

    /// As nft spells it.
    pub const fn family(self) -> &'static str {
        match self {
            Self::Machine | Self::Pods => "inet",
            Self::Dedup => "bridge",
        }
    }

    /// The text that removes it, whether or not it is there.
    pub fn removal(self) -> String {
        let (family, name) = (self.family(), self.name());
        format!("table {family} {name}\ndelete table {family} {name}\n")
    }

    /// The text that makes it anew, in one transaction.
    fn replacement(self, body: &str) -> String {
        format!("{}table {} {} {{\n{body}}}\n", self.removal(), self.family(), self.name())
    }

    pub const fn name(self) -> &'static str {
        match self {
            Self::Machine => names::TABLE,
            Self::Pods => names::PODS_TABLE,
            Self::Dedup => names::DEDUP_TABLE,
        }
    }
}

/// The machine's table: what pods of `sources` send to anywhere but `inside` carries this machine's
/// address.
///
/// With ports by chance: else two flows may race for one, and a lookup of a name that loses waits 5 s.
pub fn render_machine(sources: &[Prefix], inside: &[Prefix]) -> String {
    let mut rules = String::new();
    for family in Family::BOTH {
        let Words { ip, multicast, .. } = WORDS[family];
        let sources = set(sources.iter().filter(|source| source.family() == family));
        let inside = inside.iter().filter(|cidr| cidr.family() == family).copied();
        let inside = inside.chain(multicast.parse::<Prefix>()).collect::<Vec<_>>();
        let everything = inside.iter().any(|cidr| cidr.length() == 0);
        if !sources.is_empty() && !everything {
            let inside = set(outermost(&inside));
            let _ = writeln!(
                rules,
                "\t\t{ip} saddr {{ {sources} }} {ip} daddr != {{ {inside} }} \
                 fib daddr type != local masquerade fully-random"
            );
        }
    }
    let chain = chain("postrouting", "nat hook postrouting priority srcnat", &rules);
    Table::Machine.replacement(&chain)
}

/// The pods' table, without elements.
///
/// Its chains come one step after kube-proxy's (`dstnat` is -100), so that a NodePort wins by rule;
/// nft knows no name for that priority on the output hook.
pub fn render_pods(loopback: Loopback) -> String {
    let (mut body, mut lookups, mut hairpins) = (String::new(), String::new(), String::new());
    for family in Family::BOTH {
        let Words { ip, nfproto, address_type: address, .. } = WORDS[family];
        let (any, at, hairpin) = (HOST_PORTS[family], HOST_PORTS_AT[family], HAIRPIN[family]);
        let to = format!("{address} . inet_service");
        let sets = [
            ("map", any, format!("inet_proto . inet_service : {to}")),
            ("map", at, format!("{address} . inet_proto . inet_service : {to}")),
            ("set", hairpin, format!("{address} . {address}")),
        ];
        for (kind, name, kept) in sets {
            let _ = write!(body, "\t{kind} {name} {{\n\t\ttype {kept}\n\t}}\n");
        }
        for (key, map) in [(format!("{ip} daddr . "), at), (String::new(), any)] {
            let _ = writeln!(
                lookups,
                "\t\tmeta nfproto {nfproto} dnat {ip} to {key}meta l4proto . th dport map @{map}"
            );
        }
        let _ = writeln!(hairpins, "\t\t{ip} saddr . {ip} daddr @{hairpin} masquerade");
    }
    let _ = write!(body, "\tchain hostports {{\n{lookups}\t}}\n");
    let to_pods = "\t\tfib daddr type local jump hostports\n";
    body += loopback.guard();
    body += &chain("prerouting", "nat hook prerouting priority dstnat + 1", to_pods);
    let from_here = format!("{}{to_pods}", loopback.exempt());
    body += &chain("output", "nat hook output priority -99", &from_here);
    let rewritten = hairpins + &loopback.masquerade();
    body += &chain("postrouting", "nat hook postrouting priority srcnat + 1", &rewritten);
    Table::Pods.replacement(&body)
}

/// Commands that add the elements of `attachments` to the pods' table.
pub fn elements(attachments: &[Attachment]) -> String {
    let mut elements = BTreeMap::<&str, Vec<String>>::new();
    for element in pods_table::elements_of_all(attachments) {
        let data = fields(&element.data);
        let data = if data.is_empty() { data } else { format!(" : {data}") };
        elements.entry(element.set).or_default().push(fields(&element.key) + &data);
    }
    let (family, table) = (Table::Pods.family(), Table::Pods.name());
    let command = |(set, elements): (&str, Vec<String>)| {
        format!("add element {family} {table} {set} {{ {} }}\n", elements.join(", "))
    };
    elements.into_iter().map(command).collect()
}

/// The table that drops what a promiscuous bridge would deliver twice, by `rules`.
pub fn render_dedup(rules: &str) -> String {
    Table::Dedup.replacement(&chain("input", "filter hook input priority filter", rules))
}

/// Tables that are not in force with the desired text, and that of a mode which is no more; the others
/// stay, for the sake of pods that may live by them.
pub fn plan(desired: &BTreeMap<Table, String>, in_force: &BTreeMap<Table, String>) -> Vec<Step> {
    let wrong = desired.iter().filter(|(table, text)| in_force.get(table) != Some(text));
    let wrong = wrong.map(|(&table, text)| Step { table, text: text.clone() });
    let more = in_force.keys().filter(|table| **table == Table::Dedup);
    let more = more.filter(|table| !desired.contains_key(table));
    wrong.chain(more.map(|&table| Step { table, text: table.removal() })).collect()
}

/// The text that is in force: the one that was applied, if nft still prints what it printed then; an
/// empty one of a table that somebody has changed since, none if there is no table.
pub fn in_force(applied: Option<Applied>, listing: Option<&str>) -> Option<String> {
    let listing = listing?;
    let same = applied.filter(|applied| applied.listing == listing);
    Some(same.map(|applied| applied.text).unwrap_or_default())
}

fn chain(name: &str, hook: &str, rules: &str) -> String {
    format!("\tchain {name} {{\n\t\ttype {hook}; policy accept;\n{rules}\t}}\n")
}

/// Those that no other covers: nft refuses a set whose networks overlap.
fn outermost(cidrs: &[Prefix]) -> impl Iterator<Item = &Prefix> {
    let covered = |inner: &Prefix| cidrs.iter().any(|outer| outer != inner && outer.covers(*inner));
    cidrs.iter().filter(move |cidr| !covered(cidr))
}

fn set<'a>(cidrs: impl Iterator<Item = &'a Prefix>) -> String {
    cidrs.map(Prefix::to_string).collect::<Vec<_>>().join(", ")
}

fn fields(fields: &[Field]) -> String {
    let texts = fields.iter().map(|field| match field {
        Field::Address(address) => address.to_string(),
        Field::Protocol(Protocol::Tcp) => "tcp".to_owned(),
        Field::Protocol(Protocol::Udp) => "udp".to_owned(),
        Field::Protocol(Protocol::Sctp) => "sctp".to_owned(),
        Field::Port(port) => port.to_string(),
    });
    texts.collect::<Vec<_>>().join(" . ")
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let change = if self.text == self.table.removal() { "remove" } else { "replace" };
        write!(f, "{change} nft table {} {}", self.table.family(), self.table.name())
    }
}

#[cfg(test)]
mod tests;
