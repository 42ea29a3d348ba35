//! Statements that PostgreSQL refuses, or that mean something else, within a transaction block.

use super::Dialect;
use super::cursor::Cursor;
use super::keyword::Keyword as K;
use super::lexer::Kind;
use super::uses::Uses;

/// Whether the statement at the front of a text must not be put into a transaction block that its client did not begin:
/// it has transactions of its own, as procedures and `VACUUM` do, or a part of it cannot be undone.
///
/// A text that cannot be read does not stand alone.
pub fn stands_alone(text: &[u8], dialect: Dialect) -> bool {
    let mut cursor = Cursor::new(text, dialect, Uses::new());
    let Some(first) = cursor.eat_name() else { return false };
    let is = |words: &[&str]| words.iter().any(|word| first.is(word));
    if is(&["vacuum", "call", "do"]) {
        return true;
    }
    if is(&["create", "alter", "drop"]) {
        let whole = cursor
            .name()
            .is_some_and(|kind| ["database", "tablespace", "subscription", "system"].iter().any(|word| kind.is(word)));
        return whole || says(&mut cursor, &["concurrently"]);
    }
    if is(&["reindex"]) {
        return says(&mut cursor, &["concurrently", "database", "system", "schema"]);
    }
    if is(&["cluster"]) {
        return matches!(cursor.kind(), Kind::End | Kind::Semicolon)
            || cursor.name().is_some_and(|name| name.is("verbose"));
    }
    if is(&["commit", "rollback"]) {
        return cursor.eat(K::Prepared);
    }
    is(&["discard"]) && cursor.name().is_some_and(|name| name.is("all"))
}

/// Whether one of these words stands in the rest of the statement.
fn says(cursor: &mut Cursor<'_>, words: &[&str]) -> bool {
    loop {
        match cursor.kind() {
            Kind::End | Kind::Bad | Kind::Semicolon => return false,
            _ if cursor.name().is_some_and(|name| words.iter().any(|word| name.is(word))) => return true,
            _ => cursor.bump(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_wrapped_is_known() {
        for alone in [
            "VACUUM",
            "vacuum (analyze) t",
            "CREATE DATABASE x",
            "/* new */ drop database x",
            "ALTER SYSTEM SET work_mem = 1",
            "CREATE UNIQUE INDEX CONCURRENTLY i ON t (a)",
            "DROP INDEX CONCURRENTLY i",
            "ALTER TABLE t DETACH PARTITION p CONCURRENTLY",
            "REINDEX SYSTEM x",
            "REINDEX TABLE CONCURRENTLY t",
            "CLUSTER",
            "CALL p()",
            "DO $$ BEGIN COMMIT; END $$",
            "COMMIT PREPARED 'x'",
            "DISCARD ALL",
            "CREATE TABLESPACE s LOCATION '/x'",
        ] {
            assert!(stands_alone(alone.as_bytes(), Dialect::default()), "{alone}");
        }
        for fits in [
            "INSERT INTO t VALUES (1)",
            "CREATE TABLE t (a text DEFAULT 'concurrently')",
            "CREATE INDEX i ON t (a)",
            "REINDEX TABLE t",
            "CLUSTER t",
            "ROLLBACK",
            "DISCARD TEMP",
            "SELECT 1; VACUUM",
            "",
            "'",
        ] {
            assert!(!stands_alone(fits.as_bytes(), Dialect::default()), "{fits}");
        }
    }
}
