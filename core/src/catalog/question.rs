//! What is asked of a server's system catalogue, in one query of one value, and how the answer is read.
//!
//! The query is unbendable: it sets its own search path, and names every relation, function and type with its schema.
//! It returns lines of fields, with separators that no field can hold.

use super::hidden::Hidden;
use super::{Function, Relation, RelationKind};
use crate::sql::Dialect;
use alloc::boxed::Box;
use alloc::collections::BTreeSet;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt::Write;

/// Ends a field.
const FIELD: u8 = 0x1F;
/// Ends a line.
const LINE: u8 = 0x1E;

/// Names of one database that are to be looked up there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Question {
    /// What holds for the database as a whole.
    pub whole: bool,
    /// The temporary relations and types of the session that asks.
    pub own_temporaries: bool,
    /// The schemas that the session searches. Asked alone: the rest is asked with an empty path.
    pub own_path: bool,
    /// Functions, without their schemas.
    pub functions: BTreeSet<Box<[u8]>>,
    /// Relations, without their schemas.
    pub relations: BTreeSet<Box<[u8]>>,
}

/// What a server answered to a [`Question`]: every object of each name, in whatever schema.
#[derive(Debug, Default)]
pub(super) struct Answer {
    pub whole: Option<Whole>,
    pub functions: Vec<(usize, Function)>,
    pub relations: Vec<(usize, Relation)>,
}

/// What holds for a database as a whole.
#[derive(Debug, Default)]
pub(super) struct Whole {
    /// An operator, a cast or a type of the database's own calls a volatile function: any expression may.
    pub volatile_notation: bool,
    /// Volatile functions that can be called as `row.function`.
    pub row_functions: BTreeSet<Box<[u8]>>,
    /// Volatile functions that can be called as `(value).function`, PostgreSQL's own among them.
    pub value_functions: BTreeSet<Box<[u8]>>,
    /// What the constraints of domains check.
    pub domains: Option<Hidden>,
}

impl Question {
    /// True when there is nothing to ask.
    pub fn is_empty(&self) -> bool {
        let names = !self.functions.is_empty() || !self.relations.is_empty();
        !names && !self.whole && !self.own_temporaries && !self.own_path
    }

    /// The query: several statements for one Query message, of which one returns one row of one column.
    pub fn sql(&self) -> Vec<u8> {
        let mut out = Vec::new();
        if self.own_path {
            out.extend_from_slice(OWN_PATH.as_bytes());
            return out;
        }
        out.extend_from_slice(PREAMBLE);
        let mut parts = 0;
        let mut part = |out: &mut Vec<u8>, write: &mut dyn FnMut(&mut Vec<u8>)| {
            if parts > 0 {
                out.extend_from_slice(b" UNION ALL ");
            }
            parts += 1;
            write(out);
        };
        if self.whole {
            part(&mut out, &mut |out| out.extend_from_slice(WHOLE.as_bytes()));
        }
        if self.own_temporaries {
            part(&mut out, &mut |out| out.extend_from_slice(OWN_TEMPORARIES.as_bytes()));
        }
        if !self.functions.is_empty() {
            part(&mut out, &mut |out| with_names(out, FUNCTIONS, &self.functions));
        }
        if !self.relations.is_empty() {
            part(&mut out, &mut |out| with_names(out, RELATIONS, &self.relations));
        }
        out.extend_from_slice(b") answers");
        out
    }

    /// Reads the answer; `dialect` is that of the connection it came by. `None` if it makes no sense.
    pub(super) fn read(&self, value: &[u8], dialect: Dialect) -> Option<Answer> {
        let mut answer = Answer::default();
        if self.whole {
            answer.whole = Some(Whole::default());
        }
        for line in value.split(|byte| *byte == LINE).filter(|line| !line.is_empty()) {
            let mut fields = line.split(|byte| *byte == FIELD);
            let kind = fields.next()?;
            let mut field = || fields.next();
            match kind {
                b"w" => answer.whole.as_mut()?.volatile_notation = field()? == b"true",
                b"d" => answer.whole.as_mut()?.domains = Some(Hidden::new(field()?, dialect)),
                b"m" => {
                    answer.whole.as_mut()?.row_functions.insert(field()?.into());
                }
                b"n" => {
                    answer.whole.as_mut()?.value_functions.insert(field()?.into());
                }
                b"f" => {
                    let at = number(field()?).filter(|at| *at < self.functions.len())?;
                    let (schema, effect, defaults) = (field()?.into(), field()?, field()?);
                    let (volatile, sets) = (effect != b"false", effect == b"sets");
                    let defaults = (!defaults.is_empty()).then(|| Hidden::new(defaults, dialect));
                    answer.functions.push((at, Function { schema, volatile, sets, defaults }));
                }
                b"r" => {
                    let at = number(field()?).filter(|at| *at < self.relations.len())?;
                    let schema = field()?.into();
                    let kind = match field()? {
                        b"S" => RelationKind::Sequence,
                        b"v" => RelationKind::View,
                        _ => RelationKind::Table,
                    };
                    let (unlogged, text) = (field()? == b"true", field()?);
                    let hidden = (!text.is_empty()).then(|| Hidden::new(text, dialect));
                    answer.relations.push((at, Relation { schema, kind, unlogged, hidden }));
                }
                b"t" if self.own_temporaries => {
                    field()?;
                }
                b"p" if self.own_path => {
                    field()?;
                }
                _ => return None,
            }
        }
        Some(answer)
    }

    /// The temporary relations and types that an answer names.
    pub fn temporaries<'v>(&self, value: &'v [u8]) -> impl Iterator<Item = &'v [u8]> {
        Self::lines(value, b't')
    }

    /// The schemas that an answer names, in the order in which they are searched.
    pub fn path<'v>(&self, value: &'v [u8]) -> impl Iterator<Item = &'v [u8]> {
        Self::lines(value, b'p')
    }

    fn lines(value: &[u8], kind: u8) -> impl Iterator<Item = &[u8]> {
        value.split(|byte| *byte == LINE).filter_map(move |line| line.strip_prefix(&[kind, FIELD]))
    }
}

fn number(digits: &[u8]) -> Option<usize> {
    core::str::from_utf8(digits).ok()?.parse().ok()
}

/// Writes `query` with the list of names in place of its `@`.
fn with_names(out: &mut Vec<u8>, query: &str, names: &BTreeSet<Box<[u8]>>) {
    let (before, after) = query.split_once('@').unwrap_or((query, ""));
    out.extend_from_slice(before.as_bytes());
    for (at, name) in names.iter().enumerate() {
        let mut start = String::new();
        // A string is never written to in vain.
        let _ = write!(start, "{}({at}, E'", if at > 0 { ", " } else { "" });
        out.extend_from_slice(start.as_bytes());
        for byte in name {
            if matches!(byte, b'\'' | b'\\') {
                out.push(*byte);
            }
            out.push(*byte);
        }
        out.extend_from_slice(b"')");
    }
    out.extend_from_slice(after.as_bytes());
}

/// It must not hang on what somebody else has locked. With an empty path, only `pg_catalog` is searched for operators, and views are shown with every name's schema.
const PREAMBLE: &[u8] = b"SET LOCAL statement_timeout = 2000; SET LOCAL lock_timeout = 500; \
    SET LOCAL search_path = ''; \
    SELECT pg_catalog.string_agg(line, pg_catalog.chr(30)) FROM (";

/// What a row is given to may take it as a domain over its type, or by an implicit cast.
/// 16384 is the first number of an object that is not PostgreSQL's own (`FirstNormalObjectId`).
const WHOLE: &str = "\
    SELECT pg_catalog.concat_ws(pg_catalog.chr(31), 'w', (
        EXISTS (SELECT 1 FROM pg_catalog.pg_operator o JOIN pg_catalog.pg_proc p ON p.oid = o.oprcode::pg_catalog.oid
            WHERE o.oid >= 16384 AND p.provolatile = 'v')
        OR EXISTS (SELECT 1 FROM pg_catalog.pg_cast c JOIN pg_catalog.pg_proc p ON p.oid = c.castfunc
            WHERE c.oid >= 16384 AND p.provolatile = 'v')
        OR EXISTS (SELECT 1 FROM pg_catalog.pg_type t JOIN pg_catalog.pg_proc p
            ON p.oid = ANY (ARRAY[t.typinput, t.typoutput, t.typreceive, t.typsend]::pg_catalog.oid[])
            WHERE t.oid >= 16384 AND p.oid >= 16384 AND p.provolatile = 'v')
        OR EXISTS (SELECT 1 FROM pg_catalog.pg_amproc a JOIN pg_catalog.pg_proc p ON p.oid = a.amproc::pg_catalog.oid
            WHERE a.oid >= 16384 AND p.provolatile = 'v'))::pg_catalog.text) AS line
    UNION ALL
    SELECT pg_catalog.concat_ws(pg_catalog.chr(31), 'd', pg_catalog.translate(pg_catalog.concat('SELECT ',
            pg_catalog.string_agg(pg_catalog.pg_get_expr(c.conbin, 0), ', ')), pg_catalog.concat(pg_catalog.chr(30),
            pg_catalog.chr(31)), ''))
        FROM pg_catalog.pg_constraint c WHERE c.contypid >= 16384 HAVING pg_catalog.count(*) > 0
    UNION ALL
    SELECT DISTINCT pg_catalog.concat_ws(pg_catalog.chr(31), notation.kind, p.proname)
        FROM pg_catalog.pg_proc p JOIN pg_catalog.pg_type t ON t.oid = p.proargtypes[0]
        CROSS JOIN (VALUES ('m'), ('n')) notation(kind)
        WHERE p.provolatile = 'v' AND p.prokind = 'f' AND p.pronargs >= 1 AND p.pronargs - p.pronargdefaults <= 1
            AND t.typname <> 'internal' AND p.prorettype <> 'pg_catalog.trigger'::pg_catalog.regtype
            AND (notation.kind = 'n' OR p.oid >= 16384 AND (t.typtype IN ('c', 'd', 'p') OR EXISTS (
                SELECT 1 FROM pg_catalog.pg_cast c JOIN pg_catalog.pg_type s ON s.oid = c.castsource
                    WHERE c.castcontext = 'i' AND s.typtype = 'c')))";

/// The session's own, of all kinds, and types that are none of a relation's.
const OWN_TEMPORARIES: &str = "\
    SELECT pg_catalog.concat_ws(pg_catalog.chr(31), 't', own.name) AS line
        FROM (SELECT c.relname FROM pg_catalog.pg_class c
                WHERE c.relnamespace = pg_catalog.pg_my_temp_schema() AND c.relkind IN ('r', 'p', 'v', 'S')
            UNION ALL SELECT t.typname FROM pg_catalog.pg_type t
                WHERE t.typnamespace = pg_catalog.pg_my_temp_schema() AND t.typtype IN ('c', 'd', 'e', 'r')
                    AND t.typrelid NOT IN (SELECT r.oid FROM pg_catalog.pg_class r WHERE r.relkind <> 'c')) own(name)";

/// The session's own, with those that are searched without being named.
const OWN_PATH: &str = "\
    SELECT pg_catalog.string_agg(pg_catalog.concat_ws(pg_catalog.chr(31), 'p', pg_catalog.translate(s.name,
            pg_catalog.concat(pg_catalog.chr(30), pg_catalog.chr(31)), '')), pg_catalog.chr(30) ORDER BY s.at)
        FROM ROWS FROM (pg_catalog.unnest(pg_catalog.current_schemas(true))) WITH ORDINALITY s(name, at)";

/// An aggregate is as volatile as what it calls. One that opens a cursor belongs to where that is fetched from.
///
/// A volatile function `sets` what its session goes by if its source, or that of a function whose name stands in it, has
/// the words for that where a statement begins, or runs a text of which nothing is known. The languages internal and C
/// (12 and 13) have no source, and no reason to.
const FUNCTIONS: &str = "\
    SELECT pg_catalog.concat_ws(pg_catalog.chr(31), 'f', q.at,
            pg_catalog.translate(n.nspname, pg_catalog.concat(pg_catalog.chr(30), pg_catalog.chr(31)), ''),
            CASE WHEN pg_catalog.bool_or(p.provolatile = 'v' AND p.oid >= 16384 AND p.prolang NOT IN (12, 13) AND EXISTS (
                WITH RECURSIVE reached AS (
                    SELECT p.oid, pg_catalog.concat(p.prosrc, pg_catalog.pg_get_function_sqlbody(p.oid)) AS source
                    UNION SELECT k.oid, pg_catalog.concat(k.prosrc, pg_catalog.pg_get_function_sqlbody(k.oid))
                        FROM reached r
                        CROSS JOIN pg_catalog.regexp_split_to_table(r.source, '[^[:alnum:]_$]+') word
                        JOIN pg_catalog.pg_proc k
                            ON k.proname IN (word::pg_catalog.name, pg_catalog.lower(word)::pg_catalog.name)
                            AND k.oid >= 16384 AND k.prolang NOT IN (12, 13))
                SELECT 1 FROM reached r WHERE pg_catalog.lower(r.source) ~ pg_catalog.concat('set_config|spi_',
                    '|[[:<:]](execute|discard)[[:>:]]',
                    '|(^|;|[*]/|--[^\n]*\n|[[:<:]](begin|then|else|loop)[[:>:]])[[:space:]]*(set|reset)[[:>:]]')))
            THEN 'sets' ELSE (pg_catalog.bool_or(p.provolatile = 'v'
                OR 'pg_catalog.refcursor'::pg_catalog.regtype = ANY (p.prorettype || p.proallargtypes) OR EXISTS (SELECT 1 FROM pg_catalog.pg_aggregate a
                JOIN pg_catalog.pg_proc s ON s.oid = ANY (ARRAY[a.aggtransfn, a.aggfinalfn, a.aggcombinefn,
                    a.aggserialfn, a.aggdeserialfn, a.aggmtransfn, a.aggminvtransfn, a.aggmfinalfn]::pg_catalog.oid[])
                WHERE a.aggfnoid::pg_catalog.oid = p.oid AND s.provolatile = 'v')))::pg_catalog.text END,
            pg_catalog.translate(CASE WHEN pg_catalog.count(p.proargdefaults) > 0 AND n.nspname <> 'pg_catalog'
                THEN pg_catalog.concat('SELECT ', pg_catalog.string_agg(
                    pg_catalog.pg_get_expr(p.proargdefaults, 0), ', '))
                ELSE '' END, pg_catalog.concat(pg_catalog.chr(30), pg_catalog.chr(31)), '')) AS line
        FROM (VALUES @) q(at, name)
        JOIN pg_catalog.pg_proc p ON p.proname = q.name::pg_catalog.name
        JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace
        GROUP BY q.at, n.nspname";

/// A table stands for those that inherit from it, and for the conditions of its row-level security.
const RELATIONS: &str = "\
    SELECT pg_catalog.concat_ws(pg_catalog.chr(31), 'r', q.at,
            pg_catalog.translate(n.nspname, pg_catalog.concat(pg_catalog.chr(30), pg_catalog.chr(31)), ''), c.relkind,
            (c.relpersistence = 'u' OR c.relhassubclass AND EXISTS (
                WITH RECURSIVE heirs AS (
                    SELECT i.inhrelid FROM pg_catalog.pg_inherits i WHERE i.inhparent = c.oid
                    UNION SELECT i.inhrelid FROM pg_catalog.pg_inherits i JOIN heirs h ON i.inhparent = h.inhrelid)
                SELECT 1 FROM heirs h JOIN pg_catalog.pg_class k ON k.oid = h.inhrelid
                    WHERE k.relpersistence = 'u'))::pg_catalog.text,
            pg_catalog.translate(CASE
                WHEN c.relkind = 'v' THEN pg_catalog.pg_get_viewdef(c.oid)
                WHEN c.relrowsecurity THEN (SELECT pg_catalog.concat('SELECT ', pg_catalog.string_agg(
                        pg_catalog.pg_get_expr(s.polqual, s.polrelid), ', '))
                    FROM pg_catalog.pg_policy s WHERE s.polrelid = c.oid)
                ELSE '' END, pg_catalog.concat(pg_catalog.chr(30), pg_catalog.chr(31)), '')) AS line
        FROM (VALUES @) q(at, name)
        JOIN pg_catalog.pg_class c ON c.relname = q.name::pg_catalog.name
        JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
        WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f', 'S') AND c.relpersistence <> 't'";
