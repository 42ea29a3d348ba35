//! Password proofs in both directions: md5, SCRAM-SHA-256, and the `pool_passwd` entries behind them.
//!
//! Owns the arithmetic and the order of messages of an authentication exchange. Knows nothing of message framing: what
//! goes in and comes out is the payload of the `R` and `p` messages (chapter 55.3 of PostgreSQL's manual). Nonces and
//! seeds are arguments, drawn at the edge.
//!
//! Where to read, in order:
//! - [`Secret`]: how a password is held.
//! - [`AuthError`]: who is at fault, and what PostgreSQL would answer.
//! - [`md5`]: the challenge of PostgreSQL's older method.
//! - [`scram`]: [`scram::Client`] towards PostgreSQL, [`scram::Server`] towards clients.
//! - [`passwd`]: the password file of pgpool.

pub mod md5;
pub mod passwd;
pub mod scram;

mod error;
mod saslprep;
mod secret;

pub use error::{AuthError, Malformed};
pub use secret::Secret;
