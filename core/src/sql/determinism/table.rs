//! What must be known of a relation that is written: its columns, and which of their defaults two servers would not agree
//! on; and the query that asks a server for it.
//!
//! The answer holds for the search path of the session that asked, and until the relation is altered.

use alloc::vec::Vec;

use super::parse::{self, Parser, Place};
use super::tokens::Tokens;
use super::{Class, Findings, Note, strings};
use crate::sql::Dialect;
use crate::sql::name::Name;

/// A relation.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Table {
    columns: Vec<TableColumn>,
    /// It is a view of relations with defaults that two servers would not agree on.
    pub(super) hides_defaults: bool,
    /// The events that call a trigger which calls what each server evaluates for itself, as the catalogue counts them.
    triggers: u16,
}

/// What happens to rows of a relation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// New ones come.
    Insert,
    /// Some are changed.
    Update,
    /// Some go.
    Delete,
    /// `ON CONFLICT DO UPDATE`.
    InsertOrUpdate,
}

impl Event {
    /// `pg_trigger.tgtype`.
    const fn bits(self) -> u16 {
        match self {
            Event::Insert => 4,
            Event::Delete => 8,
            Event::Update => 16,
            Event::InsertOrUpdate => 4 | 16,
        }
    }
}

/// A column of a relation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct TableColumn {
    pub name: Vec<u8>,
    /// Its type without length or precision, that of a domain's values if it is one.
    pub type_name: Vec<u8>,
    pub time: Time,
    pub default: Option<Default>,
    /// It is `GENERATED ALWAYS AS IDENTITY`.
    pub always: bool,
    pub identity: bool,
}

/// Whether values of a type are points in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Time {
    Yes,
    No,
    /// They may have some in them.
    Unknown,
}

/// A default that two servers would not agree on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Default {
    pub expression: Vec<u8>,
    pub class: Class,
    /// Under a lock, each server evaluates it alike, row by row.
    pub lockable: bool,
}

impl Table {
    /// Its columns in their order.
    pub(super) fn columns(&self) -> &[TableColumn] {
        &self.columns
    }

    /// The number of the column called `name`.
    pub(super) fn find(&self, name: Name<'_>) -> Option<usize> {
        self.columns.iter().position(|column| name.bytes().eq(column.name.iter().copied()))
    }

    /// Whether `event` calls a trigger that calls what each server evaluates for itself: its source holds `now()`, say. A
    /// plan heeds it for the relations that it needs ([`Findings::tables`]); of others, which a plain `UPDATE` writes, who
    /// knows their names can ask.
    pub fn has_trigger(&self, event: Event) -> bool {
        self.triggers & event.bits() != 0
    }

    /// True when nothing about it differs from server to server.
    pub fn is_deterministic(&self) -> bool {
        !self.hides_defaults && self.triggers == 0 && self.columns.iter().all(|column| column.default.is_none())
    }
}

/// The query for what must be known of relations, called `names` as they are written in a text ([`Findings::tables`]). Its
/// rows go into [`Answer::row`].
pub fn question<'n>(names: impl IntoIterator<Item = &'n [u8]>) -> Vec<u8> {
    let mut out = Vec::new();
    out.extend_from_slice(b"WITH RECURSIVE q(at, oid) AS (VALUES ");
    for (at, name) in names.into_iter().enumerate() {
        if at > 0 {
            out.extend_from_slice(b", ");
        }
        out.push(b'(');
        out.extend_from_slice(alloc::format!("{at}").as_bytes());
        out.extend_from_slice(b", pg_catalog.to_regclass(");
        strings::quote(&without_comments(name), &mut out);
        out.extend_from_slice(b")::pg_catalog.oid)");
    }
    out.extend_from_slice(QUESTION.as_bytes());
    out
}

/// The parts of a name, with nothing else between them than their dots.
pub(super) fn without_comments(name: &[u8]) -> Vec<u8> {
    match Tokens::new(name, Dialect::default()) {
        Ok(tokens) => (0..tokens.len()).flat_map(|at| tokens.spelling(at)).copied().collect(),
        Err(_) => name.to_vec(),
    }
}

/// Rows of five texts: the number of the relation, what the row tells of it, and that.
const QUESTION: &str = "), \
    seen(at, oid, top) AS (
        SELECT at, oid, oid FROM q
        UNION SELECT s.at, e.refobjid, s.top FROM seen s
            JOIN pg_catalog.pg_class v ON v.oid = s.oid AND v.relkind = 'v'
            JOIN pg_catalog.pg_rewrite r ON r.ev_class = s.oid
            JOIN pg_catalog.pg_depend e ON e.classid = 'pg_catalog.pg_rewrite'::pg_catalog.regclass AND e.objid = r.oid
                AND e.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass),
    up(attrelid, attnum, oid) AS (
        SELECT a.attrelid, a.attnum, a.atttypid FROM pg_catalog.pg_attribute a
            WHERE a.attrelid IN (SELECT oid FROM seen) AND a.attnum > 0 AND NOT a.attisdropped
        UNION SELECT u.attrelid, u.attnum, t.typbasetype FROM up u
            JOIN pg_catalog.pg_type t ON t.oid = u.oid WHERE t.typtype = 'd'),
    facts AS (
        SELECT s.at, s.oid = s.top AS own, a.attnum, a.attname, b.oid AS base, a.attidentity,
            CASE WHEN b.oid IN (1082, 1083, 1114, 1184, 1266) THEN 't'
                WHEN b.typcategory IN ('A', 'R', 'C', 'D') THEN 'u' ELSE 'f' END AS temporal,
            CASE WHEN a.attidentity <> '' THEN pg_catalog.concat('pg_catalog.nextval(', pg_catalog.quote_literal(
                    pg_catalog.pg_get_serial_sequence(s.oid::pg_catalog.regclass::pg_catalog.text, a.attname::pg_catalog.text)), ')')
                WHEN a.attgenerated <> '' THEN NULL
                WHEN d.oid IS NOT NULL THEN pg_catalog.pg_get_expr(d.adbin, d.adrelid)
                WHEN t.typtype = 'd' THEN pg_catalog.pg_get_expr(t.typdefaultbin, 0) END AS expression,
            EXISTS (SELECT 1 FROM pg_catalog.pg_depend e JOIN pg_catalog.pg_proc p ON p.oid = e.refobjid
                WHERE e.refclassid = 'pg_catalog.pg_proc'::pg_catalog.regclass AND p.provolatile = 'v' AND p.oid >= 16384
                    AND (e.classid = 'pg_catalog.pg_attrdef'::pg_catalog.regclass AND e.objid = d.oid
                        OR e.classid = 'pg_catalog.pg_type'::pg_catalog.regclass AND e.objid = t.oid)) AS volatile
        FROM seen s
        JOIN pg_catalog.pg_attribute a ON a.attrelid = s.oid AND a.attnum > 0 AND NOT a.attisdropped
        JOIN pg_catalog.pg_type t ON t.oid = a.atttypid
        JOIN up u ON u.attrelid = a.attrelid AND u.attnum = a.attnum
        JOIN pg_catalog.pg_type b ON b.oid = u.oid AND b.typtype <> 'd'
        LEFT JOIN pg_catalog.pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum)
    SELECT at::pg_catalog.text, what, one, two, three FROM (
        SELECT at, 0 AS place, 'r' AS what, NULL AS one, NULL AS two, NULL AS three FROM q WHERE oid IS NOT NULL
        UNION ALL
        SELECT at, attnum, 'c', attname::pg_catalog.text, pg_catalog.format_type(base, -1),
            pg_catalog.concat(temporal, CASE WHEN volatile THEN 'v' ELSE 's' END,
                CASE attidentity WHEN '' THEN 'n' ELSE attidentity::pg_catalog.text END, expression)
        FROM facts WHERE own
        UNION ALL
        SELECT at, attnum, 'h', NULL, NULL,
            pg_catalog.concat('f', CASE WHEN volatile THEN 'v' ELSE 's' END, 'n', expression)
        FROM facts WHERE NOT own AND expression IS NOT NULL
        UNION ALL
        SELECT q.at, 0, 't', p.prosrc, g.tgtype::pg_catalog.text, NULL FROM q
        JOIN pg_catalog.pg_trigger g ON g.tgrelid = q.oid AND NOT g.tgisinternal AND g.tgenabled <> 'D'
        JOIN pg_catalog.pg_proc p ON p.oid = g.tgfoid AND p.oid >= 16384 AND p.prolang NOT IN (12, 13)
    ) answer ORDER BY answer.at, what, place";

/// Takes in the rows of an answer.
#[derive(Debug)]
pub struct Answer {
    tables: Vec<Option<Table>>,
    dialect: Dialect,
}

/// The answer is none that PostgreSQL gives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Malformed;

impl Answer {
    /// For a [`question`] about so many relations; `dialect` is that of the connection that it was asked on.
    pub fn new(count: usize, dialect: Dialect) -> Self {
        Answer { tables: alloc::vec![None; count], dialect }
    }

    /// One row of the answer: five texts, of which some are null.
    pub fn row(&mut self, fields: &[Option<&[u8]>]) -> Result<(), Malformed> {
        let &[Some(at), Some(what), one, two, three] = fields else { return Err(Malformed) };
        let at: usize = core::str::from_utf8(at).ok().and_then(|at| at.parse().ok()).ok_or(Malformed)?;
        let dialect = self.dialect;
        let table = self.tables.get_mut(at).ok_or(Malformed)?.get_or_insert_default();
        match (what, one, two, three) {
            (b"r", ..) => {}
            (b"t", Some(source), Some(events), _) => {
                let events: u16 = core::str::from_utf8(events).ok().and_then(|it| it.parse().ok()).ok_or(Malformed)?;
                if parse::mentions(source, dialect) {
                    table.triggers |= events;
                }
            }
            (b"h", _, _, Some(facts)) => table.hides_defaults |= read_default(facts, dialect)?.is_some(),
            (b"c", Some(name), Some(type_name), Some(facts)) => {
                let time = match facts.first() {
                    Some(b't') => Time::Yes,
                    Some(b'f') => Time::No,
                    _ => Time::Unknown,
                };
                let identity = facts.get(2);
                table.columns.push(TableColumn {
                    name: name.into(),
                    type_name: type_name.into(),
                    time,
                    default: read_default(facts, dialect)?,
                    always: identity == Some(&b'a'),
                    identity: matches!(identity, Some(b'a' | b'd')),
                });
            }
            _ => return Err(Malformed),
        }
        Ok(())
    }

    /// What is known of each relation, in the order of the question; `None` for one that the server does not have.
    pub fn finish(self) -> Vec<Option<Table>> {
        self.tables
    }
}

/// Reads three letters, and the expression behind them; `None` if every server evaluates that alike.
fn read_default(facts: &[u8], dialect: Dialect) -> Result<Option<Default>, Malformed> {
    let (&[_, volatile, _], expression) = facts.split_first_chunk::<3>().ok_or(Malformed)?;
    let class = class_of(expression, volatile == b'v', dialect);
    Ok(class.map(|(class, lockable)| Default { expression: expression.into(), class, lockable }))
}

/// How a default is evaluated, and whether a lock makes it the same on all servers. `volatile` tells that it calls a
/// volatile function of the user's.
fn class_of(expression: &[u8], volatile: bool, dialect: Dialect) -> Option<(Class, bool)> {
    let Ok(tokens) = Tokens::new(expression, dialect) else { return Some((Class::Sequence, false)) };
    let end = tokens.len();
    let mut parser = Parser { tokens, found: Findings::default() };
    parser.walk(0, end, Place { named: true, ..Place::default() });
    let found = parser.found;
    let class = found.spots.iter().map(|spot| spot.class).max();
    let sequence = class == Some(Class::Sequence);
    let unknown = found.notes.iter().any(|note| matches!(note, Note::UnknownFunction(_)));
    if unknown && volatile || found.refusal.is_some() {
        // Whatever it does, it does on every server.
        Some((Class::Sequence, false))
    } else if unknown {
        Some((class.unwrap_or(Class::Statement).max(Class::Statement), sequence && found.spots.len() == 1))
    } else {
        class.map(|class| (class, sequence && found.spots.len() == 1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn class(expression: &str, volatile: bool) -> Option<(Class, bool)> {
        class_of(expression.as_bytes(), volatile, Dialect::default())
    }

    #[test]
    fn a_name_is_asked_for_without_what_stands_in_it() {
        assert_eq!(without_comments(b"public /* it's */ . -- x\n\"A b\""), b"public.\"A b\"");
        assert!(
            question([&b"a'b"[..]])
                .starts_with(b"WITH RECURSIVE q(at, oid) AS (VALUES (0, pg_catalog.to_regclass('a''b')")
        );
    }

    #[test]
    fn defaults_by_class() {
        for (expression, expected) in [
            ("0", None),
            ("'open'::text", None),
            ("'now'::text", None),
            ("CURRENT_USER", None),
            ("now()", Some((Class::Transaction, false))),
            ("CURRENT_DATE", Some((Class::Transaction, false))),
            ("('now'::text)::date", Some((Class::Transaction, false))),
            ("date('now'::text)", Some((Class::Transaction, false))),
            ("(now() + '1 day'::interval)", Some((Class::Transaction, false))),
            ("timezone('utc'::text, now())", Some((Class::Transaction, false))),
            ("clock_timestamp()", Some((Class::Statement, false))),
            ("gen_random_uuid()", Some((Class::Evaluation, false))),
            ("md5((random())::text)", Some((Class::Evaluation, false))),
            ("nextval('t_id_seq'::regclass)", Some((Class::Sequence, true))),
            ("('A'::text || nextval('t_id_seq'::regclass))", Some((Class::Sequence, true))),
            ("my_id()", Some((Class::Statement, false))),
        ] {
            assert_eq!(class(expression, false), expected, "{expression}");
        }
        assert_eq!(class("my_id()", true), Some((Class::Sequence, false)));
    }
}
