//! Defaults of columns.

use super::*;

const NOW: &str = "CAST('1' AS timestamp with time zone)";

#[test]
fn what_is_not_given_is_added() {
    for (text, expected) in [
        (
            "INSERT INTO dated (a) VALUES (1)",
            "INSERT INTO dated (a, \"made\", \"day\") VALUES (1, @, CAST('2' AS date))",
        ),
        (
            "INSERT INTO dated VALUES (1)",
            "INSERT INTO dated (\"a\", \"made\", \"day\") VALUES (1, @, CAST('2' AS date))",
        ),
        (
            "INSERT INTO dated (day, a) VALUES ('2001-01-01', 1), (NULL, 2)",
            "INSERT INTO dated (day, a, \"made\") VALUES ('2001-01-01', 1, @), (NULL, 2, @)",
        ),
        (
            "insert into dated as d (A,DAY)values(1,default)returning *",
            "insert into dated as d (A,DAY, \"made\")values(1,CAST('2' AS date), @)returning *",
        ),
        (
            "INSERT INTO dated DEFAULT VALUES RETURNING a",
            "INSERT INTO dated (\"made\", \"day\") VALUES (@, CAST('2' AS date)) RETURNING a",
        ),
        (
            "INSERT INTO dated SELECT a FROM plain WHERE a > 1",
            "INSERT INTO dated (\"a\", \"made\", \"day\") SELECT a, @, CAST('2' AS date) FROM plain WHERE a > 1",
        ),
        (
            "INSERT INTO dated (a) SELECT DISTINCT a FROM plain UNION ALL SELECT DISTINCT ON (b) a FROM plain ORDER BY 1",
            "INSERT INTO dated (a, \"made\", \"day\") SELECT DISTINCT a, @, CAST('2' AS date) FROM plain \
             UNION ALL SELECT DISTINCT ON (b) a, @, CAST('2' AS date) FROM plain ORDER BY 1",
        ),
        (
            "WITH x AS (SELECT 1 AS a) INSERT INTO dated (a, day) SELECT * FROM x",
            "WITH x AS (SELECT 1 AS a) INSERT INTO dated (a, day, \"made\") SELECT *, @ FROM x",
        ),
        (
            "INSERT INTO dated (a, day) WITH x AS (SELECT 1 AS a) SELECT a, CURRENT_DATE FROM x ON CONFLICT DO NOTHING",
            "INSERT INTO dated (a, day, \"made\") WITH x AS (SELECT 1 AS a) SELECT a, CAST('1' AS pg_catalog.date), \
             CAST('2' AS timestamp with time zone) FROM x ON CONFLICT DO NOTHING",
        ),
        (
            "WITH i AS (INSERT INTO dated (a, day) VALUES (1, NULL) RETURNING a) UPDATE plain SET a = i.a FROM i",
            "WITH i AS (INSERT INTO dated (a, day, \"made\") VALUES (1, NULL, @) RETURNING a) UPDATE plain SET a = i.a FROM i",
        ),
        (
            "MERGE INTO dated d USING plain p ON d.a = p.a WHEN NOT MATCHED THEN INSERT (a, day) VALUES (p.a, DEFAULT) \
             WHEN MATCHED THEN UPDATE SET made = DEFAULT, n = DEFAULT",
            "MERGE INTO dated d USING plain p ON d.a = p.a WHEN NOT MATCHED THEN INSERT (a, day, \"made\") \
             VALUES (p.a, CAST('2' AS date), @) WHEN MATCHED THEN UPDATE SET made = @, n = DEFAULT",
        ),
        (
            "MERGE INTO dated d USING plain p ON d.a = p.a WHEN NOT MATCHED THEN INSERT DEFAULT VALUES",
            "MERGE INTO dated d USING plain p ON d.a = p.a WHEN NOT MATCHED THEN INSERT (\"made\", \"day\") \
             VALUES (@, CAST('2' AS date))",
        ),
        ("UPDATE dated SET made = DEFAULT, n = DEFAULT", "UPDATE dated SET made = @, n = DEFAULT"),
        ("UPDATE dated SET (a, made) = ROW (1, DEFAULT)", "UPDATE dated SET (a, made) = ROW (1, @)"),
        (
            "INSERT INTO dated (a, made, day) VALUES (1, now(), NULL) ON CONFLICT (a) DO UPDATE SET made = DEFAULT",
            "INSERT INTO dated (a, made, day) VALUES (1, CAST('1' AS pg_catalog.timestamptz), NULL) \
             ON CONFLICT (a) DO UPDATE SET made = CAST('2' AS timestamp with time zone)",
        ),
    ] {
        // The order of constants in the text is not that of the question.
        let found = rewritten(text);
        let swap = |text: &str| text.replace("'1'", "'x'").replace("'2'", "'1'").replace("'x'", "'2'");
        let expected = expected.replace('@', NOW);
        assert!(found == expected || found == swap(&expected), "{text}\n{found}\n{expected}");
    }
    all(&[(
        "INSERT INTO quoted (a) VALUES (1)",
        "INSERT INTO quoted (a, \"Made \"\"at\"\"\") VALUES (1, CAST('1' AS timestamp without time zone))",
    )]);
    assert_eq!(asked("INSERT INTO token (a) VALUES (1)"), ["CAST(gen_random_uuid() AS uuid)"]);
}

#[test]
fn what_is_given_stays() {
    untouched(&[
        "INSERT INTO dated (a, made, day) VALUES (1, '2001-01-01', $1)",
        "INSERT INTO dated VALUES (1, '2001-01-01', NULL)",
        "INSERT INTO dated VALUES (1, '2001-01-01', NULL, DEFAULT)",
        "INSERT INTO dated VALUES (1, 2, 3, 4, 5)",
        "INSERT INTO dated VALUES (1), (1, 2)",
        "INSERT INTO dated (a, missing) VALUES (1, 2)",
        "INSERT INTO unheard_of (a) VALUES (1)",
        "COPY dated FROM STDIN",
        "COPY dated (a) TO STDOUT",
        "UPDATE dated SET a = 1",
        "INSERT INTO plain DEFAULT VALUES",
    ]);
}

#[test]
fn sequences_are_asked_for_where_the_rows_are_known() {
    all(&[
        (
            "INSERT INTO serial (a) VALUES (1), (2)",
            "INSERT INTO serial (a, \"id\") VALUES (1, CAST('1' AS integer)), (2, CAST('2' AS integer))",
        ),
        ("INSERT INTO serial VALUES (DEFAULT, 1)", "INSERT INTO serial VALUES (CAST('1' AS integer), 1)"),
        (
            "INSERT INTO always (a) VALUES (1)",
            "INSERT INTO always (a, \"id\") OVERRIDING SYSTEM VALUE VALUES (1, CAST('1' AS integer))",
        ),
        (
            "INSERT INTO always VALUES (DEFAULT, 1)",
            "INSERT INTO always OVERRIDING SYSTEM VALUE VALUES (CAST('1' AS integer), 1)",
        ),
        (
            "INSERT INTO always DEFAULT VALUES",
            "INSERT INTO always (\"id\") OVERRIDING SYSTEM VALUE VALUES (CAST('1' AS integer))",
        ),
        ("INSERT INTO by_default (a) VALUES (1)", "INSERT INTO by_default (a, \"id\") VALUES (1, CAST('1' AS bigint))"),
        (
            "INSERT INTO always (a) OVERRIDING SYSTEM VALUE VALUES (1)",
            "INSERT INTO always (a, \"id\") OVERRIDING SYSTEM VALUE VALUES (1, CAST('1' AS integer))",
        ),
    ]);
    let plan = plan("INSERT INTO serial (a) VALUES (1)");
    assert!(plan.asks_all_nodes() && plan.locks().is_empty());
    assert_eq!(plan.constants()[0].class, Class::Sequence);
    refused(Reason::Overriding, &["INSERT INTO always (id, a) OVERRIDING USER VALUE VALUES (7, 1)"]);
    refused(Reason::DefaultPerRow, &["UPDATE always SET id = DEFAULT", "UPDATE serial SET id = DEFAULT"]);
}

#[test]
fn rows_that_are_not_known_need_a_lock_for_sequences_and_no_other_volatile_default() {
    for text in [
        "INSERT INTO serial (a) SELECT a FROM plain",
        "INSERT INTO serial (a) TABLE plain",
        "INSERT INTO serial SELECT * FROM serial",
        "COPY serial (a) FROM STDIN",
        "MERGE INTO serial s USING plain p ON s.a = p.a WHEN NOT MATCHED THEN INSERT (a) VALUES (p.a)",
        "MERGE INTO serial s USING plain p ON s.a = p.a WHEN NOT MATCHED THEN INSERT (id, a) VALUES (DEFAULT, p.a)",
    ] {
        assert_eq!(rewritten(text), text);
        assert_eq!(
            plan(text).locks().iter().map(|range| &text[range.clone()]).collect::<Vec<_>>(),
            ["serial"],
            "{text}"
        );
    }
    refused(
        Reason::DefaultPerRow,
        &[
            "INSERT INTO token (a) SELECT a FROM plain",
            "MERGE INTO token t USING plain p ON t.a = p.a WHEN NOT MATCHED THEN INSERT (a) VALUES (1)",
        ],
    );
    refused(Reason::DefaultOfCopy, &["COPY token (a) FROM STDIN", "COPY token FROM STDIN (FORMAT csv, DEFAULT 'x')"]);
    refused(
        Reason::DefaultOfQuery,
        &[
            "INSERT INTO dated SELECT * FROM plain",
            "INSERT INTO dated (a) TABLE plain",
            "INSERT INTO dated (a) (SELECT 1) UNION (SELECT 2)",
            "INSERT INTO dated VALUES ((x).*)",
        ],
    );
    all(&[("INSERT INTO token VALUES (1, DEFAULT), (2)", "INSERT INTO token VALUES (1, DEFAULT), (2)")]);
}

#[test]
fn a_sequence_is_not_read_where_it_is_used() {
    refused(
        Reason::ReadsSequence,
        &[
            "INSERT INTO serial (a) VALUES (currval('serial_id_seq'))",
            "INSERT INTO serial (a) VALUES (lastval())",
            "INSERT INTO plain VALUES (nextval('s'), currval('public.s'::regclass))",
        ],
    );
    assert_eq!(
        asked("INSERT INTO serial (a) VALUES (currval('other_seq'))"),
        ["currval('other_seq')", "CAST(nextval('serial_id_seq'::regclass) AS integer)"]
    );
}

#[test]
fn triggers_and_views_that_hide_something() {
    let dialect = Dialect::default();
    let text = b"INSERT INTO x (a) VALUES (1)";
    let outcome = |rows: &[[Option<&[u8]>; 5]]| {
        let mut answer = Answer::new(1, dialect);
        for row in rows {
            answer.row(row).expect("a row");
        }
        let table = answer.finish().remove(0);
        inspect(text, dialect).plan(text, |_| table.as_ref()).map_err(|refusal| refusal.reason).err()
    };
    let column: [Option<&[u8]>; 5] = [Some(b"0"), Some(b"c"), Some(b"a"), Some(b"integer"), Some(b"fsn")];
    let trigger = |source: &'static str| [Some(&b"0"[..]), Some(b"t"), Some(source.as_bytes()), Some(b"7"), None];
    let hidden = |facts: &'static str| [Some(&b"0"[..]), Some(b"h"), None, None, Some(facts.as_bytes())];
    assert_eq!(outcome(&[column]), None);
    assert_eq!(outcome(&[column, trigger("BEGIN NEW.a := 1; RETURN NEW; END")]), None);
    assert_eq!(outcome(&[column, trigger("BEGIN NEW.b := now(); RETURN NEW; END")]), Some(Reason::Trigger));
    assert_eq!(outcome(&[column, hidden("fsn0")]), None);
    assert_eq!(outcome(&[column, hidden("fsnnow()")]), Some(Reason::ViewDefault));
    assert!(Answer::new(1, dialect).row(&[Some(b"1"), Some(b"r"), None, None, None]).is_err());
    assert!(Answer::new(1, dialect).row(&[Some(b"0"), Some(b"c"), None, None, None]).is_err());
}
