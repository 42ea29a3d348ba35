//! An identifier as a client wrote it, compared the way PostgreSQL would after folding.

use alloc::string::String;
use alloc::vec::Vec;
use core::cmp::Ordering;
use core::fmt;
use core::hash::{Hash, Hasher};

/// Longest identifier PostgreSQL keeps, in bytes (`NAMEDATALEN` less the closing zero).
const IDENTIFIER_BYTES: usize = 63;

/// A name borrowed from a statement, perhaps with dots (`SET app.user`).
///
/// Two names are equal when PostgreSQL would take them for the same: unquoted letters fold to lower case, a doubled quote
/// inside quotes stands for one, and every part is cut at 63 bytes.
#[derive(Clone, Copy)]
pub struct Name<'a> {
    raw: &'a [u8],
}

/// The bytes of a [`Name`] after folding.
#[derive(Debug, Clone)]
pub struct NameBytes<'a> {
    rest: &'a [u8],
    quoted: bool,
    /// Bytes given out of the current part.
    given: usize,
    /// The current part is at its limit: the rest of it is skipped.
    full: bool,
}

impl<'a> Name<'a> {
    /// `raw` is one identifier, or several with single dots between them and nothing else.
    pub(super) const fn new(raw: &'a [u8]) -> Self {
        Name { raw }
    }

    /// The name's bytes as PostgreSQL would store them; parts are joined by dots.
    pub fn bytes(&self) -> NameBytes<'a> {
        NameBytes { rest: self.raw, quoted: false, given: 0, full: false }
    }

    /// Writes the folded name to the start of `buffer`; `None` if there is no room.
    pub(crate) fn fold_into<'b>(&self, buffer: &'b mut [u8]) -> Option<&'b [u8]> {
        if self.raw.contains(&b'"') {
            let mut length = 0;
            for byte in self.bytes() {
                *buffer.get_mut(length)? = byte;
                length += 1;
            }
            return Some(&buffer[..length]);
        }
        // Unquoted, only case differs: a name that would be cut is longer than any buffer.
        let folded = buffer.get_mut(..self.raw.len())?;
        folded.copy_from_slice(self.raw);
        folded.make_ascii_lowercase();
        Some(folded)
    }

    /// Whether the folded name is `text`.
    pub fn is(&self, text: &str) -> bool {
        self.bytes().eq(text.bytes())
    }

    /// Whether the name is `text` when case does not matter, as in names of settings.
    pub fn is_ignoring_case(&self, text: &str) -> bool {
        self.bytes().map(|byte| byte.to_ascii_lowercase()).eq(text.bytes().map(|byte| byte.to_ascii_lowercase()))
    }

    /// Appends the folded name to `out`.
    pub fn append_to(&self, out: &mut Vec<u8>) {
        out.extend(self.bytes());
    }

    /// Appends the folded name to `out`; a byte that is not UTF-8 becomes `\x` and two hexadecimal digits.
    pub fn push_to(&self, out: &mut String) {
        use fmt::Write;
        // Writing into a `String` cannot fail.
        let _ = write!(out, "{self}");
    }
}

impl Iterator for NameBytes<'_> {
    type Item = u8;

    fn next(&mut self) -> Option<u8> {
        loop {
            let (&byte, rest) = self.rest.split_first()?;
            self.rest = rest;
            let folded = match byte {
                b'"' if self.quoted && rest.first() == Some(&b'"') => {
                    self.rest = &rest[1..];
                    b'"'
                }
                b'"' => {
                    self.quoted = !self.quoted;
                    continue;
                }
                b'.' if !self.quoted => {
                    self.given = 0;
                    self.full = false;
                    return Some(b'.');
                }
                _ if self.quoted => byte,
                _ => byte.to_ascii_lowercase(),
            };
            // PostgreSQL never cuts inside a character.
            if self.full || self.given + character_bytes(folded) > IDENTIFIER_BYTES {
                self.full = true;
                continue;
            }
            self.given += 1;
            return Some(folded);
        }
    }
}

/// Bytes that a UTF-8 character takes from this byte on; one for a byte inside a character.
fn character_bytes(byte: u8) -> usize {
    match byte {
        0xC0..=0xDF => 2,
        0xE0..=0xEF => 3,
        0xF0..=0xF7 => 4,
        _ => 1,
    }
}

impl PartialEq for Name<'_> {
    fn eq(&self, other: &Name<'_>) -> bool {
        self.bytes().eq(other.bytes())
    }
}

impl Eq for Name<'_> {}

impl PartialOrd for Name<'_> {
    fn partial_cmp(&self, other: &Name<'_>) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Name<'_> {
    fn cmp(&self, other: &Name<'_>) -> Ordering {
        self.bytes().cmp(other.bytes())
    }
}

impl Hash for Name<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.bytes().for_each(|byte| state.write_u8(byte));
        state.write_u8(u8::MAX);
    }
}

impl fmt::Display for Name<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes: Vec<u8> = self.bytes().collect();
        for chunk in bytes.utf8_chunks() {
            out.write_str(chunk.valid())?;
            for byte in chunk.invalid() {
                write!(out, "\\x{byte:02x}")?;
            }
        }
        Ok(())
    }
}

impl fmt::Debug for Name<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "Name({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;

    fn folded(raw: &str) -> String {
        Name::new(raw.as_bytes()).to_string()
    }

    #[test]
    fn unquoted_folds_and_quoted_does_not() {
        assert_eq!(folded("MyName"), "myname");
        assert_eq!(folded("\"MyName\""), "MyName");
        assert_eq!(folded("\"a\"\"B\""), "a\"B");
        assert_eq!(folded("App.\"User\""), "app.User");
        assert_eq!(Name::new(b"ABC"), Name::new(b"\"abc\""));
        assert_ne!(Name::new(b"ABC"), Name::new(b"\"ABC\""));
        assert!(Name::new(b"A").cmp(&Name::new(b"b")).is_lt());
    }

    #[test]
    fn each_part_is_cut_at_63_bytes_and_never_inside_a_character() {
        let long = "x".repeat(70);
        assert_eq!(folded(&long), "x".repeat(63));
        assert_eq!(folded(&alloc::format!("{long}.{long}")), alloc::format!("{0}.{0}", "x".repeat(63)));
        assert_eq!(folded(&alloc::format!("{}é", "x".repeat(62))), "x".repeat(62));
        assert_eq!(folded(&alloc::format!("{}éy", "x".repeat(62))), "x".repeat(62), "nothing follows the cut");
        assert_eq!(Name::new(long.as_bytes()), Name::new(&long.as_bytes()[..63]));
    }

    #[test]
    fn bytes_that_are_no_utf8_stay_apart() {
        assert_eq!(Name::new(b"a\xE9").to_string(), "a\\xe9");
        assert_ne!(Name::new(b"a\xE9"), Name::new(b"a\xE8"));
    }

    #[test]
    fn settings_compare_without_case() {
        assert!(Name::new(b"\"TimeZone\"").is_ignoring_case("timezone"));
        assert!(!Name::new(b"\"TimeZone\"").is("timezone"));
        assert!(Name::new(b"TimeZone").is("timezone"));
    }
}
