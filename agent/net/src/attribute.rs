//! Netlink attributes (`struct nlattr`), by number and value.
//!
//! What the kernel sends is read here and not by a decoder of all that it might send: a machine has
//! links and routes of every kind, and one attribute that a decoder does not know must not hide them.

use std::net::IpAddr;

use netlink_packet_core::{DefaultNla, Emitable, NLA_F_NESTED, NLA_HEADER_SIZE, NlasIterator};

/// Number and value of each attribute, without the flags of the number.
pub(crate) fn attributes(bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    NlasIterator::new(bytes).map_while(Result::ok).map(|nla| {
        let (number, end) = (nla.kind(), nla.length().into());
        (number, nla.into_inner().get(NLA_HEADER_SIZE..end).unwrap_or_default())
    })
}

/// The value of the first attribute with that number.
pub(crate) fn attribute(bytes: &[u8], wanted: u16) -> Option<&[u8]> {
    attributes(bytes).find_map(|(number, value)| (number == wanted).then_some(value))
}

pub(crate) fn u32_of(value: &[u8]) -> Option<u32> {
    value.try_into().ok().map(u32::from_ne_bytes)
}

pub(crate) fn i32_of(value: &[u8]) -> Option<i32> {
    value.try_into().ok().map(i32::from_ne_bytes)
}

/// A text ends with its first NUL.
pub(crate) fn text_of(value: &[u8]) -> String {
    let text = value.split(|&byte| byte == 0).next().unwrap_or_default();
    String::from_utf8_lossy(text).into_owned()
}

/// An address of four or of sixteen bytes.
pub(crate) fn ip_of(value: &[u8]) -> Option<IpAddr> {
    match value.len() {
        4 => <[u8; 4]>::try_from(value).ok().map(IpAddr::from),
        _ => <[u8; 16]>::try_from(value).ok().map(IpAddr::from),
    }
}

/// An attribute that is made of attributes, for protocols that have no encoder.
pub(crate) fn nested(number: u16, inner: &[DefaultNla]) -> DefaultNla {
    let mut value = vec![0; inner.buffer_len()];
    inner.emit(&mut value);
    DefaultNla::new(number | NLA_F_NESTED, value)
}

/// A text with the NUL that ends it.
pub(crate) fn text(number: u16, text: &str) -> DefaultNla {
    DefaultNla::new(number, [text.as_bytes(), &[0]].concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_again() {
        let written = nested(7, &[text(1, "cbr0"), DefaultNla::new(2, vec![10, 0, 0, 1])]);
        let mut bytes = vec![0; written.buffer_len()];
        written.emit(&mut bytes);
        let inner = attribute(&bytes, 7).unwrap();
        assert_eq!(attribute(inner, 1).map(text_of), Some("cbr0".to_owned()));
        assert_eq!(attribute(inner, 2).and_then(ip_of), Some([10, 0, 0, 1].into()));
        assert_eq!(attribute(inner, 3), None);
    }

    #[test]
    fn a_length_that_lies_ends_the_reading() {
        let attribute = [8, 0, 1, 0, 1, 2, 3, 4];
        let lies = [200, 0, 2, 0, 1, 2, 3, 4];
        let all = [attribute, lies].concat();
        assert_eq!(attributes(&all).collect::<Vec<_>>(), [(1, [1, 2, 3, 4].as_slice())]);
    }

    #[test]
    fn a_value_of_another_size_is_no_number() {
        assert_eq!(u32_of(&[1, 2]), None);
        assert_eq!(i32_of(&(-2_i32).to_ne_bytes()), Some(-2));
        assert_eq!(ip_of(&[1; 5]), None);
    }
}
