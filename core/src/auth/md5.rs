//! PostgreSQL's md5 method: a hash of password and user name, hashed again with the salt of the connection.
//!
//! The inner hash is what `pg_authid.rolpassword` and pool_passwd hold behind `md5`; whoever has it can log in, so it
//! is kept like a password.

use alloc::string::String;
use md5::{Digest, Md5};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use super::Secret;

const DIGITS: &[u8; 16] = b"0123456789abcdef";

/// The 32 hexadecimal digits of md5(password || user). Erased when dropped, not printable.
#[derive(Clone)]
pub struct Md5Hash(Zeroizing<[u8; 32]>);

impl Md5Hash {
    /// A stored hash: 32 lower-case hexadecimal digits, without the leading `md5`; `None` for anything else.
    pub fn parse(digits: &[u8]) -> Option<Self> {
        let digits: [u8; 32] = digits.try_into().ok()?;
        digits.iter().all(|digit| DIGITS.contains(digit)).then(|| Self(Zeroizing::new(digits)))
    }

    /// The 32 hexadecimal digits.
    pub fn expose(&self) -> &[u8; 32] {
        &self.0
    }
}

impl PartialEq for Md5Hash {
    fn eq(&self, other: &Self) -> bool {
        self.expose().ct_eq(other.expose()).into()
    }
}

impl Eq for Md5Hash {}

/// The md5 of `data` as 32 lower-case hexadecimal digits: what `pg_md5` prints and pcp.conf holds.
pub fn md5_hex(data: &[u8]) -> [u8; 32] {
    hex(Md5::new_with_prefix(data))
}

/// The hash stored for `user`: md5(password || user).
pub fn inner(password: &Secret, user: impl AsRef<[u8]>) -> Md5Hash {
    Md5Hash(Zeroizing::new(hex(Md5::new_with_prefix(password.expose()).chain_update(user))))
}

/// The content of the PasswordMessage that answers AuthenticationMD5Password with `salt`, without its closing NUL.
pub fn response(inner: &Md5Hash, salt: [u8; 4]) -> String {
    let digits = hex(Md5::new_with_prefix(inner.expose()).chain_update(salt));
    let mut answer = String::with_capacity(3 + digits.len());
    answer.push_str("md5");
    answer.extend(digits.iter().map(|&digit| char::from(digit)));
    answer
}

/// Whether `answer`, a PasswordMessage's content without its closing NUL, proves the password behind `inner`.
pub fn verify(inner: &Md5Hash, salt: [u8; 4], answer: &[u8]) -> bool {
    response(inner, salt).as_bytes().ct_eq(answer).into()
}

fn hex(state: Md5) -> [u8; 32] {
    let mut digits = [0; 32];
    for (pair, byte) in digits.chunks_exact_mut(2).zip(state.finalize()) {
        pair[0] = DIGITS[usize::from(byte >> 4)];
        pair[1] = DIGITS[usize::from(byte & 0xf)];
    }
    digits
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_digest_is_rfc_1321s() {
        let vectors: [(&str, &str); 4] = [
            ("", "d41d8cd98f00b204e9800998ecf8427e"),
            ("a", "0cc175b9c0f1b6a831c399e269772661"),
            ("message digest", "f96b697d7cb7938d525a2f31aaf161d0"),
            (
                "12345678901234567890123456789012345678901234567890123456789012345678901234567890",
                "57edf4a22be3c955ac49da2e2107b67a",
            ),
        ];
        for (data, digits) in vectors {
            assert_eq!(md5_hex(data.as_bytes()), digits.as_bytes(), "{data}");
        }
    }

    #[test]
    fn pg_md5_prints_the_digest() {
        let vectors = [
            ("postgres", "e8a48653851e28c69d0506508fb27fc5"),
            ("pass-pgpool2", "80e4b055b928d76dc7bdbc2dbedb9307"),
            ("pg1235", "39ec09490128f32fdc1a9b8091c99a57"),
        ];
        for (word, digits) in vectors {
            assert_eq!(md5_hex(word.as_bytes()), digits.as_bytes(), "{word}");
        }
    }

    #[test]
    fn the_stored_hash_is_postgresqls() {
        let hash = |password: &str, user: &str| *inner(&Secret::from(password), user).expose();
        assert_eq!(&hash("123456", "postgres"), b"a3556571e93b0d20722ba62be61e8c2d");
        // pg_authid.rolpassword of `create role m1 password 'secret'` in PostgreSQL 15.
        assert_eq!(&hash("secret", "m1"), b"132ecbcbfa11be529b63ea4c4e734056");
    }

    #[test]
    fn an_answer_fits_its_salt_and_password_only() {
        let stored = inner(&Secret::from("secret"), "m1");
        let answer = response(&stored, [1, 2, 3, 4]);
        assert_eq!(answer.len(), 35);
        assert!(verify(&stored, [1, 2, 3, 4], answer.as_bytes()));
        assert!(!verify(&stored, [1, 2, 3, 5], answer.as_bytes()));
        assert!(!verify(&inner(&Secret::from("Secret"), "m1"), [1, 2, 3, 4], answer.as_bytes()));
        assert!(!verify(&stored, [1, 2, 3, 4], &answer.as_bytes()[..34]));
        assert!(!verify(&stored, [1, 2, 3, 4], b""));
    }

    #[test]
    fn a_stored_hash_has_32_lower_case_digits() {
        assert!(Md5Hash::parse(b"132ecbcbfa11be529b63ea4c4e734056").is_some());
        assert!(Md5Hash::parse(b"132ECBCBFA11BE529B63EA4C4E734056").is_none());
        assert!(Md5Hash::parse(b"132ecbcbfa11be529b63ea4c4e73405").is_none());
        assert!(Md5Hash::parse(b"132ecbcbfa11be529b63ea4c4e734056 ").is_none());
        assert!(Md5Hash::parse(b"132ecbcbfa11be529b63ea4c4e73405g").is_none());
    }
}
