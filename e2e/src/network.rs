//! The link between the places of a lab: a switch of its own, and who has which address on it.

use std::net::IpAddr;
use std::path::Path;

use anyhow::Result;
use common::{Family, PerFamily};
use net::sysctl::Sysctl;

use crate::place::Place;
use crate::traces::Traces;

/// Pod addresses of the cluster, both families.
pub const CLUSTER_CIDRS: &str = "10.244.0.0/16,fd00:10:244::/56";

/// Addresses of Services, both families.
pub const SERVICE_CIDRS: &str = "10.96.0.0/16,fd00:10:96::/112";

/// The first Service is the API server's.
pub const KUBERNETES_SERVICE: &str = "10.96.0.1";

/// The API server's port.
pub const API_PORT: u16 = 6443;

/// The bridge that everything is plugged into, in a namespace where nothing else is.
#[derive(Debug)]
pub struct Switch(Place);

impl Switch {
    /// A switch without a plug.
    pub fn open(traces: &Traces, probe: &Path) -> Result<Self> {
        let place = Place::open(traces, "switch", probe)?;
        place.ip("link add switch type bridge\nlink set switch up")?;
        Ok(Self(place))
    }

    /// Gives `place` the interface eth0 with the addresses of `number`, and the switch as its uplink.
    pub fn plug(&self, place: &Place, number: u8) -> Result<()> {
        let port = format!("port{number}");
        self.0.ip(&format!(
            "link add {port} type veth peer name eth0 netns {}\n\
             link set {port} master switch up",
            place.init
        ))?;
        let addresses = addresses(number);
        // Nobody waits for duplicates to be detected: a kubelet binds to its address at once, and
        // neighbours are asked from the link-local one.
        let detect = "net/ipv6/conf/eth0/accept_dad";
        place.netns.run(|| Sysctl::default().write(detect, "0").map(drop))??;
        place.ip(&format!(
            "link set eth0 up\n\
             address add {}/24 dev eth0\n\
             address add {}/64 dev eth0 nodad",
            addresses.v4, addresses.v6
        ))
    }

    /// Lets nothing through to the place with that number, nor from it.
    pub fn cut(&self, number: u8) -> Result<()> {
        self.0.ip(&format!("link set port{number} down"))
    }

    /// Lets it through again.
    pub fn mend(&self, number: u8) -> Result<()> {
        self.0.ip(&format!("link set port{number} up"))
    }

    /// Takes the place with that number off the link.
    pub fn unplug(&self, number: u8) -> Result<()> {
        self.0.ip(&format!("link delete port{number}"))
    }

    /// See [`Place::keep`].
    pub fn keep(self) -> Result<()> {
        self.0.keep()
    }
}

/// The addresses of the place with that number.
pub fn addresses(number: u8) -> PerFamily<IpAddr> {
    let base = PerFamily { v4: 0xac1e_0000, v6: 0xfd00_0172_0030 << 80 };
    PerFamily::from_fn(|family: Family| family.address(base[family] + u128::from(number)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_numbered_on_one_link() {
        let addresses = addresses(11);
        assert_eq!(addresses.v4.to_string(), "172.30.0.11");
        assert_eq!(addresses.v6.to_string(), "fd00:172:30::b");
    }
}
