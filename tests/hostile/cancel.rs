//! A cancel hits the request of the session that owns the key, and nothing else.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::support::postgres::{address, role, shared, superuser, wait_until};
use crate::support::proxy::{Backend, Options, Proxy};
use crate::support::wire::{Connection, Frontend, Login, Message, cancel};

/// The SQLSTATE of a statement that was cancelled.
const CANCELED: &str = "57014";

/// A proxy that serves one client at a time, so that every session gets its predecessor's connection.
fn one_at_a_time() -> Options {
    Proxy::over(&[Backend::from(address(shared().node(0)))])
        .set("num_init_children", 1)
        .set("max_pool", 1)
        .set("worker_threads", 1)
}

fn canceled(answer: &[Message]) -> bool {
    answer.iter().any(|message| message.kind == b'E' && message.sqlstate() == CANCELED)
}

fn enter(proxy: &Proxy, login: &Login) -> Connection {
    Connection::login(proxy.address(), login).unwrap_or_else(|error| panic!("login: {error:?}"))
}

#[test]
fn a_key_cancels_its_own_sessions_query() {
    let login = role(shared(), "cancel_own");
    let proxy = one_at_a_time().start_for(&login);
    let mut session = enter(&proxy, &login);
    for simple in [true, false] {
        let begun = Instant::now();
        if simple {
            session.send(&Frontend::query("SELECT pg_sleep(20)")).expect("sending");
        } else {
            let batch = [
                Frontend::parse("", "SELECT pg_sleep(20)"),
                Frontend::bind("", ""),
                Frontend::execute(""),
                Frontend::Sync,
            ];
            session.send_all(&batch).expect("sending");
        }
        let mut root = superuser(shared());
        let asleep = "SELECT count(*) FROM pg_stat_activity WHERE usename = 'cancel_own' AND wait_event = 'PgSleep'";
        wait_until(Duration::from_secs(5), "the query sleeps", || root.value(asleep) == "1");
        cancel(proxy.address(), session.process_id, &session.secret).expect("cancelling");
        assert!(canceled(&session.read_to_ready().expect("an answer")));
        assert!(begun.elapsed() < Duration::from_secs(8), "cancelled after {:?}", begun.elapsed());
        assert_eq!(session.value("SELECT 'on'"), "on");
    }
}

#[test]
fn a_key_of_a_newer_protocol_cancels_as_well() {
    let login = role(shared(), "cancel_newer").minor_protocol(2);
    let proxy = one_at_a_time().start_for(&login);
    let mut session = enter(&proxy, &login);
    // Protocol 3.2 knows keys of 4 to 256 bytes.
    assert!((4..=256).contains(&session.secret.len()), "a secret of {} bytes", session.secret.len());
    session.send(&Frontend::query("SELECT pg_sleep(20)")).expect("sending");
    std::thread::sleep(Duration::from_millis(200));
    cancel(proxy.address(), session.process_id, &session.secret).expect("cancelling");
    assert!(canceled(&session.read_to_ready().expect("an answer")));
}

#[test]
fn the_process_id_is_the_servers_and_the_secret_is_not() {
    let testbed = shared();
    let login = role(testbed, "cancel_pid");
    let proxy = one_at_a_time().start_for(&login);
    let mut secrets = Vec::new();
    for _ in 0..5 {
        let mut session = enter(&proxy, &login);
        assert_eq!(session.value("SELECT pg_backend_pid()"), session.process_id.to_string());
        secrets.push(session.secret.clone());
        // The key is worth nothing at the server itself.
        cancel(address(testbed.node(0)), session.process_id, &session.secret).expect("cancelling");
        assert_eq!(session.value("SELECT 'on' FROM pg_sleep(0.05)"), "on");
        session.leave().expect("a close");
    }
    secrets.sort();
    secrets.dedup();
    assert_eq!(secrets.len(), 5, "a secret came twice");
}

#[test]
fn a_key_of_the_past_hits_nobody() {
    let login = role(shared(), "cancel_past");
    let proxy = one_at_a_time().start_for(&login);
    let mut former = enter(&proxy, &login);
    let (process_id, secret) = (former.process_id, former.secret.clone());
    let connection = former.value("SELECT pg_backend_pid()");
    former.leave().expect("a close");
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let canceller = scope.spawn(|| {
            let mut sent = 0;
            while !stop.load(Ordering::Relaxed) {
                cancel(proxy.address(), process_id, &secret).expect("cancelling");
                sent += 1;
            }
            sent
        });
        let mut same_connection = 0;
        for _ in 0..20 {
            let mut session = enter(&proxy, &login);
            same_connection += u32::from(session.value("SELECT pg_backend_pid()") == connection);
            for _ in 0..3 {
                let answer = session.query("SELECT 'mine' FROM pg_sleep(0.05)").expect("an answer");
                assert!(!canceled(&answer), "a key of the past hit");
            }
            session.leave().expect("a close");
        }
        stop.store(true, Ordering::Relaxed);
        let sent = canceller.join().expect("no cancel fails");
        assert!(sent > 20 && same_connection > 10, "{sent} cancels, {same_connection} sessions on the same connection");
    });
}

#[test]
fn a_wrong_key_hits_nobody_and_tells_nothing() {
    let login = role(shared(), "cancel_wrong");
    let proxy = one_at_a_time().start_for(&login);
    let mut session = enter(&proxy, &login);
    let secret = session.secret.clone();
    let flipped: Vec<u8> = secret.iter().map(|byte| byte ^ 1).collect();
    session.send(&Frontend::query("SELECT 'mine' FROM pg_sleep(1)")).expect("sending");
    for (process_id, secret) in [
        (session.process_id, flipped.as_slice()),
        (session.process_id + 1, &secret),
        (0, &secret),
        (u32::MAX, &[0; 4]),
        (session.process_id, &secret[..1]),
        (session.process_id, &[]),
        (session.process_id, &[0; 256]),
    ] {
        let mut connection = Connection::open(proxy.address()).expect("connecting");
        connection.send_bytes(&crate::support::wire::cancel_request(process_id, secret)).expect("sending");
        let told = connection.read_to_end().expect("a close");
        // A key of an impossible length may be told so: that tells nothing about any session.
        assert!(told.is_empty() || !(4..=256).contains(&secret.len()), "{process_id} with {secret:?}: {told:?}");
    }
    assert!(!canceled(&session.read_to_ready().expect("an answer")));
}

#[test]
fn a_cancel_that_races_with_the_end_of_its_session_hits_nobody_else() {
    let login = role(shared(), "cancel_race");
    let proxy = one_at_a_time().start_for(&login);
    for round in 0..150_u64 {
        let mut first = enter(&proxy, &login);
        let (process_id, secret) = (first.process_id, first.secret.clone());
        first.send(&Frontend::query("SELECT 'first' FROM pg_sleep(0.004)")).expect("sending");
        std::thread::scope(|scope| {
            let address = proxy.address();
            scope.spawn(move || {
                std::thread::sleep(Duration::from_micros(round * 50));
                cancel(address, process_id, &secret).expect("cancelling");
            });
            first.read_to_ready().expect("an answer");
            first.leave().expect("a close");
            let mut second = enter(&proxy, &login);
            let answer = second.query("SELECT 'second' FROM pg_sleep(0.01)").expect("an answer");
            assert!(!canceled(&answer), "round {round}: the cancel hit the next session");
            second.leave().expect("a close");
        });
    }
}
