//! Pure: one value of a flag, and what is said of one that is none: what was given, and what to give.

use std::time::Duration;

pub(super) fn boolean(text: &str) -> Result<bool, String> {
    text.parse().map_err(|_| format!("{text:?} is no answer: want true or false"))
}

/// One of `words`; `what` is what they are called.
pub(super) fn word<'a>(text: &'a str, what: &str, words: &[&str]) -> Result<&'a str, String> {
    let known = words.contains(&text).then_some(text);
    known.ok_or_else(|| format!("{text:?} is no {what}: want {}", words.join(" or ")))
}

/// A name of the API's.
pub(super) fn name(text: String) -> Result<String, &'static str> {
    if text.is_empty() { Err("is empty: want a name") } else { Ok(text) }
}

/// As Go writes it: `15s`, `1m30s`, and `0`.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    if text == "0" {
        return Ok(Duration::ZERO);
    }
    let parsed = text.parse::<jiff::SignedDuration>().ok().and_then(|d| Duration::try_from(d).ok());
    parsed.ok_or_else(|| format!("{text:?} is no duration: want one as in 15s or 1m30s"))
}

/// A prefix length; none for 0, which is what kube-controller-manager calls unset.
pub(super) fn length(text: &str) -> Result<Option<u8>, String> {
    let parsed = text.parse::<u8>().map(|length| Some(length).filter(|&length| length != 0));
    parsed.map_err(|_| format!("{text:?} is no prefix length: want a number up to 128"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_those_of_go() {
        let check = |text, expected: Option<u64>| {
            let got = duration(text).ok();
            assert_eq!(got, expected.map(Duration::from_millis), "{text}");
        };
        check("15s", Some(15_000));
        check("1m30s", Some(90_000));
        check("500ms", Some(500));
        check("0", Some(0));
        check("0s", Some(0));
        check("-2s", None);
        check("soon", None);
        check("15", None);
        check("", None);
    }

    #[test]
    fn what_is_no_value_is_quoted_with_what_is_wanted() {
        let check =
            |got: Result<(), String>, expected: &str| assert_eq!(got.unwrap_err(), expected);
        check(boolean("maybe").map(drop), "\"maybe\" is no answer: want true or false");
        let fence = word("lock", "fence", &["none", "claims"]).map(drop);
        check(fence, "\"lock\" is no fence: want none or claims");
        check(length("-1").map(drop), "\"-1\" is no prefix length: want a number up to 128");
    }
}
