//! Which names of a text are looked up, and as what.

use crate::sql::{Dialect, UseKind, Uses, analyze_naming};
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

/// The uses of `text`, each as its kind and its name: `f name`, `r name`.
fn uses(text: &str) -> String {
    let mut uses = Uses::new();
    analyze_naming(text.as_bytes(), Dialect::default(), &mut uses);
    assert!(!uses.is_unclear(), "{text}");
    let spell = |(kind, schema, name): (UseKind, Option<crate::sql::Name<'_>>, crate::sql::Name<'_>)| {
        let mark = match kind {
            UseKind::Function => 'f',
            UseKind::Relation => 'r',
            UseKind::Member => 'm',
            UseKind::Field => 'n',
            UseKind::With => 'w',
            UseKind::Written => 'x',
        };
        let schema = schema.map(|schema| format!("{schema}.")).unwrap_or_default();
        format!("{mark} {schema}{name}")
    };
    uses.iter(text.as_bytes()).map(spell).collect::<Vec<_>>().join(", ")
}

#[test]
fn relations_are_what_from_lists() {
    for (text, expected) in [
        ("SELECT abalance FROM pgbench_accounts WHERE aid = 1", "r pgbench_accounts"),
        (
            "SELECT x.a FROM s.t AS x, \"U\" y JOIN v ON x.a = y.b, w WHERE a IN (1, 2)",
            "m a, r s.t, r U, r v, m a, m b, r w",
        ),
        ("SELECT a, b FROM (t JOIN u USING (c, d)) ORDER BY a, b", "r t, r u"),
        ("SELECT * FROM ONLY (t), LATERAL (SELECT 1 FROM u) z", "r t, r u"),
        ("TABLE s.t", "r s.t"),
        ("TABLE ONLY t", "r t"),
        ("TABLE ONLY (s.t)", "r s.t"),
        ("SELECT 1 UNION ALL TABLE t", "r t"),
        ("COPY s.t (a, b) TO STDOUT", "r s.t"),
        ("EXPLAIN SELECT 1 FROM session, value", "r session, r value"),
        ("SELECT (SELECT max(a) FROM t), b FROM u", "f max, r t, r u"),
        ("SELECT ARRAY(SELECT a FROM t), b", "r t"),
        ("SELECT 1 FROM t WHERE a IS DISTINCT FROM b", "r t"),
        ("SELECT a IS NOT DISTINCT FROM b, c FROM t", "r t"),
        ("SELECT DISTINCT FROM t, u", "r t, r u"),
        ("(SELECT a FROM t) UNION SELECT b FROM u, v", "r t, r u, r v"),
        ("((SELECT 1) EXCEPT ALL SELECT a FROM t) ORDER BY 1", "r t"),
        ("SELECT 1 AS from, t.a FROM t", "m a, r t"),
        ("SELECT 1 AS as FROM t", "r t"),
        ("SELECT 1 FROM time, values, recursive", "r time, r values, r recursive"),
        ("SELECT 1 FROM t x (a, b), ROWS FROM (unnest(c)) y (d)", "r t, f unnest"),
        ("SELECT substring(1), overlay(a, b, 1)", "f substring, f overlay"),
    ] {
        assert_eq!(uses(text), expected, "{text}");
    }
}

#[test]
fn from_inside_a_call_lists_nothing() {
    for (text, expected) in [
        ("SELECT extract(year FROM d), b", "f extract"),
        ("SELECT substring(a FROM 1 FOR 2), trim(both FROM b) FROM t", "f trim, r t"),
    ] {
        let found = uses(text);
        let relations: Vec<&str> = found.split(", ").filter(|used| used.starts_with('r')).collect();
        let wanted: Vec<&str> = expected.split(", ").filter(|used| used.starts_with('r')).collect();
        assert_eq!(relations, wanted, "{text}");
    }
}

#[test]
fn calls_and_members_are_told() {
    for (text, expected) in [
        ("SELECT f(1), s.g(2) FROM h(3) AS x(a, b), t", "f f, f s.g, f h, r t"),
        ("SELECT (r).f, a[1].g FROM t", "n f, n g, r t"),
        ("SELECT t.f, s.t.g FROM t", "m f, m g, r t"),
        ("WITH RECURSIVE q(n) AS (SELECT 1), p AS (TABLE t) SELECT * FROM q, p", "w q, w p, r t, r q, r p"),
        (
            "WITH RECURSIVE q(n) AS (SELECT 1) CYCLE n SET c TO 1 DEFAULT 0 USING w, p(n) AS (TABLE t) SELECT f(n) FROM q, p",
            "w q, w p, r t, f f, r q, r p",
        ),
        (
            "WITH RECURSIVE q(n) AS (SELECT 1) SEARCH DEPTH FIRST BY n SET o, p(n) AS (TABLE t) TABLE p",
            "w q, w p, r t, r p",
        ),
    ] {
        let mut found: Vec<String> = uses(text).split(", ").map(Into::into).collect();
        let mut wanted: Vec<String> = expected.split(", ").map(Into::into).collect();
        found.sort();
        wanted.sort();
        assert_eq!(found, wanted, "{text}");
    }
}

#[test]
fn what_is_written_is_told() {
    for (text, expected) in [
        ("INSERT INTO s.t (a) SELECT b FROM u", "x t"),
        ("UPDATE ONLY t AS x SET a = 1", "x t"),
        ("DELETE FROM t USING u", "x t"),
        ("MERGE INTO t USING u ON t.a = u.a WHEN MATCHED THEN DELETE", "x t"),
        ("TRUNCATE TABLE a, ONLY s.b *, c CASCADE", "x a, x b, x c"),
        ("COPY s.t (a) FROM STDIN", "r s.t, x t"),
        ("WITH w AS (DELETE FROM t RETURNING *), v AS (UPDATE u SET a = 1) SELECT * FROM w", "w w, x t, w v, x u, r w"),
        ("SELECT 1 INTO t", "x t"),
    ] {
        assert_eq!(uses(text), expected, "{text}");
    }
}

#[test]
fn what_cannot_be_cut_is_said() {
    for text in ["SELECT 1 FROM db.s.t", "SELECT db.s.f(1)", "COPY db.s.t TO STDOUT"] {
        let mut uses = Uses::new();
        analyze_naming(text.as_bytes(), Dialect::default(), &mut uses);
        assert!(uses.is_unclear(), "{text}");
    }
    let many: String = (0..1000).map(|n| format!(", t{n}")).collect();
    let mut uses = Uses::new();
    analyze_naming(format!("SELECT 1 FROM t{many}").as_bytes(), Dialect::default(), &mut uses);
    assert!(uses.is_unclear());
}
