//! Reads that a standby refuses, though nothing told beforehand that it would: the primary answers them, and the client does
//! not hear of it.

mod support;

use support::postgres::{address, superuser};
use support::proxy::Proxy;
use support::routes::{TRACED, options, reached, servers, session, started};
use support::wire::frontend::{Frontend, Target};
use support::wire::{Connection, Login, Message};

/// Where a statement arrives that a standby has refused.
const BOTH: &[u8] = &[0, 1];

/// A function that reads what a standby does not have, and one that will write.
const OBJECTS: &str = "
    CREATE TABLE calls (a int);
    CREATE FUNCTION peeks() RETURNS bigint LANGUAGE plpgsql STABLE AS 'BEGIN RETURN (SELECT count(*) FROM unlogged); END';
    CREATE FUNCTION looks() RETURNS bigint LANGUAGE sql STABLE AS 'SELECT count(*) FROM unlogged';
    CREATE FUNCTION changing() RETURNS int LANGUAGE plpgsql STABLE AS 'BEGIN RETURN 1; END';
    CREATE FUNCTION redefine() RETURNS void LANGUAGE plpgsql AS $$
        BEGIN EXECUTE 'CREATE OR REPLACE FUNCTION changing() RETURNS int LANGUAGE sql VOLATILE
            AS ''INSERT INTO calls VALUES (2) RETURNING a'''; END $$";

/// How a read is sent.
const WAYS: [&str; 5] = ["simple", "extended", "undescribed", "prepared", "flushed"];

/// Sends a read, and returns what came.
fn read(session: &mut Connection, way: &str, sql: &str) -> Vec<Message> {
    let describe = |target, name: &str| Frontend::Describe(target, name.to_owned());
    let run = |name: &str| vec![Frontend::bind("", name), Frontend::execute(""), Frontend::Sync];
    let messages = match way {
        "simple" => vec![Frontend::query(sql)],
        "undescribed" => [vec![Frontend::parse("", sql)], run("")].concat(),
        "extended" => vec![
            Frontend::parse("", sql),
            Frontend::bind("", ""),
            describe(Target::Portal, ""),
            Frontend::execute(""),
            Frontend::Sync,
        ],
        "prepared" => {
            let batch = [Frontend::parse("p", sql), describe(Target::Statement, "p"), Frontend::Sync];
            session.send_all(&batch).and_then(|()| session.read_to_ready()).expect("an answer");
            run("p")
        }
        _ => {
            session.send_all(&[Frontend::parse("", sql), Frontend::Flush]).expect("a write");
            assert_eq!(session.read().expect("an answer").kind, b'1');
            run("")
        }
    };
    session.send_all(&messages).and_then(|()| session.read_to_ready()).expect("an answer")
}

/// Kinds of messages with the values of rows, as a client hears them.
fn heard(messages: &[Message]) -> String {
    let word = |message: &Message| match message.kind {
        b'D' => format!("D{:?}", message.row()),
        b'E' => format!("E{}", message.sqlstate()),
        kind => char::from(kind).to_string(),
    };
    messages.iter().map(word).collect::<Vec<_>>().join(" ")
}

fn direct(testbed: &pgconvoy_io::testbed::Testbed) -> Connection {
    Connection::login(address(testbed.node(0)), &Login::new(TRACED, "postgres")).expect("a login")
}

#[test]
fn what_a_standby_cannot_read_is_read_on_the_primary() {
    let testbed = servers();
    superuser(&testbed).query(OBJECTS).expect("the functions are made");
    testbed.wait_standbys_caught_up().expect("the standbys catch up");
    let mut proxy = started(&options(&testbed, [0, 1, 0]).set("check_unlogged_table", "off"));
    for read_sql in
        ["SELECT peeks()", "SELECT looks()", "SELECT a, peeks() FROM t ORDER BY a", "SELECT * FROM unlogged"]
    {
        for way in WAYS {
            let mark = format!("/*{way} {read_sql}*/");
            let sql = format!("{read_sql} {mark}");
            let expected = heard(&read(&mut direct(&testbed), way, &sql));
            let mut session = session(&proxy);
            assert_eq!(heard(&read(&mut session, way, &sql)), expected, "{sql}");
            assert_eq!(session.value("SELECT 7"), "7", "and all is in order afterwards");
            let found = reached(&testbed, &mark, BOTH);
            assert_eq!(found, BOTH, "{sql}");
        }
    }
    proxy.assert_healthy();
}

#[test]
fn a_function_that_has_come_to_write_behind_the_catalogue_writes_once() {
    let testbed = servers();
    let mut root = superuser(&testbed);
    root.query(OBJECTS).expect("the functions are made");
    testbed.wait_standbys_caught_up().expect("the standbys catch up");
    let mut proxy = started(&options(&testbed, [0, 1, 0]));
    let stable = "CREATE OR REPLACE FUNCTION changing() RETURNS int LANGUAGE plpgsql STABLE AS 'BEGIN RETURN 1; END'";
    // By a connection of its own, and by a function that pgconvoy takes for one that only writes.
    for (past, how) in [(true, "SELECT redefine()"), (false, "SELECT redefine()")] {
        for way in WAYS {
            let mut definer = session(&proxy);
            definer.query(stable).expect("an answer");
            root.query("TRUNCATE calls").expect("an answer");
            testbed.wait_standbys_caught_up().expect("the standbys catch up");
            let mut reader = session(&proxy);
            assert_eq!(reader.value("SELECT changing()"), "1");
            if past { root.query(how) } else { definer.query(how) }.expect("an answer");
            testbed.wait_standbys_caught_up().expect("the standbys catch up");
            let mark = format!("/*{way} {past}*/");
            let answer = heard(&read(&mut reader, way, &format!("SELECT changing() {mark}")));
            assert!(answer.contains("D[Some(\"2\")]") && !answer.contains('E'), "{way}: {answer}");
            assert_eq!(reached(&testbed, &mark, BOTH), BOTH, "{way}");
            assert_eq!(root.value("SELECT count(*) FROM calls"), "1", "{way}");
        }
    }
    proxy.assert_healthy();
}

/// Where something may have been changed, or seen, the client is told.
#[test]
fn what_is_not_alone_is_told_as_it_is() {
    let testbed = servers();
    superuser(&testbed).query(OBJECTS).expect("the functions are made");
    testbed.wait_standbys_caught_up().expect("the standbys catch up");
    let mut proxy = started(&options(&testbed, [0, 1, 0]));
    let refused = |messages: &[Message]| heard(messages).contains("E0A000");
    let in_block = |proxy: &Proxy| {
        let mut session = session(proxy);
        session.rows("SELECT peeks() WHERE false");
        session.query("BEGIN").expect("an answer");
        let answer = session.query("SELECT peeks()").expect("an answer");
        session.query("ROLLBACK").expect("an answer");
        assert_eq!(session.value("SELECT peeks()"), "0", "for the rest of the session, the primary is asked");
        answer
    };
    assert!(refused(&in_block(&proxy)));
    let mut rows_first = session(&proxy);
    let seen = "SELECT CASE WHEN n < 3000 THEN 0 ELSE peeks() END FROM generate_series(1, 3000) n";
    let answer = rows_first.query(seen).expect("an answer");
    assert!(refused(&answer) && answer.iter().filter(|message| message.kind == b'D').count() > 1);
    proxy.assert_healthy();
}
