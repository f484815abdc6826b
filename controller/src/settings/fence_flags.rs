//! The flags of the fence, which keeps two controllers from giving out the same block.

use std::time::Duration;

use process::settings::Mistakes;

use super::value::{duration, word};

const FENCE: &str = "--fence";
const CLAIMS: &str = "claims";
const DELAY: &str = "--release-delay";

/// The fence as written.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct FenceFlags {
    /// What refuses a block to the second who gives it out: claims, an object of the API for each
    /// block; or none, and leader election alone
    #[arg(long, value_name = "KIND", default_value = "none")]
    fence: String,

    /// How long a deleted Node's blocks are kept for a Node of the same name; wants --fence=claims
    #[arg(long, value_name = "DURATION", default_value = "0s")]
    release_delay: String,
}

/// A claim is made for each block that is given out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fence {
    /// How long claims are kept after their Node is gone.
    pub release_delay: Duration,
}

impl FenceFlags {
    /// Checks both; none if there is no fence.
    pub(super) fn check(self, mistakes: &mut Mistakes) -> Option<Fence> {
        let release_delay = mistakes.keep(DELAY, duration(&self.release_delay));
        let fence = mistakes.keep(FENCE, word(&self.fence, "fence", &["none", CLAIMS]))?;
        if fence == CLAIMS {
            return Some(Fence { release_delay: release_delay? });
        }
        if release_delay.is_some_and(|delay| !delay.is_zero()) {
            let text = format!("needs {FENCE}={CLAIMS}: it is the claims that remember");
            mistakes.add(DELAY, text);
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::tests::told;

    #[track_caller]
    fn check(arguments: &str, expected: &str) {
        let got = told(arguments, |flags: FenceFlags, mistakes| {
            let fence = flags.check(mistakes);
            fence.map_or("none".to_owned(), |fence| format!("{:?}", fence.release_delay))
        });
        assert_eq!(got, expected, "{arguments}");
    }

    #[test]
    fn there_is_no_fence_unless_it_is_asked_for() {
        check("", "none");
        check("--fence=none --release-delay=0", "none");
        check("--fence=claims", "0ns");
        check("--fence=claims --release-delay=1h30m", "5400s");
    }

    #[test]
    fn a_release_delay_without_claims_is_refused() {
        let needs = "--release-delay: needs --fence=claims: it is the claims that remember";
        check("--release-delay=1h", needs);
        check("--fence=lock", "--fence: \"lock\" is no fence: want none or claims");
        let no = "--release-delay: \"soon\" is no duration: want one as in 15s or 1m30s";
        check("--fence=claims --release-delay=soon", no);
    }
}
