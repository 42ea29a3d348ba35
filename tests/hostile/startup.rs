//! The way into a session: slow, flooding, and odd clients.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::support::postgres::{address, role, shared, shared_with_scram, superuser_login, wait_until};
use crate::support::proxy::{Backend, Proxy};
use crate::support::wire::frontend::{gssenc_request, ssl_request};
use crate::support::wire::{Connection, Frontend, Login, LoginError, PROTOCOL_3_0, startup};

/// Time an honest login may take while others misbehave.
const LOGIN_LIMIT: Duration = Duration::from_secs(1);

#[test]
fn clients_that_drip_are_cut_at_the_authentication_timeout() {
    const TIMEOUT: Duration = Duration::from_secs(3);
    let proxy = Proxy::over(&[Backend::from(address(shared().node(0)))])
        .set("authentication_timeout", TIMEOUT.as_secs())
        .set("listen_backlog_multiplier", 20)
        .start();
    let packet = superuser_login().parameter("application_name", &"x".repeat(5000)).packet();
    let begun = Instant::now();
    let mut drips: Vec<TcpStream> =
        (0..500).map(|_| TcpStream::connect(proxy.address()).expect("connecting")).collect();
    drips.iter().for_each(|drip| drip.set_nonblocking(true).expect("a socket can be made not to block"));
    let mut slowest_login = Duration::ZERO;
    for byte in packet.chunks(1) {
        // A write to a socket that is closed already is noticed by the read.
        drips.iter_mut().for_each(|drip| drop(drip.write(byte)));
        slowest_login = slowest_login.max(login_time(proxy.address()));
        let open = drips.len();
        drips.retain_mut(|drip| match drip.read(&mut [0; 512]) {
            Ok(count) => count > 0,
            Err(error) => error.kind() == ErrorKind::WouldBlock,
        });
        let after = begun.elapsed();
        assert!(drips.len() == open || after > TIMEOUT - Duration::from_millis(1500), "cut after {after:?}");
        if drips.is_empty() {
            break;
        }
        assert!(begun.elapsed() < TIMEOUT + Duration::from_secs(2), "{} clients still drip", drips.len());
        std::thread::sleep(Duration::from_millis(100));
    }
    assert!(slowest_login < LOGIN_LIMIT, "a login took {slowest_login:?}");
}

#[test]
fn clients_that_stop_in_their_login_lock_nobody_out() {
    const TIMEOUT: Duration = Duration::from_secs(6);
    const PLACES: usize = 4;
    let testbed = shared_with_scram();
    let login = role(testbed, "locked_out");
    let proxy = Proxy::over(&[Backend::from(address(testbed.node(0)))])
        .set("num_init_children", PLACES)
        .set("max_pool", 1)
        .set("authentication_timeout", TIMEOUT.as_secs())
        .set("listen_backlog_multiplier", 2000)
        .set("sr_check_password", "postgres-secret")
        .set("health_check_password", "postgres-secret")
        .password("postgres", "postgres-secret")
        .password(&login.user, &login.password)
        .start_for(&superuser_login());
    let first = sasl_initial_response();
    // After the start-up packet, within the first step of SASL, after it; and those that never get to the end of the packet.
    let words: [&[u8]; 4] = [b"", &first[..9], &first, b""];
    let mut stopped = Vec::new();
    for number in 0..800 {
        let mut socket = TcpStream::connect(proxy.address()).expect("connecting");
        let packet = login.packet();
        socket.write_all(if number % 4 == 3 { &packet[..7] } else { &packet }).expect("sending");
        socket.set_nonblocking(true).expect("a socket can be made not to block");
        stopped.push((number, Instant::now(), socket, Vec::new()));
    }
    let mut ends = Vec::new();
    let mut slowest_login = Duration::ZERO;
    let begun = Instant::now();
    while !stopped.is_empty() {
        if begun.elapsed() < TIMEOUT - Duration::from_secs(1) {
            // As many as there are places, each with its right password.
            let asked = Instant::now();
            let honest: Vec<_> = (0..PLACES).map(|_| Connection::login(proxy.address(), &login)).collect();
            for session in honest {
                assert_eq!(session.expect("an honest login").value("SELECT 'in'"), "in");
            }
            slowest_login = slowest_login.max(asked.elapsed());
        }
        stopped.retain_mut(|(number, since, socket, heard)| {
            let mut buffer = [0; 512];
            match socket.read(&mut buffer) {
                Ok(count) if count > 0 => {
                    if heard.is_empty() && buffer[0] == b'R' {
                        // The server's answer decides whether it is heard.
                        let _ = socket.write_all(words[*number % 4]);
                    }
                    heard.extend_from_slice(&buffer[..count]);
                    true
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => true,
                _ => {
                    ends.push(since.elapsed());
                    assert!(*number % 4 == 3 || heard.starts_with(b"R"), "one was not asked for its password");
                    false
                }
            }
        });
        std::thread::sleep(Duration::from_millis(10));
    }
    let (soonest, latest) = (ends.iter().min().expect("clients"), ends.iter().max().expect("clients"));
    eprintln!("the slowest round of logins took {slowest_login:?}; clients were cut after {soonest:?} to {latest:?}");
    assert!(slowest_login < LOGIN_LIMIT, "a login took {slowest_login:?}");
    let tolerance = Duration::from_secs(1);
    assert!(*soonest > TIMEOUT - tolerance && *latest < TIMEOUT + tolerance, "cut after {soonest:?} to {latest:?}");
}

#[test]
fn a_client_that_waits_for_a_place_in_vain_is_told_so() {
    let backend = Backend::from(address(shared().node(0)));
    let limits = [("authentication_timeout", "authentication_timeout"), ("client_queue_timeout", "within 2 s")];
    for (limit, words) in limits {
        let proxy = Proxy::over(std::slice::from_ref(&backend)).set("num_init_children", 1).set(limit, "2s").start();
        let mut holder = Connection::login(proxy.address(), &superuser_login()).expect("login");
        let begun = Instant::now();
        match Connection::login(proxy.address(), &superuser_login()) {
            Err(LoginError::Refused(error)) => {
                assert_eq!((error.sqlstate().as_str(), error.field(b'S').as_deref()), ("53300", Some("FATAL")));
                let text = error.field(b'M').unwrap_or_default();
                assert!(text.contains(words), "{limit}: {text}");
            }
            other => panic!("{limit}: {other:?}"),
        }
        let after = begun.elapsed();
        assert!((Duration::from_secs(1)..Duration::from_secs(3)).contains(&after), "{limit}: after {after:?}");
        assert_eq!(holder.value("SELECT 'in peace'"), "in peace");
    }
}

#[test]
fn a_user_without_a_password_is_named_in_the_log_and_refused_like_any_other() {
    let testbed = shared_with_scram();
    let [listed, unlisted] = ["listed", "unlisted"].map(|name| role(testbed, name));
    let options = Proxy::over(&[Backend::from(address(testbed.node(0)))])
        .set("sr_check_password", "postgres-secret")
        .set("health_check_password", "postgres-secret")
        .password("postgres", "postgres-secret")
        .password(&listed.user, &listed.password);
    let proxy = options.start_for(&superuser_login());
    let refusal = |login: &Login| match Connection::login(proxy.address(), login) {
        Err(LoginError::Refused(error)) => error.line().replace(&login.user, "somebody"),
        other => panic!("{}: {other:?}", login.user),
    };
    let usual = refusal(&listed.clone().password("wrong"));
    assert_eq!([refusal(&unlisted), refusal(&unlisted.clone().password("wrong"))], [usual.clone(), usual]);
    let told = |proxy: &Proxy, words: &str| proxy.log().matches(words).count();
    // The log is written by a thread of its own.
    let limit = Duration::from_secs(5);
    wait_until(limit, "both ends are in the log", || told(&proxy, "failed for user \"unlisted\"") == 2);
    let log = proxy.log();
    assert_eq!(log.matches("asks for the password of user \"unlisted\"").count(), 1, "{log}");
    let file = proxy.folder().join("pool_passwd").display().to_string();
    assert!(log.contains(&format!("{file} has no usable line for the user")), "{log}");
    assert!(log.contains(&format!("\"unlisted:TEXT\" with the password behind it to {file}")), "{log}");
    assert!(!log.contains("of user \"listed\", and"), "{log}");

    let proxy = options.set("pool_passwd", "/nowhere/pool_passwd").spawn();
    wait_until(Duration::from_secs(10), "it listens", || Connection::open(proxy.address()).is_ok());
    assert!(matches!(Connection::login(proxy.address(), &listed), Err(LoginError::Refused(_))));
    wait_until(limit, "the missing file is in the log", || {
        told(&proxy, "DETAIL:  /nowhere/pool_passwd does not exist.") == 1
    });
}

#[test]
fn silence_at_any_step_before_login_is_cut_too() {
    let testbed = shared_with_scram();
    let login = role(testbed, "silent");
    let proxy = Proxy::over(&[Backend::from(address(testbed.node(0)))])
        .set("sr_check_password", "postgres-secret")
        .set("health_check_password", "postgres-secret")
        .set("authentication_timeout", 2)
        .password("postgres", "postgres-secret")
        .password(&login.user, &login.password)
        .start_for(&superuser_login());
    let steps: [&[u8]; 4] = [b"", &ssl_request(), &gssenc_request(), &login.packet()];
    let begun = Instant::now();
    let silent: Vec<Connection> = steps
        .iter()
        .map(|bytes| {
            let mut connection = Connection::open(proxy.address()).expect("connecting");
            connection.send_bytes(bytes).expect("sending");
            connection
        })
        .collect();
    for (mut connection, step) in
        silent.into_iter().zip(["nothing", "SSLRequest", "GSSENCRequest", "a start-up packet"])
    {
        if step.ends_with("Request") {
            assert_eq!(connection.read_byte().expect("an answer"), b'N');
        }
        connection.read_to_end().unwrap_or_else(|error| panic!("silence after {step}: {error}"));
        let after = begun.elapsed();
        assert!((Duration::from_secs(1)..Duration::from_secs(5)).contains(&after), "after {step}: cut after {after:?}");
    }
}

#[test]
fn a_flood_of_half_open_clients_leaves_sessions_alone() {
    let proxy = Proxy::over(&[Backend::from(address(shared().node(0)))]).start();
    let mut session = Connection::login(proxy.address(), &superuser_login()).expect("login");
    let before = proxy.resident_bytes();
    let (stop, connects) = (AtomicBool::new(false), AtomicU64::new(0));
    let mut times = Vec::new();
    let mut slowest_login = Duration::ZERO;
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut held = Vec::new();
            while !stop.load(Ordering::Relaxed) {
                let Ok(mut stream) = TcpStream::connect(proxy.address()) else { continue };
                // Whether it arrives is the proxy's choice.
                let _ = stream.write_all(&ssl_request());
                connects.fetch_add(1, Ordering::Relaxed);
                held.push(stream);
                if held.len() > 300 {
                    held.remove(0);
                }
            }
        });
        let begun = Instant::now();
        while begun.elapsed() < Duration::from_secs(4) {
            let asked = Instant::now();
            assert_eq!(session.value("SELECT 'here'"), "here");
            times.push(asked.elapsed());
            if times.len().is_multiple_of(100) {
                slowest_login = slowest_login.max(login_time(proxy.address()));
            }
        }
        stop.store(true, Ordering::Relaxed);
    });
    times.sort();
    let p99 = times[times.len() * 99 / 100];
    let growth = proxy.resident_bytes().saturating_sub(before);
    eprintln!(
        "{} connects, {} queries, p99 {p99:?}, slowest login {slowest_login:?}, growth {growth}",
        connects.into_inner(),
        times.len()
    );
    assert!(p99 < Duration::from_millis(250), "p99 of a session under flood: {p99:?}");
    assert!(slowest_login < 2 * LOGIN_LIMIT, "a login under flood took {slowest_login:?}");
    assert!(growth < 32 << 20, "the program grew by {growth} bytes");
}

#[test]
fn encryption_may_be_asked_for_a_bounded_number_of_times() {
    let proxy = Proxy::over(&[Backend::from(address(shared().node(0)))]).start();
    let login = superuser_login();
    let mut polite = Connection::open(proxy.address()).expect("connecting");
    for request in [gssenc_request(), ssl_request()] {
        polite.send_bytes(&request).expect("sending");
        assert_eq!(polite.read_byte().expect("an answer"), b'N');
    }
    polite.send_bytes(&login.packet()).expect("sending");
    polite.finish_login(&login).expect("a login after both requests");

    let mut looping = Connection::open(proxy.address()).expect("connecting");
    let granted = (0..10)
        .take_while(|_| {
            looping.send_bytes(&ssl_request()).is_ok() && looping.read_byte().is_ok_and(|byte| byte == b'N')
        })
        .count();
    assert!(granted <= 2, "{granted} SSLRequests were answered");
}

#[test]
fn odd_startup_packets_get_the_servers_own_answer() {
    let direct = address(shared().node(0));
    let proxy = Proxy::over(&[Backend::from(direct)]).start();
    let user = ("user", "postgres");
    let long = "n".repeat(9000);
    let packets: Vec<(&str, Vec<u8>)> = vec![
        ("without a user", startup(PROTOCOL_3_0, &[("database", "postgres")])),
        ("with an empty user", startup(PROTOCOL_3_0, &[("user", ""), ("database", "postgres")])),
        ("without a database", startup(PROTOCOL_3_0, &[user])),
        ("for an unknown user", startup(PROTOCOL_3_0, &[("user", "nobody_known")])),
        ("for an unknown database", startup(PROTOCOL_3_0, &[user, ("database", "missing")])),
        ("of protocol 4.0", startup(4 << 16, &[user])),
        ("with an unknown parameter", startup(PROTOCOL_3_0, &[user, ("no_such_parameter", "1")])),
        ("with a bad value", startup(PROTOCOL_3_0, &[user, ("DateStyle", "nonsense")])),
        (
            "with settings",
            startup(PROTOCOL_3_0, &[user, ("options", "-c DateStyle=German -c geqo=off"), ("TimeZone", "Asia/Tokyo")]),
        ),
        ("with bad options", startup(PROTOCOL_3_0, &[user, ("options", "-c no_such_parameter=1")])),
        ("with a very long name", startup(PROTOCOL_3_0, &[user, ("application_name", &long)])),
        ("with quotes and newlines", startup(PROTOCOL_3_0, &[user, ("application_name", "a'b\"c\\d\ne;--")])),
        ("with a quoted search path", startup(PROTOCOL_3_0, &[user, ("search_path", "\"a b\", public")])),
        ("that does not end its last text", with_length(b"\0\x03\0\0user\0postgres")),
        ("without an end of the list", with_length(b"\0\x03\0\0user\0postgres\0")),
    ];
    for (name, packet) in packets {
        let (expected, seen) = (first_answer(direct, &packet), first_answer(proxy.address(), &packet));
        assert_eq!(seen, expected, "a start-up packet {name}");
    }
}

#[test]
fn an_ancient_protocol_is_refused() {
    let proxy = Proxy::over(&[Backend::from(address(shared().node(0)))]).start();
    for version in [1 << 16, 2 << 16] {
        let answer = first_answer(proxy.address(), &startup(version, &[("user", "postgres")]));
        assert!(answer.iter().all(|line| line.starts_with("ErrorResponse FATAL 0A000")), "{answer:?}");
    }
}

#[test]
fn a_newer_protocol_is_negotiated_down() {
    let proxy = Proxy::over(&[Backend::from(address(shared().node(0)))]).start();
    let packet = startup(PROTOCOL_3_0 + 9999, &[("user", "postgres"), ("_pq_.unknown", "1")]);
    let answer = first_answer(proxy.address(), &packet);
    assert!(answer.iter().any(|line| line.starts_with("NegotiateProtocolVersion")), "{answer:?}");
    assert!(answer.iter().any(|line| line.starts_with("ReadyForQuery")), "{answer:?}");
}

#[test]
fn replication_is_refused_and_says_why() {
    let proxy = Proxy::over(&[Backend::from(address(shared().node(0)))]).start();
    for value in ["true", "on", "1", "database"] {
        match Connection::login(proxy.address(), &superuser_login().parameter("replication", value)) {
            Err(LoginError::Refused(error)) => {
                assert_eq!(error.field(b'S').as_deref(), Some("FATAL"));
                let text = error.field(b'M').unwrap_or_default();
                assert!(text.contains("replication"), "the refusal does not say why: {text}");
            }
            other => panic!("replication={value}: {other:?}"),
        }
    }
    Connection::login(proxy.address(), &superuser_login().parameter("replication", "false"))
        .expect("no replication at all");
}

#[test]
fn nothing_after_terminate_is_done() {
    let testbed = shared();
    let proxy = Proxy::over(&[Backend::from(address(testbed.node(0)))]).start();
    let mut session = Connection::login(proxy.address(), &superuser_login()).expect("login");
    session.send_all(&[Frontend::Terminate, Frontend::query("CREATE TABLE after_terminate ()")]).expect("sending");
    assert_eq!(session.read_to_end().expect("a close"), []);
    let mut later = Connection::login(proxy.address(), &superuser_login()).expect("login");
    assert_eq!(
        later.rows("SELECT 1 FROM pg_class WHERE relname = 'after_terminate'"),
        Vec::<Vec<Option<String>>>::new()
    );
}

/// The client's first message of SCRAM.
fn sasl_initial_response() -> Vec<u8> {
    let first = b"n,,n=,r=aGVsbG8sIHdvcmxk";
    let mut body = b"SCRAM-SHA-256\0".to_vec();
    body.extend_from_slice(&u32::try_from(first.len()).expect("a short message").to_be_bytes());
    body.extend_from_slice(first);
    let mut message = vec![b'p'];
    message.extend(with_length(&body));
    message
}

/// How long a login and one query take.
fn login_time(server: SocketAddr) -> Duration {
    let begun = Instant::now();
    let mut session = Connection::login(server, &superuser_login()).expect("an honest login");
    assert_eq!(session.value("SELECT 'in'"), "in");
    begun.elapsed()
}

/// All answers to a start-up packet up to the session's readiness or end, without the values that differ from session to session.
fn first_answer(server: SocketAddr, packet: &[u8]) -> Vec<String> {
    let mut connection = Connection::open(server).expect("connecting");
    connection.send_bytes(packet).expect("sending");
    let mut lines = Vec::new();
    while let Ok(message) = connection.read() {
        lines.push(match message.kind {
            // What a login is told by the way is told to whoever it was done for first.
            b'N' => continue,
            b'K' => "BackendKeyData".to_string(),
            b'E' => format!("ErrorResponse {} {}", message.field(b'S').unwrap_or_default(), message.sqlstate()),
            _ => message.line(),
        });
        if message.kind == b'Z' {
            break;
        }
    }
    if lines.iter().any(|line| line.starts_with("ErrorResponse")) {
        // PostgreSQL may say that no password is needed before it says that there is no such role.
        lines.retain(|line| !line.starts_with("Authentication"));
    }
    lines.sort();
    lines
}

fn with_length(body: &[u8]) -> Vec<u8> {
    let mut packet = u32::try_from(body.len() + 4).expect("a short packet").to_be_bytes().to_vec();
    packet.extend_from_slice(body);
    packet
}
