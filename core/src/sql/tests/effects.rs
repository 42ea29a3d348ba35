//! What every other statement does to a session.

use super::super::{Name, PoolReport, Verb};
use super::*;
use alloc::format;

fn name(text: &str) -> Name<'_> {
    Name::new(text.as_bytes())
}

/// Asserts route and effect of each text.
#[track_caller]
fn does(route: Route, effect: Effect<'_>, texts: &[&str]) {
    for text in texts {
        let found = read(text);
        assert_eq!((found.count, found.route, found.effect), (Count::One, route, effect), "{text}");
    }
}

#[test]
fn transactions() {
    use Route::{Both, Primary};
    let plain = Effect::Begin { serializable: None, read_write: None };
    does(Both, plain, &["BEGIN", "begin work;", "BEGIN TRANSACTION", "START TRANSACTION", "BEGIN NOT DEFERRABLE"]);
    does(
        Both,
        Effect::Begin { serializable: Some(false), read_write: Some(true) },
        &[
            "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE",
            "START TRANSACTION READ WRITE, ISOLATION LEVEL READ COMMITTED",
        ],
    );
    does(
        Primary,
        Effect::Begin { serializable: Some(true), read_write: Some(false) },
        &["BEGIN ISOLATION LEVEL SERIALIZABLE, READ ONLY, DEFERRABLE"],
    );
    does(
        Both,
        Effect::Commit { chain: false },
        &["COMMIT", "END", "COMMIT WORK", "END TRANSACTION", "COMMIT AND NO CHAIN"],
    );
    does(Both, Effect::Commit { chain: true }, &["COMMIT AND CHAIN"]);
    does(Both, Effect::Rollback { chain: false }, &["ROLLBACK", "ABORT", "ROLLBACK WORK"]);
    does(Both, Effect::Rollback { chain: true }, &["ROLLBACK TRANSACTION AND CHAIN"]);
    does(Both, Effect::Savepoint { name: name("a") }, &["SAVEPOINT a", "savepoint A", "SAVEPOINT \"a\""]);
    does(Both, Effect::Release { name: name("a") }, &["RELEASE a", "RELEASE SAVEPOINT a"]);
    does(
        Both,
        Effect::RollbackTo { name: name("a") },
        &["ROLLBACK TO a", "ROLLBACK WORK TO SAVEPOINT a", "ABORT TO a"],
    );
    does(Primary, Effect::PrepareTransaction, &["PREPARE TRANSACTION 'x'"]);
    does(Primary, Effect::CommitPrepared, &["COMMIT PREPARED 'x'"]);
    does(Primary, Effect::RollbackPrepared, &["ROLLBACK PREPARED 'x'"]);
    assert!(read("COMMIT PREPARED 'x'").writes && !read("BEGIN").writes && !read("SAVEPOINT a").writes);
    let broken = read("BEGIN SOMETHING");
    assert_eq!((broken.reason, broken.hazards), (Reason::NotUnderstood, Hazards::CONTROLS_TRANSACTION));
}

#[test]
fn settings() {
    use Route::{Both, Primary};
    let set = |text: &'static str, local| Effect::Set { name: name(text), local };
    does(
        Both,
        set("work_mem", false),
        &["SET work_mem = '1MB'", "SET SESSION work_mem TO 1", "SET Work_Mem TO DEFAULT"],
    );
    does(Both, set("work_mem", true), &["SET LOCAL work_mem = 64"]);
    does(Both, set("search_path", false), &["SET search_path TO a, \"B\", 'c'", "SET SCHEMA 'a'"]);
    does(Both, set("timezone", false), &["SET TIME ZONE 'UTC'", "SET TIME ZONE -3", "set timezone to local"]);
    does(Both, set("client_encoding", false), &["SET NAMES 'UTF8'", "SET NAMES"]);
    does(Both, set("role", false), &["SET ROLE NONE", "SET ROLE a", "SET role = 'a'", "SET SESSION ROLE a"]);
    does(
        Both,
        set("session_authorization", false),
        &["SET SESSION AUTHORIZATION DEFAULT", "SET session_authorization = 'a'"],
    );
    does(Both, set("session.user", false), &["SET session.user = 'x'", "SET SESSION session.user TO 'x'"]);
    does(Both, set("extra_float_digits", false), &["SET extra_float_digits=-1", "SET extra_float_digits = - 1"]);
    does(Both, set("xmloption", false), &["SET XML OPTION DOCUMENT"]);
    does(Both, Effect::Reset { name: None }, &["RESET ALL"]);
    does(Both, Effect::Reset { name: Some(name("timezone")) }, &["RESET TIME ZONE", "RESET TimeZone"]);
    does(Both, Effect::Reset { name: Some(name("role")) }, &["RESET ROLE"]);
    assert_eq!(read("SET a = f(1)").hazards.union(Hazards::CHANGES_STATE_UNSEEN), read("SET a = f(1)").hazards);
    all(
        Primary,
        true,
        Reason::NotUnderstood,
        &["SET", "SET a", "SET a =", "SET a FROM CURRENT", "SET a . b = 1", "RESET"],
    );
    all(Primary, true, Reason::Writes, &["ALTER SYSTEM SET a = 1", "ALTER ROLE x SET a = 1"]);
}

#[test]
fn what_a_standby_refuses_to_set_goes_to_the_primary() {
    use Route::{Both, Primary};
    let set = |session, serializable, read_write| Effect::SetTransaction { session, serializable, read_write };
    does(
        Primary,
        set(false, Some(true), None),
        &[
            "SET TRANSACTION ISOLATION LEVEL SERIALIZABLE",
            "SET LOCAL TRANSACTION ISOLATION LEVEL SERIALIZABLE",
            "SET transaction_isolation = 'Serializable'",
            "SET \"transaction_isolation\" TO E'serializable'",
        ],
    );
    does(
        Primary,
        set(true, Some(true), None),
        &[
            "SET SESSION CHARACTERISTICS AS TRANSACTION ISOLATION LEVEL SERIALIZABLE",
            "SET default_transaction_isolation TO serializable",
            "SET SESSION default_transaction_isolation = 'serializable'",
        ],
    );
    does(Primary, set(true, Some(false), None), &["SET default_transaction_isolation TO 'repeatable read'"]);
    does(Both, set(true, Some(false), None), &["SET default_transaction_isolation TO 'read committed'"]);
    does(Primary, set(false, Some(false), None), &["SET TRANSACTION ISOLATION LEVEL REPEATABLE READ"]);
    does(Both, set(false, Some(false), Some(false)), &["SET TRANSACTION READ ONLY, ISOLATION LEVEL REPEATABLE READ"]);
    does(Both, set(true, None, None), &["SET default_transaction_isolation TO DEFAULT"]);
    does(
        Primary,
        set(false, None, Some(true)),
        &[
            "SET TRANSACTION READ WRITE",
            "SET transaction_read_only = off",
            "SET transaction_read_only TO 0",
            "SET transaction_read_only TO 'f'",
            "SET LOCAL transaction_read_only TO fals",
            "SET transaction_read_only TO DEFAULT",
        ],
    );
    does(Both, set(false, None, Some(false)), &["SET TRANSACTION READ ONLY", "SET transaction_read_only TO tr"]);
    does(
        Both,
        set(true, None, Some(true)),
        &["SET default_transaction_read_only TO off", "SET SESSION CHARACTERISTICS AS TRANSACTION READ WRITE"],
    );
    does(
        Primary,
        Effect::None,
        &["SET CONSTRAINTS ALL DEFERRED", "SET CONSTRAINTS a, other.b IMMEDIATE", "set constraints \"all\" deferred"],
    );
    does(Both, Effect::Set { name: name("constraints"), local: false }, &["SET constraints TO 1"]);
    does(Primary, set(false, None, None), &["SET TRANSACTION SNAPSHOT '1-1'"]);
}

#[test]
fn prepared_statements() {
    let inner = |text: &'static str| {
        let Effect::Prepare { name: found, statement } = read(text).effect else { panic!("{text}") };
        assert_eq!(found, name("p"));
        (read(text).route, read(text).writes, statement.route, statement.writes)
    };
    assert_eq!(inner("PREPARE p AS SELECT $1"), (Route::Either, false, Route::Either, false));
    assert_eq!(inner("PREPARE P (int, numeric(10,2)) AS SELECT $1"), (Route::Either, false, Route::Either, false));
    assert_eq!(inner("PREPARE p AS SELECT f()"), (Route::Primary, false, Route::Primary, true));
    assert_eq!(inner("PREPARE p AS INSERT INTO t VALUES ($1)"), (Route::Primary, false, Route::Primary, true));
    let execute = |plain_arguments| Effect::Execute { name: name("p"), plain_arguments };
    does(Route::Primary, execute(true), &["EXECUTE p", "EXECUTE P(1, lower('x'))", "EXPLAIN EXECUTE p(1)"]);
    does(Route::Primary, execute(true), &["EXPLAIN ANALYZE EXECUTE p", "EXPLAIN (ANALYZE, COSTS off) EXECUTE p"]);
    does(Route::Primary, execute(false), &["EXECUTE p(nextval('s'))", "EXECUTE p((SELECT f()))"]);
    does(Route::Primary, Effect::Deallocate { name: name("p") }, &["DEALLOCATE p", "DEALLOCATE PREPARE \"p\""]);
    does(Route::Both, Effect::DeallocateAll, &["DEALLOCATE ALL", "DEALLOCATE PREPARE ALL"]);
    does(Route::Both, Effect::DiscardAll, &["DISCARD ALL"]);
    does(Route::Both, Effect::DiscardOther, &["DISCARD PLANS", "DISCARD TEMP", "DISCARD sequences"]);
}

#[test]
fn cursors_and_channels() {
    use Route::Primary;
    let c = name("c");
    does(Primary, Effect::DeclareCursor { name: c, hold: false }, &["DECLARE c CURSOR FOR SELECT 1"]);
    does(
        Primary,
        Effect::DeclareCursor { name: c, hold: false },
        &["DECLARE c NO SCROLL CURSOR WITHOUT HOLD FOR VALUES (1)"],
    );
    does(
        Primary,
        Effect::DeclareCursor { name: c, hold: true },
        &["DECLARE C BINARY SCROLL CURSOR WITH HOLD FOR SELECT 1"],
    );
    assert!(!read("DECLARE c CURSOR FOR SELECT 1").writes && read("DECLARE c CURSOR FOR SELECT 1 FOR UPDATE").writes);
    does(Primary, Effect::Fetch { name: c }, &["FETCH c", "FETCH NEXT FROM c", "FETCH -1 IN c", "FETCH FORWARD ALL c"]);
    does(Primary, Effect::Move { name: c }, &["MOVE c", "MOVE BACKWARD 10 FROM c"]);
    does(Primary, Effect::CloseCursor { name: Some(c) }, &["CLOSE c"]);
    does(Primary, Effect::CloseCursor { name: None }, &["CLOSE ALL"]);
    does(Primary, Effect::Listen { name: c }, &["LISTEN c"]);
    does(Primary, Effect::Unlisten { name: Some(c) }, &["UNLISTEN c"]);
    does(Primary, Effect::Unlisten { name: None }, &["UNLISTEN *"]);
    does(Primary, Effect::Notify { name: c }, &["NOTIFY c", "NOTIFY c, 'payload'"]);
    for text in ["FETCH c", "MOVE c", "CLOSE c", "LISTEN c", "UNLISTEN *"] {
        assert!(!read(text).writes, "{text}");
    }
}

#[test]
fn copies_locks_and_explanations() {
    use Route::{Both, Either, Primary};
    let copy = |from_stdin, to_stdout| Effect::Copy { from_stdin, to_stdout };
    does(
        Either,
        copy(false, true),
        &[
            "COPY t TO STDOUT",
            "COPY a.t (x, y) TO STDOUT (FORMAT csv, FORCE_QUOTE (x))",
            "COPY (SELECT lower(x) FROM t) TO STDOUT WITH CSV DELIMITER ';'",
            "COPY t TO STDIN",
        ],
    );
    does(
        Primary,
        copy(true, false),
        &["COPY t FROM STDIN", "copy t(a) from stdin with (format csv)", "COPY t FROM STDOUT"],
    );
    does(Primary, copy(false, false), &["COPY t TO '/tmp/x'", "COPY t TO PROGRAM 'cat'", "COPY t FROM '/tmp/x'"]);
    does(Primary, copy(false, true), &["COPY (DELETE FROM t RETURNING *) TO STDOUT", "COPY (SELECT f()) TO STDOUT"]);
    assert!(read("COPY (DELETE FROM t RETURNING *) TO STDOUT").writes && read("COPY t TO '/x'").writes);
    does(Both, Effect::Lock, &["LOCK TABLE t IN ACCESS SHARE MODE", "LOCK a, b IN ROW SHARE MODE NOWAIT"]);
    does(Primary, Effect::Lock, &["LOCK t", "LOCK TABLE t IN ROW EXCLUSIVE MODE", "LOCK t IN SHARE MODE"]);
    does(Primary, Effect::Lock, &["LOCK t IN ACCESS EXCLUSIVE MODE", "LOCK t IN SHARE ROW EXCLUSIVE MODE"]);
    does(
        Either,
        Effect::None,
        &["EXPLAIN SELECT 1", "EXPLAIN ANALYZE VERBOSE SELECT 1", "EXPLAIN (ANALYZE on) (SELECT 1)"],
    );
    does(Either, Effect::None, &["EXPLAIN (SELECT 1) UNION SELECT 2", "EXPLAIN ((SELECT 1))"]);
    all(Primary, true, Reason::Writes, &["EXPLAIN DELETE FROM t", "EXPLAIN (ANALYZE) INSERT INTO t SELECT 1"]);
}

#[test]
fn temporary_relations() {
    does(
        Route::Primary,
        Effect::CreateTemp,
        &[
            "CREATE TEMP TABLE t (a int)",
            "create temporary view v as select 1",
            "CREATE OR REPLACE TEMP VIEW v AS SELECT 1",
            "CREATE GLOBAL TEMPORARY SEQUENCE s",
            "CREATE TABLE pg_temp.t (a int)",
            "CREATE TABLE \"pg_temp\".t AS SELECT 1",
            "EXPLAIN ANALYZE CREATE TEMP TABLE t AS SELECT 1",
        ],
    );
    does(Route::Primary, Effect::None, &["CREATE TABLE temp (a int)", "CREATE INDEX ON t (a)"]);
    assert!(read("CREATE TEMP TABLE t ()").hazards.contains(Hazards::CREATES_TEMP));
}

#[test]
fn everything_else_may_write() {
    all(
        Route::Primary,
        true,
        Reason::Writes,
        &[
            "INSERT INTO t VALUES (1)",
            "UPDATE t SET a = 1",
            "DELETE FROM t",
            "MERGE INTO t USING s ON true WHEN MATCHED THEN DELETE",
            "TRUNCATE t",
            "VACUUM",
            "ANALYZE t",
            "CALL p(1)",
            "DO $$ BEGIN END $$",
            "CREATE TABLE t (a int)",
            "REFRESH MATERIALIZED VIEW v",
            "GRANT SELECT ON t TO u",
            "CHECKPOINT",
            "nonsense",
        ],
    );
    assert!(read("DO $$ BEGIN END $$").hazards.contains(Hazards::CHANGES_STATE_UNSEEN));
    assert!(read("INSERT INTO t SELECT set_config('a', 'b', false)").hazards.contains(Hazards::CHANGES_STATE_UNSEEN));
}

#[test]
fn commands_for_the_proxy() {
    let report = |report| Effect::ShowPool(report);
    does(
        Route::Primary,
        report(PoolReport::Nodes),
        &["SHOW pool_nodes", "show POOL_NODES ;", "/* x */ SHOW pool_nodes -- y"],
    );
    does(Route::Primary, report(PoolReport::HealthCheckStats), &["SHOW POOL_HEALTH_CHECK_STATS;"]);
    does(Route::Either, Effect::None, &["SHOW pool", "SHOW work_mem", "SHOW TIME ZONE", "SHOW ALL", "SHOW a.b"]);
    does(Route::Primary, Effect::PgpoolCommand { text: b"SHOW log_statement" }, &["PGPOOL SHOW log_statement ; "]);
    does(Route::Primary, Effect::PgpoolCommand { text: b"SET a TO 'b'" }, &["pgpool /**/ SET a TO 'b'"]);
    all(Route::Primary, true, Reason::NotUnderstood, &["PGPOOL", "PGPOOL DROP"]);
    assert!(!read("SHOW pool_nodes").writes);
    // Just as a client would send it, for a pattern must match the whole.
    for text in ["SELECT 1", "/* c */ DELETE FROM t;  -- d", ""] {
        let explained = format!("explain ROUTE\n {text}");
        assert_eq!(read(&explained).effect, Effect::ExplainRoute { text: text.as_bytes() });
    }
}

#[test]
fn several_statements() {
    for text in ["", "  \n", ";", " ; ; -- x", "/* */"] {
        let found = read(text);
        assert_eq!((found.count, found.route, found.writes), (Count::Empty, Route::Primary, false), "{text}");
    }
    assert_eq!(read(";SELECT 1;;").count, Count::One);
    let found = read("SELECT 1; SELECT 2");
    assert_eq!((found.count, found.route, found.writes), (Count::Many, Route::Either, false));
    assert_eq!((found.reason, found.hazards), (Reason::Reads, Hazards::NONE));
    for text in ["SELECT 1; SHOW pool_nodes", "SET a = 1; SELECT 1", "SELECT 1; DELETE FROM t", "SELECT 1; BEGIN"] {
        let found = read(text);
        assert_eq!((found.count, found.route, found.open), (Count::Many, Route::Primary, false), "{text}");
        assert_eq!(found.reason, Reason::ManyStatements, "{text}");
    }
    let found = read("SELECT 1; SELECT f()");
    assert_eq!((found.route, found.open, found.reason), (Route::Primary, true, Reason::UnknownFunction));
    assert!(read("SELECT 1; DELETE FROM t").writes && read("SELECT f(); SELECT 1").writes);

    let transaction = read("BEGIN; SELECT 1; COMMIT");
    assert!(transaction.hazards.contains(Hazards::CONTROLS_TRANSACTION) && !transaction.writes);
    assert_eq!(transaction.effect, Effect::None);
    for text in
        ["SET a = 1; SELECT 1", "SELECT 1; PREPARE p AS SELECT 1", "SELECT 1; DISCARD ALL", "LISTEN a; SELECT 1"]
    {
        let found = read(text);
        assert!(found.hazards.contains(Hazards::CHANGES_STATE_UNSEEN), "{text}");
        assert!(!found.hazards.contains(Hazards::CONTROLS_TRANSACTION), "{text}");
    }
    assert!(read("CREATE TEMP TABLE t (); SELECT 1").hazards.contains(Hazards::CREATES_TEMP));
}

#[test]
fn databases_that_nobody_else_may_use() {
    let claims = |text, texts: &[&str]| does(Route::Primary, Effect::ClaimDatabase { name: name(text) }, texts);
    claims("shop", &["DROP DATABASE shop", "drop database if exists \"shop\" WITH (FORCE)", "DROP DATABASE Shop;"]);
    claims("shop", &["ALTER DATABASE shop RENAME TO store", "ALTER DATABASE shop SET TABLESPACE fast"]);
    claims(
        "shop",
        &["CREATE DATABASE copy TEMPLATE shop", "CREATE DATABASE copy WITH OWNER me TEMPLATE = shop ENCODING 6"],
    );
    claims("template1", &["CREATE DATABASE shop", "CREATE DATABASE shop OWNER me"]);
    does(
        Route::Primary,
        Effect::None,
        &[
            "DROP TABLE database",
            "ALTER DATABASE shop SET work_mem = 1",
            "ALTER DATABASE shop CONNECTION LIMIT 3",
            "CREATE DATABASE copy TEMPLATE 'shop'",
            "DROP DATABASE",
        ],
    );
    assert!(read("DROP DATABASE shop").writes && read("CREATE DATABASE shop").writes);
}

#[test]
fn reasons_have_texts_of_their_own() {
    let texts = [Reason::Reads, Reason::LeadingComment, Reason::Catalog, Reason::NotUnderstood, Reason::ForProxy];
    for (index, reason) in texts.iter().enumerate() {
        assert!(texts[..index].iter().all(|other| other.as_str() != reason.as_str()));
    }
}

#[test]
fn set_config_with_the_same_values_everywhere_is_for_both() {
    does(
        Route::Both,
        Effect::SetConfig,
        &[
            "SELECT set_config('a.b', 'c', false)",
            "SELECT pg_catalog.set_config($1, $2, false) AS x, set_config('d', current_setting('e'), true)",
        ],
    );
    for text in [
        "SELECT set_config('a', b, false) FROM t",
        "SELECT set_config('a', current_timestamp::text, false)",
        "SELECT set_config('a', now()::text, false)",
        "SELECT set_config('a', localtime::text, false)",
        "SELECT set_config('a', f(), false)",
        "SELECT set_config('a', (TABLE t), false)",
        "SELECT set_config('a', 'b', false) FOR UPDATE",
        "EXPLAIN ANALYZE SELECT set_config('a', 'b', false)",
        "SELECT set_config('a', 'b', false); SELECT 1",
    ] {
        let found = read(text);
        assert_eq!((found.route, found.effect, found.open), (Route::Primary, Effect::None, false), "{text}");
    }
}

#[test]
fn kinds_of_statements() {
    use Verb::{Ddl, Delete, Insert, Other, Select, Update};
    let is = |verb: Verb, texts: &[&str]| {
        for text in texts {
            assert_eq!(read(text).verb, verb, "{text}");
        }
    };
    is(Select, &["SELECT 1", "(select 1) UNION SELECT 2", "VALUES (1)", "TABLE t", "SELECT a INTO b FROM c"]);
    is(Select, &["SELECT 1 FOR UPDATE", "WITH x AS (INSERT INTO t VALUES (1) RETURNING a) SELECT * FROM x"]);
    is(Select, &["WITH update AS (SELECT 1), delete AS (SELECT 2) SELECT * FROM update", "SELECT oops FROM ("]);
    is(Select, &["SELECT nextval('s')", "SELECT 1; INSERT INTO t VALUES (1)"]);
    is(
        Insert,
        &[
            "INSERT INTO t VALUES (1) ON CONFLICT (a) DO UPDATE SET b = 1",
            "with x as (select 1) insert into t select * from x",
        ],
    );
    is(Update, &["UPDATE t SET a = 1", "WITH x AS (DELETE FROM t RETURNING a) UPDATE u SET a = 1"]);
    is(Delete, &["DELETE FROM t", "WITH RECURSIVE x (a) AS (SELECT 1) DELETE FROM t USING x"]);
    is(Ddl, &["CREATE TABLE t ()", "CREATE TEMP TABLE t AS SELECT 1", "DROP DATABASE d", "ALTER ROLE r LOGIN"]);
    is(
        Ddl,
        &[
            "GRANT SELECT ON t TO r",
            "REVOKE ALL ON t FROM r",
            "TRUNCATE t",
            "comment on table t is 'x'",
            "REINDEX TABLE t",
        ],
    );
    is(Other, &["BEGIN", "COMMIT", "SET a = 1", "SHOW a", "EXPLAIN SELECT 1", "PREPARE p AS SELECT 1", "EXECUTE p"]);
    is(
        Other,
        &["COPY (SELECT 1) TO STDOUT", "VACUUM t", "ANALYZE t", "LOCK TABLE t", "CALL p()", "nonsense", "", "FETCH c"],
    );
    is(
        Other,
        &[
            "DECLARE c CURSOR FOR SELECT 1",
            "WITH x AS (SELECT 1) MERGE INTO t USING x ON true WHEN MATCHED THEN DELETE",
        ],
    );
}
