//! `kubenet-agent modprobe`: the kernel module without which kube-proxy does not see bridged packets.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};

/// There once the module is.
const SETTINGS: &str = "/proc/sys/net/bridge";

const MODULE: &str = "br_netfilter";

/// Loads the kernel module `br_netfilter`, unless it is there
#[derive(Clone, Debug, clap::Args)]
pub struct Flags {
    /// Folder of the kernels' modules
    #[arg(long, value_name = "DIR", default_value = "/lib/modules")]
    modules_dir: PathBuf,
}

/// Sees to it that the module is there.
///
/// # Errors
/// What the kernel refuses, or that it says yes and nothing comes of it.
#[expect(clippy::print_stdout, reason = "what it says is the log of its container")]
pub fn run(flags: &Flags) -> anyhow::Result<()> {
    if Path::new(SETTINGS).exists() {
        println!("{MODULE} is there");
        return Ok(());
    }
    net::module::load(&flags.modules_dir, MODULE).with_context(|| format!("no {MODULE}"))?;
    if !Path::new(SETTINGS).exists() {
        bail!("{MODULE} is loaded, and there is no {SETTINGS}");
    }
    println!("{MODULE} was loaded");
    Ok(())
}
