//! Properties that hold for every text.

use super::*;
use proptest::prelude::*;

/// Tokens that meet in statements that write.
const TOKENS: &[&str] = &[
    "INSERT",
    "INTO",
    "dated",
    "serial",
    "always",
    "plain",
    "(",
    ")",
    "(",
    ")",
    ",",
    "a",
    "VALUES",
    "DEFAULT",
    "SELECT",
    "FROM",
    "WHERE",
    "UPDATE",
    "SET",
    "=",
    "now()",
    "random()",
    "'now'",
    "::date",
    "CURRENT_DATE",
    "nextval('s')",
    "AS",
    "RETURNING",
    "ON",
    "CONFLICT",
    "DO",
    "WITH",
    "x",
    "UNION",
    "*",
    ";",
    "MERGE",
    "USING",
    "WHEN",
    "MATCHED",
    "THEN",
    "NOT",
    "DELETE",
    "age(a)",
    "$1",
    "f",
    "CASE",
    "ELSE",
    "END",
    "PREPARE",
    "EXECUTE",
    "COPY",
    "CREATE",
    "TABLE",
    "date",
    "timestamp",
    "[",
    "]",
    "ORDER",
    "BY",
    "LIMIT",
    "1",
    "OVERRIDING",
    "SYSTEM",
    "VALUE",
    "ctid",
    ".",
    "CAST",
    "in",
    "'today'",
    "::text",
    "age(",
    "CAST(",
    "date(",
    "ARRAY[",
    "TABLESAMPLE",
    "SKIP",
    "LOCKED",
    "setval('s',",
    "EXPLAIN",
    "MATERIALIZED",
    "VIEW",
    "INTO",
    "text 'now'",
    "AND",
    "IS",
    "DISTINCT",
    "OR",
    "::int",
    "lastval()",
    "ANALYZE",
    "(a, made)",
    "( DEFAULT )",
    "DEFAULT VALUES",
    "token",
];

#[test]
fn nesting_has_a_bound_and_no_cost_beyond_its_length() {
    for (open, inner, close) in [
        ("(", "now()", ")"),
        ("f(", "now()", ")"),
        ("(SELECT ", "now()", ")"),
        ("(WITH x AS (SELECT 1) SELECT ", "now()", ")"),
        ("((SELECT 1) UNION SELECT ", "now()", ")"),
        ("CASE WHEN true THEN (", "now()", ") END"),
    ] {
        let text = |depth: usize| {
            format!("INSERT INTO plain (at) VALUES ({}{inner}{})", open.repeat(depth), close.repeat(depth))
        };
        assert_eq!(asked(&text(100)), ["now()"], "{open}");
        refused(Reason::NotUnderstood, &[&text(20_000)]);
    }
    let rows = format!("INSERT INTO dated (a) VALUES {}", vec!["(f(1, (2), 'x'))"; 20_000].join(", "));
    assert_eq!(plan(&rows).constants().len(), 2);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, ..ProptestConfig::default() })]

    /// No text makes it fail, whatever it is; and a text that has been rewritten has nothing left to be replaced.
    #[test]
    fn a_rewritten_text_needs_nothing_more(
        tokens in proptest::collection::vec(proptest::sample::select(TOKENS), 0..24),
        begin in proptest::sample::select(vec!["", "INSERT INTO dated (a) VALUES (", "UPDATE plain SET at =", "INSERT INTO serial SELECT"]),
    ) {
        let text = format!("{begin} {}", tokens.join(" "));
        let (_, plan) = plan_of(&text, Dialect::default());
        if let Ok(plan) = plan {
            let out = plan.rewrite(text.as_bytes(), &numbers(&plan), Dialect::default()).expect("a text");
            let out = String::from_utf8(out.into_owned()).expect("UTF-8");
            // The prepared statement's own findings are another text's.
            if let Ok(again) = plan_of(&out, Dialect::default()).1 {
                prop_assert!(again.constants().is_empty(), "{} became {}", text, out);
            }
            let parameters = plan.parametrize(text.as_bytes(), 0);
            prop_assert!(parameters.is_ok() || !plan.constants().is_empty());
        }
    }

    #[test]
    fn no_bytes_make_it_fail(text in proptest::collection::vec(any::<u8>(), 0..60), standard in any::<bool>()) {
        let dialect = Dialect { standard_conforming_strings: standard, ascii_safe_encoding: true };
        let findings = inspect(&text, dialect);
        let _ = findings.plan(&text, |_| None);
    }
}
