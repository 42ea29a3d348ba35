//! A standby that is held behind, on real servers: reads leave it, tables and the log show it, and reads come back.

mod support;

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use pgconvoy_io::testbed::{Hba, Options, Testbed};
use support::postgres::{start, superuser, superuser_login, wait_until};
use support::proxy::{Backend, Options as ProxyOptions, Proxy};
use support::wire::Connection;

/// Reads leave a standby, and come back, within a period of one second; the rest is for a machine with much to do.
const LIMIT: Duration = Duration::from_secs(10);

/// A primary with two standbys, and a table to write to.
fn servers() -> Testbed {
    let testbed = start(Options { standbys: 2, ..Options::default() });
    superuser(&testbed).query("CREATE TABLE t (a text)").expect("an answer");
    testbed.wait_standbys_caught_up().expect("the standbys catch up");
    testbed
}

/// pgconvoy in front of them, with a look at their delays each second.
fn options(testbed: &Testbed, weights: [u32; 3]) -> ProxyOptions {
    let nodes = testbed.nodes().iter().zip(weights);
    let backends: Vec<Backend> = nodes.map(|(node, weight)| Backend { port: node.port(), weight }).collect();
    let options = Proxy::over(&backends).set("sr_check_period", 1);
    options.set("backend_application_name1", "node1").set("backend_application_name2", "node2")
}

fn started(options: &ProxyOptions) -> Proxy {
    let proxy = options.start();
    proxy.wait_roles_known(3);
    proxy
}

fn session(proxy: &Proxy) -> Connection {
    Connection::login(proxy.address(), &superuser_login()).expect("a login")
}

/// The number of the node that a session's reads go to.
fn reads_from(testbed: &Testbed, session: &mut Connection) -> usize {
    let port = session.value("SHOW port");
    testbed.nodes().iter().position(|node| node.port().to_string() == port).expect("a node with that port")
}

/// A standby receives, but shows nothing new.
fn hold(testbed: &Testbed, node: usize) {
    testbed.psql(node, "SELECT pg_wal_replay_pause()").expect("replay is told to pause");
    let paused = || testbed.psql(node, "SELECT pg_get_wal_replay_pause_state()").expect("an answer");
    wait_until(LIMIT, "replay pauses", || paused().trim() == "paused");
}

fn release(testbed: &Testbed, node: usize) {
    testbed.psql(node, "SELECT pg_wal_replay_resume()").expect("replay goes on");
}

/// Writes some hundred kilobytes.
fn write(testbed: &Testbed) {
    let insert = "INSERT INTO t SELECT repeat('x', 1000) FROM generate_series(1, 500)";
    superuser(testbed).query(insert).expect("an answer");
}

/// Delay, state and sync state of a node in `SHOW pool_nodes`.
fn replication(proxy: &Proxy, node: usize) -> [String; 3] {
    let rows = session(proxy).rows("SHOW pool_nodes");
    [10, 11, 12].map(|column| rows[node][column].clone().expect("no column is NULL"))
}

fn bytes_behind(proxy: &Proxy, node: usize) -> u64 {
    replication(proxy, node)[0].parse().expect("a number of bytes")
}

#[test]
fn by_bytes_reads_leave_a_standby_that_lags_and_come_back() {
    let testbed = servers();
    let mut proxy = started(&options(&testbed, [0, 1, 0]).set("delay_threshold", 100_000));
    let mut reader = session(&proxy);
    let mut in_block = session(&proxy);
    // What a database is like is not asked within a block: both ask before.
    assert_eq!((reads_from(&testbed, &mut reader), reads_from(&testbed, &mut in_block)), (1, 1));
    in_block.query("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY").expect("an answer");
    assert_eq!(reads_from(&testbed, &mut in_block), 1);
    wait_until(LIMIT, "states are known", || replication(&proxy, 1)[1..] == ["streaming", "async"]);
    assert_eq!(replication(&proxy, 0), ["0", "", ""], "the primary has none");
    assert!(!proxy.log().contains("is behind"), "{}", proxy.log());

    hold(&testbed, 1);
    write(&testbed);
    wait_until(LIMIT, "reads leave the standby", || reads_from(&testbed, &mut reader) == 0);
    assert!(bytes_behind(&proxy, 1) > 100_000);
    assert_eq!(reads_from(&testbed, &mut session(&proxy)), 0, "of new sessions too");
    assert_eq!(reader.rows("EXPLAIN ROUTE SHOW port")[0][2].as_deref(), Some("delay"));
    assert_eq!(reads_from(&testbed, &mut in_block), 1, "a block reads from one node to its end");
    in_block.query("COMMIT").expect("an answer");
    assert_eq!(reads_from(&testbed, &mut in_block), 0);
    wait_until(LIMIT, "the other standby is well", || bytes_behind(&proxy, 2) == 0);
    let line = |line: &str| {
        line.contains("Replication of node:1 is behind ") && line.ends_with(" bytes from the primary server (node:0)")
    };
    assert!(proxy.log().lines().any(line), "{}", proxy.log());
    assert!(!proxy.log().contains("Replication of node:2"), "{}", proxy.log());

    release(&testbed, 1);
    wait_until(LIMIT, "reads come back", || reads_from(&testbed, &mut reader) == 1);
    assert_eq!(reads_from(&testbed, &mut in_block), 1);
    wait_until(LIMIT, "nothing is missing", || bytes_behind(&proxy, 1) == 0);
    proxy.assert_healthy();
}

#[test]
fn by_time_the_age_of_what_is_missing_counts() {
    let testbed = servers();
    superuser(&testbed).query("CREATE ROLE plain LOGIN").expect("an answer");
    testbed.wait_standbys_caught_up().expect("the standbys catch up");
    // Once with what the primary measures, once with a user who may not see that.
    for user in ["postgres", "plain"] {
        let options = options(&testbed, [0, 1, 0]).set("delay_threshold_by_time", 2500).set("delay_threshold", 1);
        let options = options.set("log_standby_delay", "none").set("sr_check_user", user);
        let mut proxy = started(&options);
        let mut reader = session(&proxy);
        let state = if user == "plain" { ["", ""] } else { ["streaming", "async"] };
        wait_until(LIMIT, "delays are known", || replication(&proxy, 1)[0] == "0.000000 second");
        wait_until(LIMIT, "states are known", || replication(&proxy, 1)[1..] == state);
        hold(&testbed, 1);
        let held = Instant::now();
        write(&testbed);
        let mut left = || reads_from(&testbed, &mut reader) == 0;
        wait_until(LIMIT, "reads leave the standby", || {
            superuser(&testbed).query("INSERT INTO t VALUES ('more')").expect("an answer");
            left()
        });
        assert!(held.elapsed() > Duration::from_millis(2500), "{user}: after {:?} already", held.elapsed());
        let shown = replication(&proxy, 1)[0].clone();
        let seconds: f64 = shown.strip_suffix(" seconds").expect("two seconds or more").parse().expect("a number");
        assert!(seconds > 2.5 && seconds < held.elapsed().as_secs_f64() + 1.0, "{user}: {shown}");
        release(&testbed, 1);
        // Nothing is written any more: what the primary measured last stays for a while, but the standby has it all.
        wait_until(LIMIT, "reads come back", || reads_from(&testbed, &mut reader) == 1);
        assert!(!proxy.log().contains("is behind"), "{}", proxy.log());
        proxy.assert_healthy();
    }
}

#[test]
fn who_checks_proves_the_password_that_is_configured() {
    let testbed = start(Options { standbys: 1, hba: Hba::Scram, ..Options::default() });
    for sql in ["CREATE ROLE checker LOGIN PASSWORD 'mine'", "CREATE DATABASE checked"] {
        superuser(&testbed).rows(sql);
    }
    testbed.wait_standbys_caught_up().expect("the standbys catch up");
    let options = Proxy::over(&[0, 1].map(|node| Backend { port: testbed.node(node).port(), weight: 1 }));
    let checks = |user: &str, password: &str| {
        options.clone().set("sr_check_period", 1).set("sr_check_user", user).set("sr_check_password", password)
    };
    for options in [
        checks("checker", "mine").set("sr_check_database", "checked"),
        checks("checker", "TEXTmine"),
        checks("checker", "").password("checker", "mine"),
    ] {
        let mut proxy = options.spawn();
        proxy.wait_roles_known(2);
        proxy.assert_healthy();
    }
    let sessions = "SELECT sessions > 0 FROM pg_stat_database WHERE datname = 'checked'";
    wait_until(LIMIT, "sr_check_database", || superuser(&testbed).value(sessions) == "t");
    let refused = checks("checker", "wrong").set("log_min_messages", "debug1").spawn();
    wait_until(LIMIT, "the wrong password is refused", || refused.log().contains("does not let the probe in"));
    let known = |log: &str| log.contains("role primary") || log.contains("role standby");
    assert!(!known(&refused.log()), "{}", refused.log());
}

#[test]
fn without_a_threshold_delays_are_only_shown() {
    let testbed = servers();
    let mut proxy = started(&options(&testbed, [0, 1, 0]).set("log_standby_delay", "always"));
    let mut unasked = started(&options(&testbed, [0, 1, 0]).set("sr_check_period", 0).set("delay_threshold", 1));
    hold(&testbed, 1);
    write(&testbed);
    wait_until(LIMIT, "the log tells", || proxy.log().contains("Replication of node:1 is behind "));
    wait_until(LIMIT, "the table shows", || bytes_behind(&proxy, 1) > 100_000);
    assert_eq!(reads_from(&testbed, &mut session(&proxy)), 1);
    // Where nobody is to look, nothing is known.
    assert_eq!(replication(&unasked, 1), ["0", "", ""]);
    let rows = session(&unasked).rows("SHOW pool_nodes");
    assert!(rows.iter().all(|row| row[7].as_deref() == Some("unknown")), "{rows:?}");
    assert_eq!(reads_from(&testbed, &mut session(&unasked)), 1);
    proxy.assert_healthy();
    unasked.assert_healthy();
}

#[test]
fn a_session_may_prefer_the_least_delayed_standby() {
    let testbed = servers();
    let options = options(&testbed, [0, 1, 1]).set("delay_threshold", 100_000).set("prefer_lower_delay_standby", "on");
    let mut proxy = started(&options);
    let spread = || {
        let mut count = [0; 3];
        for _ in 0..12 {
            count[reads_from(&testbed, &mut session(&proxy))] += 1;
        }
        count
    };
    let both = spread();
    assert!(both[0] == 0 && both[1] > 0 && both[2] > 0, "{both:?}");
    hold(&testbed, 1);
    write(&testbed);
    wait_until(LIMIT, "the first standby lags", || bytes_behind(&proxy, 1) > 100_000);
    wait_until(LIMIT, "the second does not", || bytes_behind(&proxy, 2) < 100_000);
    assert_eq!(spread(), [0, 0, 12]);
    hold(&testbed, 2);
    write(&testbed);
    wait_until(LIMIT, "both lag", || bytes_behind(&proxy, 2) > 100_000);
    assert_eq!(spread(), [12, 0, 0]);
    for node in [1, 2] {
        release(&testbed, node);
    }
    wait_until(LIMIT, "both are well", || bytes_behind(&proxy, 1).max(bytes_behind(&proxy, 2)) < 100_000);
    let both = spread();
    assert!(both[0] == 0 && both[1] > 0 && both[2] > 0, "{both:?}");
    proxy.assert_healthy();
}

/// A command that prints what a file says, and does what others say.
struct Source {
    folder: tempfile::TempDir,
}

impl Source {
    fn new() -> Self {
        let source = Self { folder: tempfile::tempdir().expect("a folder") };
        let script = "cd \"$(dirname \"$0\")\"\necho \"$@\" > arguments\n[ ! -e slow ] || sleep 600\n\
                      [ ! -e wrong ] || exit 3\ncat values\n";
        fs::write(source.path("delays.sh"), script).expect("writing the script");
        source
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// What it prints from now on. The file is never seen half written.
    fn prints(&self, values: &str) {
        fs::write(self.path("new"), values).expect("writing the values");
        fs::rename(self.path("new"), self.path("values")).expect("putting the values in place");
    }
}

#[test]
fn a_command_may_say_the_delays() {
    let testbed = servers();
    let source = Source::new();
    source.prints("25 50.5\n");
    let options = options(&testbed, [0, 1, 0])
        .set("replication_delay_source_cmd", format!("sh {}", source.path("delays.sh").display()))
        .set("replication_delay_source_timeout", 1)
        .set("delay_threshold_by_time", 1000)
        .set("log_min_messages", "debug1");
    let mut proxy = started(&options);
    let mut reader = session(&proxy);
    let shows = |delays: [&str; 2]| [1, 2].map(|node| replication(&proxy, node)[0].clone()) == delays;
    let says = |text: &str| wait_until(LIMIT, text, || proxy.log().contains(text));

    wait_until(LIMIT, "what the command says is shown", || shows(["0.025000 second", "0.050500 second"]));
    let arguments = fs::read_to_string(source.path("arguments")).expect("its arguments");
    let standbys = [1, 2].map(|node| format!("127.0.0.1:{}", testbed.node(node).port()));
    assert_eq!(arguments.trim(), standbys.join(" "), "the standbys, and not the primary");
    says(&format!("executing replication delay command: sh {}", source.path("delays.sh").display()));
    assert_eq!(reads_from(&testbed, &mut reader), 1);

    source.prints("2000 0\n");
    wait_until(LIMIT, "reads leave the standby", || reads_from(&testbed, &mut reader) == 0);
    assert!(shows(["2.000000 seconds", "0.000000 second"]));
    says("Replication of node: 1 is behind 2.000000 second(s) from the primary server (node: 0) [external command]");

    source.prints("-1 30\n");
    says("node 1 reported as down by external command (delay -1), relying on health check");
    wait_until(LIMIT, "the other value counts", || shows(["2.000000 seconds", "0.030000 second"]));
    assert_eq!(session(&proxy).rows("SHOW pool_nodes")[1][3].as_deref(), Some("up"));
    source.prints("");
    says("replication delay command produced no output");
    source.prints("soon 31\n");
    says("invalid delay value 'soon' for node 1");
    fs::write(source.path("wrong"), "").expect("a file");
    says("replication delay command failed with exit code 3");
    fs::write(source.path("slow"), "").expect("a file");
    says("replication delay command timed out after 1 seconds");
    assert_eq!(reads_from(&testbed, &mut reader), 0, "without an answer it stays as it was");

    source.prints("999 0");
    for name in ["slow", "wrong"] {
        fs::remove_file(source.path(name)).expect("the file goes");
    }
    wait_until(LIMIT, "reads come back", || reads_from(&testbed, &mut reader) == 1);
    proxy.assert_healthy();
}
