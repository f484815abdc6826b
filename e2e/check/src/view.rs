//! Pure: the pods that answer and ask, by machine, and what leads to them.

use std::net::{IpAddr, SocketAddr};

use common::{Family, PerFamily};

/// An address of each family that there is.
pub(crate) type Addresses = PerFamily<Option<IpAddr>>;

/// A pod that serves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Server {
    /// Which it answers with.
    pub(crate) name: String,
    pub(crate) addresses: Addresses,
    pub(crate) port: u16,
}

/// A machine with its three servers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Machine {
    /// Of its Node.
    pub(crate) name: String,
    /// A pod to which nothing leads.
    pub(crate) client: Server,
    /// An endpoint of both Services, with the host port.
    pub(crate) server: Server,
    /// A pod that has the machine's network.
    pub(crate) host: Server,
}

/// What the checks are made from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct View {
    pub(crate) machines: Vec<Machine>,
    /// Of the Service whose endpoints are all servers.
    pub(crate) service: Addresses,
    /// Of the Service that leads to the server of the asker's own machine alone.
    pub(crate) local_service: Addresses,
    pub(crate) host_port: u16,
    pub(crate) outside: Vec<SocketAddr>,
}

impl Server {
    pub(crate) fn targets(&self) -> PerFamily<Option<SocketAddr>> {
        at(self.addresses, self.port)
    }

    /// Where it is told what to ask: by the cluster's first family, so by none that is only checked.
    pub(crate) fn ear(&self) -> Option<SocketAddr> {
        let mut addresses = self.addresses.iter().filter_map(|(_, address)| *address);
        addresses.next().map(|address| SocketAddr::new(address, self.port))
    }
}

/// `port` at each of `addresses`.
pub(crate) fn at(addresses: Addresses, port: u16) -> PerFamily<Option<SocketAddr>> {
    PerFamily::from_fn(|family| addresses[family].map(|address| SocketAddr::new(address, port)))
}

/// The first address of each family among `texts`.
pub(crate) fn addresses<'a>(texts: impl Iterator<Item = &'a str>) -> Addresses {
    let mut found = Addresses::default();
    for address in texts.filter_map(|text| text.parse::<IpAddr>().ok()) {
        found[Family::from(address)].get_or_insert(address);
    }
    found
}
