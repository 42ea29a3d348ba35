//! The keys behind a password, and a bounded memory of them.

use alloc::collections::BTreeMap;
use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use crate::auth::{Secret, saslprep};
use crate::limits::SCRAM_CACHED_KEYS;

/// ClientKey and ServerKey of RFC 5802, 3, for one password, salt and number of rounds: enough to log in without the
/// password. Erased when dropped, not printable.
#[derive(Clone)]
pub struct Keys {
    client: Zeroizing<[u8; 32]>,
    server: Zeroizing<[u8; 32]>,
}

impl Keys {
    /// Derives the keys with PBKDF2: about a millisecond for 4,096 rounds.
    pub fn derive(password: &Secret, salt: &[u8], iterations: u32) -> Self {
        let password = saslprep::prepare(password.expose());
        let mut salted = Zeroizing::new([0; 32]);
        pbkdf2::pbkdf2::<Hmac<Sha256>>(&password, salt, iterations, &mut *salted)
            .expect("HMAC takes a key of any length");
        let key = |label| Zeroizing::new(hmac(&*salted, label));
        Self { client: key(b"Client Key"), server: key(b"Server Key") }
    }

    /// StoredKey: what a server keeps to check the client's proof.
    pub(super) fn stored(&self) -> Zeroizing<[u8; 32]> {
        Zeroizing::new(Sha256::digest(*self.client).into())
    }

    /// ServerKey: what a server keeps to prove itself.
    pub(super) fn server(&self) -> &Zeroizing<[u8; 32]> {
        &self.server
    }

    /// ClientProof for the exchange that `auth_message` sums up.
    pub(super) fn proof(&self, auth_message: &[u8]) -> [u8; 32] {
        xor(&self.client, &hmac(&*self.stored(), auth_message))
    }
}

/// Whether `proof` was made with the client key whose hash is `stored`.
pub(super) fn proof_fits(stored: &[u8; 32], proof: &[u8; 32], auth_message: &[u8]) -> bool {
    let client = Zeroizing::new(xor(proof, &hmac(stored, auth_message)));
    let hashed: [u8; 32] = Sha256::digest(*client).into();
    hashed.ct_eq(stored).into()
}

/// ServerSignature for the exchange that `auth_message` sums up.
pub(super) fn signature(server_key: &[u8; 32], auth_message: &[u8]) -> [u8; 32] {
    hmac(server_key, auth_message)
}

/// HMAC-SHA-256.
pub(super) fn hmac(key: &[u8], message: &[u8]) -> [u8; 32] {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes a key of any length");
    mac.update(message);
    mac.finalize().into_bytes().into()
}

fn xor(left: &[u8; 32], right: &[u8; 32]) -> [u8; 32] {
    core::array::from_fn(|i| left[i] ^ right[i])
}

/// Keys that were derived before, found again by password, salt and rounds; the one unused for longest makes room.
///
/// A backend's salt stays the same until the password changes, so a new backend connection finds its keys here.
/// Passwords are not kept: an entry is named by a hash over all three.
pub struct KeyCache {
    capacity: usize,
    /// Uses so far; names the moment of each entry's last use.
    uses: u64,
    entries: BTreeMap<Name, Entry>,
    /// The same entries by their last use.
    by_use: BTreeMap<u64, Name>,
}

type Name = [u8; 32];

struct Entry {
    keys: Keys,
    last_use: u64,
}

impl KeyCache {
    /// An empty cache for at most [`SCRAM_CACHED_KEYS`] key pairs.
    pub fn new() -> Self {
        Self::with_capacity(SCRAM_CACHED_KEYS)
    }

    /// An empty cache for at most `capacity` key pairs, at least one.
    pub fn with_capacity(capacity: usize) -> Self {
        assert!(capacity > 0, "a cache without room would derive every key twice");
        Self { capacity, uses: 0, entries: BTreeMap::new(), by_use: BTreeMap::new() }
    }

    /// The keys for these three, derived now if they are not known yet.
    pub fn keys(&mut self, password: &Secret, salt: &[u8], iterations: u32) -> Keys {
        let name = Self::name(password, salt, iterations);
        self.uses += 1;
        let keys = match self.entries.remove(&name) {
            Some(entry) => {
                self.by_use.remove(&entry.last_use);
                entry.keys
            }
            None => {
                self.make_room();
                Keys::derive(password, salt, iterations)
            }
        };
        self.by_use.insert(self.uses, name);
        self.entries.insert(name, Entry { keys: keys.clone(), last_use: self.uses });
        assert!(self.entries.len() == self.by_use.len() && self.entries.len() <= self.capacity);
        keys
    }

    /// Forgets everything, as on a reload of the password file.
    pub fn clear(&mut self) {
        self.entries.clear();
        self.by_use.clear();
    }

    /// How many key pairs are kept.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether nothing is kept.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Whether the keys for these three are kept.
    pub fn contains(&self, password: &Secret, salt: &[u8], iterations: u32) -> bool {
        self.entries.contains_key(&Self::name(password, salt, iterations))
    }

    fn make_room(&mut self) {
        if self.entries.len() == self.capacity {
            let (_, oldest) = self.by_use.pop_first().expect("a full cache has an oldest entry");
            self.entries.remove(&oldest);
        }
    }

    fn name(password: &Secret, salt: &[u8], iterations: u32) -> Name {
        let salt_bytes = u64::try_from(salt.len()).expect("a length fits 64 bits");
        Sha256::new()
            .chain_update(iterations.to_be_bytes())
            .chain_update(salt_bytes.to_be_bytes())
            .chain_update(salt)
            .chain_update(password.expose())
            .finalize()
            .into()
    }
}

impl Default for KeyCache {
    fn default() -> Self {
        Self::new()
    }
}
