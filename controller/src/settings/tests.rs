//! What the flags of a group become, and that all groups' mistakes are one message.

use clap::Args;

use super::*;

#[derive(Parser)]
struct Only<F: Args> {
    #[command(flatten)]
    flags: F,
}

/// What flags, separated by spaces, become by `check`; or all mistakes, one a line.
pub(super) fn told<F: Args>(
    arguments: &str,
    check: impl FnOnce(F, &mut Mistakes) -> String,
) -> String {
    let words = std::iter::once(names::CONTROLLER).chain(arguments.split_whitespace());
    let mut mistakes = Mistakes::default();
    let text = check(Only::try_parse_from(words).unwrap().flags, &mut mistakes);
    let lines = |text: String| text.lines().map(str::trim).collect::<Vec<_>>().join("\n");
    mistakes.or(Some(text)).unwrap_or_else(|mistakes| lines(mistakes.to_string()))
}

#[test]
fn all_mistakes_are_named_at_once() {
    let arguments = "--cluster-cidr=banana --node-cidr-mask-size=-1 --service-cluster-ip-range=x/8 \
                     --log-format=xml --leader-elect=maybe --fence=lock --release-delay=soon \
                     --cidr-allocator-type=CloudAllocator --healthz-bind-address=x";
    let words = std::iter::once(names::CONTROLLER).chain(arguments.split_whitespace());
    let text = Flags::try_parse_from(words).unwrap().check().unwrap_err().to_string();
    let flags = text.lines().map(|line| line.trim().split(": ").next().unwrap());
    let expected = [
        "--cidr-allocator-type",
        "--node-cidr-mask-size",
        "--cluster-cidr",
        "--service-cluster-ip-range",
        "--log-format",
        "--healthz-bind-address",
        "--leader-elect",
        "--release-delay",
        "--fence",
    ];
    assert_eq!(flags.collect::<Vec<_>>(), expected, "{text}");
}
