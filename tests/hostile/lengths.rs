//! Declared lengths that lie: nothing may be allocated for them, nobody else may notice.

use std::io;
use std::time::{Duration, Instant};

use crate::support::postgres::{address, role, shared, shared_with_scram, superuser_login};
use crate::support::proxy::{Backend, Proxy};
use crate::support::wire::{Connection, Frontend, Login, is_closed};

/// Lengths that no message can have, and some that none should.
const BAD_LENGTHS: [u32; 8] = [0, 1, 2, 3, 0x7fff_ffff, 0x8000_0000, 0xffff_fffc, u32::MAX];
/// How much the program may grow while a thousand clients lie to it, in bytes.
const GROWTH_LIMIT: u64 = 32 << 20;

/// `kind`, then the declared length, then a little of what was promised.
fn lie(kind: &[u8], length: u32) -> Vec<u8> {
    let mut bytes = kind.to_vec();
    bytes.extend_from_slice(&length.to_be_bytes());
    bytes.extend_from_slice(&[b'x'; 64]);
    bytes
}

/// Waits for the server's close; what it says before is at most one error.
fn expect_refusal(mut connection: Connection, what: &str) {
    let answer = connection.read_to_end().unwrap_or_else(|error| panic!("{what}: not closed: {error}"));
    assert!(answer.len() <= 1 && answer.iter().all(|message| message.kind == b'E'), "{what}: {answer:?}");
}

#[test]
fn a_lying_startup_packet_is_refused_at_once() {
    let proxy = Proxy::over(&[Backend::from(address(shared().node(0)))]).start();
    for length in BAD_LENGTHS.into_iter().chain([4, 7, 10_001, 65_536]) {
        let mut connection = Connection::open(proxy.address()).expect("connecting");
        connection.send_bytes(&lie(&[], length)).expect("sending");
        expect_refusal(connection, &format!("a start-up packet of {length} bytes"));
    }
}

#[test]
fn a_thousand_lying_clients_cost_no_memory_and_nobody_else_waits() {
    let proxy = Proxy::over(&[Backend::from(address(shared().node(0)))]).start();
    let mut bystander = Connection::login(proxy.address(), &superuser_login()).expect("login");
    let before = proxy.resident_bytes();
    let mut liars = Vec::new();
    for number in 0..1000 {
        let mut liar = Connection::open(proxy.address()).expect("connecting");
        liar.send_bytes(&lie(&[], 0x7fff_ffff)).expect("sending");
        liars.push(liar);
        if number % 50 == 0 {
            let asked = Instant::now();
            assert_eq!(bystander.value("SELECT 'here'"), "here");
            assert!(asked.elapsed() < Duration::from_secs(1), "a bystander waited {:?}", asked.elapsed());
        }
    }
    let growth = proxy.resident_bytes().saturating_sub(before);
    assert!(growth <= GROWTH_LIMIT, "the program grew by {growth} bytes");
    for liar in liars {
        expect_refusal(liar, "a liar among many");
    }
}

#[test]
fn a_lying_password_message_is_refused_at_once() {
    let testbed = shared_with_scram();
    let login = role(testbed, "lying_password");
    let proxy = Proxy::over(&[Backend::from(address(testbed.node(0)))])
        .set("sr_check_password", "postgres-secret")
        .set("health_check_password", "postgres-secret")
        .password("postgres", "postgres-secret")
        .password(&login.user, &login.password)
        .start_for(&superuser_login());
    let before = proxy.resident_bytes();
    let mut liars = Vec::new();
    for length in BAD_LENGTHS.into_iter().chain([70_000, 1 << 20]) {
        let mut connection = Connection::open(proxy.address()).expect("connecting");
        connection.send_bytes(&login.packet()).expect("sending");
        let request = connection.read().expect("a request for a password");
        assert_eq!(request.kind, b'R', "{request:?}");
        connection.send_bytes(&lie(b"p", length)).expect("sending");
        liars.push((connection, length));
    }
    let growth = proxy.resident_bytes().saturating_sub(before);
    assert!(growth <= GROWTH_LIMIT, "the program grew by {growth} bytes");
    for (liar, length) in liars {
        expect_refusal(liar, &format!("a password message of {length} bytes"));
    }
    Connection::login(proxy.address(), &login).expect("an honest login afterwards");
}

#[test]
fn a_lying_message_ends_its_session_with_one_error_at_most() {
    let direct = address(shared().node(0));
    let proxy = Proxy::over(&[Backend::from(direct)]).start();
    let mut bystander = Connection::login(proxy.address(), &superuser_login()).expect("login");
    for kind in *b"QPBEDCHSdcfFX" {
        for length in BAD_LENGTHS {
            // PostgreSQL closes without a word.
            for server in [direct, proxy.address()] {
                let mut connection = Connection::login(server, &superuser_login()).expect("login");
                connection.send_bytes(&lie(&[kind], length)).expect("sending");
                expect_refusal(connection, &format!("{:?} of {length} bytes", char::from(kind)));
            }
        }
    }
    assert_eq!(bystander.value("SELECT 'here'"), "here");
}

#[test]
fn a_long_message_that_never_comes_costs_no_memory() {
    const PIECE: usize = 1 << 20;
    let proxy = Proxy::over(&[Backend::from(address(shared().node(0)))]).start();
    let before = proxy.resident_bytes();
    let mut senders: Vec<Connection> = Vec::new();
    for kind in *b"QPBdFQ" {
        let mut sender = Connection::login(proxy.address(), &superuser_login()).expect("login");
        sender.send_bytes(&lie(&[kind], 0x3f00_0000)).expect("sending");
        sender.send_bytes(&vec![b'x'; PIECE]).expect("sending");
        senders.push(sender);
    }
    let growth = proxy.resident_bytes().saturating_sub(before);
    assert!(growth <= GROWTH_LIMIT, "the program grew by {growth} bytes");
}

#[test]
fn lengths_inside_of_a_message_are_the_servers_business() {
    let direct = address(shared().node(0));
    let proxy = Proxy::over(&[Backend::from(direct)]).start();
    let bodies: [&[u8]; 6] = [
        b"\0\0\0\0\0\x01\x7f\xff\xff\xff\0\0",
        b"\0\0\0\0\0\x01\x80\0\0\0\0\0",
        b"\0\0\0\0\0\x01\0\0\0\x05ab\0\0",
        b"\0\0\xff\xff",
        b"\0\0\0\0\xff\xff",
        b"\0\0\0\0\0\0\xff\xff",
    ];
    let answers = |server, login: &Login| {
        let mut connection = Connection::login(server, login).expect("login");
        let answer = |body: &&[u8]| -> io::Result<Vec<String>> {
            connection.send_all(&[
                Frontend::parse("", "SELECT $1::text"),
                Frontend::Other(b'B', body.to_vec()),
                Frontend::Sync,
            ])?;
            Ok(connection.read_to_ready()?.iter().map(|message| message.line()).collect())
        };
        bodies.iter().map(answer).map(|lines| lines.map_err(|error| is_closed(&error))).collect::<Vec<_>>()
    };
    assert_eq!(answers(proxy.address(), &superuser_login()), answers(direct, &superuser_login()));
}
