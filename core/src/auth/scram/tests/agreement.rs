//! Two honest sides agree whatever the password, and nobody gets through by changing what is on the wire.

use alloc::string::String;
use alloc::vec::Vec;
use proptest::prelude::*;

use super::{CLIENT_NONCE, Exchange, MESSAGES, Message, SALT, SERVER_NONCE};
use crate::auth::scram::{Client, DEFAULT_ITERATIONS, KeyCache, Server, Verifier, salt_for};
use crate::auth::{AuthError, Malformed, Secret};

const SEED: &[u8] = b"drawn at start";

fn honest(password: &Secret, verifier: Verifier, cache: &mut KeyCache) -> Exchange {
    Exchange::run(password, verifier, cache, |_, _| ())
}

#[test]
fn both_sides_prove_the_password() {
    let mut cache = KeyCache::new();
    let password = Secret::from("correct horse");
    let verifier = Verifier::from_cache(&mut cache, &password, SALT, DEFAULT_ITERATIONS);
    assert!(honest(&password, verifier, &mut cache).succeeded());
}

#[test]
fn a_password_of_a_megabyte_works() {
    let mut cache = KeyCache::new();
    let password = Secret::new([b'x'].repeat(1 << 20));
    let verifier = Verifier::from_cache(&mut cache, &password, SALT, DEFAULT_ITERATIONS);
    assert!(honest(&password, verifier, &mut cache).succeeded());
}

#[test]
fn a_wrong_password_and_an_unknown_user_end_alike() {
    let mut cache = KeyCache::new();
    let right = Secret::from("right");
    let known = Verifier::from_cache(&mut cache, &right, &salt_for("joe", SEED), DEFAULT_ITERATIONS);
    let unknown = Verifier::mock_from_cache(&mut cache, "joe", SEED);
    let mut answers = Vec::new();
    for verifier in [known, unknown] {
        let mut seen = Vec::new();
        let exchange = Exchange::run(&Secret::from("wrong"), verifier, &mut cache, |message, bytes| {
            if message == Message::ServerFirst {
                seen = bytes.clone();
            }
        });
        assert_eq!(exchange.server, Err(AuthError::WrongPassword));
        answers.push(seen);
    }
    assert_eq!(answers[0], answers[1], "the first answer does not tell whether the user is known");
}

#[test]
fn a_mock_has_one_salt_for_each_user_and_seed() {
    let salt = |user: &str, seed: &[u8]| Verifier::mock(user, seed).salt().to_vec();
    assert_eq!(salt("joe", SEED), salt("joe", SEED));
    assert_ne!(salt("joe", SEED), salt("jim", SEED));
    assert_ne!(salt("joe", SEED), salt("joe", b"another seed"));
}

/// Whoever learns the seed and computes the mock's password still does not get in.
#[test]
fn no_password_fits_a_mock() {
    let mut cache = KeyCache::new();
    let password = crate::auth::scram::verifier::mock_password(b"joe", SEED);
    let open = Verifier::from_cache(&mut cache, &password, &salt_for("joe", SEED), DEFAULT_ITERATIONS);
    assert!(honest(&password, open, &mut cache).succeeded());
    let mock = Verifier::mock_from_cache(&mut cache, "joe", SEED);
    assert_eq!(honest(&password, mock, &mut cache).server, Err(AuthError::WrongPassword));
}

#[test]
fn a_replayed_proof_does_not_fit_the_next_exchange() {
    let mut cache = KeyCache::new();
    let password = Secret::from("pencil");
    let verifier = Verifier::from_cache(&mut cache, &password, SALT, DEFAULT_ITERATIONS);
    let (mut first, mut last) = (Vec::new(), Vec::new());
    let recorded = Exchange::run(&password, verifier.clone(), &mut cache, |message, bytes| match message {
        Message::ClientFirst => first = bytes.clone(),
        Message::ClientFinal => last = bytes.clone(),
        Message::ServerFirst | Message::ServerFinal => (),
    });
    assert!(recorded.succeeded());
    let mut server = Server::new(verifier, "another+nonce+of+the+server");
    server.handle_client_first(&first).expect("a sound first message");
    assert_eq!(server.handle_client_final(&last), Err(AuthError::ClientNonceMismatch));
    assert!(!server.is_proven());
}

#[test]
fn a_backend_that_skips_its_proof_is_not_believed() {
    let mut before = Client::new(&Secret::from("pencil"), CLIENT_NONCE);
    assert_eq!(before.handle_ok(), Err(AuthError::BackendUnproven));
    assert_eq!(before.handle_continue(b"r=x,s=eA==,i=4096"), Err(AuthError::BackendUnproven), "it stays failed");

    let mut early = Client::new(&Secret::from("pencil"), CLIENT_NONCE);
    let expected = Err(AuthError::BackendMessage(Malformed::OutOfOrder));
    assert_eq!(early.handle_final(b"v=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="), expected);
    assert_eq!(early.handle_ok(), expected);

    let mut between = Client::new(&Secret::from("pencil"), CLIENT_NONCE);
    let server_first = [b"r=", CLIENT_NONCE.as_bytes(), b"x,s=eA==,i=4096"].concat();
    between.handle_continue(&server_first).expect("a sound first message");
    assert_eq!(between.handle_ok(), Err(AuthError::BackendUnproven));
    assert!(!between.is_proven());
}

#[test]
fn nothing_is_accepted_after_the_end() {
    let mut cache = KeyCache::new();
    let password = Secret::from("pencil");
    let verifier = Verifier::from_cache(&mut cache, &password, SALT, DEFAULT_ITERATIONS);
    let (mut client, mut server) = (Client::new(&password, CLIENT_NONCE), Server::new(verifier, SERVER_NONCE));
    let client_first = client.client_first();
    let server_first = server.handle_client_first(&client_first).expect("sound");
    let client_final = client.handle_continue_cached(&server_first, &mut cache).expect("sound");
    let server_final = server.handle_client_final(&client_final).expect("sound");
    client.handle_final(&server_final).expect("sound");
    assert!(client.is_proven() && server.is_proven());

    assert!(client.handle_final(&server_final).is_err());
    assert!(!client.is_proven() && client.handle_ok().is_err());
    assert!(server.handle_client_final(&client_final).is_err());
    assert!(!server.is_proven());
}

/// Every byte of every message, with bits flipped and with some bytes that have a meaning in the syntax.
#[test]
fn no_changed_byte_gets_through() {
    let mut cache = KeyCache::new();
    let password = Secret::from("pencil");
    let verifier = Verifier::from_cache(&mut cache, &password, SALT, DEFAULT_ITERATIONS);
    let mut lengths = [0; 4];
    assert!(
        Exchange::run(&password, verifier.clone(), &mut cache, |message, bytes| {
            lengths[message as usize] = bytes.len();
        })
        .succeeded()
    );
    for target in MESSAGES {
        for at in 0..lengths[target as usize] {
            let flips = [0x01, 0x02, 0x20, 0x80].map(Change::Flip);
            let changes = flips.into_iter().chain(b",=y\0".map(Change::Set));
            let changes = changes.chain([Change::Remove, Change::Insert(b'A'), Change::Cut]);
            // Behind the nonce of the server's message every change but a few costs a new derivation.
            let costly = target == Message::ServerFirst && at > CLIENT_NONCE.len() + SERVER_NONCE.len();
            for change in changes.step_by(if costly { 4 } else { 1 }) {
                let mut changed = false;
                let exchange = Exchange::run(&password, verifier.clone(), &mut cache, |message, bytes| {
                    if message == target {
                        changed = change.apply(bytes, at);
                    }
                });
                assert!(!exchange.succeeded() || !changed, "{target:?} at {at}: {change:?}");
            }
        }
    }
    for target in MESSAGES {
        for byte in (0..=u8::MAX).filter(|byte| !byte.is_ascii_digit()) {
            let exchange = Exchange::run(&password, verifier.clone(), &mut cache, |message, bytes| {
                if message == target {
                    bytes.push(byte);
                }
            });
            assert!(!exchange.succeeded(), "{target:?} with {byte} at its end");
        }
    }
}

#[derive(Clone, Copy, Debug)]
enum Change {
    Flip(u8),
    Set(u8),
    Insert(u8),
    Remove,
    Cut,
}

impl Change {
    /// Whether the bytes are others than before.
    fn apply(self, bytes: &mut Vec<u8>, at: usize) -> bool {
        let before = bytes.clone();
        match self {
            Self::Flip(bits) => bytes[at] ^= bits,
            Self::Set(byte) => bytes[at] = byte,
            Self::Insert(byte) => bytes.insert(at, byte),
            Self::Remove => drop(bytes.remove(at)),
            Self::Cut => bytes.truncate(at),
        }
        *bytes != before
    }
}

#[test]
fn a_cache_forgets_what_was_unused_for_longest() {
    let mut cache = KeyCache::with_capacity(2);
    let word = |text: &str| Secret::from(text);
    let first = cache.keys(&word("a"), SALT, 4096).stored();
    cache.keys(&word("b"), SALT, 4096);
    assert_eq!(cache.keys(&word("a"), SALT, 4096).stored(), first);
    cache.keys(&word("c"), SALT, 4096);
    assert_eq!(cache.len(), 2);
    let kept = |cache: &KeyCache, text: &str| cache.contains(&word(text), SALT, 4096);
    assert!(kept(&cache, "a") && kept(&cache, "c") && !kept(&cache, "b"));
    assert!(!cache.contains(&word("a"), SALT, 4097) && !cache.contains(&word("a"), b"other salt", 4096));
    cache.clear();
    assert!(cache.is_empty());
}

fn any_password() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        any::<String>().prop_map(String::into_bytes),
        "[a-z\u{80}-\u{24f}\u{5d0}-\u{64a}\u{2000}-\u{206f}\u{2150}-\u{218f}]{0,8}".prop_map(String::into_bytes),
        prop::collection::vec(any::<u8>(), 0..40),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn honest_sides_agree_on_any_password(password in any_password(), salt in prop::collection::vec(any::<u8>(), 1..64)) {
        let (mut cache, password) = (KeyCache::new(), Secret::new(password));
        let verifier = Verifier::from_cache(&mut cache, &password, &salt, DEFAULT_ITERATIONS);
        prop_assert!(honest(&password, verifier, &mut cache).succeeded());
    }

    #[test]
    fn another_ascii_password_never_passes(password in "[ -~]{1,12}", other in "[ -~]{1,12}") {
        prop_assume!(password != other);
        let mut cache = KeyCache::new();
        let verifier = Verifier::from_cache(&mut cache, &Secret::from(&*password), SALT, DEFAULT_ITERATIONS);
        let exchange = honest(&Secret::from(&*other), verifier, &mut cache);
        prop_assert_eq!(exchange.server, Err(AuthError::WrongPassword));
    }
}

#[test]
fn random_bytes_never_panic_and_never_prove_anything() {
    let mock = Verifier::mock("joe", SEED);
    proptest!(|(messages in prop::collection::vec(noise(), 1..4))| {
        let mut client = Client::new(&Secret::from("pencil"), CLIENT_NONCE);
        let mut server = Server::new(mock.clone(), SERVER_NONCE);
        for message in &messages {
            let _ = server.handle_client_first(message);
            let _ = server.handle_client_final(message);
        }
        prop_assert!(!server.is_proven());
        for message in &messages {
            let _ = client.handle_final(message);
        }
        prop_assert!(!client.is_proven() && client.handle_ok().is_err());
        let mut client = Client::new(&Secret::from("pencil"), CLIENT_NONCE);
        for message in &messages {
            let _ = client.handle_continue(message);
        }
        prop_assert!(!client.is_proven());
    });
}

/// Bytes that are not always refused by the first check.
fn noise() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        prop::collection::vec(any::<u8>(), 0..200),
        "([nyp],(a=[a-z]*)?,)?([a-z]=[A-Za-z0-9+/=]{0,12},?){0,5}".prop_map(String::into_bytes),
    ]
}
