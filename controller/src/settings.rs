//! The controller's flags, checked once at start: kube-controller-manager's names, defaults and
//! limits, so that an operator can move them over.
//!
//! Each group of flags is a file: as they are written, `check`, and what they mean.

mod fence_flags;
mod leader_flags;
mod moved_flags;
mod range_flags;
mod value;

use clap::Parser;
use common::names;
use process::serve::{Addresses, ServeFlags};
use process::settings::{Mistakes, Shared, SharedFlags};

pub use self::fence_flags::Fence;
use self::fence_flags::FenceFlags;
pub use self::leader_flags::Election;
use self::leader_flags::LeaderFlags;
use self::moved_flags::MovedFlags;
use self::range_flags::RangeFlags;
pub use self::range_flags::Ranges;

/// kubenet-controller: gives each Node its podCIDRs
#[derive(Clone, Debug, Parser)]
#[command(name = names::CONTROLLER, version = common::version())]
pub struct Flags {
    #[command(flatten)]
    shared: SharedFlags,

    #[command(flatten)]
    serve: ServeFlags,

    #[command(flatten)]
    leader: LeaderFlags,

    #[command(flatten)]
    fence: FenceFlags,

    #[command(flatten)]
    ranges: RangeFlags,

    #[command(flatten)]
    moved: MovedFlags,

    /// Print what would be assigned, write nothing, and end
    #[arg(long)]
    dry_run: bool,
}

/// What the controller was told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    pub shared: Shared,
    pub serve: Addresses,
    pub dry_run: bool,
    /// How one of several controllers is chosen; none where there is only this one.
    pub election: Option<Election>,
    /// None: leader election alone keeps two from giving out the same block.
    pub fence: Option<Fence>,
    pub ranges: Ranges,
}

impl Flags {
    /// Checks all flags, and names all mistakes together.
    pub fn check(self) -> Result<Settings, Mistakes> {
        let mut mistakes = Mistakes::default();
        self.moved.check(&mut mistakes);
        let settings = Settings {
            ranges: self.ranges.check(&mut mistakes),
            shared: self.shared.check(&mut mistakes),
            serve: self.serve.check(names::CONTROLLER_PORT, &mut mistakes),
            dry_run: self.dry_run,
            election: self.leader.check(&mut mistakes),
            fence: self.fence.check(&mut mistakes),
        };
        mistakes.or(Some(settings))
    }
}

#[cfg(test)]
mod tests;
