//! What is found, asked and written, as tables. In the texts that are expected, `'1'` is the first constant.

mod defaults;
mod extended;
mod places;
mod properties;

use super::table::{Answer, Table};
use super::{Class, Constants, Findings, LockHint, Note, Plan, Reason, Refusal, inspect};
use crate::sql::Dialect;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec;
use alloc::vec::Vec;

/// A column as the question's answer gives it: name, type, three letters and the default's expression.
type Facts = (&'static str, &'static str, &'static str);

const PLAIN: &[Facts] = &[
    ("a", "integer", "fsn"),
    ("b", "text", "fsn"),
    ("at", "timestamp with time zone", "tsn"),
    ("many", "date[]", "usn"),
];
const DATED: &[Facts] = &[
    ("a", "integer", "fsn"),
    ("made", "timestamp with time zone", "tsnnow()"),
    ("day", "date", "tsnCURRENT_DATE"),
    ("n", "integer", "fsn0"),
];
const SERIAL: &[Facts] = &[("id", "integer", "fsnnextval('serial_id_seq'::regclass)"), ("a", "integer", "fsn")];
const TOKEN: &[Facts] = &[("a", "integer", "fsn"), ("token", "uuid", "fsngen_random_uuid()")];
const ALWAYS: &[Facts] = &[("id", "integer", "fsapg_catalog.nextval('public.always_id_seq')"), ("a", "integer", "fsn")];
const BY_DEFAULT: &[Facts] = &[("id", "bigint", "fsdpg_catalog.nextval('public.d_id_seq')"), ("a", "integer", "fsn")];
const QUOTED: &[Facts] =
    &[("a", "integer", "fsn"), ("Made \"at\"", "timestamp without time zone", "tsnLOCALTIMESTAMP")];

fn table(columns: &[Facts]) -> Table {
    let mut answer = Answer::new(1, Dialect::default());
    answer.row(&[Some(b"0"), Some(b"r"), None, None, None]).expect("a row");
    for (name, type_name, facts) in columns {
        let texts = [*name, type_name, facts].map(|text| Some(text.as_bytes()));
        answer.row(&[Some(b"0"), Some(b"c"), texts[0], texts[1], texts[2]]).expect("a row");
    }
    answer.finish().remove(0).expect("a table")
}

fn plan_of(text: &str, dialect: Dialect) -> (Findings, Result<Plan, Refusal>) {
    let findings = inspect(text.as_bytes(), dialect);
    let known = [
        ("plain", PLAIN),
        ("dated", DATED),
        ("serial", SERIAL),
        ("token", TOKEN),
        ("always", ALWAYS),
        ("by_default", BY_DEFAULT),
        ("quoted", QUOTED),
    ];
    let tables: Vec<_> = findings
        .tables()
        .filter_map(|name| known.iter().find(|(known, _)| *known == &text[name.clone()]))
        .map(|(name, columns)| (*name, table(columns)))
        .collect();
    let plan = findings.plan(text.as_bytes(), |name| {
        tables.iter().find(|(known, _)| known.as_bytes() == name).map(|(_, table)| table)
    });
    (findings, plan)
}

#[track_caller]
fn plan(text: &str) -> Plan {
    plan_of(text, Dialect::default()).1.unwrap_or_else(|refusal| panic!("{refusal:?}: {text}"))
}

/// The numbers from one on.
fn numbers(plan: &Plan) -> Constants {
    let mut constants = Constants::new();
    for number in 1..=plan.constants().len() {
        constants.push(Some(number.to_string().as_bytes()));
    }
    constants
}

#[track_caller]
fn rewritten(text: &str) -> String {
    let plan = plan(text);
    let out = plan.rewrite(text.as_bytes(), &numbers(&plan), Dialect::default()).expect("a text");
    String::from_utf8(out.into_owned()).expect("UTF-8")
}

/// What is asked for, in its order.
#[track_caller]
fn asked(text: &str) -> Vec<String> {
    plan(text).constants().iter().map(|c| String::from_utf8_lossy(&c.expression).into_owned()).collect()
}

/// Asserts for each text what becomes of it.
#[track_caller]
fn all(cases: &[(&str, &str)]) {
    for (text, expected) in cases {
        assert_eq!(rewritten(text), *expected, "{text}");
    }
}

/// Asserts that each text stays as it is.
#[track_caller]
fn untouched(texts: &[&str]) {
    for text in texts {
        assert_eq!(rewritten(text), *text);
    }
}

#[track_caller]
fn refused(reason: Reason, texts: &[&str]) {
    for text in texts {
        let outcome = plan_of(text, Dialect::default()).1.map_err(|refusal| refusal.reason);
        assert_eq!(outcome.as_ref().err(), Some(&reason), "{text}: {outcome:?}");
    }
}

#[test]
fn the_question_has_a_row_for_each_constant() {
    let text = "INSERT INTO plain (a, b, at) VALUES (pg_backend_pid(), random(), now()), (1, random(), now())";
    let plan = plan(text);
    assert_eq!(
        plan.question().map(|question| String::from_utf8_lossy(&question).into_owned()).as_deref(),
        Some(
            "VALUES (((pg_backend_pid())::pg_catalog.text)), (((random())::pg_catalog.text)), \
             ((pg_catalog.to_json(now()) OPERATOR(pg_catalog.#>>) '{}')), (((random())::pg_catalog.text))"
        )
    );
    assert!(!plan.asks_all_nodes());
}

#[test]
fn values_are_quoted_and_nulls_are_typed() {
    let text = "INSERT INTO plain VALUES (1, version(), inet_client_addr())";
    let mut constants = Constants::new();
    constants.push(Some(b"it's a \\ b"));
    constants.push(None);
    let out = plan(text).rewrite(text.as_bytes(), &constants, Dialect::default()).expect("a text");
    assert_eq!(
        String::from_utf8_lossy(&out),
        "INSERT INTO plain VALUES (1, CAST(E'it''s a \\\\ b' AS pg_catalog.text), CAST(NULL AS pg_catalog.inet))"
    );
    constants.push(None);
    assert!(plan(text).rewrite(text.as_bytes(), &constants, Dialect::default()).is_err(), "one too many");
    let mut foreign = Constants::new();
    foreign.push(Some(&[0x81, b'\'']));
    foreign.push(None);
    let sjis = Dialect { ascii_safe_encoding: false, ..Dialect::default() };
    let refusal = plan(text).rewrite(text.as_bytes(), &foreign, sjis).expect_err("a quote may hide in a character");
    assert_eq!(refusal.reason, Reason::Value);
}

#[test]
fn a_refusal_says_what_and_what_instead() {
    let text = "UPDATE plain SET b = random()";
    let fault = plan_of(text, Dialect::default()).1.expect_err("a refusal").fault(text.as_bytes());
    assert_eq!(&fault.sqlstate, b"0A000");
    assert_eq!(fault.message, "\"random()\" has another value for each row on each server");
    assert!(fault.hint.is_some_and(|hint| hint.contains("WITH")));
}

#[test]
fn what_holds_nothing_special_takes_no_memory() {
    for text in [
        "UPDATE pgbench_accounts SET abalance = abalance + 100 WHERE aid = 12345;",
        "DELETE FROM plain WHERE b = 'it is open' AND lower(b) <> 'x'",
        "SELECT a FROM plain WHERE a = 1",
        "BEGIN",
        "SET work_mem = '5MB'",
    ] {
        let findings = inspect(text.as_bytes(), Dialect::default());
        assert!(findings.is_empty() && findings.targets.capacity() == 0 && findings.spots.capacity() == 0, "{text}");
        assert_eq!(rewritten(text), text);
    }
}

#[test]
fn comments_in_front_overrule_the_lock() {
    let hint = |text: &str| inspect(text.as_bytes(), Dialect::default()).hint;
    assert_eq!(hint("/*INSERT LOCK*/ INSERT INTO plain VALUES (1)"), Some(LockHint::Lock));
    assert_eq!(hint("/*NO INSERT LOCK*/INSERT INTO plain VALUES (1)"), Some(LockHint::NoLock));
    assert_eq!(hint(" /*INSERT LOCK*/ INSERT INTO plain VALUES (1)"), None, "only at the very beginning");
    let locks = |text: &str| plan(text).locks().iter().map(|range| text[range.clone()].to_string()).collect::<Vec<_>>();
    let copy = "INSERT INTO serial (a) SELECT a FROM plain ORDER BY a";
    assert_eq!(locks(copy), ["serial"]);
    assert!(locks(&format!("/*NO INSERT LOCK*/ {copy}")).is_empty());
    assert_eq!(locks("/*INSERT LOCK*/ INSERT INTO plain VALUES (1)"), ["plain"]);
}
