//! Flags of both subcommands, checked.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Parser, Subcommand};
use process::settings::Mistakes;

/// Checks whether the pods of a cluster reach what they should
#[derive(Parser)]
#[command(name = "kubenet-check", version = common::version())]
pub(crate) struct Flags {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Answer, and ask what `run` says
    Serve {
        /// Port of TCP and UDP
        #[arg(long, default_value_t = probe::PORT)]
        port: u16,
    },
    /// Find the serving pods, have them ask, print a table; exit 1 if something is not reached, 2 if it can't be asked
    Run {
        /// Kubeconfig of the API server; without it, the service account of the Pod
        #[arg(long, value_name = "FILE")]
        kubeconfig: Option<PathBuf>,
        /// Namespace of the serving pods; without it, the Pod's own or the kubeconfig's
        #[arg(long)]
        namespace: Option<String>,
        /// Their label app.kubernetes.io/instance
        #[arg(long, default_value = "kubenet")]
        instance: String,
        /// Port of the machines that leads to a pod of each
        #[arg(long, default_value_t = 18080)]
        host_port: u16,
        /// Port of the pods that have their machine's network
        #[arg(long, default_value_t = 18081)]
        machine_port: u16,
        /// What else every pod must reach by TCP, as 192.0.2.1:443; several, with commas between
        #[arg(long, value_name = "IP:PORT", value_delimiter = ',')]
        outside: Vec<String>,
        /// To how many other machines each machine's pods go; 0 for all
        #[arg(long, default_value_t = 4)]
        peers: usize,
        /// Seconds until all pods must be Ready
        #[arg(long, default_value_t = 120)]
        timeout: u64,
    },
}

/// What is to be done.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Work {
    Serve { port: u16 },
    Run(Run),
}

/// The flags of `run`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Run {
    pub(crate) kubeconfig: Option<PathBuf>,
    pub(crate) namespace: Option<String>,
    pub(crate) instance: String,
    pub(crate) host_port: u16,
    pub(crate) machine_port: u16,
    pub(crate) outside: Vec<SocketAddr>,
    pub(crate) peers: usize,
    pub(crate) patience: Duration,
}

impl Flags {
    pub(crate) fn check(self) -> Result<Work, Mistakes> {
        let mut mistakes = Mistakes::default();
        let work = match self.command {
            Command::Serve { port } => Work::Serve { port },
            Command::Run {
                kubeconfig,
                namespace,
                instance,
                host_port,
                machine_port,
                outside,
                peers,
                timeout,
            } => Work::Run(Run {
                kubeconfig,
                namespace,
                instance,
                host_port,
                machine_port,
                outside: outside.iter().filter_map(|text| target(text, &mut mistakes)).collect(),
                peers: if peers == 0 { usize::MAX } else { peers },
                patience: Duration::from_secs(timeout),
            }),
        };
        mistakes.or(Some(work))
    }
}

fn target(text: &str, mistakes: &mut Mistakes) -> Option<SocketAddr> {
    let parsed = text.parse::<SocketAddr>();
    let told = parsed.map_err(|_| format!("{text:?} is no IP:PORT, as 192.0.2.1:443 is"));
    mistakes.keep("--outside", told)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(arguments: &[&str]) -> Result<Work, String> {
        let flags = Flags::try_parse_from([&["kubenet-check"], arguments].concat());
        flags.map_err(|error| error.to_string())?.check().map_err(|mistakes| mistakes.to_string())
    }

    #[test]
    fn flags_become_settings() {
        assert_eq!(parsed(&["serve"]), Ok(Work::Serve { port: probe::PORT }));
        let run = parsed(&["run", "--outside=192.0.2.1:1,[2001:db8::1]:2", "--peers=0"]).unwrap();
        let Work::Run(run) = run else { panic!("{run:?}") };
        assert_eq!(run.outside.len(), 2);
        assert_eq!(run.peers, usize::MAX);
    }

    #[test]
    fn what_is_no_address_is_named() {
        let refused = parsed(&["run", "--outside=example.com:443"]).unwrap_err();
        assert!(refused.contains("--outside: \"example.com:443\" is no IP:PORT"), "{refused}");
    }
}
