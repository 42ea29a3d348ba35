//! Broken, hostile and confused messages, and the answer to each.
//!
//! The answers to clients were compared with PostgreSQL 15's for the same bytes: they are equal but where a comment
//! says "stricter".

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use super::{CLIENT_NONCE, Exchange, MESSAGES, SALT, SERVER_NONCE};
use crate::auth::scram::{Client, DEFAULT_ITERATIONS, KeyCache, Server, Verifier, message};
use crate::auth::{AuthError, Malformed, Secret};
use crate::fault::Culprit;
use crate::limits::{SCRAM_MESSAGE_BYTES, SCRAM_NONCE_BYTES, SCRAM_SALT_BYTES};

use AuthError::{
    BackendIterations, BackendMessage, BackendNonceMismatch, BackendSignature, ClientAuthorizationIdentity,
    ClientChannelBinding, ClientMandatoryExtension, ClientMessage, ClientNonceMismatch, ClientNoncePrintable,
    WrongPassword,
};

fn expected(expected: u8, found: u8) -> Malformed {
    Malformed::Attribute { expected, found }
}

/// First messages of a client.
fn first_messages() -> Vec<(String, AuthError)> {
    let rows: [(&str, AuthError); 41] = [
        ("", ClientMessage(Malformed::Empty)),
        ("\0", ClientMessage(Malformed::Nul)),
        ("n,,n=,r=abc\0", ClientMessage(Malformed::Nul)),
        ("n,,n=,r=a\0bc", ClientMessage(Malformed::Nul)),
        ("p=tls-server-end-point,,n=,r=abc", ClientMessage(Malformed::ChannelBindingNotOffered)),
        ("p=tls-unique,,n=,r=abc", ClientMessage(Malformed::ChannelBindingNotOffered)),
        ("p=,,n=,r=abc", ClientMessage(Malformed::ChannelBindingNotOffered)),
        ("p", ClientMessage(Malformed::ChannelBindingNotOffered)),
        ("N,,n=,r=abc", ClientMessage(Malformed::ChannelBindingFlag(b'N'))),
        ("Y,,n=,r=abc", ClientMessage(Malformed::ChannelBindingFlag(b'Y'))),
        ("x,,n=,r=abc", ClientMessage(Malformed::ChannelBindingFlag(b'x'))),
        (" n,,n=,r=abc", ClientMessage(Malformed::ChannelBindingFlag(b' '))),
        (",,n=,r=abc", ClientMessage(Malformed::ChannelBindingFlag(b','))),
        ("é", ClientMessage(Malformed::ChannelBindingFlag(0xc3))),
        ("n", ClientMessage(Malformed::Comma(0))),
        ("y", ClientMessage(Malformed::Comma(0))),
        ("nn,,n=,r=abc", ClientMessage(Malformed::Comma(b'n'))),
        ("n=,,n=,r=abc", ClientMessage(Malformed::Comma(b'='))),
        ("n,", ClientMessage(Malformed::UnexpectedAttribute(0))),
        ("n,n=,r=abc", ClientMessage(Malformed::UnexpectedAttribute(b'n'))),
        ("y,b=joe,n=,r=abc", ClientMessage(Malformed::UnexpectedAttribute(b'b'))),
        ("n,a=joe,n=,r=abc", ClientAuthorizationIdentity),
        ("n,a=,n=,r=abc", ClientAuthorizationIdentity),
        ("n,a", ClientAuthorizationIdentity),
        ("n,,m=ext,n=,r=abc", ClientMandatoryExtension),
        ("n,,m", ClientMandatoryExtension),
        ("n,,", ClientMessage(expected(b'n', 0))),
        ("n,,r=abc", ClientMessage(expected(b'n', b'r'))),
        ("n,,,n=,r=abc", ClientMessage(expected(b'n', b','))),
        ("n,,N=,r=abc", ClientMessage(expected(b'n', b'N'))),
        ("n,,n", ClientMessage(Malformed::Equals(b'n'))),
        ("n,,n,r=abc", ClientMessage(Malformed::Equals(b'n'))),
        ("n,,n=", ClientMessage(expected(b'r', 0))),
        ("n,,n=joe", ClientMessage(expected(b'r', 0))),
        ("n,,n=,s=abc", ClientMessage(expected(b'r', b's'))),
        ("n,,n=,r", ClientMessage(Malformed::Equals(b'r'))),
        ("n,,n=,r=a bc", ClientNoncePrintable),
        ("n,,n=,r=aé", ClientNoncePrintable),
        ("n,,n=,r=abc,1=x", ClientMessage(Malformed::AttributeName(b'1'))),
        ("n,,n=,r=abc,,x=y", ClientMessage(Malformed::AttributeName(b','))),
        ("n,,n=,r=abc,x", ClientMessage(Malformed::Equals(b'x'))),
    ];
    let mut rows: Vec<_> = rows.into_iter().map(|(message, error)| (message.to_string(), error)).collect();
    rows.extend([
        // Stricter: PostgreSQL takes an empty nonce and one as long as the message.
        ("n,,n=,r=".to_string(), ClientMessage(Malformed::NonceLength)),
        (format!("n,,n=,r={}", "x".repeat(SCRAM_NONCE_BYTES + 1)), ClientMessage(Malformed::NonceLength)),
        (format!("n,,n={},r=abc", "x".repeat(SCRAM_MESSAGE_BYTES)), ClientMessage(Malformed::TooLong)),
    ]);
    rows
}

/// Final messages of a client: `N` in braces is the nonce of the exchange, `P` the proof that fits the rest.
fn final_messages() -> Vec<(String, AuthError)> {
    let rows: [(&str, AuthError); 46] = [
        ("", ClientMessage(Malformed::Empty)),
        ("c=biws,r={N},p={P}\0", ClientMessage(Malformed::Nul)),
        ("c=biws\0,r={N},p={P}", ClientMessage(Malformed::Nul)),
        ("r={N},p={P}", ClientMessage(expected(b'c', b'r'))),
        ("p={P}", ClientMessage(expected(b'c', b'p'))),
        (",c=biws,r={N},p={P}", ClientMessage(expected(b'c', b','))),
        (" c=biws,r={N},p={P}", ClientMessage(expected(b'c', b' '))),
        ("C=biws,r={N},p={P}", ClientMessage(expected(b'c', b'C'))),
        ("n,,n=,r={N}", ClientMessage(expected(b'c', b'n'))),
        ("c", ClientMessage(Malformed::Equals(b'c'))),
        ("c,r={N},p={P}", ClientMessage(Malformed::Equals(b'c'))),
        ("c:biws,r={N},p={P}", ClientMessage(Malformed::Equals(b'c'))),
        ("c=", ClientChannelBinding),
        ("c=,r={N},p={P}", ClientChannelBinding),
        ("c=eSws,r={N},p={P}", ClientChannelBinding),
        ("c=biwt,r={N},p={P}", ClientChannelBinding),
        ("c=Biws,r={N},p={P}", ClientChannelBinding),
        ("c=biw,r={N},p={P}", ClientChannelBinding),
        ("c=biwsbiws,r={N},p={P}", ClientChannelBinding),
        ("c=biws ,r={N},p={P}", ClientChannelBinding),
        ("c=n,,,r={N},p={P}", ClientChannelBinding),
        ("c=cD10bHMtc2VydmVyLWVuZC1wb2ludCws,r={N},p={P}", ClientChannelBinding),
        ("c=biws", ClientMessage(expected(b'r', 0))),
        ("c=biws,", ClientMessage(expected(b'r', 0))),
        ("c=biws,p={P}", ClientMessage(expected(b'r', b'p'))),
        ("c=biws,,r={N},p={P}", ClientMessage(expected(b'r', b','))),
        ("c=biws,c=biws,r={N},p={P}", ClientMessage(expected(b'r', b'c'))),
        ("c=biws,r", ClientMessage(Malformed::Equals(b'r'))),
        ("c=biws,r={N}", ClientMessage(Malformed::AttributeName(0))),
        ("c=biws,r={N},", ClientMessage(Malformed::AttributeName(0))),
        ("c=biws,r={N},x=y", ClientMessage(Malformed::AttributeName(0))),
        ("c=biws,r={N},,p={P}", ClientMessage(Malformed::AttributeName(b','))),
        ("c=biws,r={N},1=x,p={P}", ClientMessage(Malformed::AttributeName(b'1'))),
        ("c=biws,r={N},é=x,p={P}", ClientMessage(Malformed::AttributeName(0xc3))),
        ("c=biws,r={N},p", ClientMessage(Malformed::Equals(b'p'))),
        ("c=biws,r={N},x,p={P}", ClientMessage(Malformed::Equals(b'x'))),
        ("c=biws,r={N},p=", ClientMessage(Malformed::Proof)),
        ("c=biws,r={N},p=AAAA", ClientMessage(Malformed::Proof)),
        ("c=biws,r={N},p=!{P}", ClientMessage(Malformed::Proof)),
        ("c=biws,r={N},p={P}{P}", ClientMessage(Malformed::Proof)),
        ("c=biws,r={N},p={P} ", ClientMessage(Malformed::Proof)),
        ("c=biws,r={N},p={P},x=y", ClientMessage(Malformed::Trailing)),
        ("c=biws,r={N},p={P},p={P}", ClientMessage(Malformed::Trailing)),
        ("c=biws,r={N}x,p={P}", ClientNonceMismatch),
        ("c=biws,r=,p={P}", ClientNonceMismatch),
        ("c=biws,r={N},p=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=", WrongPassword),
    ];
    let mut rows: Vec<_> = rows.into_iter().map(|(message, error)| (message.to_string(), error)).collect();
    rows.extend([
        // Stricter: PostgreSQL takes a last comma, and bits of the last base64 digit that belong to no byte.
        ("c=biws,r={N},p={P},".to_string(), ClientMessage(Malformed::Trailing)),
        ("c=biws,r={N},p=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAB=".to_string(), ClientMessage(Malformed::Proof)),
        (format!("c=biws,r={{N}},x={},p={{P}}", "x".repeat(SCRAM_MESSAGE_BYTES)), ClientMessage(Malformed::TooLong)),
    ]);
    rows
}

/// First messages of a backend: `N` in braces is the nonce of the client.
fn backend_first_messages() -> Vec<(String, AuthError)> {
    let rows: [(&str, AuthError); 42] = [
        ("", BackendMessage(Malformed::Empty)),
        ("r={N}x,s=c2FsdA==,i=4096\0", BackendMessage(Malformed::Nul)),
        ("m=ext,r={N}x,s=c2FsdA==,i=4096", BackendMessage(expected(b'r', b'm'))),
        ("e=other-error", BackendMessage(expected(b'r', b'e'))),
        ("v=AAAA", BackendMessage(expected(b'r', b'v'))),
        ("s=c2FsdA==,r={N}x,i=4096", BackendMessage(expected(b'r', b's'))),
        (",r={N}x,s=c2FsdA==,i=4096", BackendMessage(expected(b'r', b','))),
        ("R={N}x,s=c2FsdA==,i=4096", BackendMessage(expected(b'r', b'R'))),
        ("r", BackendMessage(Malformed::Equals(b'r'))),
        ("r{N}x,s=c2FsdA==,i=4096", BackendMessage(Malformed::Equals(b'r'))),
        ("r=,s=c2FsdA==,i=4096", BackendMessage(Malformed::NonceLength)),
        ("r={N} x,s=c2FsdA==,i=4096", BackendMessage(Malformed::NoncePrintable)),
        ("r={N}é,s=c2FsdA==,i=4096", BackendMessage(Malformed::NoncePrintable)),
        ("r={N}\n,s=c2FsdA==,i=4096", BackendMessage(Malformed::NoncePrintable)),
        ("r={N},s=c2FsdA==,i=4096", BackendNonceMismatch),
        ("r=x{N},s=c2FsdA==,i=4096", BackendNonceMismatch),
        ("r=x,s=c2FsdA==,i=4096", BackendNonceMismatch),
        ("r=FYKO+D2LBBFGONRV9QKXDAWLx,s=c2FsdA==,i=4096", BackendNonceMismatch),
        ("r={N}x", BackendMessage(expected(b's', 0))),
        ("r={N}x,i=4096", BackendMessage(expected(b's', b'i'))),
        ("r={N}x,x=y,s=c2FsdA==,i=4096", BackendMessage(expected(b's', b'x'))),
        ("r={N}x,s", BackendMessage(Malformed::Equals(b's'))),
        ("r={N}x,s=,i=4096", BackendMessage(Malformed::Salt)),
        ("r={N}x,s=c2FsdA=,i=4096", BackendMessage(Malformed::Salt)),
        ("r={N}x,s=c2FsdA,i=4096", BackendMessage(Malformed::Salt)),
        ("r={N}x,s=c2FsdB==,i=4096", BackendMessage(Malformed::Salt)),
        ("r={N}x,s=c2-sdA==,i=4096", BackendMessage(Malformed::Salt)),
        ("r={N}x,s= c2FsdA==,i=4096", BackendMessage(Malformed::Salt)),
        ("r={N}x,s====,i=4096", BackendMessage(Malformed::Salt)),
        ("r={N}x,s=c2FsdA==", BackendMessage(expected(b'i', 0))),
        ("r={N}x,s=c2FsdA==,I=4096", BackendMessage(expected(b'i', b'I'))),
        ("r={N}x,s=c2FsdA==,i", BackendMessage(Malformed::Equals(b'i'))),
        ("r={N}x,s=c2FsdA==,i=4096,", BackendMessage(Malformed::Trailing)),
        ("r={N}x,s=c2FsdA==,i=4096,x=y", BackendMessage(Malformed::Trailing)),
        ("r={N}x,s=c2FsdA==,i=4096,m=ext", BackendMessage(Malformed::Trailing)),
        ("r={N}x,s=c2FsdA==,i=1", BackendIterations),
        ("r={N}x,s=c2FsdA==,i=4095", BackendIterations),
        ("r={N}x,s=c2FsdA==,i=1000001", BackendIterations),
        ("r={N}x,s=c2FsdA==,i=2147483647", BackendIterations),
        ("r={N}x,s=c2FsdA==,i=2147483648", BackendIterations),
        ("r={N}x,s=c2FsdA==,i=4294967295", BackendIterations),
        ("é", BackendMessage(expected(b'r', 0xc3))),
    ];
    let mut rows: Vec<_> = rows.into_iter().map(|(message, error)| (message.to_string(), error)).collect();
    let numbers =
        ["", "0", "-1", "-4096", "+4096", " 4096", "4096 ", "04096", "0x1000", "4e3", "4096.0", "4294967296", "x"];
    rows.extend(
        numbers.map(|number| (format!("r={{N}}x,s=c2FsdA==,i={number}"), BackendMessage(Malformed::Iterations))),
    );
    let salt = "QUFB".repeat(SCRAM_SALT_BYTES / 3 + 1);
    rows.extend([
        (format!("r={{N}}x,s={salt},i=4096"), BackendMessage(Malformed::Salt)),
        (
            format!("r={{N}}{},s=c2FsdA==,i=4096", "x".repeat(2 * SCRAM_NONCE_BYTES)),
            BackendMessage(Malformed::NonceLength),
        ),
        (format!("r={{N}}{},s=c2FsdA==,i=4096", "x".repeat(SCRAM_MESSAGE_BYTES)), BackendMessage(Malformed::TooLong)),
    ]);
    rows
}

/// Final messages of a backend: `V` in braces is the right signature.
fn backend_final_messages() -> Vec<(String, AuthError)> {
    let refused = |value: &str| AuthError::BackendRefused(value.to_string());
    let rows = [
        ("", BackendMessage(Malformed::Empty)),
        ("v={V}\0", BackendMessage(Malformed::Nul)),
        ("V={V}", BackendMessage(expected(b'v', b'V'))),
        (" v={V}", BackendMessage(expected(b'v', b' '))),
        (",v={V}", BackendMessage(expected(b'v', b','))),
        ("x=y,v={V}", BackendMessage(expected(b'v', b'x'))),
        ("m=ext,v={V}", BackendMessage(expected(b'v', b'm'))),
        ("v", BackendMessage(Malformed::Equals(b'v'))),
        ("v{V}", BackendMessage(Malformed::Equals(b'v'))),
        ("v=", BackendMessage(Malformed::Signature)),
        ("v=AAAA", BackendMessage(Malformed::Signature)),
        ("v={V}A", BackendMessage(Malformed::Signature)),
        ("v={V}{V}", BackendMessage(Malformed::Signature)),
        ("v={V} ", BackendMessage(Malformed::Signature)),
        ("v= {V}", BackendMessage(Malformed::Signature)),
        ("v=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAB=", BackendMessage(Malformed::Signature)),
        ("v={V},", BackendMessage(Malformed::Trailing)),
        ("v={V},x=y", BackendMessage(Malformed::Trailing)),
        ("v={V},v={V}", BackendMessage(Malformed::Trailing)),
        ("v=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=", BackendSignature),
        ("e", BackendMessage(Malformed::Equals(b'e'))),
        ("e=", refused("")),
        ("e=invalid-proof", refused("invalid-proof")),
        ("e=other-error,v={V}", refused("other-error")),
        ("e=a\nb\u{1b}[31mé", refused("a?b?[31m??")),
    ];
    let mut rows: Vec<_> = rows.into_iter().map(|(message, error)| (message.to_string(), error)).collect();
    rows.push((format!("e={}", "x".repeat(1_000)), refused(&"x".repeat(64))));
    rows.push((format!("v={}", "A".repeat(SCRAM_MESSAGE_BYTES)), BackendMessage(Malformed::TooLong)));
    rows
}

/// The known password's keys, derived once, and its verifier.
struct World {
    password: Secret,
    verifier: Verifier,
    cache: KeyCache,
}

impl World {
    fn new() -> Self {
        let (password, mut cache) = (Secret::from("pencil"), KeyCache::new());
        let verifier = Verifier::from_cache(&mut cache, &password, SALT, DEFAULT_ITERATIONS);
        Self { password, verifier, cache }
    }

    /// A client whose proof is on its way, and the signature that would answer it.
    fn client_awaiting_final(&mut self) -> (Client, String) {
        let mut client = Client::new(&self.password, CLIENT_NONCE);
        let mut server = Server::new(self.verifier.clone(), SERVER_NONCE);
        let server_first = server.handle_client_first(&client.client_first()).expect("sound");
        let client_final = client.handle_continue_cached(&server_first, &mut self.cache).expect("sound");
        let server_final = server.handle_client_final(&client_final).expect("sound");
        (client, String::from_utf8(server_final[2..].to_vec()).expect("base64"))
    }

    /// The proof that fits everything in front of it in `client_final`.
    fn proof(&mut self, server_first: &[u8], client_final: &str) -> String {
        let without_proof = client_final.split_once(",p=").map_or(client_final, |(before, _)| before);
        let bare = format!("n=,r={CLIENT_NONCE}");
        let auth_message = [bare.as_bytes(), server_first, without_proof.as_bytes()].join(&b',');
        let proof = self.cache.keys(&self.password, SALT, DEFAULT_ITERATIONS).proof(&auth_message);
        String::from_utf8(message::encode(&proof)).expect("base64")
    }
}

#[test]
fn first_messages_of_clients_are_refused() {
    let world = World::new();
    for (text, error) in first_messages() {
        let mut server = Server::new(world.verifier.clone(), SERVER_NONCE);
        assert_eq!(server.handle_client_first(text.as_bytes()), Err(error.clone()), "{text:?}");
        assert_eq!(error.fault("joe").culprit, Culprit::Client);
        let sound = format!("n,,n=,r={CLIENT_NONCE}");
        assert_eq!(server.handle_client_first(sound.as_bytes()), Err(error.clone()), "no second attempt: {text:?}");
        assert_eq!(server.handle_client_final(b"c=biws"), Err(error));
    }
}

#[test]
fn final_messages_of_clients_are_refused() {
    let mut world = World::new();
    let nonce = format!("{CLIENT_NONCE}{SERVER_NONCE}");
    let sound = "c=biws,r={N},p={P}".to_string();
    let mut cases: Vec<_> = final_messages().into_iter().map(|(text, error)| (text, Some(error))).collect();
    cases.push((sound.clone(), None));
    for (text, outcome) in cases {
        let mut server = Server::new(world.verifier.clone(), SERVER_NONCE);
        let first = format!("n,,n=,r={CLIENT_NONCE}");
        let server_first = server.handle_client_first(first.as_bytes()).expect("sound");
        let mut fill = |text: &str| {
            let filled = text.replace("{N}", &nonce);
            filled.replace("{P}", &world.proof(&server_first, &filled)).into_bytes()
        };
        let answer = server.handle_client_final(&fill(&text));
        assert_eq!(answer.err(), outcome, "{text:?}");
        assert_eq!(server.is_proven(), outcome.is_none());
        if let Some(error) = outcome {
            assert_eq!(server.handle_client_final(&fill(&sound)), Err(error), "no second attempt: {text:?}");
        }
    }
}

#[test]
fn first_messages_of_backends_are_refused() {
    let mut world = World::new();
    for (text, error) in backend_first_messages() {
        let mut client = Client::new(&world.password, CLIENT_NONCE);
        let text = text.replace("{N}", CLIENT_NONCE);
        assert_eq!(client.handle_continue_cached(text.as_bytes(), &mut world.cache), Err(error.clone()), "{text:?}");
        assert_eq!(error.fault("joe").culprit, Culprit::Backend);
        let sound = format!("r={CLIENT_NONCE}x,s=c2FsdA==,i=4096");
        assert_eq!(client.handle_continue(sound.as_bytes()), Err(error.clone()), "no second attempt: {text:?}");
        assert_eq!(client.handle_ok(), Err(error));
    }
    assert_eq!(world.cache.len(), 1, "no key was derived for a refused message");
}

#[test]
fn final_messages_of_backends_are_refused() {
    let mut world = World::new();
    for (text, error) in backend_final_messages() {
        let (mut client, signature) = world.client_awaiting_final();
        assert_eq!(client.handle_final(text.replace("{V}", &signature).as_bytes()), Err(error.clone()), "{text:?}");
        let sound = format!("v={signature}");
        assert_eq!(client.handle_final(sound.as_bytes()), Err(error.clone()), "no second attempt: {text:?}");
        assert_eq!(client.handle_ok(), Err(error));
        assert!(!client.is_proven());
    }
    let (mut client, signature) = world.client_awaiting_final();
    assert_eq!(client.handle_final(format!("v={signature}").as_bytes()), Ok(()));
}

/// Whatever a backend does wrong, its client learns one and the same.
#[test]
fn a_client_does_not_learn_how_a_backend_failed() {
    let rows = backend_first_messages().into_iter().chain(backend_final_messages());
    for (text, error) in rows {
        assert_eq!(error.fault("joe"), AuthError::BackendUnproven.fault("joe"), "{text:?}");
    }
}

/// Damage to one attribute of a message on its way.
#[derive(Clone, Copy, Debug)]
enum Damage {
    Missing,
    Double,
    SwapWithNext,
    UpperCase,
    OtherName,
    NoEquals,
    NoValue,
    BlankInFront,
    BlankBehind,
    NulBehind,
    HighBit,
    TooLong,
    AnotherInFront,
}

const DAMAGES: [Damage; 13] = [
    Damage::Missing,
    Damage::Double,
    Damage::SwapWithNext,
    Damage::UpperCase,
    Damage::OtherName,
    Damage::NoEquals,
    Damage::NoValue,
    Damage::BlankInFront,
    Damage::BlankBehind,
    Damage::NulBehind,
    Damage::HighBit,
    Damage::TooLong,
    Damage::AnotherInFront,
];

impl Damage {
    /// Damages the field at `at`, counted by commas. Gives false when nothing changed.
    fn apply(self, message: &mut Vec<u8>, at: usize) -> bool {
        let before = message.clone();
        let mut fields: Vec<Vec<u8>> = before.split(|&byte| byte == b',').map(<[u8]>::to_vec).collect();
        match self {
            Self::Missing => drop(fields.remove(at)),
            Self::Double => fields.insert(at, fields[at].clone()),
            Self::SwapWithNext if at + 1 < fields.len() => fields.swap(at, at + 1),
            Self::SwapWithNext => (),
            Self::UpperCase => fields[at].iter_mut().take(1).for_each(u8::make_ascii_uppercase),
            Self::OtherName => fields[at].iter_mut().take(1).for_each(|name| *name = b'z'),
            Self::NoEquals => fields[at].retain(|&byte| byte != b'='),
            Self::NoValue => fields[at].truncate(2),
            Self::BlankInFront => fields[at].insert(0, b' '),
            Self::BlankBehind => fields[at].push(b' '),
            Self::NulBehind => fields[at].push(0),
            Self::HighBit => fields[at].iter_mut().rev().take(1).for_each(|byte| *byte |= 0x80),
            Self::TooLong => fields[at].extend_from_slice(&[b'A'; SCRAM_MESSAGE_BYTES]),
            Self::AnotherInFront => fields.insert(at, b"x=y".to_vec()),
        }
        *message = fields.join(&b',');
        *message != before
    }
}

#[test]
fn no_damaged_attribute_gets_through() {
    let mut world = World::new();
    let mut tried = 0;
    for (target, fields) in MESSAGES.into_iter().zip([4, 3, 3, 1]) {
        for at in 0..fields {
            for damage in DAMAGES {
                let mut changed = false;
                let verifier = world.verifier.clone();
                let exchange = Exchange::run(&world.password, verifier, &mut world.cache, |message, bytes| {
                    if message == target {
                        assert_eq!(bytes.split(|&byte| byte == b',').count(), fields);
                        changed = damage.apply(bytes, at);
                    }
                });
                assert_eq!(exchange.succeeded(), !changed, "{target:?}, field {at}: {damage:?}");
                tried += usize::from(changed);
            }
        }
    }
    assert!(tried > 120, "{tried} exchanges damaged");
}
