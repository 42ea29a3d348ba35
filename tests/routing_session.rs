//! Where statements go by what their session has done, or another, on a primary with two standbys: each is looked for in
//! the servers' own logs.

mod support;

use std::time::{Duration, Instant};

use support::postgres::superuser;
use support::routes::{BOTH, PRIMARY, STANDBY, count, nodes_of, options, reached, servers, session, started};
use support::wire::Connection;
use support::wire::frontend::Frontend;

#[test]
fn a_write_keeps_reads_on_the_primary_as_configured() {
    let testbed = servers();
    let script = [
        ("SELECT a FROM t", true),
        ("BEGIN", false),
        ("SELECT a FROM t", true),
        ("INSERT INTO plain VALUES (1)", false),
        ("SELECT a FROM t", true),
        ("COMMIT", false),
        ("SELECT a FROM t", true),
        ("BEGIN", false),
        ("SELECT a FROM t", true),
        ("COMMIT", false),
    ];
    let expected: [(&str, [u8; 5]); 4] = [
        ("off", [1, 1, 1, 1, 1]),
        ("transaction", [1, 1, 0, 1, 1]),
        ("trans_transaction", [1, 1, 0, 1, 0]),
        ("always", [1, 1, 0, 0, 0]),
    ];
    for (word, expected) in expected {
        let mut proxy = started(&options(&testbed, [0, 1, 0]).set("disable_load_balance_on_write", word));
        let mut session = session(&proxy);
        let mut found = Vec::new();
        for (at, (sql, marked)) in script.iter().enumerate() {
            let mark = format!("/*{word} {at}*/");
            session.query(&format!("{sql} {mark}")).expect("an answer");
            if *marked {
                found.extend(nodes_of(&testbed, &mark));
            }
        }
        assert_eq!(found, expected, "{word}");
        proxy.assert_healthy();
    }
}

/// In a transaction names cannot be looked up, and behind each of them something may write.
#[test]
fn what_a_transaction_may_have_written_it_reads() {
    let testbed = servers();
    superuser(&testbed).query("CREATE VIEW writing AS SELECT writer()").expect("an answer");
    testbed.wait_standbys_caught_up().expect("the standbys catch up");
    let mut proxy = started(&options(&testbed, [0, 1, 0]));
    let mut session = session(&proxy);
    assert_eq!(session.value("SELECT count(*) FROM plain /*known*/"), "0");
    assert_eq!(nodes_of(&testbed, "/*known*/"), STANDBY);
    for (text, expected) in [("/*c*/ SELECT * FROM writing", "1"), ("SELECT * FROM writing", "2")] {
        session.query("BEGIN").expect("an answer");
        session.rows(text);
        assert_eq!(session.value("SELECT count(*) FROM plain"), expected, "{text}");
        session.query("COMMIT").expect("an answer");
    }
    proxy.assert_healthy();
}

#[test]
fn temporary_tables_are_read_on_the_primary_and_the_rest_goes_on() {
    let testbed = servers();
    let mut proxy = started(&options(&testbed, [0, 1, 0]));
    superuser(&testbed)
        .query(
            "CREATE FUNCTION makes_temporary() RETURNS int LANGUAGE plpgsql AS \
             'BEGIN CREATE TEMP TABLE plain (a int); INSERT INTO plain VALUES (7); RETURN 1; END'",
        )
        .expect("an answer");
    testbed.wait_standbys_caught_up().expect("the standbys catch up");
    let mut session = session(&proxy);
    session.query("CREATE TEMP TABLE mine AS SELECT 42 AS a").expect("an answer");
    assert_eq!(session.value("SELECT a FROM mine /*temporary 1*/"), "42");
    assert_eq!(nodes_of(&testbed, "/*temporary 1*/"), PRIMARY);
    session.rows("SELECT a FROM t /*temporary 2*/");
    assert_eq!(nodes_of(&testbed, "/*temporary 2*/"), STANDBY);
    assert_eq!(session.value("SELECT count(*) FROM plain /*temporary 3*/"), "0");
    assert_eq!(nodes_of(&testbed, "/*temporary 3*/"), STANDBY);
    // From now on, the name means something else in this session.
    session.rows("SELECT makes_temporary()");
    assert_eq!(session.value("SELECT a FROM plain /*temporary 4*/"), "7");
    assert_eq!(nodes_of(&testbed, "/*temporary 4*/"), PRIMARY);
    session.query("DISCARD TEMP").expect("an answer");
    assert_eq!(session.value("SELECT count(*) FROM plain /*temporary 5*/"), "0");
    assert_eq!(nodes_of(&testbed, "/*temporary 5*/"), STANDBY);
    proxy.assert_healthy();
}

/// `pg_settings` has a rule for its updates, which changes settings: whoever reads it has changed none.
#[test]
fn what_runs_at_a_write_is_nothing_to_who_reads() {
    let testbed = servers();
    let mut proxy = started(&options(&testbed, [0, 1, 0]));
    let mut session = session(&proxy);
    // The second time, what the first has asked about is known.
    for round in 1..=2 {
        session.rows("SELECT count(*) FROM pg_settings");
        session.rows(&format!("SELECT a FROM t /*read {round}*/"));
        assert_eq!(nodes_of(&testbed, &format!("/*read {round}*/")), STANDBY);
    }
    proxy.assert_healthy();
}

#[test]
fn a_route_is_explained_as_it_is_taken() {
    let testbed = servers();
    let mut proxy = started(&options(&testbed, [0, 1, 0]));
    let mut session = session(&proxy);
    for (sql, row) in [
        ("SELECT a FROM t", ["1", "EITHER", "balanced"]),
        ("SELECT volatile_f(1)", ["0", "PRIMARY", "class"]),
        ("DELETE FROM t", ["0", "PRIMARY", "class"]),
        ("SET work_mem = 1", ["0, 1", "BOTH", "state"]),
        ("/*c*/ SELECT a FROM t", ["0", "EITHER", "comment"]),
    ] {
        let rows = session.rows(&format!("EXPLAIN ROUTE {sql}"));
        let found: Vec<&str> = rows[0].iter().take(3).map(|value| value.as_deref().unwrap_or("")).collect();
        assert_eq!(found, row, "{sql}: {rows:?}");
        let batch = [
            Frontend::parse("", &format!("explain route {sql}")),
            Frontend::bind("", ""),
            Frontend::Describe(support::wire::frontend::Target::Portal, String::new()),
            Frontend::execute(""),
            Frontend::Sync,
        ];
        session.send_all(&batch).expect("a write");
        let answer = session.read_to_ready().expect("an answer");
        let found = answer.iter().find(|message| message.kind == b'D').expect("a row").row();
        assert_eq!(found, rows[0], "{sql} in the extended protocol");
    }
    proxy.assert_healthy();
}

#[test]
fn dml_adaptive_keeps_what_was_written_on_the_primary() {
    let testbed = servers();
    let mut proxy = started(
        &options(&testbed, [0, 1, 0])
            .set("disable_load_balance_on_write", "dml_adaptive")
            // A function could have made a temporary table.
            .set("check_temp_table", "trace")
            .set("dml_adaptive_object_relationship_list", "plain:kept,writer():plain"),
    );
    let script: [(&str, &[u8]); 17] = [
        ("BEGIN", BOTH),
        ("INSERT INTO plain VALUES (1)", PRIMARY),
        ("SELECT a FROM t", STANDBY),
        ("SELECT a FROM plain", PRIMARY),
        ("SELECT a FROM kept", PRIMARY),
        ("COMMIT", BOTH),
        ("SELECT a FROM t", STANDBY),
        ("BEGIN", BOTH),
        ("SELECT writer()", PRIMARY),
        ("SELECT a FROM t", STANDBY),
        ("SELECT a FROM plain", PRIMARY),
        ("ROLLBACK", BOTH),
        ("SELECT a FROM plain", STANDBY),
        // What an unlisted function writes, nobody knows.
        ("BEGIN", BOTH),
        ("SELECT volatile_f(1)", PRIMARY),
        ("SELECT a FROM t", PRIMARY),
        ("COMMIT", BOTH),
    ];
    let mut session = session(&proxy);
    // The names are known before the first transaction.
    for table in ["t", "plain", "kept"] {
        session.rows(&format!("SELECT a FROM {table}"));
    }
    session.rows("SELECT writer(), volatile_f(1)");
    session.query("DELETE FROM plain WHERE false").expect("an answer");
    for (at, (sql, expected)) in script.iter().enumerate() {
        let mark = format!("/*adaptive {at}*/");
        let messages = session.query(&format!("{sql} {mark}")).expect("an answer");
        assert!(messages.iter().all(|message| message.kind != b'E'), "{sql}: {messages:?}");
        assert_eq!(reached(&testbed, &mark, expected), *expected, "{at}: {sql}");
    }
    proxy.assert_healthy();
}

#[test]
fn a_node_is_drawn_for_each_read_that_stands_alone() {
    let testbed = servers();
    let mut proxy = started(&options(&testbed, [1, 1, 1]).set("statement_level_load_balance", "on"));
    let mut session = session(&proxy);
    session.rows("SELECT a FROM t");
    session.query("SET work_mem = '7MB' /*for all*/").expect("an answer");
    assert_eq!(reached(&testbed, "/*for all*/", &[0, 1, 2]), [0, 1, 2]);
    for number in 0..60 {
        let sql = format!("SELECT current_setting('work_mem') FROM t WHERE a = {} /*drawn*/", 1 + number % 2);
        assert_eq!(session.value(&sql), "7MB", "it is set wherever it is read");
    }
    let drawn = [0, 1, 2].map(|node| count(&testbed, node, "/*drawn*/"));
    assert!(drawn.iter().all(|count| (18..=22).contains(count)), "{drawn:?}");
    session.send_all(&[Frontend::parse("s", "SELECT a FROM t /*named*/"), Frontend::Sync]).expect("a message");
    session.read_to_ready().expect("an answer");
    for _ in 0..30 {
        session.send_all(&[Frontend::bind("", "s"), Frontend::execute(""), Frontend::Sync]).expect("a message");
        let messages = session.read_to_ready().expect("an answer");
        assert_eq!(messages.iter().filter(|message| message.kind == b'D').count(), 2, "{messages:?}");
    }
    let named = [0, 1, 2].map(|node| count(&testbed, node, "execute s: SELECT a FROM t /*named*/"));
    assert!(named.iter().all(|count| (8..=12).contains(count)), "{named:?}");
    for block in 0..6 {
        let mark = format!("/*block {block}*/");
        for sql in ["BEGIN".to_owned(), format!("SELECT 1 {mark}"), format!("TABLE t {mark}"), "COMMIT".to_owned()] {
            let messages = session.query(&sql).expect("an answer");
            assert!(messages.iter().all(|message| message.kind != b'E'), "{sql}: {messages:?}");
        }
        assert_eq!(nodes_of(&testbed, &mark).len(), 1, "a transaction reads from one node");
    }
    proxy.assert_healthy();
}

#[test]
fn a_session_that_changes_its_application_name_reads_elsewhere() {
    let testbed = servers();
    let mut proxy = started(
        &options(&testbed, [1, 0, 0]).set("app_name_redirect_preference_list", "report.*:2,web:1,console:primary"),
    );
    let mut session = session(&proxy);
    for (at, (name, expected)) in
        [("other", 0), ("reporting", 2), ("web", 1), ("console", 0), ("report", 2), ("other", 0)]
            .into_iter()
            .enumerate()
    {
        session.query(&format!("SET application_name = '{name}'")).expect("an answer");
        let mark = format!("/*{name} {at}*/");
        session.rows(&format!("SELECT a FROM t {mark}"));
        assert_eq!(nodes_of(&testbed, &mark), [expected], "{name}");
    }
    proxy.assert_healthy();
}

#[test]
fn dml_adaptive_global_minds_what_other_sessions_have_written() {
    let testbed = servers();
    let mut proxy = started(
        &options(&testbed, [0, 1, 0])
            .set("disable_load_balance_on_write", "dml_adaptive_global")
            .set("track_table_mutation_cold_start_duration", "0")
            .set("check_temp_table", "none"),
    );
    let (mut reader, mut writer) = (session(&proxy), session(&proxy));
    superuser(&testbed)
        .query(
            "CREATE VIEW over_plain AS SELECT a FROM plain;
             CREATE VIEW far_over_plain AS SELECT o.a FROM over_plain o JOIN t USING (a);
             CREATE TABLE logged (a int);
             CREATE TABLE ruled (a int);
             CREATE RULE also AS ON INSERT TO ruled DO ALSO INSERT INTO logged VALUES (new.a);
             CREATE TABLE base (a int);
             CREATE VIEW easy AS SELECT a FROM base;
             CREATE TABLE halves (a int) PARTITION BY RANGE (a);
             CREATE TABLE lower_half PARTITION OF halves FOR VALUES FROM (0) TO (10);
             CREATE TABLE upper_half PARTITION OF halves FOR VALUES FROM (10) TO (20)",
        )
        .expect("the objects are made");
    testbed.wait_standbys_caught_up().expect("the standbys catch up");
    for table in ["t", "plain"] {
        reader.rows(&format!("SELECT a FROM {table}"));
    }
    testbed.psql(1, "SELECT pg_wal_replay_pause()").expect("replay is told to pause");
    // Until the check has seen it, a write matters for 100 ms only.
    let deadline = Instant::now() + Duration::from_secs(20);
    while writer.rows("SHOW pool_nodes")[1][10].as_deref() == Some("0") {
        assert!(Instant::now() < deadline, "the standby's delay is never seen");
        writer.query("INSERT INTO guarded VALUES (1)").expect("an answer");
    }
    writer.query("INSERT INTO plain VALUES (1)").expect("an answer");
    let read = |reader: &mut Connection, table: &str, at: u32| {
        let mark = format!("/*global {table} {at}*/");
        reader.rows(&format!("SELECT a FROM {table} {mark}"));
        nodes_of(&testbed, &mark)
    };
    assert_eq!(read(&mut reader, "plain", 0), PRIMARY);
    assert_eq!(read(&mut reader, "t", 0), STANDBY);
    let deadline = Instant::now() + Duration::from_secs(30);
    let cases = [
        ("INSERT INTO plain VALUES (1)", "over_plain", PRIMARY),
        ("INSERT INTO plain VALUES (1)", "far_over_plain", PRIMARY),
        ("INSERT INTO plain VALUES (1)", "logged", STANDBY),
        ("INSERT INTO ruled VALUES (1)", "logged", PRIMARY),
        ("INSERT INTO easy VALUES (1)", "base", PRIMARY),
        ("INSERT INTO lower_half VALUES (1)", "halves", PRIMARY),
        ("INSERT INTO lower_half VALUES (1)", "upper_half", STANDBY),
        ("INSERT INTO halves VALUES (11)", "upper_half", PRIMARY),
        ("INSERT INTO halves VALUES (11)", "t", STANDBY),
    ];
    for (at, (write, table, expected)) in (1..).zip(cases) {
        // It is known before, so that the read follows the write within its time.
        read(&mut reader, table, 100 + at);
        let found = (1..).map(|round| {
            writer.query(write).expect("an answer");
            read(&mut reader, table, 1000 * at + round)
        });
        // On a busy machine, the time of one write may be over before the read.
        let mut found = found.take_while(|_| Instant::now() < deadline);
        assert!(found.any(|found| found == expected), "{write}; {table}");
    }
    testbed.psql(1, "SELECT pg_wal_replay_resume()").expect("replay goes on");
    let mut rounds = 200..;
    while read(&mut reader, "plain", rounds.next().expect("there are always more")) != STANDBY {
        assert!(Instant::now() < deadline, "the table is never read from the standby again");
    }
    proxy.assert_healthy();
}

#[test]
fn a_name_means_what_the_path_makes_of_it() {
    let testbed = servers();
    let mut proxy = started(&options(&testbed, [0, 1, 0]));
    let mut root = superuser(&testbed);
    root.query(
        "CREATE VIEW tenant.t AS SELECT volatile_f(1) AS a; CREATE UNLOGGED TABLE tenant.plain (a int);
         CREATE FUNCTION tenant.lower(text) RETURNS text LANGUAGE plpgsql AS 'BEGIN RETURN $1; END'",
    )
    .expect("an answer");
    testbed.wait_standbys_caught_up().expect("the standbys catch up");
    let mut session = session(&proxy);
    let script: [(&str, &[u8]); 15] = [
        ("SELECT a, lower(b) FROM t", STANDBY),
        ("SELECT a FROM plain", STANDBY),
        ("SET search_path = tenant, public", BOTH),
        ("SELECT a FROM t", PRIMARY),
        ("SELECT a FROM plain", PRIMARY),
        // Which of several functions is called, the types of its arguments tell: any of the path may be.
        ("SELECT lower(b) FROM public.t", PRIMARY),
        ("SET search_path = public", BOTH),
        ("SELECT lower(b) FROM t", STANDBY),
        ("SET search_path = tenant", BOTH),
        ("SELECT pg_catalog.lower(b) FROM public.t", STANDBY),
        ("BEGIN", BOTH),
        ("SET LOCAL search_path = public", BOTH),
        ("SELECT a FROM t", PRIMARY),
        ("ROLLBACK", BOTH),
        ("SELECT a FROM t", PRIMARY),
    ];
    for (at, (sql, expected)) in script.iter().enumerate() {
        let mark = format!("/*path {at}*/");
        let messages = session.query(&format!("{sql} {mark}")).expect("an answer");
        assert!(messages.iter().all(|message| message.kind != b'E'), "{sql}: {messages:?}");
        assert_eq!(reached(&testbed, &mark, expected), *expected, "{at}: {sql}");
    }
    proxy.assert_healthy();
}

/// What changes a session where only the primary sees it, and reads that would find the difference.
#[test]
fn what_the_primary_alone_knows_of_a_session_is_read_there() {
    let testbed = servers();
    superuser(&testbed)
        .query(
            "CREATE FUNCTION enter(text) RETURNS void LANGUAGE plpgsql AS
                 'BEGIN PERFORM set_config(''my.tenant'', $1, false); END';
             CREATE FUNCTION \"Visit\"(text) RETURNS void LANGUAGE sql AS 'SELECT 1; SELECT enter($1)';
             CREATE FUNCTION travel() RETURNS void LANGUAGE plpgsql AS E'BEGIN -- away\n SET my.tenant = 1; END';
             CREATE FUNCTION ask() RETURNS text LANGUAGE sql BEGIN ATOMIC SELECT set_config('my.tenant', '1', false); END;
             CREATE FUNCTION renames() RETURNS int LANGUAGE plpgsql AS E'BEGIN UPDATE t\n SET b = b; RETURN 1; END';
             CREATE FUNCTION opens() RETURNS refcursor LANGUAGE plpgsql STABLE AS
                 'DECLARE c refcursor := ''c''; BEGIN OPEN c FOR TABLE t; RETURN c; END';
             CREATE FUNCTION counts() RETURNS bigint LANGUAGE plpgsql STABLE AS 'BEGIN RETURN (SELECT count(*) FROM t); END';
             CREATE FUNCTION asks(int) RETURNS int LANGUAGE plpgsql AS 'BEGIN PERFORM ask(); RETURN $1; END';
             CREATE FUNCTION arms() RETURNS trigger LANGUAGE plpgsql AS
                 'BEGIN PERFORM set_config(''my.tenant'', ''1'', false); RETURN CASE TG_OP WHEN ''DELETE'' THEN OLD ELSE NEW END; END';
             CREATE FUNCTION stamps() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN NEW.b := now(); RETURN NEW; END';
             CREATE TABLE armed (a int);
             CREATE TRIGGER arms BEFORE INSERT ON armed FOR EACH ROW EXECUTE FUNCTION arms();
             CREATE VIEW before_armed AS SELECT a FROM armed;
             CREATE FUNCTION fills() RETURNS int LANGUAGE sql AS 'INSERT INTO armed VALUES (1) RETURNING a';
             CREATE TABLE stamped (a serial PRIMARY KEY, b text DEFAULT lower('X') CHECK (b <> ''));
             CREATE TRIGGER stamps BEFORE INSERT ON stamped FOR EACH ROW EXECUTE FUNCTION stamps();
             CREATE TABLE meant (a int, b text DEFAULT ask());
             CREATE TABLE set_at_once (a int, b text DEFAULT set_config('my.tenant', '1', false));
             CREATE TABLE checked (a int CHECK (asks(a) = a));
             CREATE VIEW asking AS SELECT ask() AS a;
             CREATE TABLE ruled (a int);
             CREATE RULE also AS ON INSERT TO ruled DO ALSO SELECT ask();
             CREATE TABLE branches (a int) PARTITION BY RANGE (a);
             CREATE TABLE branch PARTITION OF branches FOR VALUES FROM (0) TO (9);
             CREATE TRIGGER arms BEFORE INSERT ON branch FOR EACH ROW EXECUTE FUNCTION arms();
             CREATE TABLE head (a int PRIMARY KEY);
             CREATE TABLE tail (a int REFERENCES head ON DELETE CASCADE);
             CREATE TRIGGER arms BEFORE DELETE ON tail FOR EACH ROW EXECUTE FUNCTION arms();
             INSERT INTO head VALUES (1); INSERT INTO tail VALUES (1);
             CREATE VIEW tapped AS SELECT a FROM t;
             CREATE RULE taps AS ON UPDATE TO tapped DO INSTEAD SELECT set_config('my.tenant', '1', false)",
        )
        .expect("the functions are made");
    testbed.wait_standbys_caught_up().expect("the standbys catch up");
    let proxy = started(&options(&testbed, [0, 1, 0]));
    let cases = [
        (&["SELECT enter('a')"][..], "SELECT current_setting('my.tenant')", PRIMARY),
        (&["SELECT \"Visit\"('a')"], "SELECT current_setting('my.tenant')", PRIMARY),
        (&["BEGIN", "SELECT travel()", "COMMIT"], "SELECT current_setting('my.tenant')", PRIMARY),
        (&["SELECT ask()"], "SELECT current_setting('my.tenant')", PRIMARY),
        (&["INSERT INTO t SELECT 3, ask()"], "SELECT current_setting('my.tenant')", PRIMARY),
        (&["INSERT INTO armed VALUES (1)"], "SHOW my.tenant", PRIMARY),
        (&["BEGIN", "INSERT INTO armed VALUES (1)", "COMMIT"], "SELECT current_setting('my.tenant')", PRIMARY),
        (&["INSERT INTO before_armed VALUES (1)"], "SELECT current_setting('my.tenant')", PRIMARY),
        (&["SELECT fills()"], "SELECT current_setting('my.tenant')", PRIMARY),
        (&["INSERT INTO meant VALUES (1)"], "SELECT current_setting('my.tenant')", PRIMARY),
        (&["INSERT INTO set_at_once VALUES (1)"], "SELECT current_setting('my.tenant')", PRIMARY),
        (&["INSERT INTO checked VALUES (1)"], "SELECT current_setting('my.tenant')", PRIMARY),
        (&["SELECT a FROM asking"], "SELECT current_setting('my.tenant')", PRIMARY),
        (&["BEGIN", "DELETE FROM plain", "SELECT a FROM asking", "COMMIT"], "SHOW my.tenant", PRIMARY),
        (&["INSERT INTO ruled VALUES (1)"], "SELECT current_setting('my.tenant')", PRIMARY),
        (&["UPDATE tapped SET a = 1"], "SELECT current_setting('my.tenant')", PRIMARY),
        (&["BEGIN", "UPDATE tapped SET a = 1", "COMMIT"], "SHOW my.tenant", PRIMARY),
        (&["INSERT INTO branches VALUES (1)"], "SELECT current_setting('my.tenant')", PRIMARY),
        (&["DELETE FROM head"], "SELECT current_setting('my.tenant')", PRIMARY),
        (&["INSERT INTO stamped DEFAULT VALUES", "DELETE FROM stamped"], "SELECT a FROM t", STANDBY),
        (&["BEGIN", "DELETE FROM plain", "SELECT a FROM armed", "COMMIT"], "SELECT a FROM t", STANDBY),
        (&["SELECT renames()", "SELECT volatile_f(1)"], "SELECT a FROM t", STANDBY),
        (&["SELECT opens()", "BEGIN", "SELECT opens()"], "FETCH c", PRIMARY),
        (&["SET search_path = pg_temp, public", "CREATE TABLE t (z int)"], "SELECT z FROM t", PRIMARY),
        (&["CREATE TEMP TABLE t (z int)"], "SELECT counts()", PRIMARY),
        (&["CREATE TEMP TABLE x (z int)"], "SELECT 'x'::regclass", PRIMARY),
        (&["CREATE DOMAIN pg_temp.d AS int"], "SELECT 1::pg_temp.d", PRIMARY),
        (&["CREATE DOMAIN pg_temp.d AS int"], "SELECT 1::int, current_setting('transaction_read_only')", PRIMARY),
        (&["CREATE TEMP TABLE x (z int)"], "SELECT count(*), 'x'::text FROM t", STANDBY),
    ];
    for (at, (before, read, expected)) in cases.iter().enumerate() {
        let mut session = session(&proxy);
        for statement in *before {
            session.query(statement).expect("a statement");
        }
        let mark = format!("/*alone {at}*/");
        let messages = session.query(&format!("{read} {mark}")).expect("a read");
        let error = messages.iter().find(|message| message.kind == b'E').map(|error| error.sqlstate());
        assert_eq!((reached(&testbed, &mark, expected), error), (expected.to_vec(), None), "{before:?}, {read}");
    }
}

/// A function that is called by its number may do anything. Those that libraries call so deal with large objects.
#[test]
fn a_function_called_by_its_number_may_change_settings() {
    let testbed = servers();
    let mut proxy = started(&options(&testbed, [0, 1, 0]));
    let number =
        |name: &str| superuser(&testbed).value(&format!("SELECT '{name}'::regproc::oid")).parse().expect("a number");
    let call = |session: &mut Connection, name: &str, arguments: &[&str]| {
        let arguments = arguments.iter().map(|argument| Some((*argument).into())).collect();
        session.send_all(&[Frontend::FunctionCall { oid: number(name), arguments }]).expect("a call");
        let answer = session.read_to_ready().expect("an answer");
        assert!(answer.iter().any(|message| message.kind == b'V'), "{name}: {answer:?}");
    };
    for in_block in [false, true] {
        let mut session = session(&proxy);
        if in_block {
            session.query("BEGIN").expect("an answer");
        }
        call(&mut session, "lo_creat", &["-1"]);
        if in_block {
            session.query("COMMIT").expect("an answer");
        }
        let mark = format!("/*object {in_block}*/");
        session.rows(&format!("SELECT a FROM t {mark}"));
        assert_eq!(nodes_of(&testbed, &mark), STANDBY);
        if in_block {
            session.query("BEGIN").expect("an answer");
        }
        call(&mut session, "set_config", &["my.tenant", "one", "f"]);
        assert_eq!(session.value("SELECT current_setting('my.tenant')"), "one");
        if in_block {
            session.query("COMMIT").expect("an answer");
        }
        assert_eq!(session.value("SHOW my.tenant"), "one");
    }
    proxy.assert_healthy();
}

/// What is attached to the definition of objects runs on the primary alone, too.
#[test]
fn an_event_trigger_may_change_settings() {
    let testbed = servers();
    let mut proxy = started(&options(&testbed, [0, 1, 0]));
    let mut other = session(&proxy);
    other.rows("SELECT a FROM t");
    other.query("COMMENT ON TABLE t IS 'nothing is attached'").expect("an answer");
    other.rows("SELECT a FROM t /*nothing attached*/");
    assert_eq!(nodes_of(&testbed, "/*nothing attached*/"), STANDBY);
    for script in [
        "CREATE FUNCTION set_on_definition() RETURNS event_trigger LANGUAGE plpgsql AS
            'BEGIN PERFORM set_config(''my.tenant'', ''one'', false); END'",
        "CREATE EVENT TRIGGER sets ON ddl_command_end EXECUTE FUNCTION set_on_definition()",
    ] {
        other.query(script).expect("an answer");
    }
    testbed.wait_standbys_caught_up().expect("the standbys catch up");
    for script in [
        &["CREATE TABLE made (a int)"][..],
        &["BEGIN", "ALTER TABLE made ADD b int", "COMMIT"],
        &["SELECT 1 AS a INTO also_made"],
        &["COMMENT ON TABLE made IS 'it is made'"],
        &["REFRESH MATERIALIZED VIEW kept"],
    ] {
        let mut session = session(&proxy);
        session.rows("SELECT a FROM t");
        for statement in script {
            session.query(statement).expect("an answer");
        }
        assert_eq!(session.value("SELECT current_setting('my.tenant')"), "one", "{script:?}");
    }
    let mut session = session(&proxy);
    session.rows("SELECT a FROM t");
    for statement in ["ALTER TABLE made ADD c int", "BEGIN"] {
        session.query(statement).expect("an answer");
    }
    assert_eq!(session.value("SELECT current_setting('my.tenant')"), "one", "in a transaction behind it");
    proxy.assert_healthy();
}

/// A table that only a trigger makes, in the place of one that everybody sees.
#[test]
fn a_temporary_table_that_a_trigger_makes_is_read_where_it_is() {
    let testbed = servers();
    let mut proxy = started(&options(&testbed, [0, 1, 0]));
    let mut other = session(&proxy);
    for script in [
        "CREATE TABLE shown AS SELECT 0 AS a",
        "CREATE TABLE makes (a int)",
        "CREATE FUNCTION make_shown() RETURNS trigger LANGUAGE plpgsql AS
            'BEGIN CREATE TEMP TABLE shown AS SELECT 97 AS a; RETURN NEW; END'",
        "CREATE TRIGGER make BEFORE INSERT ON makes FOR EACH ROW EXECUTE FUNCTION make_shown()",
    ] {
        other.query(script).expect("an answer");
    }
    testbed.wait_standbys_caught_up().expect("the standbys catch up");
    for prepared in [false, true] {
        let mut session = session(&proxy);
        assert_eq!(session.value("SELECT a FROM shown"), "0");
        if prepared {
            session.query("PREPARE p AS INSERT INTO makes VALUES (1)").expect("an answer");
            session.query("EXECUTE p").expect("an answer");
        } else {
            session.query("INSERT INTO makes VALUES (1)").expect("an answer");
        }
        assert_eq!(session.value("SELECT a FROM shown"), "97", "prepared: {prepared}");
    }
    proxy.assert_healthy();
}

/// Pooled links of before and after a change to what sessions begin with.
#[test]
fn links_that_began_with_other_settings_are_not_mixed() {
    let testbed = servers();
    let mut proxy = started(&options(&testbed, [0, 1, 0]));
    let together = |count: usize| (0..count).map(|_| session(&proxy)).collect::<Vec<_>>();
    for mut session in together(3) {
        session.rows("SELECT a FROM t");
        session.leave().expect("a close");
    }
    superuser(&testbed).rows("ALTER DATABASE postgres SET timezone = 'Asia/Tokyo'");
    superuser(&testbed).rows("ALTER DATABASE postgres SET standard_conforming_strings = off");
    testbed.wait_standbys_caught_up().expect("the standbys catch up");
    for round in 0..3 {
        for mut session in together(6) {
            session.query("BEGIN").expect("an answer");
            let on_standby = session.value("SHOW timezone");
            session.query("INSERT INTO t VALUES (-1)").expect("an answer");
            assert_eq!(session.value("SHOW timezone"), on_standby, "round {round}");
            session.query("ROLLBACK").expect("an answer");
            session.leave().expect("a close");
        }
    }
    superuser(&testbed).rows("ALTER DATABASE postgres RESET ALL");
    proxy.assert_healthy();
}

/// `BEGIN READ WRITE` is no reason to read on the primary.
#[test]
fn a_transaction_that_may_write_reads_on_the_standby_until_it_does() {
    let testbed = servers();
    let mut proxy = started(&options(&testbed, [0, 1, 0]));
    let mut session = session(&proxy);
    session.rows("SELECT a FROM t");
    for begin in ["BEGIN READ WRITE", "START TRANSACTION READ WRITE", "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE"]
    {
        assert_eq!(session.query(begin).expect("an answer")[0].kind, b'C');
        let mark = format!("/*{begin}*/");
        session.rows(&format!("SELECT a FROM t {mark}"));
        assert_eq!(nodes_of(&testbed, &mark), STANDBY);
        assert_eq!(session.query("INSERT INTO t VALUES (77)").expect("an answer")[0].tag(), "INSERT 0 1");
        assert_eq!(session.value("SELECT count(*) FROM t WHERE a = 77"), "1");
        assert_eq!(session.query("ROLLBACK").expect("an answer")[0].tag(), "ROLLBACK");
    }
    proxy.assert_healthy();
}
