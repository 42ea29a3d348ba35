//! What servers with the same data may answer differently, and what they may not (F59, `compare_rows`).

use crate::mismatches;
use crate::servers::Servers;
use crate::support::environment::long_run;
use crate::support::proxy::Proxy;
use crate::support::wire::{Connection, Frontend, Login};

/// Reads of which nothing tells which rows they return, in what order they look at them, or when.
const FREE: [&str; 14] = [
    "SELECT * FROM t LIMIT 7",
    "SELECT a FROM t OFFSET 990",
    "SELECT string_agg(a::text, ',') FROM t",
    "SELECT array_agg(a) FROM t",
    "SELECT sum(c), avg(c) FROM t",
    "SELECT DISTINCT ON (b) b, a FROM t",
    "SELECT a, row_number() OVER () FROM t",
    "SELECT now(), clock_timestamp(), pg_backend_pid()",
    "SELECT ctid, a FROM t WHERE a < 5",
    "SELECT a, now() FROM t WHERE a = 7",
    "SELECT * FROM first_rows",
    "SELECT pid, query FROM pg_stat_activity",
    "SELECT relname, relfilenode, relpages FROM pg_class",
    "SELECT inet_server_port(), current_setting('port')",
];

/// Reads whose rows are the same in whatever order they come.
const FIXED: [&str; 6] = [
    "SELECT * FROM t",
    "SELECT a, b, c FROM t WHERE a BETWEEN 400 AND 600",
    "SELECT b, count(*), min(a), max(c) FROM t GROUP BY b",
    "SELECT t.a, upper(u.word) FROM t JOIN u ON u.b = t.b WHERE t.a % 3 = 0",
    "WITH x AS (SELECT a FROM t WHERE b = 3) SELECT x.a FROM x",
    "SELECT b FROM t UNION ALL SELECT b FROM u",
];

/// Three servers with the same tables, whose rows are compared, and a client.
fn compared() -> (Servers, Proxy, Connection) {
    let servers = Servers::start(3);
    let stops = ["compare_rows", "replication_stop_on_mismatch", "failover_if_affected_tuples_mismatch"];
    let proxy = stops.iter().fold(servers.proxy(), |options, name| options.set(name, "on")).start();
    let mut client = Connection::login(proxy.address(), &Login::new("postgres", "postgres")).expect("a login");
    for sql in [
        "CREATE TABLE t (a int PRIMARY KEY, b int, c float8)",
        "INSERT INTO t SELECT n, n % 10, n / 7.0::float8 FROM generate_series(1, 1000) n",
        "CREATE TABLE u (b int, word text)",
        "INSERT INTO u SELECT n, 'w' || n FROM generate_series(0, 9) n",
        "CREATE VIEW first_rows AS SELECT a FROM t LIMIT 3",
        "UPDATE t SET c = c + 1 WHERE a % 4 = 0",
    ] {
        client.rows(sql);
    }
    (servers, proxy, client)
}

#[test]
fn only_rows_that_are_fixed_are_compared() {
    let (servers, _proxy, mut client) = compared();
    // From now on, one server has its rows in another order.
    servers.direct(1, "postgres").rows("CREATE INDEX other ON t (b, c)");
    servers.direct(1, "postgres").rows("CLUSTER t USING other");
    let reads = if long_run() { 10_000 } else { 600 };
    let texts: Vec<&str> = FREE.iter().chain(&FIXED).copied().collect();
    for (at, text) in texts.iter().cycle().take(reads).enumerate() {
        if at % 2 == 0 {
            client.rows(text);
        } else {
            let messages = [Frontend::parse("", text), Frontend::bind("", ""), Frontend::execute(""), Frontend::Sync];
            client.send_all(&messages).unwrap();
            let answer = client.read_to_ready().unwrap();
            assert!(answer.iter().all(|message| message.kind != b'E'), "{text}: {answer:?}");
        }
    }
    assert_eq!(mismatches(&mut client), Vec::<[String; 5]>::new());
    // Another row on one of them, for each read: it is found at once, and the others' answer is the client's.
    for text in FIXED {
        let (servers, _proxy, mut client) = compared();
        servers.direct(2, "postgres").rows("UPDATE t SET a = 2003, b = 4, c = 5000 WHERE a = 513");
        let expected = servers.direct(0, "postgres").rows(text).len();
        assert_eq!(client.rows(text).len(), expected, "{text}");
        let found = mismatches(&mut client);
        let decisions: Vec<_> =
            found.iter().map(|[what, node, _, decision, _]| (&what[..], &node[..], &decision[..])).collect();
        let prevails = "prevails by majority";
        assert_eq!(decisions, [("rows", "0", prevails), ("rows", "1", prevails), ("rows", "2", "detached")], "{text}");
    }
}
