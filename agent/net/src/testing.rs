//! For tests: a namespace of their own, and what other programs see in it.

use std::process::Command;

use serde_json::Value;

use crate::{Mac, Netlink, Netns};

pub(crate) const MAC: Mac = Mac([0x0a, 0x58, 0x0a, 0, 0, 1]);

/// An empty network namespace with a socket in it.
pub(crate) struct Machine {
    pub(crate) netns: Netns,
    pub(crate) netlink: Netlink,
}

impl Machine {
    pub(crate) fn new() -> Self {
        let netns = Netns::unnamed().unwrap();
        let netlink = netns.run(Netlink::open).unwrap().unwrap();
        Self { netns, netlink }
    }

    /// Runs a program inside, which must succeed, and returns what it says.
    pub(crate) fn run(&self, command: &str) -> String {
        let mut words = command.split(' ');
        #[expect(clippy::disallowed_methods, reason = "iproute2 and nft see what the crate made")]
        let mut command = Command::new(words.next().unwrap());
        command.args(words);
        let output = self.netns.run(|| command.output().unwrap()).unwrap();
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{command:?}: {error}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// Runs a program inside and returns the JSON that it prints.
    pub(crate) fn json(&self, command: &str) -> Value {
        serde_json::from_str(&self.run(command)).unwrap()
    }
}
