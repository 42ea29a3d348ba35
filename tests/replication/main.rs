//! Native replication on real PostgreSQL: servers that know nothing of each other, kept alike by pgconvoy.
//!
//! Each test has two or three servers of its own, looks at them past pgconvoy, and expects the same rows everywhere, or
//! the backend that lacks them to be out.

#[path = "../support/mod.rs"]
mod support;

mod alike;
mod beside;
mod reads;
mod servers;
mod verify;

use std::process::Command;
use std::time::{Duration, Instant};

use servers::Servers;
use support::environment::long_run;
use support::postgres::wait_until;
use support::wire::{Connection, Frontend, Login, Message};

const LIMIT: Duration = Duration::from_secs(10);

fn kinds(messages: &[Message]) -> String {
    messages.iter().map(|message| message.kind as char).collect()
}

/// What `SHOW pool_mismatches` says: difference, backend, answer, decision and statement of each row.
fn mismatches(client: &mut Connection) -> Vec<[String; 5]> {
    let rows = client.rows("SHOW pool_mismatches");
    let field = |row: &[Option<String>], at: usize| row[at].clone().expect("a value");
    rows.iter().map(|row| [5, 6, 7, 8, 9].map(|at| field(row, at))).collect()
}

fn error(messages: &[Message]) -> String {
    let error = messages.iter().find(|message| message.kind == b'E').expect("an error");
    format!("{} {}", error.sqlstate(), error.field(b'M').unwrap_or_default())
}

#[test]
fn what_is_written_once_is_written_everywhere() {
    let servers = Servers::start(3);
    let proxy = servers.proxy().start();
    let mut client = Connection::login(proxy.address(), &Login::new("postgres", "postgres")).unwrap();
    assert_eq!(kinds(&client.query("CREATE TABLE t (a int PRIMARY KEY, b text)").unwrap()), "CZ");
    assert_eq!(kinds(&client.query("INSERT INTO t VALUES (1, 'one'), (2, 'two')").unwrap()), "CZ");
    client.query("BEGIN").unwrap();
    client.query("UPDATE t SET b = 'eins' WHERE a = 1").unwrap();
    assert_eq!(client.value("SELECT b FROM t WHERE a = 1"), "eins", "a transaction sees what it wrote");
    client.query("SAVEPOINT s").unwrap();
    client.query("DELETE FROM t").unwrap();
    client.query("ROLLBACK TO s").unwrap();
    client.query("COMMIT").unwrap();
    client.query("BEGIN").unwrap();
    client.query("DELETE FROM t").unwrap();
    client.query("ROLLBACK").unwrap();
    let refused = client.query("INSERT INTO t VALUES (1, 'again')").unwrap();
    assert_eq!(kinds(&refused), "EZ");
    assert_eq!(error(&refused), "23505 duplicate key value violates unique constraint \"t_pkey\"");
    // A batch of the extended protocol is one transaction.
    client
        .send_all(&[
            Frontend::parse("", "INSERT INTO t VALUES (3, 'three') RETURNING a"),
            Frontend::bind("", ""),
            Frontend::execute(""),
            Frontend::Sync,
        ])
        .unwrap();
    assert_eq!(kinds(&client.read_to_ready().unwrap()), "12DCZ");
    client
        .send_all(&[
            Frontend::parse("", "INSERT INTO t VALUES (4, 'four')"),
            Frontend::bind("", ""),
            Frontend::execute(""),
            Frontend::parse("", "INSERT INTO t VALUES (1, 'again')"),
            Frontend::bind("", ""),
            Frontend::execute(""),
            Frontend::Sync,
        ])
        .unwrap();
    assert_eq!(kinds(&client.read_to_ready().unwrap()), "12C12EZ");
    assert_eq!(client.value("SELECT string_agg(b, ' ' ORDER BY a) FROM t"), "eins two three");
    servers.assert_alike();
    assert_eq!(client.value("SELECT count(*) FROM t"), "3");
    let nodes = client.rows("SHOW pool_nodes");
    let roles: Vec<_> = nodes.iter().map(|row| (row[3].clone().unwrap(), row[6].clone().unwrap())).collect();
    assert_eq!(
        roles,
        [("up", "main"), ("up", "replica"), ("up", "replica")].map(|(a, b)| (a.to_owned(), b.to_owned()))
    );
}

#[test]
fn copied_rows_and_large_statements_reach_every_backend() {
    let servers = Servers::start(2);
    let proxy = servers.proxy().start();
    let mut client = Connection::login(proxy.address(), &Login::new("postgres", "postgres")).unwrap();
    client.query("CREATE TABLE t (a int, b text)").unwrap();
    client.send(&Frontend::query("COPY t FROM STDIN")).unwrap();
    assert_eq!(client.read().unwrap().kind, b'G');
    for number in 0..20_000 {
        client.send(&Frontend::CopyData(format!("{number}\trow {number}\n").into_bytes())).unwrap();
    }
    client.send(&Frontend::CopyDone).unwrap();
    let done = client.read_to_ready().unwrap();
    assert_eq!(done[0].tag(), "COPY 20000");
    // More than is ever kept for those that are asked later.
    let text = "x".repeat(3_000_000);
    assert_eq!(kinds(&client.query(&format!("INSERT INTO t VALUES (-1, '{text}')")).unwrap()), "CZ");
    client.send(&Frontend::query("COPY t FROM STDIN")).unwrap();
    assert_eq!(client.read().unwrap().kind, b'G');
    client.send_all(&[Frontend::CopyData(b"x\ty\n".to_vec()), Frontend::CopyDone]).unwrap();
    assert_eq!(kinds(&client.read_to_ready().unwrap()), "EZ");
    assert_eq!(client.value("SELECT count(*), sum(length(b)) > 3000000 FROM t"), "20001");
    servers.assert_alike();
}

/// Seed S4's walk: a database, pgbench's tables, a million rows, and the same rows everywhere, with their times.
#[test]
fn the_walk_of_the_seed() {
    let servers = Servers::start(3);
    let proxy = servers.proxy().start();
    let port = proxy.address().port().to_string();
    let run = |program: &str, arguments: &[&str]| {
        let output = Command::new(program)
            .args(["-h", "127.0.0.1", "-p", &port, "-U", "postgres"])
            .args(arguments)
            .env("PGOPTIONS", "")
            .output()
            .unwrap_or_else(|error| panic!("{program}: {error}"));
        assert!(output.status.success(), "{program} {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    run("createdb", &["bench_replication"]);
    run("pgbench", &["-i", "-q", "bench_replication"]);
    let rows = if long_run() { 1_000_000 } else { 100_000 };
    let insert = format!(
        "INSERT INTO pgbench_history (tid, bid, aid, delta) SELECT 1, 1, n, n FROM generate_series(1, {rows}) n"
    );
    assert_eq!(run("psql", &["-Atc", &insert, "bench_replication"]).trim(), format!("INSERT 0 {rows}"));
    let seconds = if long_run() { "60" } else { "3" };
    for mode in ["simple", "extended", "prepared"] {
        let report = run("pgbench", &["-n", "-c", "16", "-j", "2", "-T", seconds, "-M", mode, "bench_replication"]);
        assert!(report.contains("number of failed transactions: 0 "), "{report}");
    }
    for table in ["pgbench_accounts", "pgbench_tellers", "pgbench_branches", "pgbench_history"] {
        let counts = servers.ask("bench_replication", &format!("SELECT count(*) FROM {table}"));
        assert!(counts.iter().all(|count| *count == counts[0]), "{table}: {counts:?}");
    }
    for table in ["pgbench_accounts", "pgbench_tellers", "pgbench_branches", "pgbench_history"] {
        let sums = servers.ask("bench_replication", &servers::digest(table));
        assert!(sums.iter().all(|sum| *sum == sums[0]), "{table}: {sums:?}");
    }
}

/// Seed S4's failure (B6): a server is killed while a session updates, that session hears of it, service goes on.
#[test]
fn a_killed_backend_is_detached_and_the_others_serve_on() {
    let mut servers = Servers::start(2);
    let proxy = servers.proxy().start();
    let login = Login::new("postgres", "postgres");
    let mut client = Connection::login(proxy.address(), &login).unwrap();
    client.query("CREATE TABLE history AS SELECT n AS tid FROM generate_series(1, 300000) n").unwrap();
    client.query("BEGIN").unwrap();
    client.send(&Frontend::query("UPDATE history SET tid = 2")).unwrap();
    servers.kill(1);
    let updated = client.read_to_ready().unwrap();
    // Nothing is lost with a backend that does not count any more.
    assert_eq!(kinds(&updated), "CZ");
    client.query("COMMIT").unwrap();
    assert_eq!(client.value("SELECT count(*) FROM history WHERE tid = 2"), "300000");
    wait_until(LIMIT, "the dead server is out", || {
        let mut other = Connection::login(proxy.address(), &login).unwrap();
        other.rows("SHOW pool_nodes")[1][3].as_deref() == Some("down")
    });
    assert!(proxy.log().contains("starting degeneration. shutdown host 127.0.0.1("), "{}", proxy.log());
    assert!(proxy.log().contains("failover done. shutdown host 127.0.0.1("));
    // It missed what was written since: it stays out when it is back.
    servers.revive(1);
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(3) {
        let mut other = Connection::login(proxy.address(), &login).unwrap();
        assert_eq!(other.rows("SHOW pool_nodes")[1][3].as_deref(), Some("down"));
        assert_eq!(other.value("SELECT count(*) FROM history WHERE tid = 2"), "300000");
        std::thread::sleep(Duration::from_millis(100));
    }
}

#[test]
fn the_main_backend_is_followed_by_the_next_one() {
    let mut servers = Servers::start(3);
    let proxy = servers.proxy().start();
    let login = Login::new("postgres", "postgres");
    let mut client = Connection::login(proxy.address(), &login).unwrap();
    client.query("CREATE TABLE t (a int)").unwrap();
    for dead in [0, 1] {
        servers.kill(dead);
        let mut connection = None;
        wait_until(LIMIT, "the next one serves", || {
            connection = Connection::login(proxy.address(), &login).ok();
            connection.as_mut().is_some_and(|client| {
                let answer = client.query("INSERT INTO t VALUES (1)");
                if answer.is_err() {
                    for node in [1, 2] {
                        println!("{answer:?} {:?}", servers.direct(node, "postgres").rows("SELECT pid, state, wait_event, query FROM pg_stat_activity WHERE backend_type = 'client backend'"));
                    }
                }
                answer.is_ok_and(|answer| kinds(&answer) == "CZ")
            })
        });
    }
    let mut last = Connection::login(proxy.address(), &login).unwrap();
    assert_eq!(last.value("SELECT count(*) FROM t"), "2", "two of three servers may fail");
    let status: Vec<_> = last.rows("SHOW pool_nodes").into_iter().map(|row| row[3].clone().unwrap()).collect();
    assert_eq!(status, ["down", "down", "up"]);
}

/// B4: a table is missing on one of three.
#[test]
fn a_backend_that_lacks_a_table_is_outvoted() {
    for (lacking, stop) in [(2, true), (2, false), (0, true)] {
        let servers = Servers::start(3);
        let proxy = servers.proxy().set("replication_stop_on_mismatch", if stop { "on" } else { "off" }).start();
        let login = Login::new("postgres", "postgres");
        let mut client = Connection::login(proxy.address(), &login).unwrap();
        client.query("CREATE TABLE t (a int)").unwrap();
        servers.direct(lacking, "postgres").query("DROP TABLE t").unwrap();
        client.send(&Frontend::query("INSERT INTO t VALUES (1)")).unwrap();
        let answer = client.read_to_ready();
        let told = "kind mismatch among backends. Possible last query was: \"INSERT INTO t VALUES (1)\"";
        wait_until(LIMIT, "the vote is told", || proxy.log().contains(told));
        let mut other = Connection::login(proxy.address(), &login).unwrap();
        let status: Vec<_> = other.rows("SHOW pool_nodes").into_iter().map(|row| row[3].clone().unwrap()).collect();
        let expected = |node: usize| if stop && node == lacking { "down" } else { "up" };
        assert_eq!(status, [expected(0), expected(1), expected(2)], "{lacking} {stop}");
        let minority = if stop { "detached" } else { "taken back" };
        let record = |node: usize| {
            let (answer, decision) =
                if node == lacking { ("E: 42P01", minority) } else { ("C 1 rows", "prevails by majority") };
            ["kind", &node.to_string(), answer, decision, "INSERT INTO t VALUES (1)"].map(str::to_owned)
        };
        assert_eq!(mismatches(&mut other), [0, 1, 2].map(record), "{lacking} {stop}");
        match (stop, lacking) {
            // The others go on as if it had never been there.
            (true, 2) => assert_eq!(kinds(&answer.unwrap()), "CZ"),
            _ => assert!(answer.is_err(), "{answer:?}"),
        }
        let rows = if (stop, lacking) == (true, 2) { "1" } else { "0" };
        let there = (0..3).filter(|node| *node != lacking);
        for node in there {
            assert_eq!(servers.direct(node, "postgres").value("SELECT count(*) FROM t"), rows, "node {node}");
        }
    }
}

/// B5: a statement changes another number of rows on one of three.
#[test]
fn a_backend_that_changes_other_rows_is_outvoted() {
    for (stop, answer) in [(true, "CZ"), (false, "EZ")] {
        let servers = Servers::start(3);
        let stops = if stop { "on" } else { "off" };
        let proxy = servers.proxy().set("failover_if_affected_tuples_mismatch", stops).start();
        let login = Login::new("postgres", "postgres");
        let mut client = Connection::login(proxy.address(), &login).unwrap();
        client.query("CREATE TABLE t AS SELECT n AS a, 0 AS b FROM generate_series(1, 10) n").unwrap();
        servers.direct(1, "postgres").query("DELETE FROM t WHERE a > 7").unwrap();
        let updated = client.query("UPDATE t SET b = 1").unwrap();
        assert_eq!(kinds(&updated), answer);
        let status: Vec<_> = client.rows("SHOW pool_nodes").into_iter().map(|row| row[3].clone().unwrap()).collect();
        assert_eq!(status, ["up", if stop { "down" } else { "up" }, "up"]);
        let minority = if stop { "detached" } else { "taken back" };
        let record = |node: &str, answer: &str, decision: &str| {
            ["affected_rows", node, answer, decision, "UPDATE t SET b = 1"].map(str::to_owned)
        };
        let others = ["0", "2"].map(|node| record(node, "C 10 rows", "prevails by majority"));
        let [first, last] = others;
        assert_eq!(mismatches(&mut client), [first, record("1", "C 7 rows", minority), last]);
        let changed = if stop { "10" } else { "0" };
        assert_eq!(servers.direct(0, "postgres").value("SELECT sum(b) FROM t"), changed);
        assert_eq!(servers.direct(1, "postgres").value("SELECT sum(b) FROM t"), "0", "the evidence is left as it was");
    }
}

/// A lone write that fails only when it is committed, in both protocols: nobody hears of success.
#[test]
fn a_commit_that_fails_everywhere_is_a_failure() {
    let servers = Servers::start(2);
    let proxy = servers.proxy().start();
    let mut client = Connection::login(proxy.address(), &Login::new("postgres", "postgres")).unwrap();
    client.query("CREATE TABLE t (a int UNIQUE DEFERRABLE INITIALLY DEFERRED)").unwrap();
    client.query("INSERT INTO t VALUES (1)").unwrap();
    let refused = client.query("INSERT INTO t VALUES (1)").unwrap();
    assert_eq!(kinds(&refused), "EZ");
    assert!(error(&refused).starts_with("23505"), "{}", error(&refused));
    assert_eq!(refused.last().unwrap().transaction_status(), b'I');
    client
        .send_all(&[
            Frontend::parse("", "INSERT INTO t VALUES (1)"),
            Frontend::bind("", ""),
            Frontend::execute(""),
            Frontend::Sync,
        ])
        .unwrap();
    let refused = client.read_to_ready().unwrap();
    assert!(error(&refused).starts_with("23505"), "{refused:?}");
    client.query("BEGIN").unwrap();
    client.query("INSERT INTO t VALUES (1)").unwrap();
    let refused = client.query("COMMIT").unwrap();
    assert_eq!(kinds(&refused), "EZ");
    assert_eq!(client.value("SELECT count(*) FROM t"), "1");
    servers.assert_alike();
}

/// F52: two servers that disagree. Nobody hears of success.
#[test]
fn a_tie_is_no_success() {
    let servers = Servers::start(2);
    let proxy = servers.proxy().set("failover_if_affected_tuples_mismatch", "on").start();
    let login = Login::new("postgres", "postgres");
    let mut client = Connection::login(proxy.address(), &login).unwrap();
    client.query("CREATE TABLE t AS SELECT n AS a, 0 AS b FROM generate_series(1, 10) n").unwrap();
    servers.direct(1, "postgres").query("DELETE FROM t WHERE a > 7").unwrap();
    let updated = client.query("UPDATE t SET b = 1").unwrap();
    assert_eq!(kinds(&updated), "EZ");
    assert!(error(&updated).contains("the number of affected rows differs among backends."), "{}", error(&updated));
    assert_eq!(client.value("SELECT sum(b) FROM t"), "0");
    let status: Vec<_> = client.rows("SHOW pool_nodes").into_iter().map(|row| row[3].clone().unwrap()).collect();
    assert_eq!(status, ["up", "down"], "as in pgpool, the main one serves on");
    let decisions: Vec<_> =
        mismatches(&mut client).into_iter().map(|[_, node, _, decision, _]| (node, decision)).collect();
    let expected = [("0", "prevails as the main node's"), ("1", "detached")];
    assert_eq!(decisions, expected.map(|(node, decision)| (node.to_owned(), decision.to_owned())));
    // Statements of others are a superuser's to read.
    client.rows("CREATE ROLE other LOGIN");
    let mut other = Connection::login(proxy.address(), &Login::new("other", "postgres")).unwrap();
    assert_eq!(mismatches(&mut other)[0][4], "<insufficient privilege>");
}

/// F58: one backend alone cannot do it.
#[test]
fn a_failure_of_one_backend_aborts_the_transaction_everywhere() {
    let servers = Servers::start(3);
    let proxy = servers.proxy().set("replication_stop_on_mismatch", "on").start();
    let login = Login::new("postgres", "postgres");
    let mut client = Connection::login(proxy.address(), &login).unwrap();
    client.query("CREATE TABLE t AS SELECT 1 AS a, 0 AS b").unwrap();
    for node in [0, 2] {
        let mut holder = servers.direct(node, "postgres");
        holder.query("BEGIN").unwrap();
        holder.query("UPDATE t SET b = 9").unwrap();
        for block in [true, false] {
            client.query("SET lock_timeout = 200").unwrap();
            if block {
                client.query("BEGIN").unwrap();
            }
            let refused = client.query("UPDATE t SET b = 1").unwrap();
            assert_eq!(error(&refused), "55P03 canceling statement due to lock timeout", "node {node}");
            assert_eq!(refused.last().unwrap().transaction_status(), if block { b'E' } else { b'I' });
            if block {
                assert!(error(&client.query("SELECT 1").unwrap()).starts_with("25P02"));
                client.query("COMMIT").unwrap();
            }
        }
        holder.query("ROLLBACK").unwrap();
    }
    servers.assert_alike();
    assert_eq!(client.value("SELECT b FROM t"), "0");
    let status: Vec<_> = client.rows("SHOW pool_nodes").into_iter().map(|row| row[3].clone().unwrap()).collect();
    assert_eq!(status, ["up", "up", "up"]);
}

/// F56: sessions that update the same rows in different orders.
#[test]
fn sessions_that_cross_never_wait_longer_than_postgresql_needs_to_see_it() {
    let servers = Servers::start(2);
    let proxy = servers.proxy().start();
    let login = Login::new("postgres", "postgres");
    let mut client = Connection::login(proxy.address(), &login).unwrap();
    client.query("CREATE TABLE t AS SELECT n AS a, 0 AS b FROM generate_series(0, 5) n").unwrap();
    let address = proxy.address();
    let until = Instant::now() + Duration::from_secs(if long_run() { 60 } else { 8 });
    let sessions: Vec<_> = (0..6u64)
        .map(|session| {
            let login = login.clone();
            std::thread::spawn(move || {
                let mut client = Connection::login(address, &login).unwrap();
                let (mut longest, mut deadlocks, mut turn) = (Duration::ZERO, 0, session);
                let pair = session / 2 * 2;
                while Instant::now() < until {
                    turn = turn.wrapping_mul(6364136223846793005).wrapping_add(session * 2 + 1);
                    let rows = [pair + (turn >> 33) % 2, pair + (turn >> 40) % 2];
                    client.query("BEGIN").unwrap();
                    for row in rows {
                        let start = Instant::now();
                        let answer = client.query(&format!("UPDATE t SET b = b + 1 WHERE a = {row}")).unwrap();
                        longest = longest.max(start.elapsed());
                        if answer[0].kind == b'E' {
                            assert!(
                                error(&answer).starts_with("40P01") || error(&answer).starts_with("25P02"),
                                "{answer:?}"
                            );
                            deadlocks += 1;
                        }
                    }
                    client.query("COMMIT").unwrap();
                }
                (longest, deadlocks)
            })
        })
        .collect();
    let (mut longest, mut deadlocks) = (Duration::ZERO, 0);
    for session in sessions {
        let (waited, hit) = session.join().unwrap();
        longest = longest.max(waited);
        deadlocks += hit;
    }
    println!("longest wait {longest:?}, {deadlocks} statements met a deadlock");
    assert!(longest < Duration::from_secs(3), "deadlock_timeout is 1 s: {longest:?}");
    servers.assert_alike();
}
