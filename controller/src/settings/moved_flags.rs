//! Flags of kube-controller-manager that may stay when an operator moves the others over.

use process::settings::Mistakes;

use super::value::{boolean, word};

const ALLOCATE: &str = "--allocate-node-cidrs";

/// kube-controller-manager's only type that asks no cloud.
const RANGE_ALLOCATOR: &str = "RangeAllocator";

/// They mean nothing here, as written.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct MovedFlags {
    /// Taken for kube-controller-manager's sake; this program does nothing else, so true
    #[arg(
        long,
        value_name = "BOOL",
        num_args = 0..=1,
        require_equals = true,
        default_value = "true",
        default_missing_value = "true"
    )]
    allocate_node_cidrs: String,

    /// Taken for kube-controller-manager's sake; the others of its types are a cloud's
    #[arg(long, value_name = "TYPE", default_value = RANGE_ALLOCATOR)]
    cidr_allocator_type: String,

    /// Taken for kube-controller-manager's sake, and without effect: routes are the agents'
    #[arg(
        long,
        value_name = "BOOL",
        num_args = 0..=1,
        require_equals = true,
        default_value = "true",
        default_missing_value = "true"
    )]
    configure_cloud_routes: String,
}

impl MovedFlags {
    /// Checks that none of them asks for what is not done here.
    pub(super) fn check(self, mistakes: &mut Mistakes) {
        if mistakes.keep(ALLOCATE, boolean(&self.allocate_node_cidrs)) == Some(false) {
            let text = "there is nothing else to do: say true, or do not start this program";
            mistakes.add(ALLOCATE, text);
        }
        let kind = word(&self.cidr_allocator_type, "type here", &[RANGE_ALLOCATOR]);
        mistakes.keep("--cidr-allocator-type", kind);
        mistakes.keep("--configure-cloud-routes", boolean(&self.configure_cloud_routes));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::tests::told;

    #[track_caller]
    fn check(arguments: &str, expected: &str) {
        let got = told(arguments, |flags: MovedFlags, mistakes| {
            flags.check(mistakes);
            "taken".to_owned()
        });
        assert_eq!(got, expected, "{arguments}");
    }

    #[test]
    fn flags_of_kube_controller_manager_may_stay() {
        check("", "taken");
        check("--allocate-node-cidrs", "taken");
        check("--allocate-node-cidrs=true", "taken");
        check("--cidr-allocator-type=RangeAllocator --configure-cloud-routes=false", "taken");
        check(
            "--cidr-allocator-type=CloudAllocator",
            "--cidr-allocator-type: \"CloudAllocator\" is no type here: want RangeAllocator",
        );
        let text = "there is nothing else to do: say true, or do not start this program";
        check("--allocate-node-cidrs=false", &format!("--allocate-node-cidrs: {text}"));
        let no = "\"perhaps\" is no answer: want true or false";
        check("--allocate-node-cidrs=perhaps", &format!("--allocate-node-cidrs: {no}"));
        check("--configure-cloud-routes=perhaps", &format!("--configure-cloud-routes: {no}"));
    }
}
