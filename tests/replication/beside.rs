//! Votes beside Debian's pgpool-II (seed S2; B4 and B5): what the client gets, who is detached, and what the servers hold
//! afterwards, with each setting of both parameters.
//!
//! One thing differs, and always so: pgpool ends every session when it detaches a server, and with it the transaction that the
//! others have voted for. Here the session goes on with the others, unless it has lost the main one.

use std::fs;
use std::net::SocketAddr;
use std::time::Duration;

use crate::servers::Servers;
use crate::support::pgpool::Pgpool;
use crate::support::postgres::wait_until;
use crate::support::wire::{Connection, Frontend, Login};
use crate::{LIMIT, kinds};

/// pgpool-II has ended its children and started others within this time.
const PATIENCE: Duration = Duration::from_secs(60);

/// How servers come to differ, by a statement on one of them, and what a client then asks of all.
const CASES: [(&str, usize, &str, &str); 5] = [
    ("a table is missing on the last", 2, "DROP TABLE t", "INSERT INTO t VALUES (11, 0)"),
    ("a table is missing on the main one", 0, "DROP TABLE t", "INSERT INTO t VALUES (11, 0)"),
    ("rows are missing on the second", 1, "DELETE FROM t WHERE a > 7", "UPDATE t SET b = 1"),
    ("rows are missing on the main one", 0, "DELETE FROM t WHERE a > 7", "UPDATE t SET b = 1"),
    ("a key is taken on the second", 1, "INSERT INTO t VALUES (11, 1)", "INSERT INTO t VALUES (11, 0)"),
];

/// The answer when there is none.
const ENDED: &str = "the session has ended";

/// What came of a statement.
#[derive(Debug, PartialEq, Eq)]
struct Outcome {
    /// The kinds of messages, or that the session has ended.
    answer: String,
    detached: Vec<usize>,
    /// What each server holds.
    rows: Vec<String>,
}

impl Outcome {
    /// Whether a majority's statement has come true here, where pgpool has ended the session when it detached the same
    /// servers: those were left as they were, and so were all there.
    fn goes_on_where(&self, theirs: &Self) -> bool {
        let stays = |server: usize| self.rows[server] == theirs.rows[server];
        let survivors: Vec<usize> = (0..3).filter(|server| !self.detached.contains(server)).collect();
        theirs.answer == ENDED
            && self.answer == "CZ"
            && self.detached == theirs.detached
            && self.detached.len() == 1
            && !self.detached.contains(&0)
            && self.detached.iter().all(|server| stays(*server))
            && survivors.iter().all(|server| !stays(*server) && self.rows[*server] == self.rows[survivors[0]])
    }
}

fn status(address: SocketAddr) -> Option<Vec<String>> {
    let mut client = Connection::login(address, &Login::new("postgres", "postgres")).ok()?;
    Some(client.rows("SHOW pool_nodes").into_iter().map(|row| row[3].clone().expect("a status")).collect())
}

fn outcome(servers: &Servers, address: SocketAddr, log: impl Fn() -> String, case: usize) -> Outcome {
    let (_, node, damage, statement) = CASES[case];
    for server in 0..3 {
        let sql = "DROP TABLE IF EXISTS t; CREATE TABLE t AS SELECT n AS a, 0 AS b FROM generate_series(1, 10) n; \
                   ALTER TABLE t ADD PRIMARY KEY (a)";
        servers.direct(server, "postgres").rows(sql);
    }
    servers.direct(node, "postgres").rows(damage);
    let mut client = Connection::login(address, &Login::new("postgres", "postgres")).expect("a login");
    client.send(&Frontend::query(statement)).expect("a write");
    let answer = client.read_to_ready().map_or(ENDED.to_owned(), |messages| kinds(&messages));
    drop(client);
    let detached = || {
        let told = log();
        let is_out = |node: &usize| told.contains(&format!("received degenerate backend request for node_id: {node}"));
        (0..3).filter(is_out).collect::<Vec<usize>>()
    };
    wait_until(PATIENCE, "those who are out are down, and nobody else", || {
        let detached = detached();
        let expected: Vec<&str> = (0..3).map(|node| if detached.contains(&node) { "down" } else { "up" }).collect();
        status(address).is_some_and(|status| status == expected)
    });
    let detached = detached();
    let open = "SELECT count(*) FROM pg_stat_activity WHERE state LIKE 'idle in transaction%' OR state = 'active' AND \
                pid <> pg_backend_pid() AND backend_type = 'client backend'";
    wait_until(LIMIT, "transactions are over", || servers.ask("postgres", open).iter().all(|count| count == "0"));
    let rows = "SELECT coalesce((SELECT count(*) FROM pg_class WHERE relname = 't'), 0)";
    let there = servers.ask("postgres", rows);
    let content = "SELECT count(*) || ' rows, ' || sum(b) FROM t";
    let content = |(server, there): (usize, &String)| match there.as_str() {
        "0" => "no table".to_owned(),
        _ => servers.direct(server, "postgres").value(content),
    };
    Outcome { answer, detached, rows: there.iter().enumerate().map(content).collect() }
}

#[test]
fn votes_end_as_in_pgpool() {
    let servers = Servers::start(3);
    let mut differences = Vec::new();
    for (case, (what, ..)) in CASES.iter().enumerate() {
        for (stop_on_mismatch, stop_on_affected) in [("off", "off"), ("on", "off"), ("off", "on"), ("on", "on")] {
            let proxy = servers
                .proxy()
                .set("replication_stop_on_mismatch", stop_on_mismatch)
                .set("failover_if_affected_tuples_mismatch", stop_on_affected)
                .start();
            let ours = outcome(&servers, proxy.address(), || proxy.log(), case);
            let pgpool = Pgpool::beside(&proxy);
            let log = || fs::read_to_string(proxy.folder().join("other.log")).expect("pgpool's log");
            let theirs = outcome(&servers, pgpool.address(), log, case);
            println!("{what}, {stop_on_mismatch} {stop_on_affected}: pgpool {theirs:?}, pgconvoy {ours:?}");
            if ours != theirs && !ours.goes_on_where(&theirs) {
                differences.push((case, stop_on_mismatch, stop_on_affected));
            }
        }
    }
    assert!(differences.is_empty(), "{differences:?}");
}
