//! The run-time parameters that a backend reports, kept as the messages that tell a client of them.

use crate::limits::PARAMETERS_BYTES;
use crate::sql::Dialect;
use crate::wire::{Header, build, split_cstr};
use alloc::sync::Arc;
use alloc::vec::Vec;

/// The ParameterStatus messages of one backend connection, one per parameter, in the order first reported.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Parameters {
    /// Shared with other connections that have reported the same.
    messages: Arc<Vec<u8>>,
}

/// The name and the value of one parameter.
pub type Told<'a> = (&'a [u8], &'a [u8]);

/// All parameters together outgrew [`PARAMETERS_BYTES`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooMany;

/// Settings that servers report and that logins may begin with, by role, by database or by server.
const SETTINGS: [&[u8]; 6] = [
    b"client_encoding",
    b"DateStyle",
    b"IntervalStyle",
    b"TimeZone",
    b"standard_conforming_strings",
    // Since PostgreSQL 18.
    b"search_path",
];

impl Parameters {
    /// Takes note of a ParameterStatus message. Returns the name and the value it carries.
    pub fn note<'a>(&mut self, body: &'a [u8]) -> Result<Option<Told<'a>>, TooMany> {
        let Some((name, rest)) = split_cstr(body) else { return Ok(None) };
        let Some((value, _)) = split_cstr(rest) else { return Ok(None) };
        if let Some(range) = self.find(name) {
            if &self.messages[range.clone()][name.len() + 6..range.len() - 1] == value {
                return Ok(Some((name, value)));
            }
            Arc::make_mut(&mut self.messages).drain(range);
        }
        if self.messages.len() + name.len() + value.len() + 7 > PARAMETERS_BYTES {
            return Err(TooMany);
        }
        build::parameter_status(Arc::make_mut(&mut self.messages), name, value);
        Ok(Some((name, value)))
    }

    /// The value last reported for `name`.
    pub fn get(&self, name: &[u8]) -> Option<&[u8]> {
        let range = self.find(name)?;
        Some(&self.messages[range.start + name.len() + 6..range.end - 1])
    }

    /// Whether two sessions with these settings may understand, or say, the same differently.
    pub fn are_at_odds(&self, other: &Self) -> bool {
        SETTINGS.iter().any(|name| self.get(name) != other.get(name))
    }

    /// All of them as the messages a client is sent at login.
    pub fn messages(&self) -> &[u8] {
        &self.messages
    }

    /// How the lexer must read this connection's statements.
    pub fn dialect(&self) -> Dialect {
        let unsafe_encodings: [&[u8]; 7] = [b"SJIS", b"SHIFT_JIS_2004", b"BIG5", b"GBK", b"UHC", b"GB18030", b"JOHAB"];
        let encoding = self.get(b"client_encoding").unwrap_or(b"UTF8");
        Dialect {
            standard_conforming_strings: self.get(b"standard_conforming_strings") != Some(b"off"),
            ascii_safe_encoding: !unsafe_encodings.iter().any(|name| encoding.eq_ignore_ascii_case(name)),
        }
    }

    /// Frees memory that growing left over.
    pub fn shrink(&mut self) {
        if let Some(messages) = Arc::get_mut(&mut self.messages) {
            messages.shrink_to_fit();
        }
    }

    /// Takes the memory of `usual` where that says the same; otherwise this is what is usual from now on. Most
    /// connections report the same, and it is a good part of what an idle one takes.
    pub fn share(&mut self, usual: &mut Self) {
        if self == usual {
            self.messages = Arc::clone(&usual.messages);
        } else {
            *usual = self.clone();
        }
    }

    fn find(&self, name: &[u8]) -> Option<core::ops::Range<usize>> {
        let mut at = 0;
        while let Ok(Some(header)) = Header::parse(&self.messages[at..]) {
            let message = &self.messages[at..at + header.total];
            if split_cstr(&message[5..]).is_some_and(|(found, _)| found == name) {
                return Some(at..at + header.total);
            }
            at += header.total;
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_value_reported_counts() {
        let mut parameters = Parameters::default();
        parameters.note(b"client_encoding\0UTF8\0").unwrap();
        parameters.note(b"TimeZone\0UTC\0").unwrap();
        assert!(parameters.dialect().ascii_safe_encoding);
        parameters.note(b"client_encoding\0SJIS\0").unwrap();
        assert_eq!(parameters.get(b"client_encoding"), Some(&b"SJIS"[..]));
        assert_eq!(parameters.get(b"TimeZone"), Some(&b"UTC"[..]));
        assert_eq!(parameters.get(b"Time"), None);
        assert!(!parameters.dialect().ascii_safe_encoding);
    }

    #[test]
    fn connections_that_report_the_same_share_it_until_one_reports_something_else() {
        let told = || {
            let mut parameters = Parameters::default();
            parameters.note(b"TimeZone\0UTC\0").unwrap();
            parameters
        };
        let (mut first, mut second, mut usual) = (told(), told(), Parameters::default());
        first.share(&mut usual);
        second.share(&mut usual);
        assert!(core::ptr::eq(first.messages(), second.messages()));
        second.note(b"TimeZone\0CET\0").unwrap();
        assert_eq!((first.get(b"TimeZone"), second.get(b"TimeZone")), (Some(&b"UTC"[..]), Some(&b"CET"[..])));
        second.share(&mut usual);
        assert!(core::ptr::eq(second.messages(), usual.messages()));
    }

    #[test]
    fn a_backend_cannot_grow_them_without_bound() {
        let mut parameters = Parameters::default();
        let mut body = alloc::vec![b'x'; PARAMETERS_BYTES];
        body.extend_from_slice(b"\0v\0");
        assert_eq!(parameters.note(&body), Err(TooMany));
        assert_eq!(parameters.messages(), b"");
    }
}
