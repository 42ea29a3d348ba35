//! The mark that every request carries, and every row that answers it.

use core::fmt;

/// Which request of which client: `c<client>r<request>` in SQL text, in parameters and in rows.
///
/// Every login of a model client is a client of its own number, so a tag names one session for ever.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Tag {
    /// The number of the client's session.
    pub client: u32,
    /// The number of the request within it.
    pub request: u32,
}

impl Tag {
    /// Reads a whole tag.
    pub fn parse(text: &[u8]) -> Option<Self> {
        let rest = text.strip_prefix(b"c")?;
        let middle = rest.iter().position(|byte| *byte == b'r')?;
        Some(Self { client: number(&rest[..middle])?, request: number(&rest[middle + 1..])? })
    }

    /// Finds the tag in the comment that ends a query text: `... /*c1r2*/`.
    pub fn of_query(text: &[u8]) -> Option<Self> {
        let body = text.strip_suffix(b"*/")?;
        let start = body.iter().rposition(|byte| *byte == b'*')?;
        Self::parse(&body[start + 1..])
    }
}

impl fmt::Display for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "c{}r{}", self.client, self.request)
    }
}

/// Reads a decimal number of up to nine digits.
pub fn number(digits: &[u8]) -> Option<u32> {
    if digits.is_empty() || digits.len() > 9 {
        return None;
    }
    digits.iter().try_fold(0u32, |sum, digit| digit.is_ascii_digit().then(|| sum * 10 + u32::from(digit - b'0')))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_is_read_as_it_is_written() {
        let tag = Tag { client: 12, request: 345 };
        assert_eq!(Tag::parse(tag.to_string().as_bytes()), Some(tag));
        assert_eq!(Tag::of_query(format!("SELECT 1 /*{tag}*/").as_bytes()), Some(tag));
        for bad in ["", "c", "c1", "c1r", "cr1", "c1r2x", "d1r2", "c1r1234567890"] {
            assert_eq!(Tag::parse(bad.as_bytes()), None, "{bad}");
        }
        assert_eq!(Tag::of_query(b"DISCARD ALL"), None);
    }
}
