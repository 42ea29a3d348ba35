//! A pooled connection is handed on only in the state of a fresh login, alive, and to whom it belongs.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use pgconvoy_io::testbed::Options;

use crate::support::postgres::{address, role, shared, start, superuser, superuser_login, wait_until};
use crate::support::proxy::{Backend, Proxy};
use crate::support::relay::{Action, Choose, Relay, Sender};
use crate::support::wire::{Connection, Frontend, Login, LoginError};

/// Questions about everything that a session can leave behind.
const PROBES: &[&str] = &[
    "SELECT current_user, session_user, current_role",
    "SELECT name, setting, source FROM pg_settings WHERE name NOT LIKE 'in_hot%' ORDER BY name",
    "SELECT name, statement FROM pg_prepared_statements",
    "SELECT name, statement FROM pg_cursors",
    "SELECT pg_listening_channels()",
    "SELECT pg_my_temp_schema() = 0 OR NOT EXISTS (SELECT FROM pg_class WHERE relnamespace = pg_my_temp_schema())",
    "SELECT locktype, mode, objid FROM pg_locks WHERE pid = pg_backend_pid() AND locktype <> 'virtualxid' AND locktype <> 'relation'",
    "SELECT count(*) FROM pg_locks WHERE pid = pg_backend_pid() AND locktype = 'advisory'",
    "SELECT current_setting('search_path'), current_schemas(true)::text NOT LIKE '%secret%'",
    "SELECT current_setting('my.variable', true) IS NOT DISTINCT FROM NULLIF('', '') OR current_setting('my.variable', true) = ''",
    "SELECT current_setting('transaction_isolation'), current_setting('transaction_read_only')",
    "SELECT now() = statement_timestamp()",
    "SELECT to_regclass('left_behind')",
    "SELECT to_regclass('pg_temp.left_behind')",
    "SELECT txid_current_if_assigned()",
    "SELECT xact_start = query_start, state, application_name FROM pg_stat_activity WHERE pid = pg_backend_pid()",
    "SELECT lastval()",
    "SELECT currval('left_behind_seq')",
    "EXECUTE left_behind",
    "FETCH 1 FROM left_behind",
    "CLOSE left_behind",
    "DEALLOCATE left_behind",
    "SHOW statement_timeout",
    "SHOW lock_timeout",
    "SHOW idle_in_transaction_session_timeout",
    "SHOW client_encoding",
    "SHOW DateStyle",
    "SHOW IntervalStyle",
    "SHOW TimeZone",
    "SHOW extra_float_digits",
    "SHOW bytea_output",
    "SHOW standard_conforming_strings",
    "SHOW client_min_messages",
    "SHOW default_transaction_read_only",
    "SHOW synchronous_commit",
    "SHOW role",
    "SHOW session_authorization",
    "SHOW row_security",
    "SELECT setseed(0.5)",
    "ROLLBACK",
    "SELECT has_table_privilege('pg_authid', 'SELECT')",
];

/// Statements that leave something behind; each runs in a session of its own and all in one.
const DIRT: &[&str] = &[
    "SET ROLE pg_monitor",
    "SET SESSION AUTHORIZATION reuse_other",
    "SET search_path = 'secret', public",
    "SET my.variable = 'secret'",
    "SET statement_timeout = '7s'",
    "SET DateStyle = 'German'; SET IntervalStyle = 'iso_8601'; SET TimeZone = 'Asia/Tokyo'; SET client_encoding = 'LATIN1'",
    "SET application_name = 'secret'; SET standard_conforming_strings = off; SET bytea_output = 'escape'",
    "SET default_transaction_read_only = on",
    "SET SESSION CHARACTERISTICS AS TRANSACTION ISOLATION LEVEL SERIALIZABLE",
    "CREATE TEMP TABLE left_behind (a int); CREATE TEMP SEQUENCE left_behind_seq; SELECT nextval('left_behind_seq')",
    "PREPARE left_behind AS SELECT 'secret'",
    "DECLARE left_behind CURSOR WITH HOLD FOR SELECT 'secret'",
    "SELECT pg_advisory_lock(4711)",
    "LISTEN secret",
    "BEGIN; LOCK TABLE pg_am IN ACCESS SHARE MODE; SELECT pg_advisory_xact_lock(4712)",
    "BEGIN; SELECT 1/0",
];

/// All answers to the probes.
fn probe(session: &mut Connection) -> Vec<Vec<String>> {
    let mut answer = |sql: &&str| {
        let answer = session.query(sql).unwrap_or_else(|error| panic!("{sql}: {error}"));
        answer.iter().map(|message| message.line()).collect()
    };
    PROBES.iter().map(&mut answer).collect()
}

#[test]
fn the_next_session_finds_what_a_fresh_login_finds() {
    let testbed = shared();
    let mut root = superuser(testbed);
    root.rows("CREATE ROLE reuse_other");
    let login = role(testbed, "reuse_owner");
    root.rows("ALTER ROLE reuse_owner SUPERUSER");
    let direct = address(testbed.node(0));
    let proxy = Proxy::over(&[Backend::from(direct)]).set("num_init_children", 2).set("max_pool", 1).start();
    let expected = probe(&mut Connection::login(direct, &login).expect("a direct login"));
    let everything = DIRT.join(";");
    for dirt in DIRT.iter().copied().chain([everything.as_str()]) {
        let mut first = Connection::login(proxy.address(), &login).expect("login");
        first.query(dirt).expect("leaving something behind");
        first
            .send_all(&[Frontend::parse("left_behind_on_the_wire", "SELECT 'secret'"), Frontend::Sync])
            .expect("sending");
        first.read_to_ready().expect("an answer");
        first.leave().expect("a close");
        let mut second = Connection::login(proxy.address(), &login).expect("login");
        for (probe, (seen, expected)) in PROBES.iter().zip(probe(&mut second).iter().zip(&expected)) {
            assert_eq!(seen, expected, "after {dirt:?}: {probe}");
        }
        second.leave().expect("a close");
    }
}

#[test]
fn a_clean_session_hands_its_connection_on() {
    let testbed = shared();
    let login = role(testbed, "reuse_clean");
    let proxy = Proxy::over(&[Backend::from(address(testbed.node(0)))]).start();
    let mut processes: Vec<String> = (0..20)
        .map(|_| {
            let mut session = Connection::login(proxy.address(), &login).expect("login");
            let process = session.value("SELECT pg_backend_pid()");
            session.leave().expect("a close");
            process
        })
        .collect();
    processes.sort();
    processes.dedup();
    assert!(processes.len() <= 8, "20 sessions one after the other took {} connections", processes.len());
}

#[test]
fn startup_parameters_tell_pooled_connections_apart() {
    let testbed = shared();
    let login = role(testbed, "reuse_parameters");
    let direct = address(testbed.node(0));
    let proxy = Proxy::over(&[Backend::from(direct)]).set("num_init_children", 2).start();
    let variants = [
        login.clone(),
        login.clone().parameter("application_name", "one"),
        login.clone().parameter("application_name", "two").parameter("DateStyle", "German"),
        login.clone().parameter("options", "-c geqo=off"),
        login.clone().parameter("client_encoding", "LATIN1"),
    ];
    for _ in 0..3 {
        for login in &variants {
            let mut sessions = [direct, proxy.address()].map(|server| Connection::login(server, login).expect("login"));
            assert_eq!(sessions[1].parameters, sessions[0].parameters, "{login:?}");
            let [expected, seen] = sessions.each_mut().map(probe);
            assert_eq!(seen, expected, "{login:?}");
        }
    }
}

#[test]
fn two_hundred_clients_share_a_statement_name_and_nothing_else() {
    const CLIENTS: usize = 200;
    let testbed = shared();
    let login = role(testbed, "reuse_names");
    let proxy = Proxy::over(&[Backend::from(address(testbed.node(0)))]).set("num_init_children", 50).start();
    std::thread::scope(|scope| {
        for client in 0..CLIENTS {
            let (address, login) = (proxy.address(), &login);
            scope.spawn(move || {
                let mut session =
                    Connection::login(address, login).unwrap_or_else(|error| panic!("client {client}: {error:?}"));
                let own = format!("client {client}");
                session
                    .send_all(&[Frontend::parse("s1", &format!("SELECT '{own}'")), Frontend::Sync])
                    .expect("sending");
                session.read_to_ready().expect("a prepared statement");
                for _ in 0..5 {
                    session
                        .send_all(&[Frontend::bind("", "s1"), Frontend::execute(""), Frontend::Sync])
                        .expect("sending");
                    let answer = session.read_to_ready().expect("an answer");
                    let rows: Vec<_> =
                        answer.iter().filter(|message| message.kind == b'D').map(|row| row.row()).collect();
                    assert_eq!(rows, [[Some(own.clone())]], "{answer:?}");
                }
                session.leave().expect("a close");
            });
        }
    });
}

#[test]
fn a_connection_closed_while_idle_is_never_handed_out() {
    const ROUNDS: usize = 40;
    const SESSIONS: usize = 6;
    let testbed = shared();
    let login = role(testbed, "reuse_dead");
    let proxy = Proxy::over(&[Backend::from(address(testbed.node(0)))]).start();
    let mut root = superuser(testbed);
    let mut killed = 0;
    for round in 0..ROUNDS {
        let mut sessions: Vec<Connection> = (0..SESSIONS)
            .map(|_| {
                Connection::login(proxy.address(), &login).unwrap_or_else(|error| panic!("round {round}: {error:?}"))
            })
            .collect();
        for session in &mut sessions {
            assert_eq!(session.value("SELECT 'alive'"), "alive", "round {round}");
        }
        sessions.into_iter().for_each(|session| session.leave().expect("a close"));
        // Waits until each is gone, so that its close can be seen before the next login.
        killed += root
            .rows("SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE usename = 'reuse_dead'")
            .len();
    }
    assert!(killed >= ROUNDS, "only {killed} idle connections were there to be closed");
}

#[test]
fn connections_closed_under_load_cost_at_most_the_sessions_they_served() {
    let testbed = shared();
    let login = role(testbed, "reuse_load");
    let mut proxy = Proxy::over(&[Backend::from(address(testbed.node(0)))]).start();
    let mut root = superuser(testbed);
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    let begun = Instant::now();
                    match Connection::login(proxy.address(), &login) {
                        Ok(mut session) => {
                            // The answer is the own one, or the session was one of those that were ended.
                            let answer = session.query("SELECT 'mine'").unwrap_or_default();
                            let bad =
                                answer.iter().find(|message| message.kind == b'E' && message.sqlstate() != "57P01");
                            assert_eq!(bad, None);
                            let foreign = answer
                                .iter()
                                .find(|message| message.kind == b'D' && message.row() != [Some("mine".into())]);
                            assert_eq!(foreign, None);
                        }
                        Err(LoginError::Refused(error)) => assert_eq!(error.sqlstate(), "57P01", "{error:?}"),
                        Err(LoginError::Broken(error)) => panic!("a login broke: {error}"),
                    }
                    assert!(begun.elapsed() < Duration::from_secs(5), "a session took {:?}", begun.elapsed());
                }
            });
        }
        let begun = Instant::now();
        while begun.elapsed() < Duration::from_secs(4) {
            root.rows("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'reuse_load'");
            std::thread::sleep(Duration::from_millis(50));
        }
        stop.store(true, Ordering::Relaxed);
    });
    proxy.assert_healthy();
    let mut session = Connection::login(proxy.address(), &login).expect("login");
    assert_eq!(session.value("SELECT 'alive'"), "alive");
}

/// Stops all answers of `user`'s servers from the reset on.
fn hanging_reset(user: &'static str) -> Choose {
    Box::new(move |parameters| {
        (parameters.get("user").is_some_and(|name| name == user)).then(|| -> crate::support::relay::Filter {
            Box::new(|sender, message| {
                let reset = sender == Sender::Client && message.body.starts_with(b"DISCARD ALL");
                if reset { Action::Hold } else { Action::Pass }
            })
        })
    })
}

#[test]
fn a_reset_that_hangs_or_fails_costs_the_connection_and_nobody_waits() {
    let testbed = shared();
    let hanging = role(testbed, "reset_hangs");
    let relay = Relay::start(address(testbed.node(0)), hanging_reset("reset_hangs"));
    let proxy = Proxy::over(&[Backend::from(relay.address())]).start();
    let mut seen = Vec::new();
    for _ in 0..4 {
        let begun = Instant::now();
        let mut session = Connection::login(proxy.address(), &hanging).expect("login");
        seen.push(session.value("SELECT pg_backend_pid()"));
        session.leave().expect("a close");
        assert!(begun.elapsed() < Duration::from_secs(5), "a session took {:?}", begun.elapsed());
    }
    seen.sort();
    seen.dedup();
    assert_eq!(seen.len(), 4, "a connection without a reset was handed on");
    let mut root = superuser(testbed);
    let left = "SELECT count(*) FROM pg_stat_activity WHERE usename = 'reset_hangs'";
    wait_until(Duration::from_secs(30), "connections whose reset hangs are closed", || root.value(left) == "0");
}

#[test]
fn a_reset_that_a_session_made_fail_costs_the_connection() {
    let testbed = shared();
    let login = role(testbed, "reset_fails");
    let proxy = Proxy::over(&[Backend::from(address(testbed.node(0)))]).set("num_init_children", 1).start_for(&login);
    let mut root = superuser(testbed);
    for round in 0..5 {
        let mut first = Connection::login(proxy.address(), &login).expect("login");
        let process = first.value("SELECT pg_backend_pid()");
        // The reset has to wait for this table, and may not.
        first.rows("CREATE TEMP TABLE held (a int); SET lock_timeout = '50ms'; SET statement_timeout = '50ms'");
        let schema = first.value("SELECT nspname FROM pg_namespace WHERE oid = pg_my_temp_schema()");
        root.rows(&format!("BEGIN; LOCK TABLE {schema}.held IN ACCESS SHARE MODE"));
        first.leave().expect("a close");
        let mut second = Connection::login(proxy.address(), &login).expect("login");
        assert_ne!(second.value("SELECT pg_backend_pid()"), process, "round {round}: handed on after a failed reset");
        assert_eq!(second.value("SHOW statement_timeout"), "0");
        second.leave().expect("a close");
        root.rows("ROLLBACK");
    }
}

#[test]
fn a_server_that_is_full_says_so_and_stays_in_service() {
    let testbed = start(Options { max_connections: 10, ..Options::default() });
    let login = Login::new("app", "app");
    let mut proxy = Proxy::over(&[Backend::from(address(testbed.node(0)))]).start();
    for _ in 0..3 {
        let mut sessions = Vec::new();
        let mut refused = 0;
        for _ in 0..20 {
            let begun = Instant::now();
            match Connection::login(proxy.address(), &login) {
                Ok(session) => sessions.push(session),
                Err(LoginError::Refused(error)) => {
                    assert_eq!(error.sqlstate(), "53300", "{error:?}");
                    refused += 1;
                }
                Err(LoginError::Broken(error)) => panic!("a login broke: {error}"),
            }
            assert!(begun.elapsed() < Duration::from_secs(5), "a login took {:?}", begun.elapsed());
        }
        assert!(sessions.len() >= 3 && refused >= 10, "{} sessions, {refused} refused", sessions.len());
        for session in &mut sessions {
            assert_eq!(session.value("SELECT 'in'"), "in");
        }
        sessions.into_iter().for_each(|session| session.leave().expect("a close"));
    }
    proxy.assert_healthy();
    Connection::login(proxy.address(), &superuser_login()).expect("the node is still in service");
}

#[test]
fn an_idle_connection_makes_room_for_a_login_at_a_limit() {
    let testbed = shared();
    let mut root = superuser(testbed);
    let [one, two] = ["limited_one", "limited_two"].map(|name| role(testbed, name));
    root.rows("ALTER ROLE limited_one CONNECTION LIMIT 1");
    root.rows("CREATE DATABASE limited_a");
    root.rows("CREATE DATABASE limited_b CONNECTION LIMIT 1");
    let proxy = Proxy::over(&[Backend::from(address(testbed.node(0)))]).start();
    let mut watcher = Connection::login(proxy.address(), &superuser_login()).expect("login");
    let to = |login: &Login, database: &str| Login { database: database.into(), ..login.clone() };
    // The first has what keeps the second out: the role's only connection, then the database's.
    let pairs = [[to(&one, "limited_a"), to(&one, "limited_b")], [to(&one, "limited_b"), to(&two, "limited_b")]];
    for [first, second] in pairs {
        let mut session = Connection::login(proxy.address(), &first).expect("the first login");
        assert_eq!(session.value("SELECT current_database()"), first.database);
        match Connection::login(proxy.address(), &second) {
            Err(LoginError::Refused(error)) => assert_eq!(error.sqlstate(), "53300"),
            other => panic!("a connection in use was taken away: {other:?}"),
        }
        session.leave().expect("a close");
        wait_until(Duration::from_secs(2), "the connection is idle in the pool", || {
            watcher.rows("SHOW pool_pools").iter().any(|row| {
                let has = |text: &str| row.iter().any(|value| value.as_deref() == Some(text));
                has(&first.user) && has(&first.database) && has("Wait for connection")
            })
        });
        let mut session = Connection::login(proxy.address(), &second).expect("there is room");
        assert_eq!(session.value("SELECT current_database()"), second.database);
        session.leave().expect("a close");
        let all = "SELECT count(*) FROM pg_stat_activity WHERE usename LIKE 'limited_%' AND state <> 'idle'";
        wait_until(Duration::from_secs(2), "the server is done with it", || root.value(all) == "0");
    }
}
