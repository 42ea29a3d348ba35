//! What reads, and what only looks as if it did.

use super::*;

/// Every line reads only; the same list is run on a hot standby.
const EITHER: &str = include_str!("../../../../tests/corpus/either.sql");

#[test]
fn the_corpus_of_reads_may_go_anywhere() {
    for line in EITHER.lines().filter(|line| !line.is_empty() && !line.starts_with("--")) {
        let found = read(line);
        assert_eq!((found.route, found.writes, found.reason), (Route::Either, false, Reason::Reads), "{line}");
        assert_eq!((found.count, found.effect), (Count::One, Effect::None), "{line}");
        assert!(found.hazards.is_empty(), "{line}");
    }
}

#[test]
fn row_locks_are_writes_at_any_depth() {
    all(
        Route::Primary,
        true,
        Reason::RowLock,
        &[
            "SELECT * FROM t FOR UPDATE",
            "SELECT * FROM t FOR NO KEY UPDATE OF t NOWAIT",
            "SELECT * FROM t FOR SHARE SKIP LOCKED",
            "SELECT * FROM t FOR KEY SHARE",
            "SELECT * FROM (SELECT * FROM t FOR/**/UPDATE) x",
            "WITH w AS (SELECT * FROM t for -- c\n share) SELECT 1",
            "SELECT (SELECT 1 FROM t LIMIT 1 FOR UPDATE)",
        ],
    );
}

#[test]
fn modifying_queries_are_writes_at_any_depth() {
    all(
        Route::Primary,
        true,
        Reason::ModifyingQuery,
        &[
            "WITH x AS (DELETE FROM t RETURNING *) SELECT * FROM x",
            "WITH x AS (SELECT 1) INSERT INTO t SELECT * FROM x",
            "WITH x AS MATERIALIZED (UPDATE t SET a = 1 RETURNING a) SELECT 1",
            "WITH x AS (WITH y AS (SELECT 1) DELETE FROM t RETURNING *) SELECT 1",
            "WITH x AS (MERGE INTO t USING s ON true WHEN MATCHED THEN DO NOTHING) SELECT 1",
            "SELECT * FROM (WITH x AS (INSERT INTO t VALUES (1) RETURNING 1) SELECT 1) y",
            "EXPLAIN ANALYZE WITH x AS (DELETE FROM t RETURNING *) SELECT * FROM x",
        ],
    );
}

#[test]
fn select_into_creates_a_table() {
    all(
        Route::Primary,
        true,
        Reason::Into,
        &["SELECT 1 INTO t", "SELECT * INTO TABLE x FROM y", "SELECT a into b from c"],
    );
    for text in ["SELECT 1 INTO TEMP t", "SELECT 1 INTO LOCAL TEMPORARY TABLE t", "SELECT 1 INTO pg_temp.t"] {
        assert!(read(text).hazards.contains(Hazards::CREATES_TEMP), "{text}");
    }
    assert!(!read("SELECT temp FROM t").hazards.contains(Hazards::CREATES_TEMP));
}

#[test]
fn a_function_that_is_not_listed_may_write() {
    all(
        Route::Primary,
        true,
        Reason::UnknownFunction,
        &[
            "SELECT f()",
            "SELECT public.lower('x')",
            "SELECT db.pg_catalog.lower('x')",
            "SELECT \"LOWER\"('x')",
            "SELECT lower(f(x)) FROM t",
            "SELECT * FROM f(1) AS t(a, b)",
            "SELECT * FROM t, f(1)",
            "SELECT x * f(1) FROM t",
            "SELECT 1 FROM t JOIN u ON x * f(1) > 0, v",
            "SELECT 1 FROM t JOIN u ON (x * f(1) > 0)",
            "SELECT 1 FROM t, (VALUES (x * f(1))) v",
            "SELECT 1 FROM t, generate_series(1, x * f(1)) g",
            "SELECT * FROM t JOIN LATERAL f(t.x) u(v) ON true",
            "SELECT * FROM ROWS FROM (f(1), generate_series(1, 2)) AS t(a, b)",
            "SELECT DISTINCT ON (a) f(b) FROM t",
            "SELECT DISTINCT ON (a) ilike(b, c) FROM t",
            "SELECT DISTINCT ON (a) join(b, c) FROM t",
            "SELECT DISTINCT ON (lower(a)) over(b) FROM t",
            "SELECT join(1)",
            "SELECT 1 WHERE NOT join(1)",
            "SELECT 1 WHERE NOT ilike('a', 'b')",
            "SELECT over(1)",
            "SELECT filter(1)",
            "SELECT materialized(1)",
            "SELECT 1 WHERE NOT materialized(1)",
            "SELECT by(1)",
            "SELECT 1 ORDER BY join(1)",
            "SELECT a FROM t GROUP BY a, cube(f)",
            "SELECT rollup(1)",
            "SELECT first(1)",
            "SELECT 1 LIMIT f()",
            "SELECT 1 FETCH FIRST f() ROWS ONLY",
            "SELECT x AT TIME ZONE zone(1) FROM t",
            "SELECT sum(a) OVER (PARTITION BY f(b)) FROM t",
            "SELECT sum(a) OVER (ORDER BY b ROWS join(1) PRECEDING) FROM t",
            "SELECT a LIKE 'x' ESCAPE join(1) FROM t",
            "SELECT * FROM t TABLESAMPLE mine (10)",
            "SELECT 1 OPERATOR(public.+) 2",
            "SELECT treat(a AS b)",
            "WITH a(b) AS (SELECT 1), c AS (SELECT 2) SELECT 1 ORDER BY 1, f(1)",
            "WITH a AS (SELECT 1) (SELECT 2) ORDER BY 1, f(1)",
            "WITH a AS (SELECT 1), b AS (SELECT f(1)) SELECT 1",
            "WITH a AS (SELECT 1) SELECT 1, f(1)",
            "TABLE t ORDER BY f(x)",
            "VALUES (1), (f(1))",
            "SELECT (row).f(1)",
            "SELECT a[1].f(1)",
            "SELECT set_config('a.b', x, false)",
            "EXPLAIN SELECT f()",
            "SELECT query_to_xml('delete from t', true, true, '')",
            "SELECT ts_stat('select 1')",
        ],
    );
    assert!(read("SELECT set_config('a.b', now()::text, false)").hazards.contains(Hazards::CHANGES_STATE_UNSEEN));
    assert!(!read("SELECT current_setting('a.b')").hazards.contains(Hazards::CHANGES_STATE_UNSEEN));
}

#[test]
fn postgresqls_own_functions_that_write_are_known() {
    all(
        Route::Primary,
        true,
        Reason::Writes,
        &[
            "SELECT nextval('s')",
            "SELECT pg_catalog.nextval('s')",
            "SELECT pg_advisory_lock(1)",
            "SELECT txid_current()",
            "SELECT nextval /* c */ ('s')",
            "SELECT \"nextval\"('s')",
            "SELECT pg_catalog . \"nextval\" ('s')",
            "SELECT lo_creat(1), pg_sleep(1)",
        ],
    );
}

#[test]
fn the_catalogue_is_read_on_the_primary() {
    all(
        Route::Primary,
        false,
        Reason::Catalog,
        &[
            "SELECT * FROM pg_class",
            "SELECT * FROM PG_Class",
            "SELECT * FROM \"pg_class\"",
            "SELECT relname FROM pg_catalog.pg_class c WHERE c.oid = 'x'::pg_catalog.regclass",
            "SELECT * FROM information_schema.tables",
            "SELECT * FROM a JOIN pg_stat_activity USING (pid)",
            "TABLE pg_class",
            "COPY pg_class TO STDOUT",
            "COPY (SELECT * FROM pg_class) TO STDOUT",
            "EXPLAIN SELECT * FROM pg_class",
        ],
    );
    assert!(read("SELECT * FROM pg_class").hazards.contains(Hazards::READS_CATALOG));
    all(
        Route::Primary,
        true,
        Reason::UnknownFunction,
        &["SELECT f(oid) FROM pg_class", "SELECT f(x), oid FROM pg_class"],
    );
    all(Route::Either, false, Reason::Reads, &["SELECT * FROM pgbench_accounts", "SELECT x AS pg_x FROM t"]);
}

#[test]
fn what_each_node_answers_differently_is_asked_of_the_primary() {
    all(
        Route::Primary,
        false,
        Reason::PrimaryAnswer,
        &[
            "SELECT pg_backend_pid()",
            "SELECT pg_is_in_recovery()",
            "SELECT random()",
            "SELECT clock_timestamp()",
            "SELECT lastval(), currval('s')",
            "SELECT has_table_privilege('t', 'select')",
            "SHOW transaction_read_only",
            "show IN_HOT_STANDBY;",
            "SELECT current_setting('transaction_read_only')",
            "SELECT a FROM t WHERE pg_catalog.current_setting ( 'In_Hot_Standby', true) = 'on'",
        ],
    );
}

#[test]
fn quotes_and_comments_hide_nothing_and_reveal_nothing() {
    all(
        Route::Either,
        false,
        Reason::Reads,
        &[
            "SELECT 'FOR UPDATE', $$ ; DELETE FROM t $$, $a$ $$ ; $b$ nextval('s') $a$ FROM t",
            "SELECT 1 /* INTO /* nested; */ FOR UPDATE */ + 1 -- ; DELETE FROM t",
            "SELECT 'it''s; DELETE', E'\\'; DELETE FROM t; --', B'01', X'1F', N'x;', U&'d\\0061t;'",
            "SELECT E'a\\'' -- comment\n '\\'; DELETE FROM t; --' FROM t",
            "SELECT \"INTO\", \"for\"\"update\", a$1$ FROM t",
            "SELECT $1, $2::int, 1.5e-3, .5, 1., a[1:2], a ->> 'b', a @> b, - -1 FROM t",
            "SELECT 2*/*c*/3 <>-- c\n 4",
        ],
    );
    all(
        Route::Primary,
        true,
        Reason::NotUnderstood,
        &[
            "SELECT 'open",
            "SELECT \"open",
            "SELECT \"\"",
            "SELECT $$open",
            "SELECT $a$open$b$",
            "SELECT $a",
            "SELECT $1a",
            "SELECT /* open",
            "SELECT /* a /* b */",
            "SELECT 1\0",
            "SELECT 'a\0b'",
            "SELECT $$a\0b$$",
            "SELECT \\",
            "SELECT {x}",
            "SELECT 0x1F",
            "SELECT 1_000",
            "SELECT 1..2",
            "SELECT 1\u{b}",
            "SELECT U&\"d\\0061t\" FROM t",
            "SELECT (1",
            "SELECT 1)",
            "\"SELECT\" 1",
            "1",
        ],
    );
}

#[test]
fn backslashes_escape_as_the_session_says() {
    let dialect = Dialect { standard_conforming_strings: false, ..Dialect::default() };
    let text = br"SELECT 'a\'; DELETE FROM t; --'";
    assert_eq!(analyze(text, dialect).count, Count::One);
    assert_eq!(analyze(text, dialect).route, Route::Either);
    let found = analyze(text, Dialect::default());
    assert_eq!((found.count, found.route, found.writes), (Count::Many, Route::Primary, true));

    let text = br"SELECT 'a\\'; DELETE FROM t; --'";
    assert_eq!(analyze(text, dialect).count, Count::Many);
    let text = br"SELECT N'a\' ; x', B'\' || 'y'";
    assert_eq!(analyze(text, dialect).count, Count::One);
    assert_eq!(analyze(br"SELECT U&'a'", dialect).reason, Reason::NotUnderstood);
}

#[test]
fn an_encoding_that_hides_ascii_in_characters_is_not_read() {
    let dialect = Dialect { ascii_safe_encoding: false, ..Dialect::default() };
    assert_eq!(analyze(b"SELECT 'x'", dialect).route, Route::Either);
    let found = analyze(b"SELECT '\x95\\'", dialect);
    assert_eq!((found.route, found.writes, found.count), (Route::Primary, true, Count::Many));
    assert!(found.hazards.contains(Hazards::CONTROLS_TRANSACTION.union(Hazards::CHANGES_STATE_UNSEEN)));
    assert_eq!(analyze("SELECT 'é' AS è".as_bytes(), Dialect::default()).route, Route::Either);
}

#[test]
fn a_comment_in_front_is_told() {
    for text in ["/*NO LOAD BALANCE*/ SELECT 1", "-- x\nSELECT 1", " /**/ SHOW work_mem"] {
        let found = read(text);
        assert_eq!((found.route, found.reason), (Route::Either, Reason::LeadingComment), "{text}");
        assert!(found.hazards.contains(Hazards::HAS_LEADING_COMMENT), "{text}");
    }
    let found = read("/* a */ DELETE FROM t");
    assert_eq!((found.route, found.reason), (Route::Primary, Reason::Writes));
    assert!(!read("SELECT /* a */ 1 -- b").hazards.contains(Hazards::HAS_LEADING_COMMENT));
}

#[test]
fn depth_is_bounded_and_never_costs_the_stack() {
    let nested = |depth: usize| alloc::format!("SELECT {}1{}", "(".repeat(depth), ")".repeat(depth));
    assert_eq!(read(&nested(crate::limits::SQL_PARENTHESES)).route, Route::Either);
    assert_eq!(read(&nested(crate::limits::SQL_PARENTHESES + 1)).reason, Reason::TooDeep);
    assert_eq!(read(&nested(100_000)).reason, Reason::TooDeep);
    let comments = alloc::format!("SELECT 1 {}{}", "/*".repeat(100_000), "*/".repeat(100_000));
    assert_eq!(read(&comments).route, Route::Either);
}

#[test]
fn a_keyword_behind_as_is_a_name() {
    for text in ["SELECT 1 AS into", "SELECT 1 AS update, 2 AS for", "SELECT a AS select FROM t AS insert"] {
        assert_eq!(read(text).route, Route::Either, "{text}");
    }
    for text in ["SELECT 1 AS as INTO t", "SELECT 1 AS into INTO t", "SELECT 1 AS as FROM t FOR UPDATE"] {
        assert!(read(text).writes, "{text}");
    }
}

#[test]
fn what_copy_sends_is_looked_up() {
    for text in ["COPY t TO STDOUT", "COPY (SELECT f(1)) TO STDOUT"] {
        assert!(read(text).open, "{text}");
    }
    for text in ["COPY t FROM STDIN", "COPY t TO 'file'", "COPY t TO PROGRAM 'cat'"] {
        assert!(!read(text).open, "{text}");
    }
}

#[test]
fn a_type_is_named_in_a_cast_or_in_front_of_a_string() {
    let names = |text: &str| crate::sql::names_type(text.as_bytes(), Dialect::default(), |name| name.is("d"));
    for text in
        ["SELECT 1::d", "SELECT null::pg_temp.d[]", "SELECT CAST(a AS D)", "SELECT d 'x' FROM t", "SELECT a::\"d\""]
    {
        assert!(names(text), "{text}");
    }
    for text in ["SELECT d FROM d", "SELECT 'a'::e, ':: d'", "SELECT d(1) /* ::d */", "SELECT 'd'"] {
        assert!(!names(text), "{text}");
    }
}
