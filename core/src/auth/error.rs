//! Why an authentication exchange ended, who caused it, and what PostgreSQL would say to the client.

use alloc::format;
use alloc::string::{String, ToString};
use core::fmt;

use crate::fault::{Culprit, Fault};

/// The end of an exchange that did not prove a password. It never contains a password, a key or a proof.
///
/// [`fault`](Self::fault) is the FATAL answer for the client, word for word PostgreSQL 15's where the client is at fault.
/// `Display` is for the log and says more about a backend.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AuthError {
    /// The client's proof does not fit, or the user has no password to prove. The two are told apart nowhere.
    WrongPassword,
    /// The client sent something that is no SCRAM message, or not the expected one.
    ClientMessage(Malformed),
    /// The client's nonce has characters that RFC 5802 forbids.
    ClientNoncePrintable,
    /// The client's final message repeats another nonce than that of the exchange: a replay or a mix-up.
    ClientNonceMismatch,
    /// The client's final message repeats another channel-binding header than its first.
    ClientChannelBinding,
    /// The client wants to act as another user (`a=`).
    ClientAuthorizationIdentity,
    /// The client insists on an extension that neither PostgreSQL nor we know (`m=`).
    ClientMandatoryExtension,
    /// The backend sent something that is no SCRAM message, or not the expected one.
    BackendMessage(Malformed),
    /// The backend's nonce does not extend ours: a replay or a mix-up.
    BackendNonceMismatch,
    /// The backend asks for more or fewer PBKDF2 rounds than [`crate::limits`] allows.
    BackendIterations,
    /// The backend's signature is wrong: it does not know the password.
    BackendSignature,
    /// The backend ended the exchange as passed although it has not proven that it knows the password.
    BackendUnproven,
    /// The backend ended the exchange with this SCRAM error value (`e=`), bounded and printable.
    BackendRefused(String),
}

/// What is wrong with the form of a SCRAM message (RFC 5802, 7). Zero stands for the end of the message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Malformed {
    /// The message has no bytes.
    Empty,
    /// The message is longer than [`crate::limits::SCRAM_MESSAGE_BYTES`].
    TooLong,
    /// The message contains a NUL.
    Nul,
    /// The message came at a point where none was expected.
    OutOfOrder,
    /// The channel-binding flag is none of `n`, `y` and `p`.
    ChannelBindingFlag(u8),
    /// The client binds to a TLS channel although we offered no such mechanism.
    ChannelBindingNotOffered,
    /// This byte stands where a comma should.
    Comma(u8),
    /// This attribute stands where the empty authorization identity should.
    UnexpectedAttribute(u8),
    /// One attribute was expected and another found.
    Attribute {
        /// The attribute that should stand here.
        expected: u8,
        /// What does.
        found: u8,
    },
    /// No `=` follows this attribute.
    Equals(u8),
    /// This byte stands where the name of an attribute should.
    AttributeName(u8),
    /// The nonce is empty or longer than [`crate::limits::SCRAM_NONCE_BYTES`].
    NonceLength,
    /// The backend's nonce has characters that RFC 5802 forbids.
    NoncePrintable,
    /// The salt is not base64, empty, or longer than [`crate::limits::SCRAM_SALT_BYTES`].
    Salt,
    /// The number of PBKDF2 rounds is not a number.
    Iterations,
    /// The client's proof is not the base64 of 32 bytes.
    Proof,
    /// The backend's signature is not the base64 of 32 bytes.
    Signature,
    /// Something follows the last attribute.
    Trailing,
}

impl AuthError {
    /// The answer for the client that logs in as `user`.
    ///
    /// It is one and the same for every way in which a backend can fail: what a backend does wrong is the
    /// administrator's business and stands in the log.
    pub fn fault(&self, user: &str) -> Fault {
        match self {
            // PostgreSQL stops reading an overlong message and says no more than this.
            Self::WrongPassword | Self::ClientMessage(Malformed::TooLong) => {
                let message = format!("password authentication failed for user \"{user}\"");
                Fault::new(Culprit::Client, b"28P01", message)
            }
            Self::ClientMessage(Malformed::Trailing) => {
                Fault::protocol("malformed SCRAM message").detail("Garbage found at the end of client-final-message.")
            }
            Self::ClientMessage(what) => Fault::protocol("malformed SCRAM message").detail(what.to_string()),
            Self::ClientNoncePrintable => Fault::protocol("non-printable characters in SCRAM nonce"),
            Self::ClientNonceMismatch => Fault::protocol("invalid SCRAM response").detail("Nonce does not match."),
            Self::ClientChannelBinding => {
                Fault::protocol("unexpected SCRAM channel-binding attribute in client-final-message")
            }
            Self::ClientAuthorizationIdentity => {
                Fault::new(Culprit::Client, b"0A000", "client uses authorization identity, but it is not supported")
            }
            Self::ClientMandatoryExtension => {
                Fault::new(Culprit::Client, b"0A000", "client requires an unsupported SCRAM extension")
            }
            Self::BackendMessage(_)
            | Self::BackendNonceMismatch
            | Self::BackendIterations
            | Self::BackendSignature
            | Self::BackendUnproven
            | Self::BackendRefused(_) => {
                let message = format!("SCRAM authentication with the backend failed for user \"{user}\"");
                Fault::new(Culprit::Backend, b"28000", message)
            }
        }
    }
}

impl fmt::Display for AuthError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::WrongPassword => f.write_str("the client did not prove the password"),
            Self::ClientMessage(what) => write!(f, "the client sent a malformed SCRAM message: {}", what),
            Self::ClientNoncePrintable => f.write_str("the client's SCRAM nonce has non-printable characters"),
            Self::ClientNonceMismatch => f.write_str("the client's SCRAM nonce changed within the exchange"),
            Self::ClientChannelBinding => f.write_str("the client's channel binding changed within the exchange"),
            Self::ClientAuthorizationIdentity => f.write_str("the client asked for an authorization identity"),
            Self::ClientMandatoryExtension => f.write_str("the client requires an unknown SCRAM extension"),
            Self::BackendMessage(what) => write!(f, "the backend sent a malformed SCRAM message: {}", what),
            Self::BackendNonceMismatch => f.write_str("the backend's SCRAM nonce does not extend ours"),
            Self::BackendIterations => f.write_str("the backend's SCRAM iteration count is out of bounds"),
            Self::BackendSignature => f.write_str("the backend's SCRAM signature is wrong: it may be an impostor"),
            Self::BackendUnproven => f.write_str("the backend skipped the proof that it knows the password"),
            Self::BackendRefused(value) => write!(f, "the backend refused the SCRAM exchange: {value}"),
        }
    }
}

impl core::error::Error for AuthError {}

/// PostgreSQL 15's words where it has any.
impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match *self {
            Self::Empty => "The message is empty.",
            Self::TooLong => "The message is too long.",
            Self::Nul => "Message length does not match input length.",
            Self::OutOfOrder => "The message was not expected.",
            Self::ChannelBindingNotOffered => {
                "The client selected SCRAM-SHA-256 without channel binding, but the SCRAM message includes channel \
                 binding data."
            }
            Self::NonceLength => "The nonce is empty or too long.",
            Self::NoncePrintable => "The nonce has non-printable characters.",
            Self::Salt => "The salt is not valid.",
            Self::Iterations => "The iteration count is not a number.",
            Self::Proof => "Malformed proof in client-final-message.",
            Self::Signature => "Malformed signature in server-final-message.",
            Self::Trailing => "Something follows the last attribute.",
            Self::AttributeName(0) => "Attribute expected, but found end of string.",
            Self::ChannelBindingFlag(found) => {
                return write!(f, "Unexpected channel-binding flag \"{}\".", Printable(found));
            }
            Self::Comma(found) => return write!(f, "Comma expected, but found character \"{}\".", Printable(found)),
            Self::UnexpectedAttribute(found) => {
                return write!(f, "Unexpected attribute \"{}\" in client-first-message.", Printable(found));
            }
            Self::Attribute { expected, found } => {
                let (expected, found) = (char::from(expected), Printable(found));
                return write!(f, "Expected attribute \"{expected}\" but found \"{found}\".");
            }
            Self::Equals(attribute) => {
                return write!(f, "Expected character \"=\" for attribute \"{}\".", char::from(attribute));
            }
            Self::AttributeName(found) => {
                return write!(f, "Attribute expected, but found invalid character \"{}\".", Printable(found));
            }
        })
    }
}

/// One byte as PostgreSQL shows it in these messages: quoted, or its code where it is blank or not ASCII.
struct Printable(u8);

impl fmt::Display for Printable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_ascii_graphic() { write!(f, "'{}'", char::from(self.0)) } else { write!(f, "0x{:02x}", self.0) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each row was recorded from PostgreSQL 15.
    #[test]
    fn clients_are_answered_as_by_postgresql() {
        let malformed = "malformed SCRAM message";
        let rows = [
            (AuthError::WrongPassword, "28P01", "password authentication failed for user \"r1\"", ""),
            (
                AuthError::ClientMessage(Malformed::TooLong),
                "28P01",
                "password authentication failed for user \"r1\"",
                "",
            ),
            (AuthError::ClientMessage(Malformed::Empty), "08P01", malformed, "The message is empty."),
            (
                AuthError::ClientMessage(Malformed::ChannelBindingFlag(b'x')),
                "08P01",
                malformed,
                "Unexpected channel-binding flag \"'x'\".",
            ),
            (
                AuthError::ClientMessage(Malformed::ChannelBindingNotOffered),
                "08P01",
                malformed,
                "The client selected SCRAM-SHA-256 without channel binding, but the SCRAM message includes channel binding data.",
            ),
            (
                AuthError::ClientMessage(Malformed::Comma(0)),
                "08P01",
                malformed,
                "Comma expected, but found character \"0x00\".",
            ),
            (
                AuthError::ClientMessage(Malformed::UnexpectedAttribute(b'b')),
                "08P01",
                malformed,
                "Unexpected attribute \"'b'\" in client-first-message.",
            ),
            (
                AuthError::ClientMessage(Malformed::Attribute { expected: b'n', found: b'r' }),
                "08P01",
                malformed,
                "Expected attribute \"n\" but found \"'r'\".",
            ),
            (
                AuthError::ClientMessage(Malformed::Equals(b'r')),
                "08P01",
                malformed,
                "Expected character \"=\" for attribute \"r\".",
            ),
            (
                AuthError::ClientMessage(Malformed::AttributeName(0xc3)),
                "08P01",
                malformed,
                "Attribute expected, but found invalid character \"0xc3\".",
            ),
            (
                AuthError::ClientMessage(Malformed::AttributeName(0)),
                "08P01",
                malformed,
                "Attribute expected, but found end of string.",
            ),
            (
                AuthError::ClientMessage(Malformed::Proof),
                "08P01",
                malformed,
                "Malformed proof in client-final-message.",
            ),
            (
                AuthError::ClientMessage(Malformed::Trailing),
                "08P01",
                malformed,
                "Garbage found at the end of client-final-message.",
            ),
            (AuthError::ClientNonceMismatch, "08P01", "invalid SCRAM response", "Nonce does not match."),
            (AuthError::ClientNoncePrintable, "08P01", "non-printable characters in SCRAM nonce", ""),
            (
                AuthError::ClientChannelBinding,
                "08P01",
                "unexpected SCRAM channel-binding attribute in client-final-message",
                "",
            ),
            (
                AuthError::ClientAuthorizationIdentity,
                "0A000",
                "client uses authorization identity, but it is not supported",
                "",
            ),
            (AuthError::ClientMandatoryExtension, "0A000", "client requires an unsupported SCRAM extension", ""),
        ];
        for (error, sqlstate, message, detail) in rows {
            let fault = error.fault("r1");
            assert_eq!(fault.culprit, Culprit::Client);
            assert_eq!(fault.sqlstate, sqlstate.as_bytes());
            assert_eq!(fault.message, message);
            assert_eq!(fault.detail.unwrap_or_default(), detail);
        }
    }
}
