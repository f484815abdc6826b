//! A 48-bit link-layer address, as the kernel prints it.

use std::fmt;
use std::str::FromStr;

/// A MAC address: `0a:58:0a:f4:01:05`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Mac(pub [u8; 6]);

/// Why a text is no [`Mac`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no MAC address: want six bytes, as in 0a:58:0a:f4:01:05")]
pub struct MacError(String);

impl FromStr for Mac {
    type Err = MacError;

    fn from_str(text: &str) -> Result<Self, MacError> {
        let invalid = || MacError(text.to_owned());
        let mut bytes = [0; 6];
        let mut parts = text.split(':');
        for byte in &mut bytes {
            let part = parts.next().filter(|part| part.len() == 2).ok_or_else(invalid)?;
            *byte = u8::from_str_radix(part, 16).map_err(|_| invalid())?;
        }
        if parts.next().is_some() { Err(invalid()) } else { Ok(Self(bytes)) }
    }
}

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [first, rest @ ..] = self.0;
        write!(f, "{first:02x}")?;
        rest.iter().try_for_each(|byte| write!(f, ":{byte:02x}"))
    }
}

impl fmt::Debug for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_and_bytes_agree() {
        let mac: Mac = "0a:58:0a:f4:01:05".parse().unwrap();
        assert_eq!(mac, Mac([0x0a, 0x58, 0x0a, 0xf4, 1, 5]));
        assert_eq!(mac.to_string(), "0a:58:0a:f4:01:05");
    }

    #[test]
    fn anything_but_six_bytes_is_refused() {
        for text in
            ["", "0a:58:0a:f4:01", "0a:58:0a:f4:01:05:06", "0a:58:0a:f4:01:5", "0g:58:0a:f4:01:05"]
        {
            assert!(text.parse::<Mac>().is_err(), "{text}");
        }
    }
}
