//! Locks under which sequences give each server the same values, as SQL.
//!
//! An `INSERT` that takes a value of a sequence for each row has every server take them for itself (`insert_lock`). They
//! agree if nothing else takes values in between on one of them. So such a statement locks its sequences on the main node
//! against all others that pgconvoy runs, and what takes single values locks them against such statements. The locks are
//! advisory ones of the transaction: unlike `LOCK TABLE`, they are to be had outside blocks, too, and hinder no `UPDATE` and
//! no `VACUUM`. The key is a sequence's object identifier, in a class of pgconvoy's own.

use alloc::vec::Vec;

use super::plan::Constant;
use super::{Class, strings};

/// Who else may hold the lock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Those that take single values.
    Shared,
    /// Nobody.
    Exclusive,
}

/// The table in which pgpool-II locks rows in place of tables, if it is there (`insert_lock.sql`).
pub const LOCK_TABLE: &[u8] = b"pgpool_catalog.insert_lock";

/// The class of pgconvoy's advisory locks: `pgcv`.
const CLASS: &str = "1885823862";

/// Locks the sequences of all columns of the relation that is called `name`, as it is written in a text.
pub fn sequences_of(name: &[u8], mode: Mode, out: &mut Vec<u8>) {
    begin(mode, out);
    out.extend_from_slice(
        b"s.oid::pg_catalog.int4) FROM (SELECT DISTINCT d.refobjid AS oid FROM pg_catalog.pg_attrdef a \
          JOIN pg_catalog.pg_depend d ON d.classid = 'pg_catalog.pg_attrdef'::pg_catalog.regclass AND d.objid = a.oid \
          AND d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass \
          JOIN pg_catalog.pg_class c ON c.oid = d.refobjid AND c.relkind = 'S' WHERE a.adrelid = ",
    );
    relation(name, out);
    out.extend_from_slice(
        b" UNION SELECT d.objid FROM pg_catalog.pg_depend d \
          WHERE d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass \
          AND d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.deptype = 'i' AND d.refobjid = ",
    );
    relation(name, out);
    out.extend_from_slice(b" ORDER BY 1) s");
}

/// Locks the sequence that the expression `argument` names.
pub fn sequence(argument: &[u8], mode: Mode, out: &mut Vec<u8>) {
    begin(mode, out);
    out.extend_from_slice(b"CAST(CAST(CAST(");
    out.extend_from_slice(argument);
    out.extend_from_slice(b" AS pg_catalog.regclass) AS pg_catalog.oid) AS pg_catalog.int4))");
}

/// Locks what pgpool-II locks for the relation that is called `name`, where [`LOCK_TABLE`] is there: its row.
pub fn row_of(name: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(
        b"INSERT INTO pgpool_catalog.insert_lock AS l (reloid) SELECT c.oid FROM pg_catalog.pg_class c WHERE c.oid = ",
    );
    relation(name, out);
    out.extend_from_slice(b" ON CONFLICT (reloid) DO UPDATE SET reloid = l.reloid");
}

impl Constant {
    /// Locks the sequence that it names itself, as `nextval('s')` does. Returns false if it names none.
    pub fn lock(&self, out: &mut Vec<u8>) -> bool {
        let call = self.expression.strip_prefix(b"pg_catalog.").unwrap_or(&self.expression);
        let named = call.get(..7).filter(|name| name.eq_ignore_ascii_case(b"nextval")).map(|_| call[7..].trim_ascii());
        let argument = named.and_then(|rest| rest.strip_prefix(b"(")?.strip_suffix(b")"));
        let Some(argument) = argument.filter(|_| self.class == Class::Sequence) else { return false };
        sequence(argument, Mode::Shared, out);
        true
    }
}

fn begin(mode: Mode, out: &mut Vec<u8>) {
    out.extend_from_slice(b"SELECT pg_catalog.pg_advisory_xact_lock");
    if mode == Mode::Shared {
        out.extend_from_slice(b"_shared");
    }
    out.push(b'(');
    out.extend_from_slice(CLASS.as_bytes());
    out.extend_from_slice(b", ");
}

fn relation(name: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(b"pg_catalog.to_regclass(");
    strings::quote(&super::table::without_comments(name), out);
    out.push(b')');
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sql::Dialect;
    use crate::sql::determinism::inspect;
    use alloc::string::String;

    #[test]
    fn a_call_of_nextval_locks_what_it_names() {
        for (call, expected) in [
            ("nextval('s')", "CAST(CAST(CAST('s' AS pg_catalog.regclass) AS pg_catalog.oid) AS pg_catalog.int4))"),
            ("pg_catalog.NEXTVAL ('a.b'::regclass)", "CAST(CAST(CAST('a.b'::regclass AS pg_catalog.regclass)"),
        ] {
            let text = alloc::format!("INSERT INTO t VALUES ({call})");
            let plan = inspect(text.as_bytes(), Dialect::default()).plan(text.as_bytes(), |_| None).expect("a plan");
            let mut out = Vec::new();
            assert!(plan.constants()[0].lock(&mut out));
            let out = String::from_utf8(out).expect("UTF-8");
            assert!(out.starts_with("SELECT pg_catalog.pg_advisory_xact_lock_shared(1885823862, "), "{out}");
            assert!(out.contains(expected), "{out}");
        }
        let text = b"INSERT INTO t VALUES (random())";
        let plan = inspect(text, Dialect::default()).plan(text, |_| None).expect("a plan");
        assert!(!plan.constants()[0].lock(&mut Vec::new()));
    }
}
