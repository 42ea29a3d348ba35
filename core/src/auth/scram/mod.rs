//! SCRAM-SHA-256 (RFC 5802 and 7677) in both directions, as PostgreSQL 15 speaks it without TLS.
//!
//! [`Client`] logs in to PostgreSQL, [`Server`] lets a client log in to us against a [`Verifier`]. Both are enums with
//! data inside: a proof can only exist in the state that earned it, and a failed exchange stays failed with its first
//! error. [`KeyCache`] saves the PBKDF2 rounds, about a millisecond, when the same password meets the same salt again.
//!
//! Stricter than PostgreSQL: base64 must be canonical, nothing may follow a final message, a nonce is not empty and
//! extends the other side's, and lengths and iteration counts outside [`crate::limits`] are refused.
//!
//! Channel binding has one place: `ChannelBinding` in `message.rs`, from which both the header of the first and the `c=`
//! of the final message are made.

mod client;
mod keys;
mod message;
mod server;
mod verifier;

#[cfg(test)]
mod tests;

pub use client::Client;
pub use keys::{KeyCache, Keys};
pub use server::Server;
pub use verifier::{InvalidVerifier, Verifier, salt_for};

/// The name of the mechanism in AuthenticationSASL and SASLInitialResponse.
pub const MECHANISM: &str = "SCRAM-SHA-256";

/// PBKDF2 rounds of the verifiers that we make ourselves: PostgreSQL's default, and RFC 7677's minimum.
pub const DEFAULT_ITERATIONS: u32 = 4_096;
