//! How a password is held: erased when dropped, compared in constant time, and not printable.

use alloc::vec::Vec;
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

/// A password, as bytes: PostgreSQL does not require one to be valid UTF-8.
///
/// It has neither `Debug` nor `Display`, so that no log line or SHOW command can contain it: the compiler refuses.
/// Its memory is overwritten when it is dropped.
#[derive(Clone)]
pub struct Secret(Zeroizing<Vec<u8>>);

impl Secret {
    /// Takes the password over. The vector must not have been reallocated while it was filled, or a copy stays behind.
    pub fn new(password: Vec<u8>) -> Self {
        Self(Zeroizing::new(password))
    }

    /// The password itself, for the few places that compute with it.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }
}

impl From<&str> for Secret {
    fn from(password: &str) -> Self {
        Self::new(password.as_bytes().to_vec())
    }
}

impl From<&[u8]> for Secret {
    fn from(password: &[u8]) -> Self {
        Self::new(password.to_vec())
    }
}

/// Takes the same time wherever two passwords of equal length differ. That the lengths differ is not hidden.
impl PartialEq for Secret {
    fn eq(&self, other: &Self) -> bool {
        self.expose().ct_eq(other.expose()).into()
    }
}

impl Eq for Secret {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_only_when_every_byte_is() {
        let secret = Secret::from("correct horse");
        assert!(secret == Secret::from(&b"correct horse"[..]));
        assert!(secret != Secret::from("correct horsf"));
        assert!(secret != Secret::from("correct hors"));
        assert!(secret != Secret::from(""));
    }
}
