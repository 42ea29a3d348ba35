//! Three nodes under load: pgbench without a failure, shares by weight, and servers that are killed and come back.
//!
//! `PGCONVOY_PGBENCH_SECONDS` sets how long each pgbench runs; `PGCONVOY_LONG=1` makes that thirty seconds.

mod support;

use std::fs;
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use pgconvoy_io::testbed::{Options, SUPERUSER, Testbed};
use support::environment::{long_run, number_from};
use support::postgres::{address, start, superuser, superuser_login, wait_until};
use support::proxy::{Backend, Proxy};
use support::wire::{Connection, Login};

/// A client knows where it stands after this long, whatever happens to a server.
const ANSWER_LIMIT: Duration = Duration::from_secs(5);
/// Service is back this long after a server is.
const RETURN_LIMIT: Duration = Duration::from_secs(30);

/// A primary with two standbys, and pgconvoy in front with these weights.
fn three_nodes(weights: [u32; 3]) -> (Testbed, Proxy) {
    let testbed = start(Options { standbys: 2, max_connections: 200, ..Options::default() });
    let backends: Vec<Backend> =
        testbed.nodes().iter().zip(weights).map(|(node, weight)| Backend { port: node.port(), weight }).collect();
    let proxy = Proxy::over(&backends)
        .set("sr_check_period", 1)
        .set("health_check_period", 1)
        .set("auto_failback", "on")
        .set("auto_failback_interval", 1)
        .start();
    (testbed, proxy)
}

/// Runs pgbench through `proxy` and gives what it printed.
fn pgbench(testbed: &Testbed, proxy: &Proxy, arguments: &[&str]) -> String {
    let output = Command::new(testbed.bin_dir().join("pgbench"))
        .args(["-h", "127.0.0.1", "-p", &proxy.address().port().to_string(), "-U", SUPERUSER])
        .args(arguments)
        .arg("postgres")
        .output()
        .expect("running pgbench");
    let printed = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
    assert!(output.status.success(), "pgbench {arguments:?} ({}):\n{printed}", output.status);
    printed
}

#[test]
fn pgbench_fails_no_transaction_in_any_mode() {
    let (testbed, mut proxy) = three_nodes([1, 1, 1]);
    let seconds = number_from("PGCONVOY_PGBENCH_SECONDS").unwrap_or(if long_run() { 30 } else { 3 }).to_string();
    pgbench(&testbed, &proxy, &["-i", "-s", "10", "-q"]);
    testbed.wait_standbys_caught_up().expect("the standbys catch up");
    for script in ["select-only", "tpcb-like"] {
        for mode in ["simple", "extended", "prepared"] {
            let printed =
                pgbench(&testbed, &proxy, &["-n", "-b", script, "-M", mode, "-c", "16", "-j", "2", "-T", &seconds]);
            assert!(printed.contains("number of failed transactions: 0 "), "{script}, {mode}:\n{printed}");
            assert!(!printed.contains("error"), "{script}, {mode}:\n{printed}");
            let done =
                printed.lines().find_map(|line| line.strip_prefix("number of transactions actually processed: "));
            assert!(done.is_some_and(|count| count != "0"), "{script}, {mode}:\n{printed}");
        }
    }
    proxy.assert_healthy();
    let mut root = superuser(&testbed);
    let sums = root.rows(
        "SELECT (SELECT sum(abalance) FROM pgbench_accounts), (SELECT sum(bbalance) FROM pgbench_branches), \
         (SELECT sum(tbalance) FROM pgbench_tellers), (SELECT sum(delta) FROM pgbench_history)",
    );
    assert!(sums[0].windows(2).all(|pair| pair[0] == pair[1]), "the books do not balance: {sums:?}");
    assert_no_misroute(&testbed);
}

/// Fails when a standby was asked to write (SQLSTATE 25006).
fn assert_no_misroute(testbed: &Testbed) {
    for node in &testbed.nodes()[1..] {
        let log = fs::read_to_string(node.log_path()).expect("a server's log");
        let refused: Vec<&str> = log.lines().filter(|line| line.contains(" 25006 ")).collect();
        assert!(refused.is_empty(), "node {} was asked to write:\n{}", node.number(), refused.join("\n"));
    }
}

#[test]
fn sessions_spread_by_weight_in_both_protocols() {
    const SESSIONS: usize = 600;
    let (testbed, mut proxy) = three_nodes([1, 2, 3]);
    superuser(&testbed).rows(
        "CREATE TABLE shares (a int); CREATE ROLE shares LOGIN SUPERUSER; ALTER ROLE shares SET log_statement = 'all'",
    );
    testbed.wait_standbys_caught_up().expect("the standbys catch up");
    let login = Login::new("shares", "postgres");
    for session in 0..SESSIONS {
        let mut connection =
            Connection::login(proxy.address(), &login).unwrap_or_else(|error| panic!("session {session}: {error:?}"));
        connection.rows("SELECT count(*) AS share FROM shares");
        connection.leave().expect("a close");
    }
    let counts: Vec<usize> = testbed
        .nodes()
        .iter()
        .map(|node| {
            fs::read_to_string(node.log_path()).expect("a server's log").matches("SELECT count(*) AS share").count()
        })
        .collect();
    assert_eq!(counts.iter().sum::<usize>(), SESSIONS, "{counts:?}");
    for (count, weight) in counts.iter().zip([1.0, 2.0, 3.0]) {
        let (share, expected) = (*count as f64 / SESSIONS as f64, weight / 6.0);
        assert!((share - expected).abs() < 0.05, "shares by weights 1:2:3: {counts:?}");
    }
    proxy.assert_healthy();
    assert_no_misroute(&testbed);
}

#[test]
fn what_fails_on_one_node_explains_itself_in_the_log_of_another() {
    let (testbed, mut proxy) = three_nodes([0, 1, 0]);
    proxy.wait_roles_known(3);
    // A block of two reads, of which the second goes to the primary.
    let mut session = Connection::login(proxy.address(), &superuser_login()).expect("a login");
    session.query("BEGIN").expect("an answer");
    session.rows("SELECT 1 FROM pg_class LIMIT 1");
    session.query("SELECT 1/0 FROM pg_class FOR UPDATE").expect("an answer");
    session.query("ROLLBACK").expect("an answer");
    let log = fs::read_to_string(testbed.node(1).log_path()).expect("a server's log");
    let errors: Vec<&str> = log.lines().filter(|line| line.contains("ERROR:  ")).collect();
    let [error] = errors[..] else { panic!("one error on the standby:\n{log}") };
    assert!(error.contains("'pgconvoy aborts this transaction block because it failed on another node'"), "{error}");
    proxy.assert_healthy();
}

/// What the clients of a load have met.
#[derive(Default)]
struct Load {
    over: AtomicBool,
    reads: AtomicU64,
    writes: AtomicU64,
    /// One line for each error of a session, with what the client was doing.
    errors: Mutex<Vec<String>>,
    /// What must not happen: a wrong row, a long wait.
    violation: Mutex<Option<String>>,
}

impl Load {
    /// One client after the other, each with some reads and writes, until the load is over.
    fn client(&self, proxy: &Proxy, number: u64) {
        let mut turn = 0;
        while !self.over.load(Ordering::Relaxed) {
            let begun = Instant::now();
            let session = Connection::login(proxy.address(), &superuser_login());
            self.waited(begun, "a login");
            let Ok(mut session) = session else {
                self.errors.lock().expect("no client panics with the lock").push("login".into());
                std::thread::sleep(Duration::from_millis(50));
                continue;
            };
            session.set_patience(2 * ANSWER_LIMIT);
            for _ in 0..50 {
                turn += 1;
                let tag = format!("c{number}t{turn}");
                if !self.step(&mut session, &tag, turn % 4 == 0) || self.over.load(Ordering::Relaxed) {
                    break;
                }
                std::thread::sleep(Duration::from_millis(5));
            }
        }
    }

    /// One request; whether the session lives on.
    fn step(&self, session: &mut Connection, tag: &str, write: bool) -> bool {
        let sql = if write {
            format!("INSERT INTO load VALUES ('{tag}') RETURNING tag")
        } else {
            format!("SELECT '{tag}', count(*) FROM load WHERE tag = 'x'")
        };
        let begun = Instant::now();
        let answer = session.query(&sql);
        self.waited(begun, &sql);
        let answer = match answer {
            Ok(answer) => answer,
            Err(error) => {
                self.errors.lock().expect("no client panics with the lock").push(format!("{sql}: {error}"));
                return false;
            }
        };
        let rows: Vec<String> =
            answer.iter().filter(|message| message.kind == b'D').filter_map(|row| row.row()[0].clone()).collect();
        match answer.iter().find(|message| message.kind == b'E') {
            Some(error) => {
                self.errors.lock().expect("no client panics with the lock").push(format!("{sql}: {}", error.line()));
                false
            }
            None if rows == [tag] => {
                (if write { &self.writes } else { &self.reads }).fetch_add(1, Ordering::Relaxed);
                true
            }
            None => {
                self.violated(format!("{sql} was answered with {answer:?}"));
                false
            }
        }
    }

    fn waited(&self, begun: Instant, what: &str) {
        if begun.elapsed() > ANSWER_LIMIT {
            self.violated(format!("{what} took {:?}", begun.elapsed()));
        }
    }

    fn violated(&self, what: String) {
        self.violation.lock().expect("no client panics with the lock").get_or_insert(what);
    }

    fn progress(&self) -> (u64, u64) {
        (self.reads.load(Ordering::Relaxed), self.writes.load(Ordering::Relaxed))
    }

    /// Waits until both reads and writes go on.
    fn wait_progress(&self, what: &str) {
        let (reads, writes) = self.progress();
        wait_until(RETURN_LIMIT, what, || {
            let now = self.progress();
            now.0 > reads + 100 && now.1 > writes + 30
        });
    }

    fn take_errors(&self) -> Vec<String> {
        std::mem::take(&mut *self.errors.lock().expect("no client panics with the lock"))
    }
}

/// Runs `story` while eight clients read and write; fails when one of them met what must not be.
fn under_load(proxy: &Proxy, story: impl FnOnce(&Load)) {
    let load = Load::default();
    std::thread::scope(|scope| {
        for number in 0..8 {
            let load = &load;
            scope.spawn(move || load.client(proxy, number));
        }
        let told = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| story(&load)));
        load.over.store(true, Ordering::Relaxed);
        if let Err(failure) = told {
            std::panic::resume_unwind(failure);
        }
    });
    let violation = load.violation.into_inner().expect("no client panics with the lock");
    assert_eq!(violation, None);
}

/// How often the clients' table was read on node `number`.
fn readings(testbed: &Testbed, number: usize) -> u64 {
    let sql =
        "SELECT sum(calls) FROM (SELECT seq_scan AS calls FROM pg_stat_user_tables WHERE relname = 'load') counted";
    let mut session = Connection::login(address(testbed.node(number)), &superuser_login()).expect("the node is up");
    session.value(sql).parse().expect("a number of scans")
}

#[test]
fn a_killed_standby_disturbs_nobody_elsewhere_and_comes_back_into_service() {
    let (testbed, mut proxy) = three_nodes([1, 1, 1]);
    superuser(&testbed).rows("CREATE TABLE load (tag text)");
    testbed.wait_standbys_caught_up().expect("the standbys catch up");
    let mut elsewhere = sessions_elsewhere(&proxy, &testbed, 1);
    under_load(&proxy, |load| {
        load.wait_progress("the load runs");
        assert_eq!(load.take_errors(), Vec::<String>::new());
        testbed.kill_node(1).expect("killing a standby");
        load.wait_progress("the load goes on without a standby");
        for session in &mut elsewhere {
            assert_eq!(session.value("SELECT 'undisturbed'"), "undisturbed");
        }
        load.take_errors();
        // By now everybody knows.
        load.wait_progress("the load runs on two nodes");
        assert_eq!(load.take_errors(), Vec::<String>::new(), "errors long after the standby was lost");
        testbed.start_node(1).expect("starting the standby again");
        let before = readings(&testbed, 1);
        wait_until(RETURN_LIMIT, "the standby serves again", || readings(&testbed, 1) > before + 20);
        assert_eq!(load.take_errors(), Vec::<String>::new(), "errors when the standby came back");
        for session in &mut elsewhere {
            assert_eq!(session.value("SELECT 'undisturbed'"), "undisturbed");
        }
    });
    proxy.assert_healthy();
    assert_no_misroute(&testbed);
}

/// Sessions that do not read from node `number`.
fn sessions_elsewhere(proxy: &Proxy, testbed: &Testbed, number: usize) -> Vec<Connection> {
    let port = testbed.node(number).port().to_string();
    let mut elsewhere = Vec::new();
    while elsewhere.len() < 6 {
        let mut session = Connection::login(proxy.address(), &superuser_login()).expect("login");
        let nodes = session.rows("SHOW pool_nodes");
        let chosen = nodes
            .iter()
            .find(|node| node.contains(&Some("true".into())))
            .unwrap_or_else(|| panic!("no node is chosen: {nodes:?}"));
        if !chosen.contains(&Some(port.clone())) {
            elsewhere.push(session);
        }
    }
    elsewhere
}

#[test]
fn a_killed_primary_is_told_honestly_and_service_is_back_with_it() {
    let (testbed, mut proxy) = three_nodes([1, 1, 1]);
    superuser(&testbed).rows("CREATE TABLE load (tag text)");
    testbed.wait_standbys_caught_up().expect("the standbys catch up");
    under_load(&proxy, |load| {
        load.wait_progress("the load runs");
        assert_eq!(load.take_errors(), Vec::<String>::new());
        testbed.kill_node(0).expect("killing the primary");
        std::thread::sleep(Duration::from_secs(3));
        let errors = load.take_errors();
        assert!(!errors.is_empty(), "nobody noticed that the primary was gone");
        testbed.start_node(0).expect("starting the primary again");
        load.wait_progress("service is back by itself");
        load.take_errors();
        load.wait_progress("the load runs as before");
        assert_eq!(load.take_errors(), Vec::<String>::new(), "errors long after the primary came back");
    });
    proxy.assert_healthy();
    assert_no_misroute(&testbed);
    // Nothing that was acknowledged is gone, nothing was done twice.
    let mut root = superuser(&testbed);
    assert_eq!(root.rows("SELECT tag FROM load GROUP BY tag HAVING count(*) > 1"), Vec::<Vec<Option<String>>>::new());
}

/// Sends a signal to a server and all its processes.
fn signal(testbed: &Testbed, node: usize, name: &str) {
    let postmaster = testbed.node(node).postmaster_pid().expect("the server runs").to_string();
    for arguments in [vec!["-P", &postmaster], vec!["-g", &postmaster]] {
        // A server has children, or a process group of its own, or both.
        let _one_of_them =
            Command::new("pkill").arg(format!("-{name}")).args(arguments).status().expect("running pkill");
    }
    Command::new("kill").args([&format!("-{name}"), &postmaster]).status().expect("running kill");
}

#[test]
fn a_standby_that_hangs_holds_nobody_up_for_long() {
    let testbed = start(Options { standbys: 1, ..Options::default() });
    let backends: Vec<Backend> =
        testbed.nodes().iter().zip([0, 1]).map(|(node, weight)| Backend { port: node.port(), weight }).collect();
    let mut proxy = Proxy::over(&backends).set("sr_check_period", 1).set("connect_timeout", 1000).start();
    proxy.wait_roles_known(2);
    let mut sessions: Vec<Connection> = (0..2)
        .map(|_| {
            let mut session = Connection::login(proxy.address(), &superuser_login()).expect("a login");
            session.set_patience(ANSWER_LIMIT);
            session.rows("SELECT 1");
            session
        })
        .collect();
    signal(&testbed, 1, "STOP");
    let begun = Instant::now();
    let answer = sessions[0].query("SELECT 2").expect("an answer");
    assert!(answer.iter().any(|message| message.kind == b'E' && message.sqlstate() == "08006"), "{answer:?}");
    assert!(begun.elapsed() < ANSWER_LIMIT, "told after {:?}", begun.elapsed());
    // The session goes on. The other one may ask a moment before its worker has heard, but not twice.
    assert_eq!(sessions[0].value("SELECT 3"), "3");
    let answer = sessions[1].query("SELECT 3").expect("an answer");
    assert!(answer.iter().all(|message| message.kind != b'E' || message.sqlstate() == "08006"), "{answer:?}");
    assert_eq!(sessions[1].value("SELECT 3"), "3");
    let mut fresh = Connection::login(proxy.address(), &superuser_login()).expect("a login");
    assert_eq!(fresh.value("SELECT 4"), "4");
    signal(&testbed, 1, "CONT");
    proxy.assert_healthy();
}
