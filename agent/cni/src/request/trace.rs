//! The trace that a runtime's request is part of ([W3C Trace Context](https://www.w3.org/TR/trace-context/), 3.2).

use std::ffi::OsStr;

/// The trace's number of 16 bytes in lower-case hexadecimal, of `VERSION-TRACE-SPAN-FLAGS`.
///
/// A later version may say more behind it. What is none is not heeded: a pod does not depend on it.
pub(crate) fn id(parent: &OsStr) -> Option<&str> {
    let mut fields = parent.to_str()?.split('-');
    let (version, id, span, flags) =
        (fields.next()?, fields.next()?, fields.next()?, fields.next()?);
    let well_formed = [(version, 2), (id, 32), (span, 16), (flags, 2)].into_iter().all(is_hex);
    let is_number = |field: &str| field.bytes().any(|digit| digit != b'0');
    let complete = version != "00" || fields.next().is_none();
    let valid = well_formed && version != "ff" && is_number(id) && is_number(span) && complete;
    valid.then_some(id)
}

fn is_hex((field, digits): (&str, usize)) -> bool {
    field.len() == digits && field.bytes().all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f'))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
    const SPAN: &str = "00f067aa0ba902b7";

    #[test]
    fn a_trace_is_known_by_its_number() {
        let zero = "0".repeat(32);
        let table = [
            (format!("00-{ID}-{SPAN}-01"), true),
            (format!("cc-{ID}-{SPAN}-01-what-comes-later"), true),
            (format!("00-{ID}-{SPAN}-01-what-comes-later"), false),
            (format!("ff-{ID}-{SPAN}-01"), false),
            (format!("00-{}-{SPAN}-01", ID.to_uppercase()), false),
            (format!("00-{zero}-{SPAN}-01"), false),
            (format!("00-{ID}-{}-01", &zero[..16]), false),
            (format!("00-{ID}-{SPAN}"), false),
            (format!("0-{ID}-{SPAN}-01"), false),
            (String::new(), false),
        ];
        for (parent, valid) in table {
            assert_eq!(id(OsStr::new(&parent)), valid.then_some(ID), "{parent}");
        }
    }
}
