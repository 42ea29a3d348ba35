//! The PostgreSQL frontend/backend protocol, versions 3.0 and 3.2: message kinds, framing, start-up packets, encoders.
//!
//! Source: manual, chapters "Message Flow" and "Message Formats". Nothing here keeps state between messages.

pub mod build;
pub mod queue;
pub mod startup;
pub mod tag;

pub use queue::WriteQueue;

use crate::limits::MESSAGE_BYTES;

/// Bytes in front of every message after start-up: its kind and its length.
pub const HEADER_BYTES: usize = 5;

/// The first five bytes of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// The kind of the message.
    pub tag: u8,
    /// The whole message in bytes, kind and length field included.
    pub total: usize,
}

/// A length field that no sane peer sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadLength {
    /// The kind of the message that carries it.
    pub tag: u8,
    /// What the length field says.
    pub declared: u32,
}

impl Header {
    /// Reads the header at the front of `input`; `None` while fewer than five bytes are there.
    ///
    /// Nothing is reserved on the word of a length: it is checked here before anybody acts on it.
    #[inline]
    pub fn parse(input: &[u8]) -> Result<Option<Self>, BadLength> {
        let Some((&[tag, a, b, c, d], _)) = input.split_first_chunk::<HEADER_BYTES>() else {
            return Ok(None);
        };
        let declared = u32::from_be_bytes([a, b, c, d]);
        if !(4..=MESSAGE_BYTES).contains(&declared) {
            return Err(BadLength { tag, declared });
        }
        Ok(Some(Self { tag, total: declared as usize + 1 }))
    }
}

/// Splits a NUL-terminated string off the front; `None` without a NUL.
pub fn split_cstr(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = bytes.iter().position(|byte| *byte == 0)?;
    Some((&bytes[..end], &bytes[end + 1..]))
}

/// Where a backend's session stands in a transaction, as ReadyForQuery tells it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TransactionStatus {
    /// `I`: not in a transaction block.
    Idle,
    /// `T`: in a transaction block.
    InBlock,
    /// `E`: in a transaction block that has failed.
    Failed,
}

impl TransactionStatus {
    /// Reads the byte of ReadyForQuery.
    pub const fn from_byte(byte: u8) -> Option<Self> {
        match byte {
            b'I' => Some(Self::Idle),
            b'T' => Some(Self::InBlock),
            b'E' => Some(Self::Failed),
            _ => None,
        }
    }

    /// The byte of ReadyForQuery.
    pub const fn byte(self) -> u8 {
        match self {
            Self::Idle => b'I',
            Self::InBlock => b'T',
            Self::Failed => b'E',
        }
    }
}

/// How grave an ErrorResponse is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Gravity {
    /// The statement failed.
    Error,
    /// The session ends.
    Fatal,
    /// All sessions of the server end.
    Panic,
}

impl Gravity {
    /// How many there are.
    pub const COUNT: usize = Self::Panic as usize + 1;
}

/// The two fields of an ErrorResponse that decisions rest on. They stand among the first bytes of the message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ErrorHead {
    /// How grave it is.
    pub gravity: Gravity,
    /// The code; `XXXXX` where the backend sent none.
    pub sqlstate: crate::fault::SqlState,
}

impl ErrorHead {
    /// Reads the fields `V` (or `S`) and `C` from the body of an ErrorResponse, which may be cut short.
    pub fn parse(mut body: &[u8]) -> Self {
        let mut head = Self { gravity: Gravity::Error, sqlstate: *b"XXXXX" };
        while let Some((&field, rest)) = body.split_first() {
            if field == 0 {
                break;
            }
            let Some((value, rest)) = split_cstr(rest) else { break };
            match field {
                b'S' | b'V' if value == b"FATAL" => head.gravity = head.gravity.max(Gravity::Fatal),
                b'S' | b'V' if value == b"PANIC" => head.gravity = Gravity::Panic,
                b'C' => {
                    if let Ok(code) = value.try_into() {
                        head.sqlstate = code;
                    }
                }
                _ => {}
            }
            body = rest;
        }
        head
    }

    /// Whether the backend closes the connection after it.
    pub fn is_fatal(&self) -> bool {
        self.gravity > Gravity::Error
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_needs_five_bytes_and_a_sane_length() {
        assert_eq!(Header::parse(b"Q\0\0\0"), Ok(None));
        assert_eq!(Header::parse(b"S\0\0\0\x04"), Ok(Some(Header { tag: b'S', total: 5 })));
        for bad in [0u32, 3, 0x3fff_ffff, 0x7fff_ffff, 0xffff_ffff] {
            let mut bytes = [b'Q', 0, 0, 0, 0];
            bytes[1..].copy_from_slice(&bad.to_be_bytes());
            assert_eq!(Header::parse(&bytes), Err(BadLength { tag: b'Q', declared: bad }));
        }
    }

    #[test]
    fn an_error_is_read_as_far_as_it_goes() {
        let whole = ErrorHead::parse(b"SFATAL\0VFATAL\0C57P01\0Mgone\0\0");
        assert_eq!(whole, ErrorHead { gravity: Gravity::Fatal, sqlstate: *b"57P01" });
        let cut = ErrorHead::parse(b"SERROR\0VERR");
        assert_eq!(cut, ErrorHead { gravity: Gravity::Error, sqlstate: *b"XXXXX" });
        assert_eq!(ErrorHead::parse(b"C1\0").sqlstate, *b"XXXXX", "a code of the wrong length is none");
    }
}
