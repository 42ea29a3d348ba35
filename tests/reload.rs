//! A reload on real servers: what a new file says holds for what begins after it, and a broken file changes nothing.
//!
//! `PGCONVOY_LONG=1` makes the run under load ten times as long.

mod support;

use std::fs;
use std::io::Read;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use pgconvoy_io::testbed::{Hba, Options, SUPERUSER, SUPERUSER_PASSWORD, Testbed};
use support::environment::long_run;
use support::postgres::{start, superuser, superuser_login, wait_until};
use support::proxy::{Backend, Options as ProxyOptions, Proxy};
use support::wire::{Connection, Login, LoginError};

/// A reload, and what follows from it elsewhere, takes no longer.
const LIMIT: Duration = Duration::from_secs(10);

/// What the log says of a file that is taken, and of one that is not.
const TAKEN: &str = "the configuration has been read again";
const REFUSED: &str = "the configuration has errors, and the one before it stays in force";

/// pgconvoy in front of the servers, not started yet; all reads go to the primary.
fn over(testbed: &Testbed) -> ProxyOptions {
    let backends = testbed.nodes().iter().enumerate();
    let backends = backends.map(|(at, node)| Backend { port: node.port(), weight: u32::from(at == 0) });
    Proxy::over(&backends.collect::<Vec<_>>())
}

/// A primary that gets all reads and a standby that gets none, with pgconvoy in front.
fn primary_preferred() -> (Testbed, Proxy) {
    let testbed = start(Options { standbys: 1, ..Options::default() });
    let proxy = over(&testbed).start();
    proxy.wait_roles_known(2);
    (testbed, proxy)
}

/// Puts lines behind the configuration that pgconvoy was started with, in place of the last ones.
fn configure(proxy: &Proxy, lines: &str) {
    const MARK: &str = "# changed\n";
    let path = proxy.folder().join("pgpool.conf");
    let text = fs::read_to_string(&path).expect("reading pgpool.conf");
    let first = text.split(MARK).next().expect("the beginning of a text");
    fs::write(&path, format!("{first}{MARK}{lines}")).expect("writing pgpool.conf");
}

/// Has the configuration read again, and gives what the log says from then on, up to the verdict on the file.
fn signal(proxy: &Proxy, verdict: &str) -> String {
    let before = proxy.log().len();
    proxy.signal("HUP");
    let said = || proxy.log()[before..].to_owned();
    wait_until(LIMIT, verdict, || said().contains(TAKEN) || said().contains(REFUSED));
    assert!(said().contains(verdict), "not {verdict:?}:\n{}", said());
    said()
}

/// Both: [`configure`] and [`signal`].
fn reload(proxy: &Proxy, lines: &str, verdict: &str) -> String {
    configure(proxy, lines);
    signal(proxy, verdict)
}

fn session(proxy: &Proxy) -> Connection {
    Connection::login(proxy.address(), &superuser_login()).expect("a login")
}

/// The number of the backend that a new session reads from.
fn balance_node(proxy: &Proxy) -> String {
    let mut session = session(proxy);
    let nodes = session.rows("SHOW pool_nodes");
    let chosen = nodes.iter().find(|row| row[9].as_deref() == Some("true")).expect("a load-balance node");
    assert_eq!(chosen[2], Some(session.value("SHOW port")), "it is the one that answers");
    chosen[0].clone().expect("a number")
}

/// The value of an item of `SHOW pool_status`.
fn status(proxy: &Proxy, item: &str) -> String {
    let rows = session(proxy).rows("SHOW pool_status");
    let row = rows.iter().find(|row| row[0].as_deref() == Some(item)).expect("an item of that name");
    row[1].clone().expect("a value")
}

#[test]
fn a_reload_reaches_what_begins_after_it() {
    let (testbed, mut proxy) = primary_preferred();
    superuser(&testbed).rows("CREATE TABLE washed (at timestamptz)");
    superuser(&testbed).rows("CREATE DATABASE probed");
    testbed.wait_standbys_caught_up().expect("the standby catches up");
    assert_eq!([balance_node(&proxy), balance_node(&proxy)], ["0", "0"]);
    assert!(!proxy.log().contains("new connection received"));
    let mut old = session(&proxy);
    let washes = "ABORT; DISCARD ALL; INSERT INTO washed VALUES (now())";
    let lines = format!(
        "log_connections = on\nlog_disconnections = on\nbackend_weight0 = 0\nbackend_weight1 = 1\n\
         sr_check_database = 'probed'\nsr_check_period = 1\nreset_query_list = '{washes}'\n"
    );
    reload(&proxy, &lines, TAKEN);

    assert_eq!([balance_node(&proxy), balance_node(&proxy)], ["1", "1"]);
    assert!(proxy.log().contains("new connection received"), "log_connections");
    wait_until(LIMIT, "log_disconnections", || proxy.log().contains("frontend disconnection"));
    let mut direct = superuser(&testbed);
    wait_until(LIMIT, "reset_query_list", || direct.value("SELECT count(*) FROM washed") != "0");
    let probed = "SELECT sessions > 0 FROM pg_stat_database WHERE datname = 'probed'";
    wait_until(LIMIT, "sr_check_database", || direct.value(probed) == "t");
    for (item, value) in [("log_connections", "1"), ("reset_query_list", &washes.replace("; ", ";"))] {
        assert_eq!(status(&proxy, item).replace("; ", ";"), *value, "{item}");
    }
    assert_eq!(status(&proxy, "backend_weight1"), "1.000000");
    assert_eq!(old.value("SELECT 1"), "1", "a session lives through it");
    assert!(!proxy.log().contains("after a restart"), "{}", proxy.log());
    proxy.assert_healthy();
}

#[test]
fn a_broken_file_changes_nothing_at_all() {
    let (_testbed, mut proxy) = primary_preferred();
    let weights = "backend_weight0 = 0\nbackend_weight1 = 1\n";
    let broken = format!("log_connections = on\n{weights}connect_timeout = soon\n");
    reload(&proxy, &broken, REFUSED);
    let log = proxy.log();
    let errors: Vec<_> = log.lines().filter(|line| line.contains("ERROR:")).collect();
    assert_eq!(errors.len(), 2, "the one mistake, and what becomes of the file:\n{log}");
    assert!(errors[0].contains("connect_timeout"), "{log}");
    assert_eq!([balance_node(&proxy), balance_node(&proxy)], ["0", "0"]);
    assert_eq!(status(&proxy, "log_connections"), "0");
    assert_eq!(status(&proxy, "backend_weight0"), "1.000000");
    assert!(!proxy.log().contains("new connection received"));
    reload(&proxy, &format!("{weights}connect_timeout = 9s\n"), TAKEN);
    assert_eq!([balance_node(&proxy), balance_node(&proxy)], ["1", "1"]);
    assert_eq!(status(&proxy, "connect_timeout"), "9000");
    proxy.assert_healthy();
}

#[test]
fn what_takes_a_restart_in_pgpool_takes_a_reload_here() {
    let testbed = start(Options { standbys: 1, ..Options::default() });
    let primary = testbed.node(0).port().to_string();
    let options = over(&testbed).set("num_init_children", 2).set("authentication_timeout", 60);
    let mut proxy = options.set("backend_weight0", 0).set("backend_weight1", 1).start();
    proxy.wait_roles_known(2);
    let of = |name: &str| superuser_login().parameter("application_name", name);
    let login = |name: &str| Connection::login(proxy.address(), &of(name));
    let mut direct = superuser(&testbed);
    let mut kept = |name: &str| {
        let sql = format!("SELECT count(*) FROM pg_stat_activity WHERE application_name = '{name}'");
        direct.value(&sql).parse::<u32>().expect("a number")
    };

    let mut first = login("first").expect("a login");
    assert_ne!(first.value("SHOW port"), primary);
    let second = login("second").expect("a login");
    thread::scope(|scope| {
        let third = scope.spawn(|| login("third").expect("a login, after all").value("SELECT 3"));
        reload(&proxy, "num_init_children = 3\n", TAKEN);
        assert_eq!(third.join().expect("no panic"), "3", "num_init_children lets in who waits");
    });
    reload(&proxy, "num_init_children = 3\nreserved_connections = 1\n", TAKEN);
    let refused = match login("fourth") {
        Err(LoginError::Refused(message)) => message.sqlstate(),
        other => panic!("reserved_connections: {other:?}"),
    };
    assert_eq!(refused, "53300");
    second.leave().expect("a close");
    assert_eq!(first.value("SELECT 1"), "1");

    wait_until(LIMIT, "connection_cache keeps a connection", || kept("second") == 1);
    reload(&proxy, "connection_cache = off\nload_balance_mode = off\n", TAKEN);
    wait_until(LIMIT, "connection_cache = off closes it", || kept("second") == 0);
    let mut reader = login("reader").expect("a login");
    assert_eq!(reader.value("SHOW port"), primary, "load_balance_mode = off");
    reader.leave().expect("a close");
    wait_until(LIMIT, "nothing is kept", || kept("reader") == 0);
    reload(&proxy, "connection_life_time = 1\n", TAKEN);
    login("aged").expect("a login").leave().expect("a close");
    wait_until(LIMIT, "connection_life_time", || kept("aged") == 0);
    reload(&proxy, "child_max_connections = 1\n", TAKEN);
    login("worn").expect("a login").leave().expect("a close");
    wait_until(LIMIT, "child_max_connections", || kept("worn") == 0);

    reload(&proxy, "authentication_timeout = 1\n", TAKEN);
    let begun = Instant::now();
    let mut silent = TcpStream::connect(proxy.address()).expect("a connection");
    silent.set_read_timeout(Some(LIMIT)).expect("a limit");
    drop(silent.read_to_end(&mut Vec::new()));
    assert!(begun.elapsed() < LIMIT, "authentication_timeout");
    assert!(!proxy.log().contains("after a restart"), "{}", proxy.log());
    proxy.assert_healthy();
}

#[test]
fn another_password_file_counts_after_a_reload_and_a_lost_one_does_not() {
    let testbed = start(Options { hba: Hba::Scram, ..Options::default() });
    superuser(&testbed).query("CREATE ROLE alice LOGIN PASSWORD 'alice-secret'").expect("an answer");
    let options = over(&testbed).password(SUPERUSER, SUPERUSER_PASSWORD);
    let mut proxy = options.start_for(&superuser_login());
    let alice = Login::new("alice", SUPERUSER).password("alice-secret");
    let comes_in = |login: &Login| Connection::login(proxy.address(), login).is_ok();
    assert!(comes_in(&superuser_login()) && !comes_in(&alice));
    let file = proxy.folder().join("others");
    let entries = format!("alice:TEXTalice-secret\n{SUPERUSER}:TEXT{SUPERUSER_PASSWORD}\n");
    fs::write(&file, &entries).expect("a password file");
    reload(&proxy, &format!("pool_passwd = '{}'\n", file.display()), TAKEN);
    assert!(comes_in(&alice));
    for damage in [None, Some("alice\n"), Some("")] {
        match damage {
            Some(text) => fs::write(&file, text).expect("a password file"),
            None => fs::remove_file(&file).expect("it is there"),
        }
        let said = signal(&proxy, REFUSED);
        let place = if damage == Some("alice\n") { "others:1: no colon" } else { ": pool_passwd: " };
        assert!(said.contains(place), "{damage:?}:\n{said}");
        assert!(comes_in(&alice), "after {damage:?}");
    }
    fs::write(&file, &entries[..entries.find('\n').map_or(0, |end| end + 1)]).expect("a password file");
    signal(&proxy, TAKEN);
    assert!(comes_in(&alice) && !comes_in(&superuser_login()), "a sound file is taken as it is");
    proxy.assert_healthy();
}

#[test]
fn debug_messages_that_were_asked_for_go_on_after_a_reload() {
    const DEBUG: &str = "DEBUG:  executing replication delay command";
    let testbed = start(Options { standbys: 1, ..Options::default() });
    let options = over(&testbed).set("sr_check_period", 1).set("replication_delay_source_cmd", "echo 0").argument("-d");
    let mut proxy = options.start();
    proxy.wait_roles_known(2);
    wait_until(LIMIT, "a debug message", || proxy.log().contains(DEBUG));
    for _ in 0..2 {
        reload(&proxy, "log_connections = on\n", TAKEN);
        let count = || proxy.log().matches(DEBUG).count();
        let before = count();
        wait_until(LIMIT, "another debug message", || count() > before);
    }
    proxy.assert_healthy();
}

/// How many times the configuration is read again under load, in a long run too, and every which time it is broken.
const RELOADS: usize = 200;
const LONG_RELOADS: usize = 2000;
const BROKEN: usize = 4;

/// The ways in which it is broken.
const WAYS: usize = 14;

/// Files that a reload can find broken, and how they were.
struct Files {
    conf: PathBuf,
    passwords: PathBuf,
    more: PathBuf,
    good: String,
}

impl Files {
    /// Puts all in order, with lines behind the configuration.
    fn mend(&self, lines: &str) {
        if self.passwords.is_dir() {
            fs::remove_dir(&self.passwords).expect("it is empty");
        }
        if self.conf.is_dir() {
            fs::remove_dir(&self.conf).expect("it is empty");
        }
        fs::write(&self.passwords, format!("{SUPERUSER}:TEXT{SUPERUSER_PASSWORD}\n")).expect("writing pool_passwd");
        fs::write(&self.conf, format!("{}{lines}", self.good)).expect("writing pgpool.conf");
    }

    /// Breaks something, behind lines that are good and must not take hold. Gives what the log must say of it.
    fn break_one(&self, way: usize, lines: &str) -> String {
        let replace_with_folder = |path: &Path| {
            fs::remove_file(path).expect("it is there");
            fs::create_dir(path).expect("a folder where a file should be");
        };
        self.mend(lines);
        let number = 1 + self.good.lines().count() + lines.lines().count();
        let line = match way {
            0 => "client_queue_timeout =",
            1 => "failover_command = 'no end",
            2 => "max_pool = -1",
            3 => "connect_timeout = 5MB",
            4 => "log_min_messages = loud",
            5 => "primary_routing_query_pattern_list = 'a(b'",
            6 => "include = 'nowhere.conf'",
            7 => "include = 'more.conf'",
            8 => "read_only_function_list = 'a'\nwrite_function_list = 'b'",
            9 => "database_redirect_preference_list = 'postgres'",
            10 => {
                fs::remove_file(&self.passwords).expect("it is there");
                return "pool_passwd does not exist, and those in force would be lost".to_owned();
            }
            11 => {
                fs::write(&self.passwords, "half a li").expect("writing pool_passwd");
                return "pool_passwd:1: no colon between user name and password".to_owned();
            }
            12 => {
                replace_with_folder(&self.conf);
                return "pgpool.conf: cannot read ".to_owned();
            }
            _ => {
                fs::write(&self.conf, "").expect("writing pgpool.conf");
                return "pgpool.conf: no backend is configured".to_owned();
            }
        };
        fs::write(&self.more, "# one\nlog_min_messages = loud\n").expect("writing more.conf");
        fs::write(&self.conf, format!("{}{lines}{line}\n", self.good)).expect("writing pgpool.conf");
        match way {
            7 => "more.conf:2:20: log_min_messages: ".to_owned(),
            8 => format!("pgpool.conf:{}:23: write_function_list: ", number + 1),
            _ => format!("pgpool.conf:{number}:"),
        }
    }
}

/// Runs pgbench through pgconvoy again and again until it is over, and gives how many transactions there were.
fn pgbench(testbed: &Testbed, proxy: &Proxy, arguments: &[&str], over: &AtomicBool) -> u64 {
    let mut transactions = 0;
    while !over.load(Ordering::Relaxed) {
        let output = Command::new(testbed.bin_dir().join("pgbench"))
            .args(["-n", "-h", "127.0.0.1", "-p", &proxy.address().port().to_string(), "-U", SUPERUSER, "-T", "2"])
            .args(arguments)
            .arg(SUPERUSER)
            .env("PGPASSWORD", SUPERUSER_PASSWORD)
            .output()
            .expect("running pgbench");
        let printed = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
        assert!(output.status.success() && !printed.contains("error"), "pgbench {arguments:?}:\n{printed}");
        assert!(printed.contains("number of failed transactions: 0 "), "pgbench {arguments:?}:\n{printed}");
        let done = printed.lines().find_map(|line| line.strip_prefix("number of transactions actually processed: "));
        transactions += done.expect("a number of transactions").parse::<u64>().expect("a number");
    }
    transactions
}

/// Ends the load, also when a test fails beside it.
struct End<'a>(&'a AtomicBool);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn two_hundred_reloads_under_load_fail_no_transaction() {
    let testbed = start(Options { standbys: 2, hba: Hba::Scram, max_connections: 200, ..Options::default() });
    let options = over(&testbed).password(SUPERUSER, SUPERUSER_PASSWORD).set("sr_check_period", 1);
    let mut proxy = options.start_for(&superuser_login());
    proxy.wait_roles_known(3);
    let file = |name: &str| proxy.folder().join(name);
    let (conf, passwords, more) = (file("pgpool.conf"), file("pool_passwd"), file("more.conf"));
    let good = fs::read_to_string(&conf).expect("reading pgpool.conf");
    let files = Files { conf, passwords, more, good };
    let filled = Command::new(testbed.bin_dir().join("pgbench"))
        .args(["-i", "-q", "-s", "2", "-h", "127.0.0.1", "-p", &testbed.node(0).port().to_string(), "-U", SUPERUSER])
        .arg(SUPERUSER)
        .env("PGPASSWORD", SUPERUSER_PASSWORD)
        .output()
        .expect("running pgbench");
    assert!(filled.status.success(), "{}", String::from_utf8_lossy(&filled.stderr));
    testbed.wait_standbys_caught_up().expect("the standbys catch up");

    let mut observer = session(&proxy);
    let mut in_force = |item: &str| {
        let rows = observer.rows("SHOW pool_status");
        let row = rows.iter().find(|row| row[0].as_deref() == Some(item)).expect("an item of that name");
        row[1].clone().expect("a value")
    };
    let is_over = AtomicBool::new(false);
    let transactions = thread::scope(|scope| {
        let load = [
            &["-b", "select-only", "-M", "prepared", "-c", "4"][..],
            &["-b", "tpcb-like", "-c", "3"],
            &["-b", "select-only", "-C", "-c", "2"],
        ];
        let load = load.map(|arguments| {
            let (testbed, proxy, is_over) = (&testbed, &proxy, &is_over);
            scope.spawn(move || pgbench(testbed, proxy, arguments, is_over))
        });
        let end = End(&is_over);
        let mut expected = in_force("client_queue_timeout");
        for number in 0..if long_run() { LONG_RELOADS } else { RELOADS } {
            let lines = format!(
                "client_queue_timeout = {}\nbackend_weight0 = {}\nbackend_weight1 = 1\nbackend_weight2 = {}\n\
                 num_init_children = {}\nmax_pool = {}\nconnection_cache = {}\nload_balance_mode = {}\n\
                 relcache_size = {}\ndisable_load_balance_on_write = {}\nlog_connections = {}\n",
                100 + number,
                number % 2,
                number % 5,
                20 + number % 40,
                1 + number % 4,
                ["on", "on", "off"][number % 3],
                ["on", "on", "on", "off"][number % 4],
                1 + number * 10 % 100,
                ["transaction", "off", "always"][number % 3],
                ["on", "off"][number % 2],
            );
            if number % BROKEN == BROKEN - 1 {
                let place = files.break_one(number / BROKEN % WAYS, &lines);
                let said = signal(&proxy, REFUSED);
                let named = said.lines().any(|line| line.contains("ERROR:  ") && line.contains(&place));
                assert!(named, "reload {number}: no error at {place:?}:\n{said}");
            } else {
                files.mend(&lines);
                signal(&proxy, TAKEN);
                expected = (100 + number).to_string();
            }
            assert_eq!(in_force("client_queue_timeout"), expected, "reload {number}");
        }
        drop(end);
        load.map(|pgbench| pgbench.join().expect("no failed transaction"))
    });
    assert!(transactions.iter().all(|done| *done > 0), "{transactions:?}");
    let sums = superuser(&testbed).rows(
        "SELECT (SELECT sum(abalance) FROM pgbench_accounts), (SELECT sum(bbalance) FROM pgbench_branches), \
         (SELECT sum(tbalance) FROM pgbench_tellers), (SELECT sum(delta) FROM pgbench_history)",
    );
    assert!(sums[0].windows(2).all(|pair| pair[0] == pair[1]), "the books do not balance: {sums:?}");
    assert!(!proxy.log().contains("after a restart"), "{}", proxy.log());
    proxy.assert_healthy();
}
