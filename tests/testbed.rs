//! The testbed itself: real PostgreSQL, made, stopped, killed, started again and cleared away.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use pgconvoy_io::testbed::{Hba, Options, StopMode, Testbed, TestbedError, USER, USER_PASSWORD};

#[test]
fn a_primary_and_two_standbys_hold_the_same_rows() {
    let testbed = Testbed::start(Options { standbys: 2, ..Options::default() }).unwrap();
    let in_recovery = |node| testbed.psql(node, "SELECT pg_is_in_recovery()").unwrap();
    assert_eq!([0, 1, 2].map(in_recovery), ["f", "t", "t"]);

    testbed.psql(0, "CREATE TABLE t AS SELECT generate_series(1, 1000) AS n").unwrap();
    testbed.wait_standbys_caught_up().unwrap();
    assert_eq!([0, 1, 2].map(|node| testbed.psql(node, "SELECT sum(n) FROM t").unwrap()), ["500500"; 3]);
    assert!(fails_with(testbed.psql(1, "INSERT INTO t VALUES (0)"), "read-only transaction"));
}

#[test]
fn each_method_asks_for_the_password() {
    for hba in [Hba::Trust, Hba::Password, Hba::Md5, Hba::Scram] {
        let testbed = Testbed::start(Options { hba, ..Options::default() }).unwrap();
        assert!(login(&testbed, USER_PASSWORD).unwrap().status.success(), "{hba:?} refused the right password");
        let wrong = login(&testbed, "wrong").unwrap();
        assert_eq!(wrong.status.success(), hba == Hba::Trust, "{hba:?}");
    }
}

#[test]
fn a_standby_and_a_killed_primary_come_back_on_their_ports() {
    let testbed = Testbed::start(Options { standbys: 1, hba: Hba::Scram, ..Options::default() }).unwrap();
    let ports = [0, 1].map(|node| testbed.node(node).port());
    testbed.psql(0, "CREATE TABLE t (n int)").unwrap();

    testbed.stop_node(1, StopMode::Fast).unwrap();
    testbed.psql(0, "INSERT INTO t VALUES (1)").unwrap();
    testbed.kill_node(0).unwrap();
    assert!(testbed.psql(0, "SELECT 1").is_err(), "the killed primary still answers");

    testbed.start_node(0).unwrap();
    testbed.start_node(1).unwrap();
    testbed.psql(0, "INSERT INTO t VALUES (2)").unwrap();
    testbed.wait_standbys_caught_up().unwrap();
    assert_eq!(testbed.psql(1, "SELECT count(*) FROM t").unwrap(), "2");
    assert_eq!([0, 1].map(|node| testbed.node(node).port()), ports);
}

#[test]
fn settings_reach_every_server_and_the_last_value_counts() {
    let settings = vec![("work_mem".into(), "1MB".into()), ("work_mem".into(), "3MB".into())];
    let testbed = Testbed::start(Options { standbys: 1, max_connections: 17, settings, ..Options::default() }).unwrap();
    for node in testbed.nodes() {
        assert_eq!(testbed.psql(node.number(), "SHOW work_mem").unwrap(), "3MB");
        assert_eq!(testbed.psql(node.number(), "SHOW max_connections").unwrap(), "17");
    }
}

#[test]
fn the_end_leaves_no_process_and_no_folder() {
    let testbed = Testbed::start(Options { standbys: 1, ..Options::default() }).unwrap();
    let pids: Vec<u32> = testbed.nodes().iter().map(|node| node.postmaster_pid().unwrap()).collect();
    let folder = testbed.folder().to_owned();
    testbed.kill_node(1).unwrap();
    drop(testbed);
    assert!(!folder.exists());
    for pid in pids {
        assert!(!Path::new(&format!("/proc/{pid}")).exists(), "postmaster {pid} is left");
    }
}

#[test]
fn a_server_that_joined_is_ended_too() {
    let testbed = Testbed::start(Options::default()).unwrap();
    let mut joined = Command::new("sleep").arg("600").current_dir(testbed.folder()).spawn().unwrap();
    let mut stranger = Command::new("sleep").arg("600").current_dir("/").spawn().unwrap();
    fs::write(testbed.folder().join("joined.pid"), joined.id().to_string()).unwrap();
    fs::write(testbed.folder().join("stale.pid"), stranger.id().to_string()).unwrap();
    drop(testbed);
    assert!(joined.try_wait().unwrap().is_some());
    assert!(stranger.try_wait().unwrap().is_none(), "a stale pid file ended a process elsewhere");
    stranger.kill().unwrap();
    stranger.wait().unwrap();
}

#[test]
fn a_kept_folder_holds_a_server_that_was_shut_down() {
    let testbed = Testbed::start(Options { keep: true, ..Options::default() }).unwrap();
    let (folder, bin_dir) = (testbed.folder().to_owned(), testbed.bin_dir().to_owned());
    let data_dir = testbed.node(0).data_dir().to_owned();
    drop(testbed);
    let control = Command::new(bin_dir.join("pg_controldata")).arg(&data_dir).output().unwrap();
    fs::remove_dir_all(&folder).unwrap();
    let control = String::from_utf8_lossy(&control.stdout).into_owned();
    let state = control.lines().find(|line| line.starts_with("Database cluster state:")).unwrap();
    assert!(state.ends_with(" shut down"), "{state}");
}

#[test]
fn a_start_that_fails_says_what_the_server_printed_and_leaves_nothing() {
    let folder = std::env::temp_dir().join(format!("pgconvoy-failing-{}", std::process::id()));
    let settings = vec![("shared_buffers".into(), "many".into())];
    let failed = Testbed::start(Options { settings, dir: Some(folder.clone()), ..Options::default() });
    assert!(fails_with(failed, "invalid value for parameter \"shared_buffers\": \"many\""));
    assert!(!folder.exists());
}

/// What psql says when the ordinary user logs in with `password`.
fn login(testbed: &Testbed, password: &str) -> std::io::Result<Output> {
    let node = testbed.node(0);
    let address = format!("host={} port={} user={USER} dbname={USER}", node.host(), node.port());
    let mut psql = Command::new(testbed.bin_dir().join("psql"));
    psql.args([&address, "-c", "SELECT 1"]).env("PGPASSWORD", password).output()
}

/// Whether `result` is an error that says `text`.
fn fails_with<T>(result: Result<T, TestbedError>, text: &str) -> bool {
    result.is_err_and(|error| error.to_string().contains(text))
}
