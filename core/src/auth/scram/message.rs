//! The form of SCRAM messages: attributes, base64, nonces, and the channel-binding header.

use alloc::vec::Vec;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::auth::Malformed;
use crate::limits::{SCRAM_MESSAGE_BYTES, SCRAM_NONCE_BYTES};

/// What a client says about channel binding, in the header of its first message (RFC 5802, 7, `gs2-cbind-flag`).
///
/// A channel that is bound (`p=`) would be a third value that carries the binding's name and data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ChannelBinding {
    /// `n`: the client does not do channel binding.
    Unsupported,
    /// `y`: the client does, and believes that the server does not. True as long as we offer no `-PLUS` mechanism.
    NotOffered,
}

impl ChannelBinding {
    /// The header in front of the first message.
    pub(super) fn header(self) -> &'static [u8] {
        match self {
            Self::Unsupported => b"n,,",
            Self::NotOffered => b"y,,",
        }
    }

    /// The value of `c=` in the final message that belongs to this header.
    pub(super) fn attribute(self) -> Vec<u8> {
        encode(self.header())
    }
}

/// Reads a message from left to right. The end of the message reads as zero, which no message contains.
pub(super) struct Reader<'a> {
    message: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    /// A reader at the start of `message`, once its length and the absence of NUL are checked.
    pub(super) fn new(message: &'a [u8]) -> Result<Self, Malformed> {
        if message.is_empty() {
            Err(Malformed::Empty)
        } else if message.len() > SCRAM_MESSAGE_BYTES {
            Err(Malformed::TooLong)
        } else if message.contains(&0) {
            Err(Malformed::Nul)
        } else {
            Ok(Self { message, at: 0 })
        }
    }

    /// The next byte without taking it, or zero at the end.
    pub(super) fn peek(&self) -> u8 {
        self.message.get(self.at).copied().unwrap_or(0)
    }

    /// How many bytes were taken.
    pub(super) fn position(&self) -> usize {
        self.at
    }

    /// Everything that was not taken yet.
    pub(super) fn rest(&self) -> &'a [u8] {
        &self.message[self.at..]
    }

    /// Takes the next byte, or zero at the end.
    pub(super) fn byte(&mut self) -> u8 {
        let byte = self.peek();
        self.at = self.message.len().min(self.at + 1);
        byte
    }

    /// Takes a comma.
    pub(super) fn comma(&mut self) -> Result<(), Malformed> {
        match self.byte() {
            b',' => Ok(()),
            found => Err(Malformed::Comma(found)),
        }
    }

    /// Takes the attribute `expected` with its comma, if there is one, and gives its value.
    pub(super) fn attribute(&mut self, expected: u8) -> Result<&'a [u8], Malformed> {
        match self.byte() {
            found if found == expected => self.value(expected),
            found => Err(Malformed::Attribute { expected, found }),
        }
    }

    /// Takes any attribute with its comma, if there is one, and gives its name and value.
    pub(super) fn any_attribute(&mut self) -> Result<(u8, &'a [u8]), Malformed> {
        let name = self.byte();
        if !name.is_ascii_alphabetic() {
            return Err(Malformed::AttributeName(name));
        }
        Ok((name, self.value(name)?))
    }

    /// Nothing may be left, not even the comma that promises another attribute.
    pub(super) fn end(&self) -> Result<(), Malformed> {
        if self.rest().is_empty() && !self.message.ends_with(b",") { Ok(()) } else { Err(Malformed::Trailing) }
    }

    fn value(&mut self, attribute: u8) -> Result<&'a [u8], Malformed> {
        if self.byte() != b'=' {
            return Err(Malformed::Equals(attribute));
        }
        let rest = self.rest();
        let length = rest.iter().position(|&byte| byte == b',').unwrap_or(rest.len());
        self.at = self.message.len().min(self.at + length + 1);
        Ok(&rest[..length])
    }
}

/// Canonical base64 with padding.
pub(super) fn encode(bytes: &[u8]) -> Vec<u8> {
    STANDARD.encode(bytes).into_bytes()
}

/// The bytes behind canonical base64; `None` for anything else, stray bits behind the last byte included.
pub(super) fn decode(text: &[u8]) -> Option<Vec<u8>> {
    STANDARD.decode(text).ok()
}

/// The 32 bytes behind canonical base64.
pub(super) fn decode_key(text: &[u8]) -> Option<[u8; 32]> {
    decode(text)?.try_into().ok()
}

/// A positive decimal number without sign, blank or leading zero (RFC 5802, 7, `posit-number`).
pub(super) fn number(digits: &[u8]) -> Option<u32> {
    if !digits.iter().all(u8::is_ascii_digit) || digits.first() == Some(&b'0') {
        return None;
    }
    core::str::from_utf8(digits).ok()?.parse().ok()
}

/// Whether every byte may stand in a nonce (RFC 5802, 7, `printable`).
pub(super) fn is_printable(nonce: &[u8]) -> bool {
    nonce.iter().all(|&byte| byte.is_ascii_graphic() && byte != b',')
}

/// What a nonce drawn at the edge must be. One that is not would be our own defect.
pub(super) fn assert_nonce(nonce: &str) {
    assert!(!nonce.is_empty() && nonce.len() <= SCRAM_NONCE_BYTES, "a nonce has a length within its bound");
    assert!(is_printable(nonce.as_bytes()), "a nonce is printable and has no comma");
}
