//! The side of the exchange that proves a password to PostgreSQL.

use alloc::string::{String, ToString};
use alloc::vec::Vec;
use subtle::ConstantTimeEq;

use super::KeyCache;
use super::keys::{Keys, signature};
use super::message::{self, ChannelBinding, Reader};
use crate::auth::{AuthError, Malformed, Secret};
use crate::limits::{SCRAM_ITERATIONS_MAX, SCRAM_ITERATIONS_MIN, SCRAM_NONCE_BYTES, SCRAM_SALT_BYTES};

/// What is kept of a backend's `e=` value for the log, in bytes.
const REFUSAL_BYTES: usize = 64;

/// Logs in to PostgreSQL with SCRAM-SHA-256.
///
/// Order of use: [`client_first`](Self::client_first) answers AuthenticationSASL,
/// [`handle_continue`](Self::handle_continue) AuthenticationSASLContinue,
/// [`handle_final`](Self::handle_final) takes AuthenticationSASLFinal, and [`handle_ok`](Self::handle_ok) must agree
/// before AuthenticationOk counts. An impostor that skips a step fails at one of them; after an error every further
/// call gives the same error.
pub struct Client(State);

enum State {
    /// The first message is on its way.
    First {
        password: Secret,
        nonce: String,
    },
    /// Our proof is on its way; only who knows the password can answer with this signature.
    Final {
        expected: [u8; 32],
    },
    /// The backend has proven that it knows the password.
    Proven,
    Failed(AuthError),
}

impl Client {
    /// An exchange for `password` with a fresh `nonce`: printable, without comma, unpredictable, never used before.
    ///
    /// # Panics
    /// When the nonce has a forbidden character or is empty or longer than its bound: it is the caller's own.
    pub fn new(password: &Secret, nonce: &str) -> Self {
        message::assert_nonce(nonce);
        Self(State::First { password: password.clone(), nonce: nonce.to_string() })
    }

    /// The content of SASLInitialResponse. The user name stays empty: PostgreSQL takes that of the start-up packet.
    ///
    /// # Panics
    /// When the exchange went on already.
    pub fn client_first(&self) -> Vec<u8> {
        match &self.0 {
            State::First { nonce, .. } => [BINDING.header(), &first_bare(nonce)].concat(),
            _ => panic!("the first message is sent before any other"),
        }
    }

    /// Takes AuthenticationSASLContinue and gives the content of SASLResponse.
    ///
    /// # Errors
    /// When the message is malformed, its nonce does not extend ours, or its rounds are out of bounds.
    pub fn handle_continue(&mut self, server_first: &[u8]) -> Result<Vec<u8>, AuthError> {
        self.proceed(server_first, Keys::derive)
    }

    /// The same with the rounds saved where `cache` has them.
    ///
    /// # Errors
    /// As [`handle_continue`](Self::handle_continue).
    pub fn handle_continue_cached(&mut self, server_first: &[u8], cache: &mut KeyCache) -> Result<Vec<u8>, AuthError> {
        self.proceed(server_first, |password, salt, iterations| cache.keys(password, salt, iterations))
    }

    /// Takes AuthenticationSASLFinal: the backend's proof, or its refusal.
    ///
    /// # Errors
    /// When the message is malformed, the signature wrong, or the backend refused.
    pub fn handle_final(&mut self, server_final: &[u8]) -> Result<(), AuthError> {
        let outcome = match &self.0 {
            State::First { .. } | State::Proven => Err(AuthError::BackendMessage(Malformed::OutOfOrder)),
            State::Final { expected } => check_final(expected, server_final),
            State::Failed(error) => return Err(error.clone()),
        };
        self.0 = match &outcome {
            Ok(()) => State::Proven,
            Err(error) => State::Failed(error.clone()),
        };
        outcome
    }

    /// Takes AuthenticationOk, which means nothing unless the backend has proven itself.
    ///
    /// # Errors
    /// When it has not.
    pub fn handle_ok(&mut self) -> Result<(), AuthError> {
        match &self.0 {
            State::Proven => Ok(()),
            State::Failed(error) => Err(error.clone()),
            State::First { .. } | State::Final { .. } => {
                self.0 = State::Failed(AuthError::BackendUnproven);
                Err(AuthError::BackendUnproven)
            }
        }
    }

    /// Whether the backend has proven that it knows the password.
    pub fn is_proven(&self) -> bool {
        matches!(self.0, State::Proven)
    }

    fn proceed(
        &mut self,
        server_first: &[u8],
        keys: impl FnOnce(&Secret, &[u8], u32) -> Keys,
    ) -> Result<Vec<u8>, AuthError> {
        let outcome = match &self.0 {
            State::First { password, nonce } => answer(password, nonce, server_first, keys),
            State::Final { .. } | State::Proven => Err(AuthError::BackendMessage(Malformed::OutOfOrder)),
            State::Failed(error) => return Err(error.clone()),
        };
        match outcome {
            Ok((client_final, expected)) => {
                self.0 = State::Final { expected };
                Ok(client_final)
            }
            Err(error) => {
                self.0 = State::Failed(error.clone());
                Err(error)
            }
        }
    }
}

/// Without TLS there is nothing to bind to.
const BINDING: ChannelBinding = ChannelBinding::Unsupported;

struct ServerFirst<'a> {
    nonce: &'a [u8],
    salt: Vec<u8>,
    iterations: u32,
}

fn first_bare(nonce: &str) -> Vec<u8> {
    [b"n=,r=", nonce.as_bytes()].concat()
}

/// The final message and the signature that must answer it.
fn answer(
    password: &Secret,
    nonce: &str,
    server_first: &[u8],
    keys: impl FnOnce(&Secret, &[u8], u32) -> Keys,
) -> Result<(Vec<u8>, [u8; 32]), AuthError> {
    let asked = read_first(server_first).map_err(AuthError::BackendMessage)?;
    if !asked.nonce.starts_with(nonce.as_bytes()) || asked.nonce.len() == nonce.len() {
        return Err(AuthError::BackendNonceMismatch);
    }
    if !(SCRAM_ITERATIONS_MIN..=SCRAM_ITERATIONS_MAX).contains(&asked.iterations) {
        return Err(AuthError::BackendIterations);
    }
    let keys = keys(password, &asked.salt, asked.iterations);
    let mut client_final = [b"c=", &*BINDING.attribute(), b",r=", asked.nonce].concat();
    let auth_message = [&*first_bare(nonce), server_first, &client_final].join(&b',');
    client_final.extend_from_slice(b",p=");
    client_final.extend_from_slice(&message::encode(&keys.proof(&auth_message)));
    Ok((client_final, signature(keys.server(), &auth_message)))
}

fn read_first(server_first: &[u8]) -> Result<ServerFirst<'_>, Malformed> {
    let mut reader = Reader::new(server_first)?;
    let nonce = reader.attribute(b'r')?;
    if nonce.is_empty() || nonce.len() > 2 * SCRAM_NONCE_BYTES {
        return Err(Malformed::NonceLength);
    }
    if !message::is_printable(nonce) {
        return Err(Malformed::NoncePrintable);
    }
    let salt = message::decode(reader.attribute(b's')?)
        .filter(|salt| !salt.is_empty() && salt.len() <= SCRAM_SALT_BYTES)
        .ok_or(Malformed::Salt)?;
    let iterations = message::number(reader.attribute(b'i')?).ok_or(Malformed::Iterations)?;
    reader.end()?;
    Ok(ServerFirst { nonce, salt, iterations })
}

fn check_final(expected: &[u8; 32], server_final: &[u8]) -> Result<(), AuthError> {
    let mut reader = Reader::new(server_final).map_err(AuthError::BackendMessage)?;
    if reader.peek() == b'e' {
        let value = reader.attribute(b'e').map_err(AuthError::BackendMessage)?;
        return Err(AuthError::BackendRefused(loggable(value)));
    }
    let given = reader.attribute(b'v').map_err(AuthError::BackendMessage)?;
    let given = message::decode_key(given).ok_or(AuthError::BackendMessage(Malformed::Signature))?;
    reader.end().map_err(AuthError::BackendMessage)?;
    if bool::from(given.ct_eq(expected)) { Ok(()) } else { Err(AuthError::BackendSignature) }
}

/// A backend's own words, cut and with anything but plain characters replaced.
fn loggable(value: &[u8]) -> String {
    let shown = value.iter().take(REFUSAL_BYTES);
    shown.map(|&byte| if byte.is_ascii_graphic() { char::from(byte) } else { '?' }).collect()
}
