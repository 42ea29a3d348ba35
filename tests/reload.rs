//! A reload on real servers: what a new file says holds for what begins after it, and a broken file changes nothing.

mod support;

use std::fs;
use std::time::Duration;

use pgconvoy_io::testbed::{Options, Testbed};
use support::postgres::{start, superuser, superuser_login, wait_until};
use support::proxy::{Backend, Proxy};
use support::wire::Connection;

/// A reload, and what follows from it elsewhere, takes no longer.
const LIMIT: Duration = Duration::from_secs(10);

/// A primary that gets all reads and a standby that gets none, with pgconvoy in front.
fn primary_preferred() -> (Testbed, Proxy) {
    let testbed = start(Options { standbys: 1, ..Options::default() });
    let backend = |number: usize| Backend { port: testbed.node(number).port(), weight: u32::from(number == 0) };
    let proxy = Proxy::over(&[backend(0), backend(1)]).start();
    proxy.wait_roles_known(2);
    (testbed, proxy)
}

/// Puts lines behind the configuration that pgconvoy was started with, in place of the last ones, and has it read again.
fn reload(proxy: &Proxy, lines: &str, told: &str) {
    const MARK: &str = "# changed\n";
    let path = proxy.folder().join("pgpool.conf");
    let text = fs::read_to_string(&path).expect("reading pgpool.conf");
    let first = text.split(MARK).next().expect("the beginning of a text");
    fs::write(&path, format!("{first}{MARK}{lines}")).expect("writing pgpool.conf");
    let before = proxy.log().matches(told).count();
    proxy.signal("HUP");
    wait_until(LIMIT, told, || proxy.log().matches(told).count() > before);
}

fn session(proxy: &Proxy) -> Connection {
    Connection::login(proxy.address(), &superuser_login()).expect("a login")
}

/// The number of the backend that a new session reads from.
fn balance_node(proxy: &Proxy) -> String {
    let nodes = session(proxy).rows("SHOW pool_nodes");
    let chosen = nodes.iter().find(|row| row[9].as_deref() == Some("true")).expect("a load-balance node");
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
    reload(&proxy, &lines, "the configuration has been read again");

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
    reload(&proxy, &broken, "the configuration has errors, and the one before it stays in force");
    let log = proxy.log();
    let errors: Vec<_> = log.lines().filter(|line| line.contains("ERROR:")).collect();
    assert_eq!(errors.len(), 2, "the one mistake, and what becomes of the file:\n{log}");
    assert!(errors[0].contains("connect_timeout"), "{log}");
    assert_eq!([balance_node(&proxy), balance_node(&proxy)], ["0", "0"]);
    assert_eq!(status(&proxy, "log_connections"), "0");
    assert_eq!(status(&proxy, "backend_weight0"), "1.000000");
    assert!(!proxy.log().contains("new connection received"));
    reload(&proxy, &format!("{weights}connect_timeout = 9s\n"), "the configuration has been read again");
    assert_eq!([balance_node(&proxy), balance_node(&proxy)], ["1", "1"]);
    assert_eq!(status(&proxy, "connect_timeout"), "9000");
    proxy.assert_healthy();
}
