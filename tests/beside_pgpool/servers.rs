//! A primary with two standbys, both proxies in front of them, and what the servers' logs tell.
//!
//! Each proxy has a database of its own there, so that neither waits for the other's locks nor finds its objects.

use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;

use pgconvoy_io::testbed::{Options, Testbed};
use pgconvoy_statements::{READER, SCHEMA};

use crate::support::pgpool::Pgpool;
use crate::support::postgres::{address, start, superuser, superuser_login, wait_until};
use crate::support::proxy::{Backend, Proxy};
use crate::support::wire::{Connection, Login};

/// The databases of the two sides.
pub const DATABASES: [&str; 2] = ["pgpool_side", "convoy_side"];
/// What a standby answers to what writes.
const REFUSED: &str = "25006";

/// Standbys have caught up within this time.
const CATCH_UP: Duration = Duration::from_secs(20);

/// Who is in front.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Side {
    /// Debian's pgpool-II.
    Pgpool,
    /// pgconvoy.
    Pgconvoy,
}

/// Everything that runs.
pub struct Servers {
    /// pgconvoy.
    pub pgconvoy: Proxy,
    pgpool: Pgpool,
    /// The superuser's sessions on each node.
    direct: Vec<Connection>,
    testbed: Testbed,
}

impl Servers {
    /// Starts everything: reads are for the standbys, as the weights say.
    pub fn start() -> Self {
        let settings = vec![("max_prepared_transactions".into(), "100".into())];
        let testbed = start(Options { standbys: 2, settings, ..Options::default() });
        let mut root = superuser(&testbed);
        let [one, other] = DATABASES;
        root.rows(&format!("CREATE DATABASE {one}"));
        let mut session = owner(&testbed, one);
        session.rows(SCHEMA);
        session
            .rows(&format!("GRANT CREATE ON SCHEMA public TO {READER}; ALTER ROLE {READER} SET log_statement = 'all'"));
        session.leave().expect("a close");
        root.rows(&format!("CREATE DATABASE {other} TEMPLATE {one}"));
        testbed.wait_standbys_caught_up().expect("the standbys catch up");
        let nodes = testbed.nodes().iter().zip([0, 1, 1]);
        let backends: Vec<Backend> = nodes.map(|(node, weight)| Backend { port: node.port(), weight }).collect();
        let pgconvoy = Proxy::over(&backends).set("sr_check_period", 1).set("num_init_children", 4).start();
        pgconvoy.wait_roles_known(3);
        let pgpool = Pgpool::beside(&pgconvoy);
        let login = |node| Connection::login(address(node), &superuser_login()).expect("the superuser's login");
        let direct = testbed.nodes().iter().map(login).collect();
        Self { pgconvoy, pgpool, direct, testbed }
    }

    /// A new session through one of the proxies.
    pub fn session(&self, side: Side) -> Connection {
        let address = match side {
            Side::Pgpool => self.pgpool.address(),
            Side::Pgconvoy => self.pgconvoy.address(),
        };
        let login = Login::new(READER, DATABASES[side as usize]);
        Connection::login(address, &login).unwrap_or_else(|error| panic!("{side:?}: {error:?}"))
    }

    /// A session of the superuser in one of the databases, past every proxy.
    pub fn owner(&self) -> Connection {
        owner(&self.testbed, DATABASES[0])
    }

    /// Waits until the standbys have what the primary has committed.
    pub fn wait_standbys_caught_up(&mut self) {
        let (primary, standbys) = self.direct.split_first_mut().expect("there is a primary");
        let position = primary.value("SELECT pg_current_wal_flush_lsn()");
        for standby in standbys {
            let question = format!("SELECT pg_last_wal_replay_lsn() >= '{position}'");
            wait_until(CATCH_UP, "the standby has caught up", || standby.value(&question) == "t");
        }
    }

    /// What the servers have logged of both sides.
    pub fn read_logs(&self) -> Log {
        let mut log = Log::default();
        for node in self.testbed.nodes() {
            let bytes = fs::read(node.log_path()).expect("a server's log");
            log.read(node.number(), &String::from_utf8_lossy(&bytes));
        }
        log
    }
}

fn owner(testbed: &Testbed, database: &str) -> Connection {
    let login = Login { database: database.into(), ..superuser_login() };
    Connection::login(address(testbed.node(0)), &login).expect("the superuser's login")
}

/// To which nodes statements went.
#[derive(Debug, Default)]
pub struct Log {
    nodes: BTreeMap<(Side, usize), [bool; 3]>,
    refused: Vec<(Side, String)>,
}

impl Log {
    /// Where a statement went.
    pub fn place(&self, side: Side, mark: usize) -> &'static str {
        match self.nodes.get(&(side, mark)) {
            None | Some([false, false, false]) => "none",
            Some([true, false, false]) => "primary",
            Some([false, true, false] | [false, false, true]) => "standby",
            Some([true, true, false] | [true, false, true]) => "both",
            Some([false, true, true]) => "standbys",
            Some([true, true, true]) => "all",
        }
    }

    /// What one side sent to a standby that refused it as a write.
    pub fn refused(&self, side: Side) -> Vec<&str> {
        self.refused.iter().filter(|(by, _)| *by == side).map(|(_, text)| text.as_str()).collect()
    }

    /// Reads the log of one node: lines that begin with a tab go on from the one before.
    fn read(&mut self, node: usize, text: &str) {
        let mut entry = String::new();
        for line in text.lines() {
            match line.strip_prefix('\t') {
                Some(more) => {
                    entry.push('\n');
                    entry.push_str(more);
                }
                None => {
                    self.note(node, &entry);
                    entry.clear();
                    entry.push_str(line);
                }
            }
        }
        self.note(node, &entry);
    }

    /// Takes in an entry that shows a statement as it begins to run, or as it failed.
    fn note(&mut self, node: usize, entry: &str) {
        let of = |side: Side| entry.contains(&format!(" {READER}@{} ", DATABASES[side as usize]));
        let Some(side) = [Side::Pgpool, Side::Pgconvoy].into_iter().find(|side| of(*side)) else { return };
        let shown = ["LOG:  statement: ", "LOG:  execute ", "STATEMENT:  "];
        let Some((prefix, kind, text)) = shown.iter().find_map(|kind| {
            let (prefix, text) = entry.split_once(kind)?;
            Some((prefix, *kind, text))
        }) else {
            return;
        };
        let portal = || {
            let (header, _) = text.split_once(": ")?;
            header.split_once("/m").and_then(|(_, number)| number.parse().ok())
        };
        let comment = || text.rfind("/*#").and_then(|at| text[at + 3..].split_once("*/")?.0.parse().ok());
        let number: Option<usize> = if kind.contains("execute") { portal().or_else(comment) } else { comment() };
        if node > 0 && prefix.trim_end().ends_with(REFUSED) {
            self.refused.push((side, text.into()));
        }
        if let Some(number) = number {
            self.nodes.entry((side, number)).or_default()[node] = true;
        }
    }
}
