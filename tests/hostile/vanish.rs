//! Clients that vanish: what they held is free within a second, and nothing of theirs reaches the next one.

use std::io::Write;
use std::time::Duration;

use crate::support::postgres::{address, role, shared, superuser, wait_until};
use crate::support::proxy::{Backend, Proxy};
use crate::support::wire::{Connection, Frontend, Login, encode_all};

/// How long a vanished client may leave a trace.
const TRACE_LIMIT: Duration = Duration::from_secs(1);

/// A role with a table of its own, and a proxy in front.
fn scene(name: &str, clients: u32) -> (Login, Proxy, Connection) {
    let testbed = shared();
    let login = role(testbed, name);
    let mut root = superuser(testbed);
    root.rows(&format!("CREATE SCHEMA AUTHORIZATION {name}; CREATE TABLE {name}.t (a int PRIMARY KEY, b text); ALTER TABLE {name}.t OWNER TO {name}; INSERT INTO {name}.t VALUES (1, 'one')"));
    let proxy = Proxy::over(&[Backend::from(address(testbed.node(0)))])
        .set("num_init_children", clients)
        .set("max_pool", 1)
        .start_for(&login);
    (login, proxy, root)
}

fn enter(proxy: &Proxy, login: &Login) -> Connection {
    Connection::login(proxy.address(), login).unwrap_or_else(|error| panic!("login: {error:?}"))
}

#[test]
fn locks_of_a_client_that_vanishes_in_a_transaction_are_freed() {
    let (login, proxy, mut root) = scene("vanish_locks", 4);
    let last_words: [&[Frontend]; 4] = [
        &[],
        &[Frontend::query("SELECT pg_sleep(60)")],
        &[Frontend::parse("", "SELECT pg_sleep(60)"), Frontend::bind("", ""), Frontend::execute(""), Frontend::Sync],
        &[Frontend::query("SELECT repeat('x', 10000) FROM generate_series(1, 10000000)")],
    ];
    for words in last_words {
        let mut client = enter(&proxy, &login);
        client.rows("BEGIN; UPDATE vanish_locks.t SET b = 'mine' WHERE a = 1; SELECT pg_advisory_lock(99)");
        client.send_all(words).expect("sending");
        let active = "SELECT count(*) FROM pg_stat_activity WHERE usename = 'vanish_locks' AND state = 'active'";
        wait_until(Duration::from_secs(5), "the last words are heard", || {
            words.is_empty() || root.value(active) == "1"
        });
        drop(client);
        let held = "SELECT count(*) FROM pg_locks JOIN pg_stat_activity USING (pid) WHERE usename = 'vanish_locks'";
        wait_until(TRACE_LIMIT, &format!("no lock is left after {words:?}"), || root.value(held) == "0");
    }
    assert_eq!(root.value("SELECT b FROM vanish_locks.t"), "one");
}

#[test]
fn a_statement_whose_client_closes_its_connection_is_cancelled_and_the_server_is_free_for_the_next() {
    let (login, proxy, mut root) = scene("vanish_asleep", 1);
    let sleep = || Frontend::query("SELECT pg_sleep(60)");
    let last_words: [&[Frontend]; 5] = [
        &[sleep()],
        // The answer that nobody reads makes it a reset.
        &[Frontend::query("SELECT repeat('x', 10000)"), sleep()],
        // Input that waits for its turn stands before the end.
        &[sleep(), Frontend::query("SHOW pool_version")],
        &[sleep(), Frontend::query("SHOW pool_version"), Frontend::query("x".repeat(60_000))],
        &[Frontend::parse("", "SELECT pg_sleep(60)"), Frontend::bind("", ""), Frontend::execute(""), Frontend::Flush],
    ];
    for words in last_words {
        let mut client = enter(&proxy, &login);
        client.send_all(words).expect("sending");
        let asleep = "SELECT count(*) FROM pg_stat_activity WHERE usename = 'vanish_asleep' AND wait_event = 'PgSleep'";
        wait_until(Duration::from_secs(5), "the statement runs", || root.value(asleep) == "1");
        drop(client);
        wait_until(TRACE_LIMIT, &format!("the statement is cancelled: {words:?}"), || root.value(asleep) == "0");
        // The only place is free.
        let mut next = enter(&proxy, &login);
        assert_eq!(next.value("SELECT 'clean'"), "clean");
        next.leave().expect("a close");
    }
}

#[test]
fn a_client_whose_connection_breaks_while_nobody_reads_from_it_is_noticed() {
    let (login, proxy, mut root) = scene("vanish_unread", 1);
    let mut client = enter(&proxy, &login);
    // Of the first answer nothing is read, so that the end is a reset; of the rest there is more than anybody takes.
    client.send_all(&[Frontend::query("SELECT 1"), Frontend::query("SELECT pg_sleep(60)")]).expect("sending");
    let more = encode_all(&vec![Frontend::query("SELECT 1"); 10_000]);
    client.stream().set_write_timeout(Some(Duration::from_millis(500))).expect("a time to write");
    while client.stream().write_all(&more).is_ok() {}
    let asleep = "SELECT count(*) FROM pg_stat_activity WHERE usename = 'vanish_unread' AND wait_event = 'PgSleep'";
    wait_until(Duration::from_secs(5), "the statement runs", || root.value(asleep) == "1");
    drop(client);
    wait_until(3 * TRACE_LIMIT, "the statement is cancelled", || root.value(asleep) == "0");
    let mut next = enter(&proxy, &login);
    assert_eq!(next.value("SELECT 'clean'"), "clean");
}

#[test]
fn what_was_asked_before_a_goodbye_is_done() {
    let (login, proxy, mut root) = scene("vanish_goodbye", 2);
    let mut client = enter(&proxy, &login);
    let insert = Frontend::query("INSERT INTO vanish_goodbye.t VALUES (2, 'two')");
    client.send_all(&[Frontend::query("SELECT pg_sleep(1)"), insert, Frontend::Terminate]).expect("sending");
    drop(client);
    wait_until(Duration::from_secs(5), "the row is there", || {
        root.value("SELECT count(*) FROM vanish_goodbye.t WHERE a = 2") == "1"
    });
}

#[test]
fn a_batch_cut_at_any_byte_leaves_no_server_waiting_for_its_rest() {
    let (login, proxy, mut root) = scene("vanish_batch", 2);
    let batch = encode_all(&[
        Frontend::parse("s", "INSERT INTO vanish_batch.t VALUES ($1::int, 'half')"),
        Frontend::Bind {
            portal: String::new(),
            statement: "s".into(),
            parameters: vec![Some("7".into())],
            formats: vec![],
        },
        Frontend::execute(""),
        Frontend::Flush,
        Frontend::query("BEGIN; SELECT 1"),
        Frontend::parse("", "COPY vanish_batch.t FROM STDIN"),
        Frontend::bind("", ""),
        Frontend::execute(""),
        Frontend::CopyData(b"8\thalf\n".to_vec()),
    ]);
    for at in 1..batch.len() {
        let mut client = enter(&proxy, &login);
        client.send_bytes(&batch[..at]).expect("sending");
        drop(client);
        let mut next = enter(&proxy, &login);
        assert_eq!(next.value("SELECT 'clean'"), "clean", "after a batch cut at byte {at}");
        let answer = next.query("COMMIT").expect("an answer");
        assert_eq!(answer.last().map(|ready| ready.transaction_status()), Some(b'I'));
        assert_eq!(next.value("SELECT count(*) FROM pg_prepared_statements"), "0");
        next.leave().expect("a close");
    }
    let waiting = "SELECT count(*) FROM pg_stat_activity WHERE usename = 'vanish_batch' AND state <> 'idle'";
    wait_until(TRACE_LIMIT, "no server waits for the rest of a batch", || root.value(waiting) == "0");
    assert_eq!(root.value("SELECT count(*) FROM vanish_batch.t WHERE a = 8"), "0");
}

#[test]
fn five_hundred_failed_copies_leave_the_pool_whole() {
    let (login, proxy, mut root) = scene("vanish_copy", 2);
    let rows: Vec<u8> = (2..400).flat_map(|row| format!("{row}\trow\n").into_bytes()).collect();
    for round in 0..500 {
        let mut client = enter(&proxy, &login);
        client.send(&Frontend::query("COPY vanish_copy.t FROM STDIN")).expect("sending");
        client.send(&Frontend::CopyData(rows.clone())).expect("sending");
        match round % 4 {
            // A duplicate key in mid-stream, with everything behind it sent all the same.
            0 => {
                let rest = [
                    Frontend::CopyData(b"1\tduplicate\n".to_vec()),
                    Frontend::CopyData(rows.clone()),
                    Frontend::CopyDone,
                ];
                client.send_all(&rest).expect("sending");
                let answer = client.read_to_ready().expect("an answer");
                assert!(
                    answer.iter().any(|message| message.kind == b'E' && message.sqlstate() == "23505"),
                    "{answer:?}"
                );
                client.leave().expect("a close");
            }
            1 => {
                client.send(&Frontend::CopyFail("given up".into())).expect("sending");
                let answer = client.read_to_ready().expect("an answer");
                assert!(
                    answer.iter().any(|message| message.kind == b'E' && message.sqlstate() == "57014"),
                    "{answer:?}"
                );
                client.leave().expect("a close");
            }
            2 => drop(client),
            _ => {
                client.send_bytes(&Frontend::CopyData(rows.clone()).bytes()[..100]).expect("sending");
                drop(client);
            }
        }
        if round % 20 == 0 {
            let mut both = [enter(&proxy, &login), enter(&proxy, &login)];
            both.iter_mut().for_each(|session| assert_eq!(session.value("SELECT count(*) FROM vanish_copy.t"), "1"));
            both.into_iter().for_each(|session| session.leave().expect("a close"));
        }
    }
    let busy = "SELECT count(*) FROM pg_stat_activity WHERE usename = 'vanish_copy' AND state <> 'idle'";
    wait_until(TRACE_LIMIT, "no copy is left", || root.value(busy) == "0");
    assert_eq!(root.value("SELECT count(*) FROM vanish_copy.t"), "1");
}

#[test]
fn a_client_that_vanishes_in_the_queue_takes_no_place() {
    let (login, proxy, _) = scene("vanish_queue", 1);
    let holder = enter(&proxy, &login);
    let waiting: Vec<Connection> = (0..20)
        .map(|_| {
            let mut connection = Connection::open(proxy.address()).expect("connecting");
            connection.send_bytes(&login.packet()).expect("sending");
            connection
        })
        .collect();
    drop(waiting);
    holder.leave().expect("a close");
    let mut next = enter(&proxy, &login);
    assert_eq!(next.value("SELECT 'in'"), "in");
}
