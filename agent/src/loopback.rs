//! Pure: whether host ports are there on 127.0.0.1 too, for who asks from the machine itself.
//!
//! Linux keeps addresses of 127.0.0.0/8 off every link but `lo` until the link's `route_localnet` is set.
//! On cbr0 it is, while a chain drops what comes from any other link for them or in their name: else a pod
//! could reach what listens on the machine's 127.0.0.1 only (CVE-2020-8558).
//! IPv6 has nothing of the kind: answers for `::1` are dropped before any rule sees them
//! (`ip6_rcv_core` in `net/ipv6/ip6_input.c`).

use common::names;

use crate::sysctl::Setting;

/// Whether a host port of IPv4 leads to its pod by 127.0.0.1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Loopback {
    #[default]
    Reached,
    /// 127.0.0.1 is whoever's listens there.
    Unreached,
}

impl Loopback {
    pub const fn of(reached: bool) -> Self {
        if reached { Self::Reached } else { Self::Unreached }
    }

    /// The chain without which the setting is never turned on.
    pub const fn guard(self) -> &'static str {
        match self {
            Self::Reached => {
                "\tchain guard {
\t\ttype filter hook prerouting priority raw; policy accept;
\t\tiif != \"lo\" ip daddr 127.0.0.0/8 drop
\t\tiif != \"lo\" ip saddr 127.0.0.0/8 drop
\t}
"
            }
            Self::Unreached => "",
        }
    }

    /// What the machine itself sends to no host port.
    pub const fn exempt(self) -> &'static str {
        match self {
            Self::Reached => "\t\tip6 daddr ::1 return\n",
            Self::Unreached => "\t\tip daddr 127.0.0.0/8 return\n\t\tip6 daddr ::1 return\n",
        }
    }

    /// Gives what leaves for a pod an address that the pod can answer to.
    pub fn masquerade(self) -> String {
        match self {
            Self::Reached => {
                format!("\t\toifname \"{}\" ip saddr 127.0.0.0/8 masquerade\n", names::BRIDGE)
            }
            Self::Unreached => String::new(),
        }
    }

    /// The kernel's setting.
    pub fn setting(self) -> Setting {
        let value = match self {
            Self::Reached => "1",
            Self::Unreached => "0",
        };
        Setting { key: key(), value }
    }
}

/// Whether `setting` may only be made where the guard stands.
pub fn wants_guard(setting: &Setting) -> bool {
    *setting == Loopback::Reached.setting()
}

/// Where the kernel keeps it.
pub fn key() -> String {
    format!("net/ipv4/conf/{}/route_localnet", names::BRIDGE)
}
