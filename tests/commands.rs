//! What pgconvoy answers itself: `PGPOOL SHOW`, `SET` and `RESET`, `SHOW pool_backend_stats` and `SHOW pool_decisions`.

mod support;

use std::collections::BTreeMap;
use std::time::Duration;

use pgconvoy_io::testbed::{Options, Testbed};
use support::postgres::{start, superuser, wait_until};
use support::proxy::{Backend, Options as ProxyOptions, Proxy};
use support::wire::frontend::{Frontend, Target};
use support::wire::{Connection, Login, Message};

/// A primary with a standby that gets all reads.
fn servers() -> (Testbed, ProxyOptions) {
    let testbed = start(Options { standbys: 1, ..Options::default() });
    let mut root = superuser(&testbed);
    root.query("CREATE TABLE t (a int); INSERT INTO t VALUES (1); CREATE ROLE alice LOGIN; CREATE ROLE bob LOGIN")
        .expect("the objects are made");
    testbed.wait_standbys_caught_up().expect("the standby catches up");
    let backend = |number: usize| Backend { port: testbed.node(number).port(), weight: number as u32 };
    let options = Proxy::over(&[backend(0), backend(1)]).set("sr_check_period", 1);
    (testbed, options)
}

fn started(options: &ProxyOptions) -> Proxy {
    let proxy = options.start();
    proxy.wait_roles_known(2);
    proxy
}

fn session(proxy: &Proxy, user: &str) -> Connection {
    Connection::login(proxy.address(), &Login::new(user, "postgres")).expect("a login")
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Protocol {
    Simple,
    Extended,
}

const BOTH: [Protocol; 2] = [Protocol::Simple, Protocol::Extended];

/// What comes back for one statement.
fn ask(session: &mut Connection, protocol: Protocol, sql: &str) -> Vec<Message> {
    let answer = match protocol {
        Protocol::Simple => session.query(sql),
        Protocol::Extended => {
            let batch = [
                Frontend::parse("", sql),
                Frontend::bind("", ""),
                Frontend::Describe(Target::Portal, String::new()),
                Frontend::execute(""),
                Frontend::Sync,
            ];
            session.send_all(&batch).and_then(|()| session.read_to_ready())
        }
    };
    answer.unwrap_or_else(|error| panic!("{sql}: {error}"))
}

/// The answer without what belongs to the protocol: columns, rows, tag, error and transaction status.
fn lines(messages: &[Message]) -> Vec<String> {
    let told = messages.iter().filter(|message| !matches!(message.kind, b'1' | b'2' | b'n'));
    told.map(|message| match message.kind {
        b'E' => format!("{} {}", message.sqlstate(), message.field(b'M').unwrap_or_default()),
        b'T' => {
            let line = message.line();
            let names = line.trim_start_matches("RowDescription ").split(", ");
            let names: Vec<_> = names.map(|column| column.split(':').next().unwrap_or_default()).collect();
            format!("columns {}", names.join(" "))
        }
        b'D' => message.row().into_iter().map(Option::unwrap_or_default).collect::<Vec<_>>().join("|"),
        b'C' => message.tag(),
        b'Z' => char::from(message.transaction_status()).to_string(),
        _ => message.line(),
    })
    .collect()
}

/// Asks in one protocol and compares the whole answer.
#[track_caller]
fn expect(session: &mut Connection, protocol: Protocol, sql: &str, expected: &[&str]) {
    assert_eq!(lines(&ask(session, protocol, sql)), expected, "{sql} ({protocol:?})");
}

#[test]
fn parameters_are_shown_set_and_reset_for_one_session() {
    let (_testbed, options) = servers();
    let mut proxy = started(&options.set("client_idle_limit", 600));
    for protocol in BOTH {
        let mut one = session(&proxy, "postgres");
        let mut other = session(&proxy, "postgres");
        let mut expect = |sql: &str, expected: &[&str]| expect(&mut one, protocol, sql, expected);
        expect("PGPOOL SHOW log_statement", &["columns log_statement", "off", "SELECT 1", "I"]);
        expect("PGPOOL SET log_statement = on", &["SET", "I"]);
        expect("PGPOOL SHOW LOG_STATEMENT", &["columns log_statement", "on", "SELECT 1", "I"]);
        expect("pgpool set client_idle_limit TO '20min'", &["SET", "I"]);
        expect("PGPOOL SHOW client_idle_limit", &["columns client_idle_limit", "20min", "SELECT 1", "I"]);
        expect("PGPOOL RESET client_idle_limit", &["SET", "I"]);
        expect("PGPOOL SHOW client_idle_limit", &["columns client_idle_limit", "10min", "SELECT 1", "I"]);
        expect("PGPOOL SET log_statement TO DEFAULT", &["SET", "I"]);
        expect("PGPOOL SET check_unlogged_table = off", &["SET", "I"]);
        expect("PGPOOL RESET ALL", &["RESET", "I"]);
        expect("PGPOOL SHOW check_unlogged_table", &["columns check_unlogged_table", "on", "SELECT 1", "I"]);
        expect("PGPOOL SHOW watchdog", &["columns item value description", "SELECT 0", "I"]);
        let group = ask(&mut one, protocol, "PGPOOL SHOW backend");
        assert_eq!(lines(&group)[0], "columns item value description");
        assert!(lines(&group)[1].starts_with("backend_hostname0|127.0.0.1|"), "{:?}", lines(&group));
        assert_eq!(group.iter().filter(|message| message.kind == b'D').count(), 12);
        let all = ask(&mut one, protocol, "PGPOOL SHOW ALL");
        let count = all.iter().filter(|message| message.kind == b'D').count();
        assert!(count > 182, "pgpool shows 182 rows, pgconvoy {count}");
        ask(&mut one, protocol, "PGPOOL SET log_client_messages = on");
        self::expect(
            &mut other,
            protocol,
            "PGPOOL SHOW log_client_messages",
            &["columns log_client_messages", "off", "SELECT 1", "I"],
        );
    }
    proxy.assert_healthy();
}

#[test]
fn what_cannot_be_set_is_refused_and_touches_no_transaction() {
    let (_testbed, options) = servers();
    let mut proxy = started(&options);
    let refusals = [
        ("PGPOOL SHOW nosuch", "42704 config variable \"nosuch\" not found"),
        ("PGPOOL SET nosuch = 1", "42704 unrecognized configuration parameter \"nosuch\""),
        ("PGPOOL RESET nosuch", "42704 unrecognized configuration parameter \"nosuch\""),
        ("PGPOOL SET port = 1234", "55P02 invalid Context, value for parameter \"port\" cannot be changed"),
        (
            "PGPOOL RESET backend_port0",
            "55P02 invalid Context, value for parameter \"backend_port0\" cannot be changed",
        ),
        ("PGPOOL SET client_idle_limit = abc", "22023 invalid value for parameter \"client_idle_limit\": \"abc\""),
        (
            "PGPOOL SET client_idle_limit = -1",
            "22023 -1 is outside the valid range for parameter \"client_idle_limit\" (0 .. 2147483647)",
        ),
        ("PGPOOL SET log_statement", "42601 syntax error in a PGPOOL command"),
    ];
    for protocol in BOTH {
        let mut session = session(&proxy, "postgres");
        session.query("BEGIN; CREATE TABLE IF NOT EXISTS kept (a int)").expect("an answer");
        for (sql, refusal) in refusals {
            expect(&mut session, protocol, sql, &[refusal, "T"]);
        }
        let [notice, ..] = &ask(&mut session, Protocol::Simple, "PGPOOL SET CACHE DELETE 'SELECT 1'")[..] else {
            panic!("no answer")
        };
        assert_eq!(notice.field(b'M').as_deref(), Some("query cache does not exist"));
        assert_eq!(lines(&session.query("COMMIT").expect("an answer")), ["COMMIT", "I"]);
        session.query("BEGIN; SELECT 1/0").expect("an answer");
        expect(&mut session, protocol, "PGPOOL SHOW log_statement", &["columns log_statement", "off", "SELECT 1", "E"]);
        session.query("ROLLBACK").expect("an answer");
        session.query("DROP TABLE kept").expect("an answer");
    }
    proxy.assert_healthy();
}

#[test]
fn what_a_session_sets_acts_on_it_alone() {
    let (_testbed, options) = servers();
    let mut proxy = started(&options);
    let mut one = session(&proxy, "postgres");
    let mut other = session(&proxy, "postgres");
    one.rows("PGPOOL SET log_per_node_statement = on");
    one.rows("SELECT 'mine'");
    other.rows("SELECT 'not mine'");
    wait_until(Duration::from_secs(5), "the statement is logged", || proxy.log().contains("statement: SELECT 'mine'"));
    assert!(!proxy.log().contains("not mine"), "{}", proxy.log());
    one.rows("PGPOOL RESET ALL");
    one.rows("SELECT 'no more'");
    // A comment in front is for the primary, unless it is looked past.
    let node = |session: &mut Connection| {
        session.rows("/* in front */ SELECT 'where'");
        let decisions = session.rows("SHOW pool_decisions");
        decisions.last().expect("a decision")[4].clone().expect("a node")
    };
    assert_eq!(node(&mut one), "0");
    one.rows("PGPOOL SET allow_sql_comments = on");
    assert_eq!((node(&mut one), node(&mut other)), ("1".to_owned(), "0".to_owned()));
    assert!(!proxy.log().contains("no more"), "{}", proxy.log());
    one.rows("PGPOOL SET client_idle_limit = 1");
    let farewell = one.read().expect("a last word");
    assert_eq!((farewell.kind, farewell.sqlstate().as_str()), (b'E', "57P05"));
    assert_eq!(other.value("SELECT 1"), "1");
    proxy.assert_healthy();
}

#[test]
fn a_client_that_wants_the_log_gets_it() {
    let (_testbed, options) = servers();
    // The log does not tell of the servers then.
    let mut proxy = options.set("log_min_messages", "fatal").start();
    wait_until(Duration::from_secs(20), "both servers' roles are known", || {
        let nodes = session(&proxy, "postgres").rows("SHOW pool_nodes");
        nodes.iter().all(|node| node[7].as_deref().is_some_and(|role| role != "unknown"))
    });
    let mut session = session(&proxy, "postgres");
    let told = |session: &mut Connection, protocol| -> Vec<String> {
        let answer = ask(session, protocol, "SELECT 'told'");
        let notices = answer.iter().filter(|message| message.kind == b'N');
        notices.map(|notice| [b'S', b'M'].map(|code| notice.field(code).unwrap_or_default()).join(": ")).collect()
    };
    for sql in ["client_min_messages = log", "log_statement = on", "log_per_node_statement = on"] {
        session.rows(&format!("PGPOOL SET {sql}"));
    }
    let simple = told(&mut session, Protocol::Simple);
    assert_eq!((simple.len(), simple[0].as_str()), (2, "LOG: statement: SELECT 'told'"));
    assert!(simple[1].starts_with("LOG: DB node id: 1 backend pid: "), "{simple:?}");
    let extended = told(&mut session, Protocol::Extended);
    assert!(extended.iter().any(|notice| notice.ends_with(" statement: Execute: SELECT 'told'")), "{extended:?}");
    session.rows("PGPOOL SET log_client_messages = on");
    assert_eq!(told(&mut session, Protocol::Simple)[0], "LOG: Query message from frontend.");
    session.rows("PGPOOL SET client_min_messages = warning");
    session.rows("PGPOOL SET notice_per_node_statement = on");
    assert_eq!(told(&mut session, Protocol::Simple), Vec::<String>::new());
    // The log of the server wants nothing but its end; this session wants more.
    session.rows("PGPOOL SET log_min_messages = log");
    session.rows("SELECT 'wanted'");
    wait_until(Duration::from_secs(5), "the statement is logged", || proxy.log().contains("'wanted'"));
    assert!(!proxy.log().contains("'told'"), "{}", proxy.log());
    proxy.assert_healthy();
}

/// What has changed in `SHOW pool_backend_stats` since the last time, as `node name count`.
fn counted(observer: &mut Connection, before: &mut BTreeMap<(String, &'static str), u64>) -> Vec<String> {
    const NAMES: [&str; 9] = ["select", "insert", "update", "delete", "ddl", "other", "panic", "fatal", "error"];
    let mut changed = Vec::new();
    for row in observer.rows("SHOW pool_backend_stats") {
        let texts: Vec<String> = row.into_iter().map(Option::unwrap_or_default).collect();
        for (name, count) in NAMES.into_iter().zip(&texts[5..]) {
            let count = count.parse().expect("a number");
            let old = before.insert((texts[0].clone(), name), count).unwrap_or(0);
            if count != old {
                changed.push(format!("{} {name} {}", texts[0], count - old));
            }
        }
    }
    changed
}

/// What pgpool-II 4.3.5 counts for the same statements, except where it calls ddl what defines nothing (COPY, DECLARE and
/// DO), takes a statement that it cannot parse for a DELETE, or sends elsewhere what pgconvoy knows to be a read.
#[test]
fn statements_and_errors_are_counted_by_node() {
    let (_testbed, options) = servers();
    let mut proxy = started(&options);
    let mut observer = session(&proxy, "postgres");
    let mut before = BTreeMap::new();
    let cases: [(&str, &[&str]); 19] = [
        ("CREATE TABLE st (a int)", &["0 ddl 1"]),
        ("INSERT INTO st VALUES (1)", &["0 insert 1"]),
        ("SELECT 1", &["1 select 1"]),
        ("SELECT pg_sleep(0)", &["0 select 1"]),
        ("TABLE t", &["1 select 1"]),
        ("UPDATE st SET a = 2", &["0 update 1"]),
        ("DELETE FROM st", &["0 delete 1"]),
        ("BEGIN", &["0 other 1", "1 other 1"]),
        ("SELECT 2", &["1 select 1"]),
        ("COMMIT", &["0 other 1", "1 other 1"]),
        ("SET work_mem = '5MB'", &["0 other 1", "1 other 1"]),
        ("SHOW work_mem", &["1 other 1"]),
        ("SELECT 1/0", &["1 select 1", "1 error 1"]),
        ("INSERT INTO nosuch VALUES (1)", &["0 insert 1", "0 error 1"]),
        ("WITH x AS (SELECT 1) INSERT INTO st SELECT * FROM x", &["0 insert 1"]),
        ("TRUNCATE st", &["0 ddl 1"]),
        ("VACUUM st", &["0 other 1"]),
        ("PGPOOL SHOW port", &[]),
        ("DROP TABLE st", &["0 ddl 1"]),
    ];
    for protocol in BOTH {
        let mut session = session(&proxy, "postgres");
        counted(&mut observer, &mut before);
        for (sql, expected) in cases {
            ask(&mut session, protocol, sql);
            assert_eq!(counted(&mut observer, &mut before), expected, "{sql} ({protocol:?})");
        }
        session.send(&Frontend::query("SELECT pg_terminate_backend(pg_backend_pid())")).expect("a write");
        let last = session.read_to_end().expect("the end").pop().expect("a last word");
        assert_eq!(last.sqlstate(), "57P01");
        assert_eq!(counted(&mut observer, &mut before), ["0 select 1", "0 fatal 1"]);
    }
    proxy.assert_healthy();
}

#[test]
fn decisions_are_shown_with_their_reasons() {
    let (_testbed, options) = servers();
    let mut proxy = started(&options);
    let long = format!("SELECT a FROM t WHERE a <> {}", "1".repeat(120));
    for protocol in BOTH {
        let mut alice = session(&proxy, "alice");
        ask(&mut alice, protocol, "SELECT 1");
        ask(&mut alice, protocol, "INSERT INTO nosuch VALUES (1)");
        ask(&mut alice, protocol, "SET work_mem = '5MB'");
        ask(&mut alice, protocol, &long);
        let rows = |session: &mut Connection| -> Vec<Vec<String>> {
            let rows = session.rows("SHOW pool_decisions").into_iter();
            let mut rows: Vec<Vec<String>> =
                rows.map(|row| row.into_iter().map(Option::unwrap_or_default).collect()).collect();
            rows.drain(..rows.len() - 4);
            rows
        };
        let seen = rows(&mut alice);
        let from = |row: &Vec<String>, column: usize| row[column..].to_vec();
        assert_eq!(from(&seen[0], 2)[..5], ["postgres", "alice", "1", "EITHER", "balanced"]);
        assert_eq!(from(&seen[1], 4), ["0", "PRIMARY", "class", "may write", "INSERT INTO nosuch VALUES (1)"]);
        assert_eq!(from(&seen[2], 4)[..3], ["0, 1", "BOTH", "state"]);
        assert_eq!(seen[3][8], long[..100], "the text is cut");
        assert!(seen.iter().all(|row| row[1] == seen[0][1]), "all are of one session: {seen:?}");
        assert!(seen.windows(2).all(|pair| pair[0][0] <= pair[1][0]), "in the order of time: {seen:?}");
        let others = rows(&mut session(&proxy, "bob"));
        assert!(others.iter().all(|row| row[8] == "<insufficient privilege>"), "{others:?}");
        assert_eq!(rows(&mut session(&proxy, "postgres")), seen, "a superuser sees all");
    }
    proxy.assert_healthy();
}

#[test]
fn show_pool_processes_says_what_each_session_is_doing() {
    let (_testbed, options) = servers();
    let mut proxy = started(&options);
    let mut users = ["idle", "waits", "sleeps"].map(|application| {
        let login = Login::new("alice", "postgres").parameter("application_name", application);
        Connection::login(proxy.address(), &login).expect("a login")
    });
    users[1].query("BEGIN").expect("an answer");
    users[2].send(&Frontend::query("SELECT pg_sleep(60)")).expect("a write");
    let half_login = std::net::TcpStream::connect(proxy.address()).expect("a connection");
    let mut asker = session(&proxy, "bob");
    let expected = ["Connecting", "Execute command", "Execute command", "Idle", "Idle in transaction"];
    wait_until(Duration::from_secs(10), "each session is seen as it is", || {
        let rows = asker.rows("SHOW pool_processes");
        let mut found: Vec<&str> = rows.iter().filter_map(|row| row.last()?.as_deref()).collect();
        found.sort_unstable();
        found == expected
    });
    drop(half_login);
    proxy.assert_healthy();
}
