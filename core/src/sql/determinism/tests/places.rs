//! Where an expression can stand, and what of it is replaced.

use super::*;

/// What each expression that is constant in a transaction or statement becomes.
const CONSTANTS: &[(&str, &str)] = &[
    ("now()", "timestamptz"),
    ("NOW ( )", "timestamptz"),
    ("pg_catalog.now()", "timestamptz"),
    ("\"now\"()", "timestamptz"),
    ("transaction_timestamp()", "timestamptz"),
    ("statement_timestamp()", "timestamptz"),
    ("clock_timestamp()", "timestamptz"),
    ("timeofday()", "text"),
    ("CURRENT_TIMESTAMP", "timestamptz"),
    ("current_timestamp(2)", "timestamptz(2)"),
    ("CURRENT_DATE", "date"),
    ("CURRENT_TIME", "timetz"),
    ("current_time(0)", "timetz(0)"),
    ("LOCALTIME", "time"),
    ("LOCALTIME (3)", "time(3)"),
    ("LOCALTIMESTAMP", "timestamp"),
    ("localtimestamp(6)", "timestamp(6)"),
    ("txid_current()", "int8"),
    ("pg_current_xact_id()", "xid8"),
    ("pg_backend_pid()", "int4"),
    ("inet_client_addr()", "inet"),
    ("inet_server_port()", "int4"),
    ("version()", "text"),
    ("currval('s')", "int8"),
    ("lastval()", "int8"),
];

/// Expressions that have another value at each evaluation.
const VOLATILE: &[(&str, &str)] = &[
    ("random()", "float8"),
    ("gen_random_uuid()", "uuid"),
    ("uuid_generate_v4()", "uuid"),
    ("public.uuid_generate_v1mc()", "uuid"),
    ("gen_random_bytes(16)", "bytea"),
    ("gen_salt('bf', 8)", "text"),
    ("nextval('s')", "int8"),
    ("nextval('public.s'::regclass)", "int8"),
    ("nextval(pg_get_serial_sequence('t', 'id'))", "int8"),
    ("pg_database_size('x')", "int8"),
];

/// Places for an expression where its name does not matter: for it stands `@`.
const EVALUATED_ONCE: &[&str] = &[
    "INSERT INTO plain VALUES (1, @)",
    "INSERT INTO plain (a, b) VALUES (1, f(2 + @)), (2, 'x')",
    "insert into plain as p (b) values (@::text) returning a",
    "INSERT INTO plain (a, b) VALUES (1, CASE WHEN true THEN @ END)",
    "INSERT INTO plain (a, b) VALUES (1, (SELECT lower(@::text)))",
    "INSERT INTO plain (a) SELECT @",
    "INSERT INTO plain (a) VALUES (1) ON CONFLICT (a) DO UPDATE SET b = @ WHERE plain.a = 1",
    "WITH x (v) AS (SELECT @) UPDATE plain SET b = v FROM x",
    "WITH x (v) AS MATERIALIZED (VALUES (@)) INSERT INTO plain (b) SELECT v FROM x",
    "WITH x AS (SELECT 1) INSERT INTO plain (a, b) VALUES (1, @)",
    "WITH recursive (a) AS (SELECT @) INSERT INTO plain (a) SELECT a FROM recursive",
    "COPY (INSERT INTO plain (a, b) VALUES (1, @) RETURNING a) TO STDOUT",
    "CREATE TABLE n AS SELECT 1 AS one, @ AS v",
    "CREATE TEMP TABLE IF NOT EXISTS n (v) AS VALUES (@) WITH NO DATA",
    "SELECT 1 AS a, (@) AS v INTO n",
    "CALL p(1, @)",
    "EXPLAIN ANALYZE INSERT INTO plain VALUES (1, @)",
    "EXPLAIN (ANALYZE, COSTS off) INSERT INTO plain VALUES (1, @)",
    "SELECT keep(@)",
    "SELECT setval('s', @)",
    "EXECUTE p (1, @)",
    "INSERT INTO plain VALUES (1); INSERT INTO plain VALUES (2, @);",
];

/// The same, for more than one row.
const EVALUATED_OFTEN: &[&str] = &[
    "UPDATE plain SET b = @",
    "UPDATE plain p SET (a, b) = (1, @) WHERE a IS DISTINCT FROM 2",
    "UPDATE plain SET b = (SELECT max(b) FROM plain WHERE at < @)",
    "UPDATE plain SET a = 1 FROM serial s WHERE s.id = plain.a AND s.a = @",
    "UPDATE ONLY plain SET a = 1 WHERE a < @",
    "UPDATE plain SET a = 1 WHERE a OPERATOR(pg_catalog.<) @",
    "UPDATE plain SET a = CURRENT_USER OPERATOR (pg_catalog.||) @",
    "DELETE FROM plain WHERE at < @",
    "DELETE FROM plain USING serial WHERE serial.id = f(@)",
    "INSERT INTO plain (a, b) SELECT a, f(@) FROM plain",
    "INSERT INTO plain (a, b) SELECT a, 'x' FROM plain WHERE at < @ GROUP BY a HAVING max(at) > @",
    "INSERT INTO plain (a) SELECT generate_series(1, 3) + @",
    "INSERT INTO plain (a) VALUES (1), (2) ON CONFLICT (a) DO UPDATE SET b = @",
    "INSERT INTO plain (a) SELECT a FROM plain JOIN serial ON f(@) = id",
    "INSERT INTO plain (a) SELECT (1) AS as FROM unnest(f(@))",
    "INSERT INTO plain (a) SELECT (1) AS from, a AS select FROM unnest(f(@))",
    "INSERT INTO plain (a) SELECT a FROM generate_series(1, f(@)) a",
    "INSERT INTO plain (a) SELECT 1 FROM plain UNION ALL (SELECT f(@) FROM serial)",
    "MERGE INTO plain p USING serial s ON p.a = s.id WHEN MATCHED AND p.at < @ THEN UPDATE SET b = @ \
     WHEN NOT MATCHED THEN INSERT (a, b) VALUES (s.id, @)",
    "WITH x AS (SELECT 1) UPDATE plain SET b = @",
    "WITH x AS (UPDATE plain SET b = @ RETURNING a) INSERT INTO plain (a) SELECT a FROM x",
    "CREATE TABLE n AS SELECT a, f(@) AS v FROM plain",
    "COPY plain (a) FROM STDIN WHERE a < @",
    "SELECT keep(@) FROM plain",
    "SELECT keep(v) FROM (SELECT f(@) AS v FROM plain) s",
];

#[test]
fn each_constant_in_each_place() {
    for place in EVALUATED_ONCE.iter().chain(EVALUATED_OFTEN) {
        for (expression, result) in CONSTANTS {
            let expected = place.replace('@', &format!("CAST('1' AS pg_catalog.{result})"));
            assert_eq!(rewritten(&place.replace('@', expression)), expected, "{place} with {expression}");
        }
    }
}

#[test]
fn each_volatile_function_where_it_is_called_once() {
    for place in EVALUATED_ONCE {
        for (expression, result) in VOLATILE {
            let expected = place.replace('@', &format!("CAST('1' AS pg_catalog.{result})"));
            assert_eq!(rewritten(&place.replace('@', expression)), expected, "{place} with {expression}");
        }
    }
}

#[test]
fn no_volatile_function_is_called_for_many_rows() {
    for place in EVALUATED_OFTEN {
        for (expression, _) in VOLATILE {
            refused(Reason::PerRow, &[&place.replace('@', expression)]);
        }
    }
    refused(
        Reason::PerRow,
        &[
            "WITH RECURSIVE x (n) AS (SELECT 1 UNION SELECT n + 1 FROM x WHERE clock_timestamp() < 'x'::timestamptz) \
             INSERT INTO plain SELECT n FROM x",
            "INSERT INTO plain (a, b) SELECT my_rows(), random()",
            "INSERT INTO plain (a) SELECT * FROM (VALUES (random()), (random())) v (x)",
            "WITH x AS (INSERT INTO plain (a) VALUES (1) RETURNING random() AS r) INSERT INTO plain (b) SELECT r FROM x",
        ],
    );
}

#[test]
fn equal_constants_are_asked_for_once_and_volatile_ones_each_time() {
    assert_eq!(
        asked("INSERT INTO plain VALUES (1, random(), now()), (2, random(), now())"),
        ["random()", "now()", "random()"]
    );
}

#[test]
fn a_column_keeps_the_name_that_a_call_gave_it() {
    let value = "CAST('1' AS pg_catalog.timestamptz)";
    for (text, expected) in [
        ("CREATE TABLE n AS SELECT now(), 1", "CREATE TABLE n AS SELECT (SELECT @ AS now), 1"),
        ("CREATE TABLE n AS SELECT now()::date FROM t", "CREATE TABLE n AS SELECT (SELECT @ AS now)::date FROM t"),
        ("CREATE TABLE n AS SELECT (now())", "CREATE TABLE n AS SELECT ((SELECT @ AS now))"),
        ("CREATE TABLE n AS SELECT CAST(now() AS date)", "CREATE TABLE n AS SELECT CAST((SELECT @ AS now) AS date)"),
        (
            "CREATE TABLE n AS SELECT CASE WHEN a = 1 THEN now() ELSE now() END FROM t",
            "CREATE TABLE n AS SELECT CASE WHEN a = 1 THEN @ ELSE (SELECT @ AS now) END FROM t",
        ),
        ("CREATE TABLE n AS SELECT (SELECT now())", "CREATE TABLE n AS SELECT (SELECT (SELECT @ AS now))"),
        ("CREATE TABLE n AS SELECT now() AS x, now() y", "CREATE TABLE n AS SELECT @ AS x, (SELECT @ AS now) y"),
        ("CREATE TABLE n AS SELECT now() + '1 day', f(now())", "CREATE TABLE n AS SELECT @ + '1 day', f(@)"),
        (
            "INSERT INTO plain VALUES (1) RETURNING a, now(), now() AS t",
            "INSERT INTO plain VALUES (1) RETURNING a, (SELECT @ AS now), @ AS t",
        ),
        (
            "WITH x AS (SELECT pg_catalog.Now()) UPDATE plain SET at = x.now FROM x",
            "WITH x AS (SELECT (SELECT @ AS Now)) UPDATE plain SET at = x.now FROM x",
        ),
        ("UPDATE plain SET at = now()", "UPDATE plain SET at = @"),
    ] {
        assert_eq!(rewritten(text), expected.replace('@', value), "{text}");
    }
    all(&[(
        "CREATE TABLE n AS SELECT current_timestamp(2), CURRENT_DATE",
        "CREATE TABLE n AS SELECT (SELECT CAST('1' AS pg_catalog.timestamptz(2)) AS current_timestamp), \
         (SELECT CAST('2' AS pg_catalog.date) AS CURRENT_DATE)",
    )]);
}

#[test]
fn strings_that_mean_the_present_time() {
    all(&[
        ("UPDATE plain SET at = 'now'::timestamptz", "UPDATE plain SET at = '1'::timestamptz"),
        ("UPDATE plain SET at = 'today'::date - 1", "UPDATE plain SET at = '1'::date - 1"),
        (
            "UPDATE plain SET at = E'n\\157w' :: timestamp(0) with time zone",
            "UPDATE plain SET at = '1' :: timestamp(0) with time zone",
        ),
        (
            "UPDATE plain SET at = $$tomorrow 10:00$$::pg_catalog.timestamp",
            "UPDATE plain SET at = '1'::pg_catalog.timestamp",
        ),
        ("UPDATE plain SET at = CAST('yesterday' AS date)", "UPDATE plain SET at = CAST('1' AS date)"),
        ("UPDATE plain SET at = ('now')::time", "UPDATE plain SET at = ('1')::time"),
        ("UPDATE plain SET at = date('now')", "UPDATE plain SET at = date('1')"),
        ("UPDATE plain SET at = 'now'::text::date", "UPDATE plain SET at = CAST('1' AS date)"),
        ("UPDATE plain SET at = (('now'::text))::date + 1", "UPDATE plain SET at = CAST('1' AS date) + 1"),
        (
            "UPDATE plain SET at = CAST('now'::text AS date), b = timestamptz('now'::text)",
            "UPDATE plain SET at = CAST('1' AS date), b = timestamptz('2')",
        ),
        ("UPDATE plain SET at = timestamp 'now'", "UPDATE plain SET at = CAST('1' AS timestamp)"),
        (
            "UPDATE plain SET at = timestamp (3) with time zone 'now'",
            "UPDATE plain SET at = CAST('1' AS timestamp (3) with time zone)",
        ),
        (
            "UPDATE plain SET at = date 'today' WHERE at < timetz 'now'",
            "UPDATE plain SET at = CAST('1' AS date) WHERE at < CAST('2' AS timetz)",
        ),
        ("UPDATE plain SET at = 'now'", "UPDATE plain SET at = '1'"),
        ("INSERT INTO plain (b, at) VALUES ('now', 'now')", "INSERT INTO plain (b, at) VALUES ('now', '1')"),
        ("INSERT INTO plain VALUES (1, 'today', 'today')", "INSERT INTO plain VALUES (1, 'today', '1')"),
        ("INSERT INTO plain (at) SELECT 'now'", "INSERT INTO plain (at) SELECT '1'"),
        ("DELETE FROM plain WHERE at < 'yesterday'", "DELETE FROM plain WHERE at < '1'"),
        (
            "UPDATE plain p SET b = 'x' WHERE b = 'today' OR (p.at >= 'today' AND at < 'tomorrow')",
            "UPDATE plain p SET b = 'x' WHERE b = 'today' OR (p.at >= '1' AND at < '2')",
        ),
        ("UPDATE plain SET (b, at) = ('now', 'now')", "UPDATE plain SET (b, at) = ('now', '1')"),
    ]);
    assert_eq!(asked("UPDATE plain SET at = ('now'::text)::date"), ["('now'::text)::date"]);
    assert_eq!(asked("UPDATE plain SET at = timestamp(0) 'now'"), ["timestamp(0) 'now'"]);
    assert_eq!(asked("UPDATE plain SET at = CAST('now' AS date)"), ["CAST('now' AS date)"]);
    assert_eq!(asked("UPDATE plain SET at = 'now'"), ["CAST('now' AS timestamp with time zone)"]);
    untouched(&[
        "UPDATE plain SET b = 'now'",
        "UPDATE plain SET b = 'now'::text, a = length('today')",
        "UPDATE plain SET b = text 'now' WHERE b LIKE 'now' AND b || 'today' <> concat(b, 'now')",
        "INSERT INTO plain (b) VALUES ('we open today, not tomorrow')",
        "UPDATE plain SET b = doc ->> 'now' || doc['now']",
        "INSERT INTO plain (b) VALUES ('known')",
    ]);
    refused(
        Reason::UntypedTime,
        &[
            "DELETE FROM plain WHERE at < 'yesterday' AND a < 'now' - at",
            "DELETE FROM plain USING serial s WHERE at < 'yesterday'",
            "UPDATE plain SET b = s.b FROM serial s WHERE at < 'yesterday'",
            "UPDATE plain SET b = 'x' WHERE at < (SELECT at FROM plain WHERE at < 'now')",
            "UPDATE plain SET b = 'x' WHERE a || at = 'now'",
            "UPDATE plain SET b = 'x' WHERE at = ANY ('{now,today}')",
            "UPDATE plain SET many = ARRAY['now']",
            "UPDATE plain SET b = f('now')",
            "UPDATE plain SET at = coalesce(at, 'now')",
        ],
    );
    refused(
        Reason::UnknownType,
        &[
            "UPDATE plain SET b = '[now,tomorrow)'::tstzrange",
            "UPDATE plain SET b = '{now}'::date[]",
            "UPDATE plain SET many = 'now'",
            "UPDATE plain SET b = my_type 'now'",
            "UPDATE plain SET at = text 'now'::date",
            "UPDATE plain SET many = '{now}'",
        ],
    );
}

#[test]
fn age_begins_with_the_current_date() {
    all(&[(
        "UPDATE plain SET b = age(at)::text || age(at, at)",
        "UPDATE plain SET b = age(CAST('1' AS pg_catalog.date), at)::text || age(at, at)",
    )]);
    assert_eq!(asked("DELETE FROM plain WHERE age(at) > age(now())"), ["CURRENT_DATE", "now()"]);
}

#[test]
fn what_only_looks_like_it() {
    untouched(&[
        "UPDATE plain SET b = now",
        "UPDATE plain SET b = t.current_date FROM plain t",
        "UPDATE plain SET b = \"current_date\", now = 1",
        "UPDATE plain SET b = 'now() random()' -- now()",
        "UPDATE plain SET b = /* now() */ $$ now() $$ || E'\\'now()'",
        "INSERT INTO plain (a, b) SELECT x.random, 1 FROM plain AS x (random) LIMIT 0",
        "INSERT INTO plain (a) SELECT 1 AS random FROM plain now (b)",
        "UPDATE plain SET b = other.now()",
        "UPDATE plain SET b = other.random(a)",
        "WITH random (a) AS (SELECT 1) UPDATE plain SET a = random.a FROM random",
        "UPDATE plain SET b = \"NOW\"()",
        "UPDATE plain SET b = xmlforest(a AS current_date)",
        "INSERT INTO plain (a) SELECT a current_date FROM serial",
    ]);
    let scs_off = Dialect { standard_conforming_strings: false, ..Dialect::default() };
    let text = "UPDATE plain SET b = 'it\\'s now()', at = now()";
    let (_, plan) = plan_of(text, scs_off);
    let plan = plan.expect("a plan");
    let out = plan.rewrite(text.as_bytes(), &numbers(&plan), scs_off).expect("a text");
    assert_eq!(out[..], b"UPDATE plain SET b = 'it\\'s now()', at = CAST('1' AS pg_catalog.timestamptz)"[..]);
}

#[test]
fn definitions_keep_their_expressions() {
    untouched(&[
        "CREATE TABLE n (at timestamptz DEFAULT now(), r float DEFAULT random())",
        "CREATE VIEW v AS SELECT now(), random() FROM plain",
        "CREATE FUNCTION f() RETURNS float LANGUAGE sql AS 'SELECT random()'",
        "CREATE FUNCTION f() RETURNS float BEGIN ATOMIC SELECT random(); SELECT now(); END",
        "CREATE RULE r AS ON INSERT TO plain DO ALSO INSERT INTO log VALUES (now())",
        "CREATE TRIGGER t BEFORE INSERT ON plain FOR EACH ROW WHEN (new.at > now()) EXECUTE FUNCTION f()",
        "CREATE INDEX i ON plain (a) WHERE a > 0",
        "ALTER TABLE plain ALTER COLUMN at SET DEFAULT now()",
        "ALTER TABLE plain ADD CONSTRAINT c CHECK (at < now())",
        "ALTER TABLE plain ADD COLUMN c int DEFAULT 5",
        "CREATE MATERIALIZED VIEW m AS SELECT a FROM plain",
        "CREATE POLICY p ON plain USING (at < now())",
        "DO $$ BEGIN UPDATE plain SET a = 1; END $$",
        "DO $$ BEGIN FOR i IN 1..10 LOOP UPDATE plain SET a = i; END LOOP; END $$",
    ]);
    refused(
        Reason::AlterTable,
        &[
            "ALTER TABLE plain ADD COLUMN c timestamptz NOT NULL DEFAULT now()",
            "ALTER TABLE plain ADD x int, ADD COLUMN c uuid DEFAULT gen_random_uuid()",
            "ALTER TABLE plain ALTER COLUMN at TYPE date USING coalesce(at, now())",
        ],
    );
    refused(
        Reason::MaterializedView,
        &[
            "CREATE MATERIALIZED VIEW m AS SELECT now() AS t, a FROM plain",
            "CREATE MATERIALIZED VIEW m AS SELECT now() WITH NO DATA",
        ],
    );
    refused(
        Reason::DoBlock,
        &[
            "DO $$ BEGIN UPDATE plain SET at = now(); END $$",
            "DO $$ BEGIN FOR i IN 1..10 LOOP PERFORM random(); END LOOP; END $$",
        ],
    );
}

#[test]
fn what_only_the_client_sees_stays() {
    untouched(&[
        "SELECT now(), random(), ctid FROM plain WHERE at < CURRENT_DATE",
        "SELECT nextval('s') FROM plain",
        "SELECT a FROM plain TABLESAMPLE system (10)",
        "SELECT a FROM plain WHERE at < 'yesterday' FOR UPDATE SKIP LOCKED",
        "INSERT INTO plain (a) VALUES (1) ON CONFLICT (a) DO UPDATE SET b = 'x' RETURNING (xmax = 0) AS fresh, random()",
        "UPDATE plain SET a = 1 RETURNING ctid, plain.tableoid, nextval('s')",
        "DECLARE c CURSOR FOR SELECT now(), random() FROM plain",
        "COPY (SELECT now()) TO STDOUT",
        "SELECT keep(a), random() FROM plain",
        "EXPLAIN SELECT random() FROM plain",
    ]);
    let findings = inspect(b"UPDATE plain SET a = 1 RETURNING random()", Dialect::default());
    assert_eq!(findings.notes, [Note::OnlyShown(33..41)]);
}

/// A sequence goes on, whoever sees its values: it is asked for them, or locked while each server moves it.
#[test]
fn what_moves_sequences_is_told() {
    let moves = |text: &str| -> Vec<String> {
        plan(text).moves().iter().map(|name| String::from_utf8_lossy(name).into_owned()).collect()
    };
    assert!(plan("SELECT nextval('s')").asks_all_nodes() && moves("SELECT nextval('s')").is_empty());
    assert_eq!(moves("SELECT nextval('s'), a FROM plain"), ["'s'"]);
    assert_eq!(moves("UPDATE plain SET a = 1 RETURNING nextval('s')"), ["'s'"]);
    assert_eq!(moves("SELECT setval('public.s', max(a)) FROM plain"), ["'public.s'"]);
    assert!(moves("SELECT currval('s')").is_empty());
}

#[test]
fn what_no_constant_can_stand_for() {
    refused(
        Reason::SystemColumn,
        &[
            "DELETE FROM plain a USING plain b WHERE a.ctid < b.ctid AND a.a = b.a",
            "UPDATE plain SET b = xmin::text",
            "INSERT INTO plain (a) SELECT oid FROM pg_class",
            "WITH x AS (INSERT INTO plain (a) VALUES (1) RETURNING ctid) INSERT INTO plain (b) SELECT 'x' FROM x",
            "CREATE TABLE n AS SELECT tableoid FROM plain",
        ],
    );
    untouched(&[
        "INSERT INTO plain (b) SELECT tableoid::regclass FROM plain",
        "INSERT INTO plain (a) SELECT 'plain'::regclass::oid",
        "INSERT INTO plain (a) SELECT 1 AS xmin",
        "UPDATE plain SET a = st_xmin(b)",
    ]);
    refused(Reason::Sample, &["INSERT INTO plain (a) SELECT a FROM serial TABLESAMPLE bernoulli (1) REPEATABLE (1)"]);
    refused(
        Reason::SkipLocked,
        &["DELETE FROM plain WHERE a = (SELECT a FROM plain ORDER BY a LIMIT 1 FOR UPDATE SKIP LOCKED)"],
    );
    refused(
        Reason::FromList,
        &["INSERT INTO plain (at) SELECT * FROM now()", "INSERT INTO plain (at) SELECT 1 FROM serial, CURRENT_DATE d"],
    );
    refused(
        Reason::Arguments,
        &["INSERT INTO plain SELECT nextval(b) FROM serial", "INSERT INTO plain VALUES (nextval($1))"],
    );
    refused(Reason::ServersOwn, &["INSERT INTO plain VALUES (pg_stat_get_numscans(1))"]);
    refused(
        Reason::LargeObject,
        &["INSERT INTO plain VALUES (lo_creat(-1))", "CREATE TABLE n AS SELECT lo_create(0) AS l"],
    );
    untouched(&["INSERT INTO plain VALUES (lo_create(16500))"]);
    refused(
        Reason::NotUnderstood,
        &["UPDATE plain SET a = 0x1F", "INSERT plain VALUES (1)", "UPDATE plain SET b = U&\"f\"()"],
    );
}

#[test]
fn a_text_of_several_statements() {
    all(&[(
        "BEGIN; UPDATE plain SET at = now(); INSERT INTO dated (a, made) VALUES (1, now()); COMMIT",
        "BEGIN; UPDATE plain SET at = CAST('1' AS pg_catalog.timestamptz); \
         INSERT INTO dated (a, made, \"day\") VALUES (1, CAST('1' AS pg_catalog.timestamptz), CAST('2' AS date)); COMMIT",
    )]);
    refused(
        Reason::ManyStatements,
        &[
            "SET TimeZone = 'UTC'; INSERT INTO plain (at) VALUES (CURRENT_DATE)",
            "CREATE TABLE n (a int, at timestamptz DEFAULT now()); INSERT INTO n VALUES (1)",
            "PREPARE p AS UPDATE plain SET at = now(); EXECUTE p",
        ],
    );
    untouched(&["CREATE TABLE n (a int); CREATE INDEX i ON n (a)"]);
}

#[test]
fn a_limit_without_an_order_is_noted() {
    let notes = |text: &str| inspect(text.as_bytes(), Dialect::default()).notes;
    assert!(matches!(notes("DELETE FROM plain WHERE a IN (SELECT a FROM plain LIMIT 1)")[..], [Note::RowOrder(_)]));
    assert!(notes("DELETE FROM plain WHERE a IN (SELECT a FROM plain ORDER BY a LIMIT 1)").is_empty());
}

#[test]
fn functions_that_nobody_knows_are_noted() {
    let text = "UPDATE plain SET b = public.f(lower(b), g(1))";
    let notes = inspect(text.as_bytes(), Dialect::default()).notes;
    let names: Vec<&str> = notes
        .iter()
        .map(|note| match note {
            Note::UnknownFunction(range) => &text[range.clone()],
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(names, ["public.f", "g"]);
}
