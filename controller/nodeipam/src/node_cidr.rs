//! Pure: the podCIDRs of a Node as others may have written them.

use std::borrow::Cow;

use common::Prefix;
use common::prefix::PrefixError;

/// Parses a podCIDR as the API server does: host bits are cut off, and IPv4 numbers may begin with
/// zeros, as Kubernetes before 1.36 let them (`ParseCIDRSloppy`).
///
/// A CIDR that the API server takes must not be malformed here, or its block were given again.
pub fn parse(text: &str) -> Result<Prefix, PrefixError> {
    Prefix::parse_masking(&without_leading_zeros(text))
}

fn without_leading_zeros(text: &str) -> Cow<'_, str> {
    let Some((address, length)) =
        text.split_once('/').filter(|(address, _)| !address.contains(':'))
    else {
        return Cow::Borrowed(text);
    };
    let numbers = address.split('.').map(|number| {
        let bare = number.trim_start_matches('0');
        if bare.is_empty() && !number.is_empty() { "0" } else { bare }
    });
    Cow::Owned(format!("{}/{length}", numbers.collect::<Vec<_>>().join(".")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: Option<&str>) {
        assert_eq!(parse(text).ok().map(|cidr| cidr.to_string()).as_deref(), expected, "{text}");
    }

    #[test]
    fn what_the_api_server_takes_is_understood() {
        check("10.244.1.0/24", Some("10.244.1.0/24"));
        check("10.244.1.7/24", Some("10.244.1.0/24"));
        check("010.000.01.00/24", Some("10.0.1.0/24"));
        check("ace:cab:deca::/8", Some("a00::/8"));
        check("fd00:0010::1/64", Some("fd00:10::/64"));
        check("10..1.0/24", None);
        check("10.244.1.0", None);
        check("10.244.1.0/33", None);
        check("banana", None);
    }
}
