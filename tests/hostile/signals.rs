//! Shutdown in its three ways, with sessions in every state: nothing is left behind.

use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use crate::support::postgres::{address, role, shared, superuser, wait_until};
use crate::support::proxy::{Backend, Proxy};
use crate::support::wire::{Connection, Frontend, Login};

/// How long a fast shutdown may take.
const FAST_LIMIT: Duration = Duration::from_secs(5);

fn scene(name: &str) -> (Login, Proxy) {
    let testbed = shared();
    let login = role(testbed, name);
    (login.clone(), Proxy::over(&[Backend::from(address(testbed.node(0)))]).start_for(&login))
}

/// Fails unless the program has ended well and left no file, socket or connection of `login`.
fn assert_nothing_left(proxy: &mut Proxy, login: &Login, limit: Duration) {
    let status = proxy.wait_ended(limit).unwrap_or_else(|| panic!("still running after {limit:?}"));
    assert!(status.success(), "ended with {status}");
    assert!(!proxy.unix_socket().exists(), "the Unix socket is left");
    assert!(!proxy.folder().join("pgpool.pid").exists(), "the pid file is left");
    assert!(Connection::open(proxy.address()).is_err(), "somebody still listens");
    let mut root = superuser(shared());
    let left = format!("SELECT count(*) FROM pg_stat_activity WHERE usename = '{}'", login.user);
    wait_until(Duration::from_secs(2), "no connection to the server is left", || root.value(&left) == "0");
}

#[test]
fn a_smart_shutdown_waits_for_its_clients() {
    let (login, mut proxy) = scene("signal_smart");
    let mut session = Connection::login(proxy.address(), &login).expect("login");
    session.rows("BEGIN");
    proxy.signal("TERM");
    wait_until(Duration::from_secs(3), "new clients are turned away", || {
        Connection::login(proxy.address(), &login).is_err()
    });
    assert_eq!(session.value("SELECT 'in peace'"), "in peace");
    assert_eq!(session.query("COMMIT").expect("an answer").last().map(|ready| ready.transaction_status()), Some(b'I'));
    proxy.signal("TERM");
    assert_eq!(session.value("SELECT 'still'"), "still");
    assert!(proxy.ended().is_none(), "ended while a client was there");
    session.leave().expect("a close");
    assert_nothing_left(&mut proxy, &login, FAST_LIMIT);
}

#[test]
fn a_fast_shutdown_tells_every_client_and_ends_soon() {
    let (login, mut proxy) = scene("signal_fast");
    let enter = || Connection::login(proxy.address(), &login).expect("login");
    let (mut idle, mut open, mut busy, mut batch, mut copying) = (enter(), enter(), enter(), enter(), enter());
    idle.rows("SELECT 1");
    open.rows("BEGIN; SELECT pg_advisory_lock(77)");
    busy.send(&Frontend::query("SELECT pg_sleep(60)")).expect("sending");
    batch.send_all(&[Frontend::parse("", "SELECT 1"), Frontend::Flush]).expect("sending");
    batch.read().expect("ParseComplete");
    copying.rows("CREATE TEMP TABLE t (a text)");
    copying.send(&Frontend::query("COPY t FROM STDIN")).expect("sending");
    copying.read().expect("CopyInResponse");
    let mut root = superuser(shared());
    let asleep = "SELECT count(*) FROM pg_stat_activity WHERE usename = 'signal_fast' AND wait_event = 'PgSleep'";
    wait_until(FAST_LIMIT, "the query sleeps", || root.value(asleep) == "1");
    let begun = Instant::now();
    proxy.signal("INT");
    for (mut session, state) in [idle, open, busy, batch, copying].into_iter().zip([
        "idle",
        "in a transaction",
        "busy",
        "in a batch",
        "copying",
    ]) {
        let last = session.read_to_end().unwrap_or_else(|error| panic!("a client that is {state}: {error}"));
        let states: Vec<String> =
            last.iter().filter(|message| message.kind == b'E').map(|message| message.sqlstate()).collect();
        assert_eq!(states.last().map(String::as_str), Some("57P01"), "a client that is {state}: {last:?}");
    }
    assert!(begun.elapsed() < FAST_LIMIT, "the clients were told after {:?}", begun.elapsed());
    assert_nothing_left(&mut proxy, &login, FAST_LIMIT);
}

#[test]
fn a_fast_shutdown_overtakes_a_smart_one() {
    let (login, mut proxy) = scene("signal_overtakes");
    let mut session = Connection::login(proxy.address(), &login).expect("login");
    session.rows("BEGIN");
    proxy.signal("TERM");
    std::thread::sleep(Duration::from_millis(300));
    assert!(proxy.ended().is_none(), "ended while a client was there");
    proxy.signal("INT");
    let last = session.read_to_end().expect("a close");
    assert_eq!(last.last().map(|message| message.sqlstate()).as_deref(), Some("57P01"), "{last:?}");
    assert_nothing_left(&mut proxy, &login, FAST_LIMIT);
}

#[test]
fn an_immediate_shutdown_leaves_nothing_either() {
    let (login, mut proxy) = scene("signal_immediate");
    let mut session = Connection::login(proxy.address(), &login).expect("login");
    session.rows("BEGIN");
    proxy.signal("QUIT");
    session.read_to_end().expect("a close");
    assert_nothing_left(&mut proxy, &login, Duration::from_secs(2));
}

#[test]
fn a_killed_program_starts_again_over_what_it_left() {
    let (login, mut proxy) = scene("signal_killed");
    for _ in 0..3 {
        let mut session = Connection::login(proxy.address(), &login).expect("login");
        session.send(&Frontend::query("SELECT pg_sleep(0.5)")).expect("sending");
        proxy.kill_and_start();
        session.read_to_end().expect("a close");
        assert!(
            proxy.unix_socket().exists() || proxy.folder().join("pgpool.pid").exists(),
            "nothing was left to start over"
        );
        wait_until(FAST_LIMIT, "it serves again", || Connection::login(proxy.address(), &login).is_ok());
        UnixStream::connect(proxy.unix_socket()).expect("the Unix socket is a live one");
    }
    proxy.signal("INT");
    assert_nothing_left(&mut proxy, &login, FAST_LIMIT);
}

#[test]
fn a_second_program_leaves_the_first_alone() {
    let (login, mut proxy) = scene("signal_second");
    let mut session = Connection::login(proxy.address(), &login).expect("login");
    let mut second = proxy.launch_again();
    wait_until(FAST_LIMIT, "the second gives up", || second.try_wait().expect("a child can be asked").is_some());
    assert!(!second.wait().expect("a child can be waited for").success(), "the second ended as if all were well");
    assert_eq!(session.value("SELECT 'undisturbed'"), "undisturbed");
    UnixStream::connect(proxy.unix_socket()).expect("the Unix socket is still the first's");
    assert!(proxy.folder().join("pgpool.pid").exists(), "the second removed the pid file");
    Connection::login(proxy.address(), &login).expect("the first serves on");
    proxy.assert_healthy();
}
