//! Servers that lie: one session may suffer, nobody else, and never the program.

use std::time::{Duration, Instant};

use crate::support::postgres::{address, role, shared, superuser_login};
use crate::support::proxy::{Backend, Proxy};
use crate::support::relay::{Action, Choose, Filter, Relay, Sender};
use crate::support::wire::{Connection, Frontend, Login, Message};

/// What the program may grow by for a rogue server, in bytes.
const GROWTH_LIMIT: u64 = 16 << 20;
/// A client of a rogue server knows where it stands after this long.
const ANSWER_LIMIT: Duration = Duration::from_secs(5);

/// Lies in place of one kind of a server's messages.
struct Lie {
    name: &'static str,
    /// The kind of message that is replaced; the first of its kind after login, or during login.
    kind: u8,
    during_login: bool,
    action: Action,
}

fn frame(kind: u8, body: &[u8]) -> Vec<u8> {
    Frontend::Other(kind, body.to_vec()).bytes()
}

fn header(kind: u8, length: u32) -> Vec<u8> {
    let mut bytes = vec![kind];
    bytes.extend_from_slice(&length.to_be_bytes());
    bytes
}

/// Everything that a server may get wrong in the answer to a query.
fn lies() -> Vec<Lie> {
    let lie = |name, kind, action| Lie { name, kind, during_login: false, action };
    let early = |name, kind, action| Lie { name, kind, during_login: true, action };
    let replace = |kind, body: &[u8]| Action::Replace(frame(kind, body));
    let short = |length| Action::Replace([header(b'D', length), vec![0; 16]].concat());
    vec![
        lie("an error without SQLSTATE", b'D', replace(b'E', b"SERROR\0Mno state\0\0")),
        lie("an error without any field", b'D', replace(b'E', b"\0")),
        lie("an error without an end", b'D', replace(b'E', b"SERROR")),
        lie("an empty error", b'D', replace(b'E', b"")),
        lie("a row with a length of -2", b'D', replace(b'D', b"\0\x01\xff\xff\xff\xfe")),
        lie("a row with a length beyond its end", b'D', replace(b'D', b"\0\x01\x7f\xff\xff\xffa")),
        lie("a row that promises columns", b'D', replace(b'D', b"\xff\xff")),
        lie("an empty row message", b'D', replace(b'D', b"")),
        lie("a description that lies", b'T', replace(b'T', b"\xff\xffa\0")),
        lie("a tag without an end", b'C', replace(b'C', b"SELECT")),
        lie("an empty ReadyForQuery", b'Z', replace(b'Z', b"")),
        lie("a ReadyForQuery of no known state", b'Z', replace(b'Z', b"x")),
        lie("a ReadyForQuery too many", b'Z', Action::Replace(frame(b'Z', b"I").repeat(2))),
        lie("an authentication request in a session", b'D', replace(b'R', b"\0\0\0\x03")),
        lie("a new key in a session", b'D', replace(b'K', b"\0\0\0\x01\0\0\0\x01")),
        lie("an unknown message", b'D', replace(b'y', b"what")),
        lie("a client's message", b'D', replace(b'Q', b"SELECT 1\0")),
        lie("a COPY that nobody asked for", b'D', replace(b'G', b"\0\0\x01\0\0")),
        lie("a setting without a value", b'D', replace(b'S', b"name\0")),
        lie("a setting without an end", b'D', replace(b'S', b"name\0value")),
        lie("a length of 0", b'D', short(0)),
        lie("a length of 3", b'D', short(3)),
        lie("a length of -1", b'D', short(u32::MAX)),
        lie("a row of 2 GiB", b'D', short(0x7fff_ffff)),
        lie("a setting of 1 GiB", b'D', Action::Flood([header(b'S', 1 << 30), vec![b'x'; 1 << 20]].concat())),
        lie("an error of 1 GiB", b'D', Action::Flood([header(b'E', 1 << 30), vec![b'x'; 1 << 20]].concat())),
        lie("a truncated row", b'D', Action::Cut(header(b'D', 100))),
        lie("a close before the end", b'C', Action::Cut(Vec::new())),
        lie("nothing but zero bytes", b'D', Action::Flood(vec![0; 1024])),
        early("an unknown authentication request", b'R', replace(b'R', b"\0\0\0\x63")),
        early("a truncated authentication request", b'R', replace(b'R', b"\0\0")),
        early("SASL without a mechanism", b'R', replace(b'R', b"\0\0\0\x0a\0")),
        early("the end of a SASL that never began", b'R', replace(b'R', b"\0\0\0\x0cv=abc")),
        early("an md5 request without salt", b'R', replace(b'R', b"\0\0\0\x05")),
        early("rows before the login is over", b'R', replace(b'D', b"\0\0")),
        early("a key of 1 MiB", b'K', replace(b'K', &vec![7; 1 << 20])),
        early("a key of no bytes", b'K', replace(b'K', b"")),
        early("readiness without authentication", b'R', replace(b'Z', b"I")),
        early("endless notices before the login", b'R', Action::Flood(frame(b'N', b"SNOTICE\0C00000\0Mmore\0\0"))),
        early("endless settings before the login", b'R', Action::Flood(frame(b'S', b"name\0value\0"))),
        early("a close in the middle of the login", b'K', Action::Cut(vec![b'K'])),
    ]
}

/// Tells `lie` once in each session of `user`.
fn liar(user: &str, lie: &Lie) -> Choose {
    let (user, kind, during_login, action) = (user.to_string(), lie.kind, lie.during_login, lie.action.clone());
    Box::new(move |parameters| {
        let action = action.clone();
        (parameters.get("user") == Some(&user)).then(|| -> Filter {
            let (mut told, mut logged_in) = (false, false);
            Box::new(move |sender, message: &Message| {
                if sender == Sender::Client {
                    return Action::Pass;
                }
                if message.kind == kind && logged_in != during_login && !told {
                    told = true;
                    return action.clone();
                }
                logged_in |= message.kind == b'Z';
                Action::Pass
            })
        })
    })
}

/// What a client may see of a lie: its own row, errors, or the end.
fn meet_the_liar(proxy: &Proxy, login: &Login, name: &str) {
    let begun = Instant::now();
    let mut seen = Vec::new();
    if let Ok(mut session) = Connection::login(proxy.address(), login) {
        session.set_patience(ANSWER_LIMIT);
        // Whatever comes, it comes in time; then the session may live on or be over.
        for _ in 0..2 {
            match session.query("SELECT 'mine'") {
                Ok(answer) => seen.extend(answer),
                Err(error) => {
                    assert_ne!(error.kind(), std::io::ErrorKind::TimedOut, "{name}: the client hangs");
                    break;
                }
            }
        }
    }
    assert!(begun.elapsed() < 2 * ANSWER_LIMIT, "{name}: the client waited {:?}", begun.elapsed());
}

#[test]
fn a_lying_server_hurts_its_own_session_only() {
    let testbed = shared();
    let login = role(testbed, "rogue_lies");
    for lie in lies() {
        let relay = Relay::start(address(testbed.node(0)), liar("rogue_lies", &lie));
        let mut proxy = Proxy::over(&[Backend::from(relay.address())])
            .set("connect_timeout", 3000)
            .set("authentication_timeout", 4)
            .start();
        let mut bystander = Connection::login(proxy.address(), &superuser_login()).expect("login");
        let before = proxy.resident_bytes();
        meet_the_liar(&proxy, &login, lie.name);
        proxy.assert_healthy();
        assert_eq!(bystander.value("SELECT 'here'"), "here", "{}", lie.name);
        let mut later = Connection::login(proxy.address(), &superuser_login())
            .unwrap_or_else(|error| panic!("{}: {error:?}", lie.name));
        assert_eq!(later.value("SELECT 'still here'"), "still here", "{}", lie.name);
        let growth = proxy.resident_bytes().saturating_sub(before);
        assert!(growth < GROWTH_LIMIT, "{}: the program grew by {growth} bytes", lie.name);
    }
}

#[test]
fn endless_notices_wait_for_a_client_that_does_not_read() {
    let testbed = shared();
    let login = role(testbed, "rogue_flood");
    let flood = Lie {
        name: "",
        kind: b'C',
        during_login: false,
        action: Action::Flood(frame(b'N', b"SNOTICE\0C00000\0Mmore\0\0")),
    };
    let relay = Relay::start(address(testbed.node(0)), liar("rogue_flood", &flood));
    let mut proxy = Proxy::over(&[Backend::from(relay.address())]).start();
    let mut bystander = Connection::login(proxy.address(), &superuser_login()).expect("login");
    let mut sessions: Vec<Connection> =
        (0..4).map(|_| Connection::login(proxy.address(), &login).expect("login")).collect();
    let before = proxy.resident_bytes();
    for session in &mut sessions {
        session.send(&Frontend::query("SELECT 'mine'")).expect("sending");
    }
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(2) {
        let asked = Instant::now();
        assert_eq!(bystander.value("SELECT 'here'"), "here");
        assert!(asked.elapsed() < Duration::from_secs(1), "a bystander waited {:?}", asked.elapsed());
    }
    let growth = proxy.resident_bytes().saturating_sub(before);
    assert!(growth < GROWTH_LIMIT, "the program grew by {growth} bytes");
    drop(sessions);
    proxy.assert_healthy();
}

/// A whole answer that nobody asked for.
fn unasked_answer() -> Vec<u8> {
    let row = frame(b'D', b"\0\x01\0\0\0\x07unasked");
    [
        frame(b'T', b"\0\x01a\0\0\0\0\0\0\0\0\0\0\x19\xff\xff\xff\xff\xff\xff\0\0"),
        row,
        frame(b'C', b"SELECT 1\0"),
        frame(b'Z', b"I"),
    ]
    .concat()
}

/// Sends an unasked answer behind every ReadyForQuery that follows a client's message with `trigger` in it.
fn forward(user: &'static str, trigger: &'static [u8]) -> Choose {
    Box::new(move |parameters| {
        (parameters.get("user").is_some_and(|name| name == user)).then(|| -> Filter {
            let mut armed = trigger.is_empty();
            Box::new(move |sender, message: &Message| match sender {
                Sender::Client => {
                    armed |= message.body.windows(trigger.len().max(1)).any(|window| window == trigger);
                    Action::Pass
                }
                Sender::Server if armed && message.kind == b'Z' => {
                    armed = false;
                    Action::Replace([message.bytes(), unasked_answer()].concat())
                }
                Sender::Server => Action::Pass,
            })
        })
    })
}

#[test]
fn an_answer_before_its_request_is_never_taken_for_it() {
    let testbed = shared();
    for (user, trigger) in [("rogue_login", b"".as_slice()), ("rogue_query", b"'arm'"), ("rogue_reset", b"DISCARD ALL")]
    {
        let login = role(testbed, user);
        let relay = Relay::start(address(testbed.node(0)), forward(user, trigger));
        let mut proxy = Proxy::over(&[Backend::from(relay.address())]).start();
        for _ in 0..6 {
            let Ok(mut session) = Connection::login(proxy.address(), &login) else { continue };
            for sql in ["SELECT 'arm'", "SELECT 'mine'", "SELECT 'mine'"] {
                std::thread::sleep(Duration::from_millis(20));
                let Ok(answer) = session.query(sql) else { break };
                let foreign =
                    answer.iter().find(|message| message.kind == b'D' && message.row() == [Some("unasked".into())]);
                assert_eq!(foreign, None, "{user}: {sql} was answered with {answer:?}");
            }
            // The session may be over already.
            let _ = session.leave();
        }
        proxy.assert_healthy();
    }
}
