//! The flags of the fence, which keeps two controllers from giving out the same block.

use std::time::Duration;

use process::settings::Mistakes;

use crate::leader_flags::duration;

const FENCE: &str = "--fence";
const DELAY: &str = "--release-delay";

/// The fence as written.
#[derive(Clone, Debug, clap::Args)]
pub struct FenceFlags {
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
    pub fn check(self, mistakes: &mut Mistakes) -> Option<Fence> {
        let none = matches!(self.release_delay.as_str(), "0" | "0s");
        let delay = if none { Ok(Duration::ZERO) } else { duration(&self.release_delay) };
        let release_delay = mistakes.keep(DELAY, delay);
        match self.fence.as_str() {
            "claims" => Some(Fence { release_delay: release_delay? }),
            "none" => {
                if release_delay.is_some_and(|delay| !delay.is_zero()) {
                    let text = format!("needs {FENCE}=claims: it is the claims that remember");
                    mistakes.add(DELAY, text);
                }
                None
            }
            other => {
                mistakes.add(FENCE, format!("{other:?} is no fence: want none or claims"));
                None
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Flags {
        #[command(flatten)]
        fence: FenceFlags,
    }

    #[track_caller]
    fn check(arguments: &str, expected: &str) {
        let words = std::iter::once("test").chain(arguments.split_whitespace());
        let mut mistakes = Mistakes::default();
        let fence = Flags::try_parse_from(words).unwrap().fence.check(&mut mistakes);
        let text = fence.map_or("none".to_owned(), |fence| format!("{:?}", fence.release_delay));
        let got = mistakes.or(Some(text)).unwrap_or_else(|mistakes| mistakes.to_string());
        assert_eq!(got.trim(), expected, "{arguments}");
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
