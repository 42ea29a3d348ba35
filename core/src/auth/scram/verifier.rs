//! What a server keeps of a password, and what it pretends to keep for a user that it does not know.

use alloc::vec::Vec;
use core::fmt;
use zeroize::Zeroizing;

use super::keys::{Keys, hmac};
use super::{DEFAULT_ITERATIONS, KeyCache, message};
use crate::auth::Secret;
use crate::limits::{SCRAM_ITERATIONS_MAX, SCRAM_ITERATIONS_MIN, SCRAM_SALT_BYTES};

/// Salt, rounds, StoredKey and ServerKey (RFC 5802, 3): checks a client's proof without the password.
///
/// Made once and cloned for each login, it saves the PBKDF2 rounds. Erased when dropped, not printable.
#[derive(Clone)]
pub struct Verifier {
    salt: Vec<u8>,
    iterations: u32,
    stored: Zeroizing<[u8; 32]>,
    server: Zeroizing<[u8; 32]>,
    /// Whether it stands for a user that does not exist: no proof fits it, were it even the right one.
    doomed: bool,
}

/// A stored verifier that cannot be used; says which part is wrong, not what stood there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InvalidVerifier {
    /// It does not begin with `SCRAM-SHA-256$`, or its parts are not all there.
    Form,
    /// The rounds are not a number within the bounds of [`crate::limits`].
    Iterations,
    /// The salt is not base64, empty, or longer than its bound.
    Salt,
    /// A key is not the base64 of 32 bytes.
    Key,
}

impl Verifier {
    /// Derives the verifier of `password`: about a millisecond for 4,096 rounds.
    pub fn from_password(password: &Secret, salt: &[u8], iterations: u32) -> Self {
        Self::from_keys(&Keys::derive(password, salt, iterations), salt, iterations)
    }

    /// The same with the rounds saved where `cache` has them.
    pub fn from_cache(cache: &mut KeyCache, password: &Secret, salt: &[u8], iterations: u32) -> Self {
        Self::from_keys(&cache.keys(password, salt, iterations), salt, iterations)
    }

    /// Reads `SCRAM-SHA-256$<rounds>:<salt>$<StoredKey>:<ServerKey>`, the form of `pg_authid.rolpassword`.
    ///
    /// # Errors
    /// When it has another form, a part that is not canonical base64, or rounds outside [`crate::limits`].
    pub fn parse(text: &[u8]) -> Result<Self, InvalidVerifier> {
        let text = text.strip_prefix(b"SCRAM-SHA-256$").ok_or(InvalidVerifier::Form)?;
        let (iterations, text) = split(text, b':')?;
        let (salt, text) = split(text, b'$')?;
        let (stored, server) = split(text, b':')?;
        let iterations = message::number(iterations)
            .filter(|rounds| (SCRAM_ITERATIONS_MIN..=SCRAM_ITERATIONS_MAX).contains(rounds))
            .ok_or(InvalidVerifier::Iterations)?;
        let salt = message::decode(salt)
            .filter(|salt| !salt.is_empty() && salt.len() <= SCRAM_SALT_BYTES)
            .ok_or(InvalidVerifier::Salt)?;
        let stored = Zeroizing::new(message::decode_key(stored).ok_or(InvalidVerifier::Key)?);
        let server = Zeroizing::new(message::decode_key(server).ok_or(InvalidVerifier::Key)?);
        Ok(Self { salt, iterations, stored, server, doomed: false })
    }

    /// A verifier for a `user` without a password: the exchange looks like any other, and fails at its end.
    ///
    /// `secret_seed` is drawn once for the process, so that a user's salt stays the same from one attempt to the next.
    /// For known users the salt must come from [`salt_for`] with the same seed: then the answers cannot be told apart.
    /// The cost is that of [`from_password`](Self::from_password), so that the time cannot be either.
    pub fn mock(user: impl AsRef<[u8]>, secret_seed: &[u8]) -> Self {
        let (user, salt) = (user.as_ref(), salt_for(user.as_ref(), secret_seed));
        let password = mock_password(user, secret_seed);
        Self { doomed: true, ..Self::from_password(&password, &salt, DEFAULT_ITERATIONS) }
    }

    /// The same with the rounds saved where `cache` has them: to be used where known users go through
    /// [`from_cache`](Self::from_cache).
    pub fn mock_from_cache(cache: &mut KeyCache, user: impl AsRef<[u8]>, secret_seed: &[u8]) -> Self {
        let (user, salt) = (user.as_ref(), salt_for(user.as_ref(), secret_seed));
        let password = mock_password(user, secret_seed);
        Self { doomed: true, ..Self::from_cache(cache, &password, &salt, DEFAULT_ITERATIONS) }
    }

    pub(super) fn salt(&self) -> &[u8] {
        &self.salt
    }

    pub(super) fn iterations(&self) -> u32 {
        self.iterations
    }

    pub(super) fn stored(&self) -> &[u8; 32] {
        &self.stored
    }

    pub(super) fn server(&self) -> &[u8; 32] {
        &self.server
    }

    pub(super) fn is_doomed(&self) -> bool {
        self.doomed
    }

    fn from_keys(keys: &Keys, salt: &[u8], iterations: u32) -> Self {
        assert!(!salt.is_empty() && salt.len() <= SCRAM_SALT_BYTES, "a salt has a length within its bound");
        assert!((SCRAM_ITERATIONS_MIN..=SCRAM_ITERATIONS_MAX).contains(&iterations), "clients refuse other counts");
        Self { salt: salt.to_vec(), iterations, stored: keys.stored(), server: keys.server().clone(), doomed: false }
    }
}

impl fmt::Display for InvalidVerifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Form => "not of the form SCRAM-SHA-256$<iterations>:<salt>$<stored key>:<server key>",
            Self::Iterations => "the iteration count is not a number within bounds",
            Self::Salt => "the salt is not valid base64 or has a wrong length",
            Self::Key => "a key is not the base64 of 32 bytes",
        })
    }
}

impl core::error::Error for InvalidVerifier {}

/// The salt of `user` in logins to us, the same at every attempt, whether the user is known or not.
pub fn salt_for(user: impl AsRef<[u8]>, secret_seed: &[u8]) -> [u8; 16] {
    let mut salt = [0; 16];
    salt.copy_from_slice(&labelled(b"salt:", user.as_ref(), secret_seed)[..16]);
    salt
}

pub(super) fn mock_password(user: &[u8], secret_seed: &[u8]) -> Secret {
    Secret::new(message::encode(&labelled(b"password:", user, secret_seed)))
}

fn labelled(label: &[u8], user: &[u8], secret_seed: &[u8]) -> [u8; 32] {
    hmac(secret_seed, &[label, user].concat())
}

fn split(text: &[u8], at: u8) -> Result<(&[u8], &[u8]), InvalidVerifier> {
    let position = text.iter().position(|&byte| byte == at).ok_or(InvalidVerifier::Form)?;
    Ok((&text[..position], &text[position + 1..]))
}
