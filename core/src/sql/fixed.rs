//! Whether servers with the same data return the same rows for a text, in whatever order.
//!
//! Said only of queries in which every word is known to leave no choice: which rows `LIMIT` takes, in what order an
//! aggregate adds up floating-point numbers or joins strings, when it is, and what only one server can know, are all a
//! server's own affair.

use super::cursor::Cursor;
use super::determinism::{self, words};
use super::keyword::Keyword as K;
use super::lexer::Kind;
use super::uses::Uses;
use super::{Dialect, Name, functions};

/// Aggregates whose value does not depend on the order of the rows, whatever the type of their argument.
const UNORDERED: &[&str] =
    &["count", "min", "max", "bool_and", "bool_or", "every", "bit_and", "bit_or", "bit_xor", "any_value"];
/// PostgreSQL's functions that look at many rows: the others of them are [`UNORDERED`].
const ORDERED: &[&str] = &[
    "any_value",
    "array_agg",
    "avg",
    "corr",
    "covar_pop",
    "covar_samp",
    "cume_dist",
    "dense_rank",
    "first_value",
    "json_agg",
    "json_agg_strict",
    "json_arrayagg",
    "json_object_agg",
    "json_object_agg_strict",
    "json_object_agg_unique",
    "json_object_agg_unique_strict",
    "json_objectagg",
    "jsonb_agg",
    "jsonb_agg_strict",
    "jsonb_object_agg",
    "jsonb_object_agg_strict",
    "jsonb_object_agg_unique",
    "jsonb_object_agg_unique_strict",
    "lag",
    "last_value",
    "lead",
    "mode",
    "nth_value",
    "ntile",
    "percent_rank",
    "percentile_cont",
    "percentile_disc",
    "range_agg",
    "range_intersect_agg",
    "rank",
    "regr_avgx",
    "regr_avgy",
    "regr_intercept",
    "regr_r2",
    "regr_slope",
    "regr_sxx",
    "regr_sxy",
    "regr_syy",
    "row_number",
    "stddev",
    "stddev_pop",
    "stddev_samp",
    "string_agg",
    "sum",
    "var_pop",
    "var_samp",
    "variance",
    "xmlagg",
];

/// Functions that tell what their server is like, not what it holds.
const ABOUT_THE_SERVER: &[&str] = &[
    "current_setting",
    "current_database",
    "current_schema",
    "current_schemas",
    "has_",
    "inet_",
    "pg_",
    "to_reg",
    "txid_",
    "format_type",
    "obj_description",
    "col_description",
    "shobj_description",
    "row_security_active",
    "set_config",
    "query_to_xml",
    "table_to_xml",
    "schema_to_xml",
    "database_to_xml",
    "cursor_to_xml",
    "ts_stat",
    "ts_debug",
    "lo_",
];

/// Whether the rows that `text` returns are fixed by what its relations hold: those are for who can look them up.
pub fn fixes_rows(text: &[u8], dialect: Dialect) -> bool {
    let mut cursor = Cursor::new(text, dialect, Uses::default());
    let starts = matches!(
        cursor.kind(),
        Kind::Open
            | Kind::Keyword(K::Select | K::Values | K::Table | K::With | K::Insert | K::Update | K::Delete | K::Merge)
    );
    if !starts {
        return false;
    }
    let mut before = Kind::Semicolon;
    loop {
        let (kind, spelling, name) = (cursor.kind(), cursor.spelling(), cursor.name());
        cursor.bump();
        let leaves_a_choice = match kind {
            Kind::End => return true,
            Kind::Bad | Kind::UnicodeName => true,
            Kind::Keyword(K::Into) => !matches!(before, Kind::Keyword(K::Insert | K::Merge)),
            Kind::Keyword(K::Distinct) => cursor.kind() == Kind::Keyword(K::On),
            Kind::Keyword(
                K::Limit
                | K::Fetch
                | K::Offset
                | K::Window
                | K::Tablesample
                | K::Lateral
                | K::CurrentDate
                | K::CurrentTime
                | K::LocalTime
                | K::LocalTimestamp
                | K::CurrentUser
                | K::SessionUser
                | K::User
                | K::CurrentRole
                | K::CurrentCatalog
                | K::XmlTable,
            ) => true,
            Kind::String => determinism::is_moving(spelling, dialect),
            Kind::Keyword(keyword) if keyword.is_syntax() => false,
            Kind::Keyword(K::Filter) if cursor.kind() == Kind::Open => false,
            _ => match name {
                Some(_) if before == Kind::Keyword(K::Into) => false,
                Some(name) if cursor.kind() == Kind::Open => before == Kind::Dot || !is_fixed_function(name),
                Some(name) => is_servers_own_word(name),
                None => false,
            },
        };
        if leaves_a_choice {
            return false;
        }
        before = kind;
    }
}

/// Whether a call of a function so called gives the same for the same rows in another order.
fn is_fixed_function(name: Name<'_>) -> bool {
    let among = |list: &[&str]| list.iter().any(|function| name.is(function));
    let about_the_server = ABOUT_THE_SERVER.iter().any(|with| {
        let mut bytes = name.bytes();
        with.bytes().all(|byte| bytes.next() == Some(byte))
    });
    functions::find(name) != functions::Function::Unknown
        && !words::matters(name)
        && !about_the_server
        && (among(UNORDERED) || !among(ORDERED))
}

/// Whether a word that is no call may be a column of the system's, or one of its catalogues.
fn is_servers_own_word(name: Name<'_>) -> bool {
    let mut bytes = name.bytes();
    let of_the_system = b"pg_".iter().all(|byte| bytes.next() == Some(*byte));
    of_the_system
        || words::is_system_column(name)
        || ["information_schema", "over", "locked", "current_timestamp", "current_schema", "within", "system_user"]
            .iter()
            .any(|word| name.is(word))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fixes(text: &str) -> bool {
        fixes_rows(text.as_bytes(), Dialect::default())
    }

    #[test]
    fn rows_of_plain_queries_are_fixed() {
        for text in [
            "SELECT * FROM t",
            "SELECT a, lower(b), count(*) FROM t WHERE c > 5 GROUP BY 1, 2 HAVING count(*) > 1 ORDER BY 1",
            "WITH x AS (SELECT a FROM t) SELECT x.a, coalesce(t.b, 0) FROM x JOIN t USING (a)",
            "(SELECT a FROM t) UNION ALL (VALUES (1), (2))",
            "TABLE t",
            "SELECT DISTINCT a, b::text, max(c) FILTER (WHERE d) FROM t GROUP BY a, b FOR UPDATE",
            "INSERT INTO t (a, b) VALUES (1, 2) RETURNING a",
            "UPDATE t SET a = a + 1 WHERE b > 3 RETURNING *",
            "SELECT a FROM t WHERE b = 'know' AND c BETWEEN 1 AND $1",
        ] {
            assert!(fixes(text), "{text}");
        }
    }

    #[test]
    fn a_choice_of_the_server_fixes_nothing() {
        for text in [
            "",
            "SHOW port",
            "EXPLAIN SELECT * FROM t",
            "SELECT * FROM t LIMIT 1",
            "SELECT * FROM t ORDER BY a FETCH FIRST ROW ONLY",
            "SELECT a FROM t OFFSET 2",
            "SELECT DISTINCT ON (a) a, b FROM t",
            "SELECT row_number() OVER (ORDER BY a) FROM t",
            "SELECT max(a) OVER (ROWS 1 PRECEDING) FROM t",
            "SELECT string_agg(a, ',') FROM t",
            "SELECT sum(a), avg(a) FROM t",
            "SELECT now()",
            "SELECT current_timestamp, current_date",
            "SELECT 'now'::timestamptz",
            "SELECT E'\\156ow'::timestamptz, ' tomorrow '::date",
            "SELECT random() < a FROM t",
            "SELECT ctid, a FROM t",
            "SELECT t.xmin FROM t",
            "SELECT tableoid FROM t",
            "SELECT * FROM pg_class",
            "SELECT * FROM pg_catalog.pg_class",
            "SELECT * FROM information_schema.tables",
            "SELECT current_setting('port'), version()",
            "SELECT pg_backend_pid(), pg_table_size('t')",
            "SELECT own_function(a) FROM t",
            "SELECT own.lower(a) FROM t",
            "SELECT * FROM t TABLESAMPLE SYSTEM (5)",
            "SELECT a FROM t FOR UPDATE SKIP LOCKED",
            "SELECT U&\"\\006fid\" FROM t",
            "SELECT current_user, user",
            "SELECT a INTO u FROM t",
            "INSERT INTO t VALUES (now()) RETURNING a",
            "DELETE FROM t RETURNING ctid",
        ] {
            assert!(!fixes(text), "{text}");
        }
    }
}
