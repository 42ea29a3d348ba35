//! Numbers that others computed: RFC 7677, and PostgreSQL 15.

use crate::auth::Secret;
use crate::auth::scram::keys::{Keys, signature};
use crate::auth::scram::{Client, InvalidVerifier, Server, Verifier, message};

/// RFC 7677, 3.
#[test]
fn the_rfcs_exchange() {
    let salt = message::decode(b"W22ZaJ0SNY7soEsUEjb6gQ==").expect("base64");
    let keys = Keys::derive(&Secret::from("pencil"), &salt, 4096);
    let auth_message = b"n=user,r=rOprNGfwEbeRWgbNEkqO,\
        r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096,\
        c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0";
    assert_eq!(message::encode(&keys.proof(auth_message)), b"dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=");
    let signature = signature(keys.server(), auth_message);
    assert_eq!(message::encode(&signature), b"6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=");

    let mut server =
        Server::new(Verifier::from_password(&Secret::from("pencil"), &salt, 4096), "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0");
    assert_eq!(
        server.handle_client_first(b"n,,n=user,r=rOprNGfwEbeRWgbNEkqO").expect("a sound first message"),
        b"r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096"
    );
    assert!(!server.is_proven());
    let client_final: &[u8] = b"c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,\
        p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=";
    assert_eq!(
        server.handle_client_final(client_final).expect("the right proof"),
        b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="
    );
    assert!(server.is_proven());
}

/// Recorded from a login to PostgreSQL 15 with the password `pencil`.
#[test]
fn postgresqls_exchange() {
    let mut client = Client::new(&Secret::from("pencil"), "fyko+d2lbbFgONRv9qkxdawL");
    assert_eq!(client.client_first(), b"n,,n=,r=fyko+d2lbbFgONRv9qkxdawL");
    let server_first = b"r=fyko+d2lbbFgONRv9qkxdawL2syJlcWZW+LIO/HhuOWZf2pi,s=4zaJbyTdYy0Nck1tQH4h7A==,i=4096";
    assert_eq!(
        client.handle_continue(server_first).expect("a sound first message"),
        b"c=biws,r=fyko+d2lbbFgONRv9qkxdawL2syJlcWZW+LIO/HhuOWZf2pi,\
          p=UJeJ9YrJBh7HZbB9cPmsnIPtuuLmAzlvME8B23ROOAw="
    );
    assert!(!client.is_proven());
    client.handle_final(b"v=7g9zK3hPD0VVNjY9RYcz0+XjUzIxYtEGADeUbBfdb3E=").expect("the right signature");
    assert!(client.is_proven());
    client.handle_ok().expect("a proven login");
}

/// `rolpassword` as PostgreSQL 15 made it for passwords on which SASLprep has an opinion.
#[test]
fn postgresqls_verifiers() {
    let rows = [
        (
            "pencil",
            "SCRAM-SHA-256$4096:4zaJbyTdYy0Nck1tQH4h7A==$AgQFDesk0JzYqwcuO1U9tGA0czYXPHJL+K9AuRBTp88=:PPEi+vPKKjcOZis8SXEVNCNsiNkiorNURuCUQDdaXZA=",
        ),
        (
            "correct horse",
            "SCRAM-SHA-256$4096:buT5b0tOkscCId4SrvTNKg==$ndBFvFvAfyliU8JdwzT+jFfBbYflxAon/hCfxMv3/ys=:BGKshwqtrHFZAXt2IqIB7jnquo1cJ6pqFfSB3UWo5Fk=",
        ),
        // A soft hyphen vanishes; a Roman numeral becomes letters; a no-break space becomes a space.
        (
            "I\u{ad}X",
            "SCRAM-SHA-256$4096:qoSdB5KiboYrkesmSU77qw==$xSvXcWz6Ogu+JMd0IP/bv94nFZ7qTTk1C5XBISok5bY=:O9RZEHtMMhnrOLFGecsJVQgy+AiZvQGCCzDnmN0ylWA=",
        ),
        (
            "\u{2168}",
            "SCRAM-SHA-256$4096:FqqKLHlqcbg5D1Wa7OBpOQ==$E80GRaZT3BtbnovT/+THeae+diV0EqoOmtvY9I9tKlY=:Ex3fMczSuqcCd9h/+EtYV8lF94+AUJ4cXF/kW+7VS30=",
        ),
        (
            "a\u{a0}b",
            "SCRAM-SHA-256$4096:5/6x3Ptl7fzKVNh5T+yrUg==$oc84xAJ/y4GvvRjgP23nX26hNJGEQyUaw0weF+CjeKA=:woSu29ir+ZVDLE1loQVwpOmuKzwGQfUjihGG70h8D6s=",
        ),
        (
            "a\u{200b}b",
            "SCRAM-SHA-256$4096:58eXueVmH2pPXr0dGt4ERg==$d/jp28srsuOG6BBUAcDK0ZcyaBZzCv9RC9G01OOKpxg=:W+Iq/fPIC0MAzbQzKZAOYSFR3abCHsemItLoPgEk1Ik=",
        ),
        (
            "e\u{301}",
            "SCRAM-SHA-256$4096:1aXQ1qRFMpZJROEwCZV1vg==$RNXj6E7jYWL8c7h9tKXIYN65Y2/Kg3K2+pztiLT3LWk=:ckdZm1b56HwdhFH0F/+Y9dNjYOvr5FK9fqPAMsrBgJ4=",
        ),
        // Refused by SASLprep, taken as they are: a control character, mixed directions, nothing left, and characters
        // younger than Unicode 3.2.
        (
            "bell\u{7}bell",
            "SCRAM-SHA-256$4096:P2AtgN7ZyZk0gq9S9tBzuw==$l2mniB/xLqADlKJc5wDA8izaDb+xqqOGzyilQ5pR3EQ=:THLpZEG9yAm6A5WALVPGBx2KgPoDKiJuhFy0RLrtXTY=",
        ),
        (
            "\u{627}1",
            "SCRAM-SHA-256$4096:MR+ZPbSyCm+LwHYMr9uHqg==$ukbDXcICG1vv3xGCUDDRNcAmkNzZzn4a7HQWX86uVzA=:7gcdTuH00xHCsE3moMszYXX4ag0YUmzM4IiwL4tJgSY=",
        ),
        (
            "\u{ad}",
            "SCRAM-SHA-256$4096:tru98Huf7AOnoaZH/kPTbg==$CJoi1nt90Mx+MqPUlDatCuhGMtQlgSGsJRnWhfqu9lc=:B5TjwDtmL/F/wPuOFyiQn1ZUK18OzUzOPzRkzwTHZyM=",
        ),
        (
            "x\u{221}y",
            "SCRAM-SHA-256$4096:8EbMiWqQLiWtluCwLzrVDg==$GutSRRHWyzhfrT2swYnCmOtY5+5Gdr9QByQB/RajqIE=:uifk6bUU+1j7qrlI0PBi0TJGcgqCcS88edovUudTLRg=",
        ),
        (
            "\u{1f600}pw",
            "SCRAM-SHA-256$4096:D1yCk+XB3YhBZM97qP/h1A==$6Ms3chCAejjg0tTUET3gqbWAnLXPbIigKaz7oqYPbjU=:j3SXRZevJ4LAcZkIrcCa6Xz3oF7lr0izAg+ZGYDNPdE=",
        ),
    ];
    for (password, stored) in rows {
        let stored = Verifier::parse(stored.as_bytes()).expect("PostgreSQL's own form");
        let made = Verifier::from_password(&Secret::from(password), stored.salt(), stored.iterations());
        assert_eq!(made.stored(), stored.stored(), "{password:?}");
        assert_eq!(made.server(), stored.server(), "{password:?}");
    }
}

#[test]
fn stored_verifiers_of_another_form_are_refused() {
    let salt = "4zaJbyTdYy0Nck1tQH4h7A==";
    let key = "AgQFDesk0JzYqwcuO1U9tGA0czYXPHJL+K9AuRBTp88=";
    let of = |iterations: &str, salt: &str, stored: &str, server: &str| {
        Verifier::parse(alloc::format!("SCRAM-SHA-256${iterations}:{salt}${stored}:{server}").as_bytes()).err()
    };
    assert_eq!(of("4096", salt, key, key), None);
    assert_eq!(of("1000000", salt, key, key), None);
    for iterations in
        ["", "4095", "1000001", "4294967296", "99999999999", "04096", "+4096", " 4096", "4096 ", "-1", "x"]
    {
        assert_eq!(of(iterations, salt, key, key), Some(InvalidVerifier::Iterations), "{iterations}");
    }
    for salt in ["", "=", "4zaJbyTdYy0Nck1tQH4h7A", "4zaJbyTdYy0Nck1tQH4h7B==", "4zaJ byTdYy0Nck1tQH4h7A=="] {
        assert_eq!(of("4096", salt, key, key), Some(InvalidVerifier::Salt), "{salt}");
    }
    for wrong in ["", "AAAA", &key[1..], "!gQFDesk0JzYqwcuO1U9tGA0czYXPHJL+K9AuRBTp88="] {
        assert_eq!(of("4096", salt, wrong, key), Some(InvalidVerifier::Key), "{wrong}");
        assert_eq!(of("4096", salt, key, wrong), Some(InvalidVerifier::Key), "{wrong}");
    }
    for text in ["", "SCRAM-SHA-256$", "SCRAM-SHA-1$4096:a$b:c", "SCRAM-SHA-256$4096", "SCRAM-SHA-256$4096:a", "md5"] {
        assert_eq!(Verifier::parse(text.as_bytes()).err(), Some(InvalidVerifier::Form), "{text}");
    }
}
